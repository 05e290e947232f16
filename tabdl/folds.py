"""The folds of one of our estimators as members of one training: they share one table, and each has its own rows of it."""

import copy
from dataclasses import replace

import numpy as np
import torch
from sklearn.base import is_classifier

from tabdl.base import TabularEstimator, _derive_seeds, _table
from tabdl.data import TableRows
from tabdl.devices import choose_device, choose_dtype, choose_precision, threads
from tabdl.embeddings import uses_target
from tabdl.encoding import FeatureEncoder
from tabdl.feeding import on_device
from tabdl.members import is_faster_together
from tabdl.params import check_params
from tabdl.rows import read_part
from tabdl.training import Member, train_finitely

# Folds whose sizes differ by more are trained one after the other: an epoch visits as many rows of each as the smallest has.
_LARGEST_DIFFERENCE = 0.02


def can_share(estimator, y, folds):
    """Return whether the folds of ``estimator`` can be trained as members of one training.

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
    if uses_target(estimator.num_embedding):  # a fold's embedding would know the targets of its test rows
        return False
    sizes = [len(train_rows) for train_rows, _ in folds]
    if min(sizes) < (1 - _LARGEST_DIFFERENCE) * max(sizes):
        return False
    n_classes = len(np.unique(y)) if is_classifier(estimator) else 0
    return all(not n_classes or len(np.unique(y[train_rows])) == n_classes for train_rows, _ in folds)


class SharedTraining:
    """One training for the folds of one of our estimators.

    DIFF: what is learned of columns before the network (quantiles, those of an embedding too, the mean and deviation of a
    regression's target, balanced class weights) is learned once, from all training rows; a fold trained alone learns it from its
    own.
    Categories that a fold's rows lack are unseen to its network, as they are when it is trained alone.

    Parameters
    ----------
    estimators : list of TabularEstimator
        One for each fold: clones that differ in ``random_state`` alone.
    X, y, sample_weight
        All rows.
    folds : list of (int ndarray, int ndarray)
        Training and test rows of each.
    stop_by_fold : bool
        Whether the test rows of a fold are its validation rows; else a part of its training rows is, as the estimator has it.
    """

    def __init__(self, estimators, X, y, sample_weight, folds, stop_by_fold):
        self.estimators, self.first, self.folds = estimators, estimators[0], folds
        first = self.first
        check_params(first)
        self.device = choose_device(first.device, first._name)
        self.dtype = choose_dtype(first.precision, self.device, first._name)
        self.part = read_part(first, X, y, sample_weight, names=("X", "y", "sample_weight"))
        self.target = first._make_target(self.part, self.part)
        self.encoder = FeatureEncoder(first.numeric_transform, first._name, first.missing_numbers)
        self.encoder.fit(self.part.columns, self.part.rows, self.part.weights)
        table = _table(self.part, self.encoder, self.target, self.dtype)
        self.codes = table.x_cat.numpy()
        self.table = on_device(table, self.device)
        self.seeds = [_derive_seeds(estimator.random_state, first.n_members) for estimator in estimators]
        self.parts = [self._parts(*fold, seeds[0], stop_by_fold) for fold, seeds in zip(folds, self.seeds, strict=True)]
        self.members = [self._members(table, *fold) for fold in zip(estimators, self.parts, self.seeds, strict=True)]

    def _parts(self, train_rows, test_rows, split_seed, stop_by_fold):
        """Return a fold's training rows, and its validation rows or None, as parts of all rows."""
        own, test = (replace(self.part, rows=np.intersect1d(rows, self.part.rows)) for rows in (train_rows, test_rows))
        if stop_by_fold and self.first.early_stopping:
            return own, test
        return self.first._parts(own, (None, None, None), split_seed)

    def _members(self, table, estimator, parts, seeds):
        """Return the members of one fold, whose networks are made from ``table``, and give its estimator the fold's encoder."""
        train_part, val_part = parts
        estimator.encoder_ = self.encoder.narrowed(self.codes[self._at(train_part)])
        index, val = self._index(train_part), None
        if val_part is not None:
            codes = [torch.from_numpy(codes).to(index.device) for codes in estimator.encoder_.known_codes()]
            val = TableRows(self.table, self._index(val_part), codes)
        score = self.first._score(self.target, val_part)
        nets = [self._net(table, init_seed) for init_seed in seeds[1::2]]
        return [Member(net, self.table, val, score, seed, index) for net, seed in zip(nets, seeds[2::2], strict=True)]

    def _at(self, part):
        """Return where the rows of a part stand in the table, which has those of positive weight only."""
        return np.searchsorted(self.part.rows, part.rows)

    def _index(self, part):
        return torch.from_numpy(self._at(part)).to(self.table.x_num.device)

    def _net(self, table, seed):
        return self.first._new_net(self.encoder.schema, self.target, table, seed).to(self.device, self.dtype)

    @property
    def is_faster(self):
        """Whether common steps are quicker here than one fold after the other."""
        net = self.members[0][0].net
        return is_faster_together(net, self.first._settings(self._n_rows(), self.device, None, ()).batch_size)

    def _n_rows(self):
        return min(member.n_rows for members in self.members for member in members)

    def run(self, shown):
        """Train, and return the fitted estimators; None for a fold that an interrupt left without an epoch.

        Parameters
        ----------
        shown : sequence of callables
            Each gets each epoch's record, whose ``member`` counts the folds' members one after the other.
        """
        first, members = self.first, [member for fold in self.members for member in fold]
        net = members[0].net
        settings = first._settings(self._n_rows(), self.device, choose_precision(first.precision, self.device, net), shown)
        if first.time_limit is not None:
            settings = replace(settings, time_limit=first.time_limit * len(self.folds))
        with threads(first.n_jobs, 3 * net.multiplications * settings.batch_size):
            outcomes = train_finitely(
                members, loss=first._train_loss(self.target), val_loss=self.target.val_loss, settings=settings
            )
            per_fold = [outcomes[i : i + first.n_members] for i in range(0, len(outcomes), first.n_members)]
            folds = zip(self.estimators, self.members, per_fold, strict=True)
            return [self._keep(*fold) for fold in folds]

    def _keep(self, estimator, members, outcomes):
        if not any(outcome.history for outcome in outcomes):
            return None
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.first, name):
                setattr(estimator, name, getattr(self.first, name))
        # A fold's validation rows may give its target a temperature.
        estimator._keep([member.net for member in members], estimator.encoder_, copy.copy(self.target), outcomes)
        estimator._use_validation(members[0].val, choose_precision(estimator.precision, self.device, estimator.module_))
        return estimator
