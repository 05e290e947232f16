"""Which rows train and which test a member: folds by any of scikit-learn's splitters, and inner splits for early stopping."""

import warnings
from numbers import Integral

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.utils import _safe_indexing

from tabdl.columns import is_frame


def take_rows(X, rows):
    """Return the rows of a table, in whatever form it has."""
    if is_frame(X):
        return nw.from_native(X, eager_only=True)[rows.tolist(), :].to_native()
    return _safe_indexing(X, rows)


def make_folds(cv, n_repeats, X, y, groups, *, has_classes, seed, owner):
    """Return the training and test rows of each fold, a list of pairs of int arrays.

    Parameters
    ----------
    cv : int, splitter or iterable of pairs
        An int: so many folds of shuffled rows, stratified for classes. A splitter's ``split`` is called once a repeat.
    n_repeats : int
    groups : array-like of shape (N,) or None
    has_classes : bool
    seed : int
        Of the shuffling of an int's folds.
    owner : str
        The estimator's name, for messages.

    Raises
    ------
    ValueError
        For folds without rows, rows that do not exist, or a splitter of groups that gets none.
    """
    if isinstance(cv, Integral):
        from sklearn.model_selection import KFold, StratifiedKFold

        kind = StratifiedKFold if has_classes else KFold
        splitters = [kind(int(cv), shuffle=True, random_state=(seed + i) % 2**32) for i in range(n_repeats)]
        pairs = [pair for splitter in splitters for pair in _split(splitter, X, y, groups, owner)]
    elif hasattr(cv, "split"):
        pairs = [pair for _ in range(n_repeats) for pair in _split(cv, X, y, groups, owner)]
    else:
        pairs = list(cv) * n_repeats
    folds = [tuple(_row_numbers(rows, len(y), owner) for rows in pair) for pair in pairs]
    if not folds or any(len(rows) == 0 for fold in folds for rows in fold):
        raise ValueError(f"{owner}: every fold of cv must have training and test rows; cv={cv!r} gives {len(folds)} folds.")
    return folds


def _split(splitter, X, y, groups, owner):
    with warnings.catch_warnings():
        # What it means for a fold to lack a class is said by the ensemble.
        warnings.filterwarnings("ignore", message="The least populated class in y has only")
        try:
            return list(splitter.split(np.empty((len(y), 1)) if is_frame(X) else X, y, groups))
        except ValueError as error:
            if groups is None and "groups" in str(error):
                raise ValueError(f"{owner}: cv={splitter!r} splits by groups; give them to fit, as groups=.") from error
            raise


def _row_numbers(rows, n_rows, owner):
    rows = np.asarray(rows)
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.intp)
    if len(rows) and not (rows.min() >= 0 and rows.max() < n_rows):
        raise ValueError(f"{owner}: cv names rows from {rows.min()} to {rows.max()}, but X has the rows 0 to {n_rows - 1}.")
    return rows


def is_forward(folds):
    """Return whether the test rows of each of several folds come after its training rows, as TimeSeriesSplit has them."""
    return len(folds) > 1 and all(train_rows.max() < test_rows.min() for train_rows, test_rows in folds)


def inner_split(rows, y, groups, fraction, *, has_classes, forward, seed):
    """Return ``rows`` in two parts: those that train, and a share of about ``fraction`` to stop by.

    With ``forward`` the last rows are those to stop by. Else groups stay whole where they are given; else classes keep their
    shares, where each has two rows and there is room for all.
    """
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    if forward:
        rows, n_train = np.sort(rows), len(rows) - max(1, round(fraction * len(rows)))
        return rows[:n_train], rows[n_train:]
    if groups is not None:
        splitter = GroupShuffleSplit(1, test_size=fraction, random_state=seed)
        train, val = next(splitter.split(rows, groups=np.asarray(groups)[rows]))
        return rows[train], rows[val]
    labels = None
    if has_classes:
        labels, counts = np.unique(y[rows], return_inverse=True, return_counts=True)[1:]
        if counts.min() < 2 or len(counts) > int(fraction * len(rows)):
            labels = None
    train, val = train_test_split(rows, test_size=fraction, random_state=seed, stratify=labels)
    if has_classes:
        lost = ~np.isin(y[val], y[train])  # a class must have a row to learn from
        train, val = np.append(train, val[lost]), val[~lost]
    return train, val
