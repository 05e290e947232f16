"""Which rows train and which test a member: folds by any of scikit-learn's splitters, and inner
splits for early stopping."""

import warnings
from numbers import Integral

import numpy as np

from tabdl.data.columns import is_frame
from tabdl.data.dataset import Subset


def make_folds(cv, n_repeats, dataset, *, has_classes, seed, estimator_name):
    """Return the training and test rows of each fold, a list of pairs of int arrays.

    Parameters
    ----------
    cv : int, splitter or iterable of pairs
        An int: so many folds of shuffled rows, stratified for classes. A splitter's ``split`` is
        called once a repeat.
    n_repeats : int
    dataset : Dataset
    has_classes : bool
    seed : int
        Of the shuffling of an int's folds.
    estimator_name : str

    Raises
    ------
    ValueError
        For folds without rows, rows that do not exist, or a splitter of groups that gets none.
    """
    if isinstance(cv, Integral):
        from sklearn.model_selection import KFold, StratifiedKFold

        kind = StratifiedKFold if has_classes else KFold
        seeds = [(seed + i) % 2**32 for i in range(n_repeats)]
        splitters = [kind(int(cv), shuffle=True, random_state=seed) for seed in seeds]
        pairs = [pair for s in splitters for pair in _split(s, dataset, estimator_name)]
    elif hasattr(cv, "split"):
        pairs = [p for _ in range(n_repeats) for p in _split(cv, dataset, estimator_name)]
    else:
        pairs = list(cv) * n_repeats
    n_rows = len(dataset)
    folds = [tuple(_row_numbers(rows, n_rows, estimator_name) for rows in pair) for pair in pairs]
    if not folds or any(len(rows) == 0 for fold in folds for rows in fold):
        raise ValueError(
            f"{estimator_name}: every fold of cv must have training and test rows; cv={cv!r} gives "
            f"{len(folds)} folds."
        )
    return folds


def _split(splitter, dataset, estimator_name):
    if dataset.groups is None and _splits_by_groups(splitter):
        raise ValueError(
            f"{estimator_name}: cv={splitter!r} splits by groups; give them to fit, as groups=."
        )
    with warnings.catch_warnings():
        # What it means for a fold to lack a class is said by the ensemble.
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        X = np.empty((len(dataset), 1)) if is_frame(dataset.X) else dataset.X
        return list(splitter.split(X, dataset.y, dataset.groups))


def _splits_by_groups(splitter):
    """Return whether a splitter asks for groups, by scikit-learn's metadata routing."""
    if not hasattr(splitter, "get_metadata_routing"):
        return False
    return splitter.get_metadata_routing().split.requests.get("groups") is True


def _row_numbers(rows, n_rows, estimator_name):
    rows = np.asarray(rows)
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.intp)
    if len(rows) and not (rows.min() >= 0 and rows.max() < n_rows):
        raise ValueError(
            f"{estimator_name}: cv names rows from {rows.min()} to {rows.max()}, but X has the "
            f"rows 0 to {n_rows - 1}."
        )
    return rows


def is_forward(folds):
    """Return whether the test rows of each of several folds come after its training rows, as
    TimeSeriesSplit has them."""
    return len(folds) > 1 and all(
        train_rows.max() < test_rows.min() for train_rows, test_rows in folds
    )


def inner_split(subset, fraction, *, has_classes, forward, seed):
    """Return the rows that train and the rows to stop by, as two subsets.

    Parameters
    ----------
    subset : Subset
    fraction : float in (0, 1)
        Share of the rows to stop by, about.
    has_classes : bool
        Classes keep their shares, where each has two rows and there is room for all.
    forward : bool
        The last rows are those to stop by. Else groups stay whole where the data set has some.
    seed : int
    """
    dataset, rows = subset.dataset, subset.indices
    if forward:
        rows, n_train = np.sort(rows), len(rows) - max(1, round(fraction * len(rows)))
        train, val = rows[:n_train], rows[n_train:]
    elif dataset.groups is not None:
        train, val = _split_groups(rows, np.asarray(dataset.groups)[rows], fraction, seed)
    else:
        train, val = _split_shuffled(rows, subset.y, fraction, has_classes, seed)
    return Subset(dataset, train), Subset(dataset, val)


def _split_groups(rows, groups, fraction, seed):
    from sklearn.model_selection import GroupShuffleSplit

    splitter = GroupShuffleSplit(1, test_size=fraction, random_state=seed)
    train, val = next(splitter.split(rows, groups=groups))
    return rows[train], rows[val]


def _split_shuffled(rows, y, fraction, has_classes, seed):
    from sklearn.model_selection import train_test_split

    labels = None
    if has_classes:
        labels, counts = np.unique(y, return_inverse=True, return_counts=True)[1:]
        if counts.min() < 2 or len(counts) > int(fraction * len(rows)):
            labels = None
    places = np.arange(len(rows))
    train, val = train_test_split(places, test_size=fraction, random_state=seed, stratify=labels)
    if has_classes:
        lost = ~np.isin(y[val], y[train])  # a class must have a row to learn from
        train, val = np.append(train, val[lost]), val[~lost]
    return rows[train], rows[val]


def train_val_split(subset, fraction, seed, estimator_name, stratify):
    """Return the rows that train and the rows that are held out, as two subsets.

    Parameters
    ----------
    subset : Subset
    fraction : float in (0, 1)
        Share of the rows that is held out.
    seed : int
    estimator_name : str
    stratify : bool
        Keep the shares of the classes, where every class has two rows and both sides have room for
        all of them.

    Raises
    ------
    ValueError
        When ``fraction`` leaves no row to train on.
    """
    from sklearn.model_selection import train_test_split

    n_rows = len(subset)
    n_val = int(np.ceil(fraction * n_rows))
    if n_val >= n_rows:
        raise ValueError(
            f"{estimator_name}: validation_fraction={fraction} of n_samples={n_rows} rows leaves "
            "none to train on; give more rows, a smaller fraction, X_val and y_val, or "
            "early_stopping=False."
        )
    labels = None
    if stratify:
        labels, counts = np.unique(subset.y, return_inverse=True, return_counts=True)[1:]
        if counts.min() < 2 or len(counts) > min(n_val, n_rows - n_val):
            labels = None
    train, val = train_test_split(
        subset.indices, test_size=n_val, random_state=seed, stratify=labels
    )
    return Subset(subset.dataset, train), Subset(subset.dataset, val)
