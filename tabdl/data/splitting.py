"""Splits of rows: folds by any splitter of scikit-learn, and rows held out for early stopping."""

import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from tabdl.data.columns import is_frame
from tabdl.data.dataset import Dataset, Subset

Fold = tuple[np.ndarray, np.ndarray]
# In a common training an epoch visits as many rows of each fold as the smallest has.
_LARGEST_DIFFERENCE = 0.02


def make_folds(
    cv: Any,
    n_repeats: int,
    dataset: Dataset,
    *,
    has_classes: bool,
    seed: int,
    estimator_name: str,
) -> list[Fold]:
    """Return the training and test rows of each fold, a list of pairs of int arrays.

    Parameters
    ----------
    cv : int, splitter or iterable of pairs
        An int: so many folds of shuffled rows, stratified for classes. The ``split`` of a splitter
        is called once a repeat.
    n_repeats : int
    dataset : Dataset
    has_classes : bool
    seed : int
        Seed of the shuffling, where ``cv`` is an int.
    estimator_name : str

    Raises
    ------
    ValueError
        For folds without rows, rows that do not exist, or a splitter of groups that gets none.
    """
    if isinstance(cv, Integral):
        _check_n_folds(int(cv), dataset.y, has_classes, estimator_name)
        splitters = _shuffled_folds(int(cv), n_repeats, has_classes, seed)
        pairs = [pair for s in splitters for pair in _split(s, dataset, estimator_name)]
    elif hasattr(cv, "split"):
        pairs = [p for _ in range(n_repeats) for p in _split(cv, dataset, estimator_name)]
    else:
        pairs = list(cv) * n_repeats
    n_rows = len(dataset)
    folds = [
        (_row_numbers(train, n_rows, estimator_name), _row_numbers(test, n_rows, estimator_name))
        for train, test in pairs
    ]
    if not folds or any(len(rows) == 0 for fold in folds for rows in fold):
        raise ValueError(
            f"{estimator_name}: every fold of cv must have training and test rows; cv={cv!r} gives "
            f"{len(folds)} folds."
        )
    return folds


def _check_n_folds(n_folds: int, y: np.ndarray, has_classes: bool, estimator_name: str) -> None:
    """Raise ValueError where there are fewer rows, or rows of every class, than folds."""
    most = int(np.unique(y, return_counts=True)[1].max()) if has_classes else len(y)
    if n_folds > most:
        rows = "the largest class of y" if has_classes else "X"
        raise ValueError(
            f"{estimator_name}: cv must be at most the number of rows of {rows}, n_samples={most}, "
            f"got {n_folds}; use a smaller cv, or a splitter such as KFold."
        )


def _shuffled_folds(n_folds: int, n_repeats: int, has_classes: bool, seed: int) -> list[Any]:
    """Return a splitter for each repeat."""
    from sklearn.model_selection import KFold, StratifiedKFold

    kind = StratifiedKFold if has_classes else KFold
    seeds = [(seed + i) % 2**32 for i in range(n_repeats)]
    return [kind(n_folds, shuffle=True, random_state=seed) for seed in seeds]


def _split(splitter: Any, dataset: Dataset, estimator_name: str) -> list[Any]:
    if dataset.groups is None and _splits_by_groups(splitter):
        raise ValueError(
            f"{estimator_name}: cv={splitter!r} splits by groups; give them to fit, as groups=."
        )
    with warnings.catch_warnings():
        # The ensemble itself warns of folds that lack a class.
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        X = np.empty((len(dataset), 1)) if is_frame(dataset.X) else dataset.X
        return list(splitter.split(X, dataset.y, dataset.groups))


def _splits_by_groups(splitter: Any) -> bool:
    """Return whether a splitter asks for groups, by its metadata routing."""
    if not hasattr(splitter, "get_metadata_routing"):
        return False
    return splitter.get_metadata_routing().split.requests.get("groups") is True


def _row_numbers(rows: Any, n_rows: int, estimator_name: str) -> np.ndarray:
    rows = np.asarray(rows)
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.intp)
    if len(rows) and not (rows.min() >= 0 and rows.max() < n_rows):
        raise ValueError(
            f"{estimator_name}: cv names rows from {rows.min()} to {rows.max()}, but X has the "
            f"rows 0 to {n_rows - 1}."
        )
    return rows


def is_forward(folds: Sequence[Fold]) -> bool:
    """Return whether folds follow time, as TimeSeriesSplit makes them.

    In each of several folds, the test rows then come after the training rows.
    """
    return len(folds) > 1 and all(
        train_rows.max() < test_rows.min() for train_rows, test_rows in folds
    )


def inner_split(
    subset: Subset,
    fraction: float,
    *,
    has_classes: bool,
    forward: bool,
    seed: int,
    estimator_name: str,
) -> tuple[Subset, Subset]:
    """Return the rows of a fold that train and the rows to stop by, as two subsets.

    Parameters
    ----------
    subset : Subset
        The training rows of the fold.
    fraction : float in (0, 1)
        Share of the rows to stop by, about.
    has_classes : bool
        Whether classes keep their shares; see :func:`train_val_split`.
    forward : bool
        Whether the last rows are those to stop by. Else groups stay whole where the data set has
        groups.
    seed : int
    estimator_name : str

    Raises
    ------
    ValueError
        When no row is left on one of the sides.
    """
    dataset, rows = subset.dataset, subset.indices
    if forward:
        rows, n_train = np.sort(rows), len(rows) - max(1, round(fraction * len(rows)))
        return Subset(dataset, rows[:n_train]), Subset(dataset, rows[n_train:])
    if dataset.groups is None:
        name = "inner_fraction"
        return train_val_split(
            subset, fraction, seed, estimator_name, stratify=has_classes, parameter=name
        )
    groups = np.asarray(dataset.groups)[rows]
    labels = subset.y if has_classes else None
    train, val = _split_groups(groups, labels, fraction, seed, estimator_name)
    return Subset(dataset, rows[train]), Subset(dataset, rows[val])


