"""The folds of one of our estimators as fits of one training: they share one encoded table.

DIFF: what is learned of columns before the network (quantiles, those of an embedding too, the mean
and deviation of a regression's target, balanced class weights) is learned once, from all training
rows; a fold trained alone learns it from its own. Categories that a fold's rows lack are unknown to
its network, as they are when it is trained alone.
"""

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
from tabdl.embeddings import uses_target
from tabdl.params import check_params

# Folds whose sizes differ by more are trained one after the other: an epoch visits as many rows of
# each as the smallest has.
_LARGEST_DIFFERENCE = 0.02


def can_share(estimator, y, folds):
    """Return whether the folds of ``estimator`` can be trained together.

    Parameters
    ----------
    estimator : estimator
    y : ndarray of shape (N,) or (N, C)
    folds : list of (int ndarray, int ndarray)
        Training and test rows of each.
    """
    # A user's callback expects to hear of one fit.
    if not isinstance(estimator, TabularEstimator) or estimator.callbacks:
        return False
    if uses_target(estimator):  # a fold's embedding would know the targets of its test rows
        return False
    sizes = [len(train_rows) for train_rows, _ in folds]
    if min(sizes) < (1 - _LARGEST_DIFFERENCE) * max(sizes):
        return False
    n_classes = len(np.unique(y)) if is_classifier(estimator) else 0
    return all(not n_classes or len(np.unique(y[rows])) == n_classes for rows, _ in folds)


def fits_of_folds(estimators, dataset, folds, stop_by_fold):
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
        Whether the test rows of a fold are its validation rows; else a part of its training rows
        is, as the estimator has it.
    """
    first = estimators[0]
    check_params(first)
    rows = read_training_data(first, dataset.X, dataset.y, dataset.sample_weight).used
    preparation = Preparation(first, rows)
    fits = []
    for estimator, (train_rows, test_rows) in zip(estimators, folds, strict=True):
        seeds = MemberSeeds(estimator.random_state, estimator.n_members)
        train, val = rows.among(train_rows), rows.among(test_rows)
        if not (stop_by_fold and estimator.early_stopping):
            train, val = split_off_validation(estimator, train, seeds)
        fits.append(Fit(estimator, preparation, train, val, seeds))
    return fits
