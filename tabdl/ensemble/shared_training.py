"""The folds of a network of tabdl as fits of one training, which share one encoded table.

DIFF: a fold trained alone learns from its own rows what comes before the network: quantiles of
columns and embeddings, mean and deviation of y, balanced class weights. Here it is learned once,
from all training rows. Categories that the rows of a fold lack are unknown to its network in both
cases.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from tabdl.base import (
    Fit,
    MemberSeeds,
    Preparation,
    TabularEstimator,
    read_training_data,
    split_off_validation,
)
from tabdl.data.dataset import Dataset
from tabdl.data.splitting import Fold
from tabdl.embeddings import uses_target
from tabdl.params import check_params

# Folds whose sizes differ by more are trained one after the other: an epoch visits as many rows of
# each as the smallest has.
_LARGEST_DIFFERENCE = 0.02


def can_share(estimator: Any, y: np.ndarray, folds: Sequence[Fold]) -> bool:
    """Return whether the folds of ``estimator`` can be trained together.

    Parameters
    ----------
    estimator : estimator
    y : ndarray of shape (N,) or (N, C)
    folds : list of (int ndarray, int ndarray)
        Training and test rows of each.
    """
    # A callback of the user expects the epochs of one fit.
    if not isinstance(estimator, TabularEstimator) or estimator.callbacks:
        return False
    # The embedding of a fold would know the targets of its test rows.
    if uses_target(estimator):
        return False
    sizes = [len(train_rows) for train_rows, _ in folds]
    if min(sizes) < (1 - _LARGEST_DIFFERENCE) * max(sizes):
        return False
    n_classes = len(np.unique(y)) if is_classifier(estimator) else 0
    return all(not n_classes or len(np.unique(y[rows])) == n_classes for rows, _ in folds)


def fits_of_folds(
    estimators: Sequence[TabularEstimator],
    dataset: Dataset,
    folds: Sequence[Fold],
    stop_by_fold: bool,
) -> list[Fit]:
    """Return a :class:`Fit` for each fold, for ``train_fits``.

    Parameters
    ----------
    estimators : list of TabularEstimator
        One for each fold: clones that differ in ``random_state`` alone.
    dataset : Dataset
        All rows; X is read here, once.
    folds : list of (int ndarray, int ndarray)
        Training and test rows of each.
    stop_by_fold : bool
        Whether the test rows of a fold are its validation rows. Else a part of its training rows
        is, by the parameters of the estimator.
    """
    start = time.perf_counter()
    first = estimators[0]
    check_params(first)
    rows = read_training_data(first, dataset.X, dataset.y, dataset.sample_weight).used
    preparation = Preparation(first, rows, start)
    fits = []
    for estimator, (train_rows, test_rows) in zip(estimators, folds, strict=True):
        seeds = MemberSeeds(estimator.random_state, estimator.n_members)
        train = rows.among(train_rows)
        val = rows.among(test_rows)
        if not (stop_by_fold and estimator.early_stopping):
            train, val = split_off_validation(estimator, train, seeds)
        fits.append(Fit(estimator, preparation, train, val, seeds))
    return fits