def _split_groups(
    groups: np.ndarray,
    labels: np.ndarray | None,
    fraction: float,
    seed: int,
    estimator_name: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions that train and positions to stop by; groups stay whole."""
    from sklearn.model_selection import GroupShuffleSplit

    if len(np.unique(groups)) < 2:
        raise ValueError(
            f"{estimator_name}: the training rows of a fold are all of one group, "
            f"{groups[0]!r}, so that none can be left out to stop by; use early_stopping='fold', "
            "or a cv with more groups in the training rows."
        )
    splitter = GroupShuffleSplit(1, test_size=fraction, random_state=seed)
    train, val = map(np.asarray, next(splitter.split(groups, groups=groups)))
    if labels is not None:
        # A class must have rows to learn from: groups of a class that lost all of them train.
        is_lost = ~np.isin(labels[val], labels[train])
        goes_back = np.isin(groups[val], groups[val][is_lost])
        if not goes_back.all():
            train, val = np.append(train, val[goes_back]), val[~goes_back]
    return train, val


def train_val_split(
    subset: Subset,
    fraction: float,
    seed: int,
    estimator_name: str,
    *,
    stratify: bool,
    parameter: str = "validation_fraction",
) -> tuple[Subset, Subset]:
    """Return the rows that train and the rows that are held out, as two subsets.

    Parameters
    ----------
    subset : Subset
    fraction : float in (0, 1)
        Share of the rows that is held out.
    seed : int
    estimator_name : str
    stratify : bool
        Whether classes keep their shares. Every class then has a row that trains, and classes of
        several rows also have one that is held out, as far as there is room.
    parameter : str
        Name of the parameter that ``fraction`` is, for messages.

    Raises
    ------
    ValueError
        When no row is left on one of the sides.
    """
    from sklearn.model_selection import train_test_split

    n_rows = len(subset)
    n_val = int(np.ceil(fraction * n_rows))
    if n_val >= n_rows:
        raise ValueError(
            f"{estimator_name}: {parameter}={fraction} of n_samples={n_rows} rows leaves "
            "none to train on; give more rows, a smaller fraction, X_val and y_val, or "
            "early_stopping=False."
        )
    labels = np.unique(subset.y, return_inverse=True)[1] if stratify else None
    train, val = train_test_split(
        np.arange(n_rows),
        test_size=n_val,
        random_state=seed,
        stratify=labels if _can_stratify(labels, n_val) else None,
    )
    if labels is not None:
        train, val = _with_rare_classes(np.asarray(train), np.asarray(val), labels)
    if len(val) == 0:
        raise ValueError(
            f"{estimator_name}: each of the {n_rows} classes of y has one row, so that none can be "
            "held out for early stopping; give X_val and y_val, or early_stopping=False."
        )
    dataset, rows = subset.dataset, subset.indices
    return Subset(dataset, rows[train]), Subset(dataset, rows[val])


def _can_stratify(labels: np.ndarray | None, n_val: int) -> bool:
    """Return whether every class has two rows, and both sides have room for all classes."""
    if labels is None:
        return False
    counts = np.bincount(labels)
    return bool(counts.min() >= 2 and len(counts) <= min(n_val, len(labels) - n_val))


def _with_rare_classes(
    train: np.ndarray, val: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a split in which every class trains, and classes of several rows are also held out.

    A split that has this already is returned as it is. The number of rows that are held out does
    not grow, and shrinks only where a class had no row to train on.

    Parameters
    ----------
    train, val : int ndarray
        Positions in ``labels``.
    labels : int ndarray of shape (N,)
        The class of each row, from 0.
    """
    n_classes, n_val = labels.max() + 1, len(val)
    # Every class trains.
    lost = _first_of_each(val, labels, ~np.isin(np.arange(n_classes), labels[train]))
    train, val = np.append(train, val[lost]), np.delete(val, lost)
    # Classes that train with several rows and have none in val give one, while there is room ...
    is_missing = np.bincount(labels[train], minlength=n_classes) > 1
    is_missing[labels[val]] = False
    given = _first_of_each(train, labels, is_missing)
    # ... and take the place of a class that has several rows in val.
    firsts = _first_of_each(val, labels, np.ones(n_classes, bool))
    spare = np.delete(np.arange(len(val)), firsts)
    given = given[: n_val - len(val) + len(spare)]
    n_back = max(0, len(val) + len(given) - n_val)
    back = spare[len(spare) - n_back :]
    return (
        np.concatenate([np.delete(train, given), val[back]]),
        np.concatenate([np.delete(val, back), train[given]]),
    )


def _first_of_each(positions: np.ndarray, labels: np.ndarray, is_wanted: np.ndarray) -> np.ndarray:
    """Return where the first row of each wanted class stands in ``positions``."""
    classes, firsts = np.unique(labels[positions], return_index=True)
    return firsts[is_wanted[classes]]


def are_alike(folds: Sequence[Fold], y: np.ndarray | None) -> bool:
    """Return whether folds have about as many training rows each, and all classes.

    Parameters
    ----------
    folds : list of (int ndarray, int ndarray)
        Training and test rows of each.
    y : ndarray of shape (N,) or (N, C), or None
        Labels; None where the task has no classes.
    """
    sizes = [len(train_rows) for train_rows, _ in folds]
    if min(sizes) < (1 - _LARGEST_DIFFERENCE) * max(sizes):
        return False
    if y is None:
        return True
    n_classes = len(np.unique(y))
    return all(len(np.unique(y[rows])) == n_classes for rows, _ in folds)
