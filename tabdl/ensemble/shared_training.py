"""The folds of a network of tabdl as fits of one training, which share one encoded table.

DIFF: a fold trained alone learns from its own rows what comes before the network: quantiles of
columns and embeddings, mean and deviation of y, balanced class weights. Here it is learned once,
from all training rows. Categories that a fold lacks are unknown to its network in both cases.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from tabdl.base.augmentation import swaps_with_neighbours
from tabdl.base.estimator import Fit, TabularEstimator, prepare, read_training_data
from tabdl.base.preparation import split_off_validation
from tabdl.base.seeds import MemberSeeds
from tabdl.data.dataset import Dataset
from tabdl.data.splitting import Fold, are_alike
from tabdl.data.statistics import needs_target
from tabdl.embeddings import uses_target
from tabdl.params import check_params


def can_share(estimator: Any, y: np.ndarray, folds: Sequence[Fold]) -> bool:
    """Return whether the folds of ``estimator`` can be trained together."""
    # A callback of the user expects the epochs of one fit.
    if not isinstance(estimator, TabularEstimator) or estimator.callbacks:
        return False
    # What is made from the target would know that of the test rows of a fold, and the neighbours of
    # a row would be among them.
    knows_target = uses_target(estimator) or needs_target(estimator.categorical_statistics)
    if knows_target or swaps_with_neighbours(estimator):
        return False
    return are_alike(folds, y if is_classifier(estimator) else None)


def fits_of_folds(
    estimators: Sequence[TabularEstimator],
    dataset: Dataset,
    folds: Sequence[Fold],
    stop_by_fold: bool,
) -> list[Fit]:
    """Return a :class:`Fit` for each fold; ``estimators`` differ in ``random_state`` alone.

    X is read here, once. With ``stop_by_fold`` the test rows of a fold are its validation rows."""
    start = time.perf_counter()
    first = estimators[0]
    check_params(first)
    rows = read_training_data(first, dataset.X, dataset.y, dataset.sample_weight).used
    preparation = prepare(first, rows, start, order=0)  # no statistics of the target here
    fits = []
    for estimator, own in zip(estimators, folds, strict=True):
        seeds = MemberSeeds(estimator.random_state, estimator.n_members)
        train, val = map(rows.among, own)
        if not (stop_by_fold and estimator.early_stopping):
            train, val = split_off_validation(estimator, train, seeds)
        fits.append(Fit(estimator, preparation, train, val, seeds))
    return fits
