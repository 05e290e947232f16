"""Greedy ensembles of any estimators: weights chosen on out-of-fold predictions."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import _BaseComposition

from tabdl.data.dataset import Subset
from tabdl.data.splitting import make_folds
from tabdl.devices import isolated_torch
from tabdl.ensemble.base import BaseEnsemble, EnsembleClassifierMixin, EnsembleRegressorMixin
from tabdl.ensemble.boosting import takes_weight, unfitted_copy
from tabdl.ensemble.cross_val import (
    CV,
    ESTIMATOR,
    SCORING,
    SCORING_DOC,
    CrossValEnsemble,
    CrossValEnsembleClassifier,
    CrossValEnsembleRegressor,
)
from tabdl.ensemble.predictions import make_prediction_scorer, score_prediction, weight_for
from tabdl.ensemble.selection import select
from tabdl.params import Int, OneOf, Predicate, check_params, param


def _is_member(item):
    is_named = isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
    return ESTIMATOR.accepts(item[1] if is_named else item)


_ESTIMATORS = Predicate(
    "a list of estimators, or of pairs (name, estimator)",
    lambda value: (
        isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_member, value))
    ),
)


class GreedyEnsemble(BaseEnsemble, _BaseComposition):
    """The parameters and the fit of both greedy ensembles."""

    estimators: Any = param(
        _ESTIMATORS,
        doc="The members: estimators, or pairs (name, estimator). Each is trained as a "
        "cross-validated ensemble with the folds of ``cv``; one that is a cross-validated "
        "ensemble already keeps its parameters, and its cv unless that is a number.",
    )
    scoring: str | Callable | None = param(OneOf(None), SCORING, default=None, doc=SCORING_DOC)
    n_rounds: int = param(
        Int(1), default=25, doc="Members to add, with replacement; the best prefix is kept."
    )
    cv: Any = param(
        Int(2),
        CV,
        default=8,
        doc="The folds of all members: how many, a splitter, or pairs of training and test rows.",
    )
    early_stopping: str = param(
        OneOf("inner", "fold"),
        default="inner",
        doc="The rows that members stop by; see CrossValEnsembleClassifier.",
    )
    refit: str | None = param(
        OneOf(None, "all"),
        default=None,
        doc="'all': members predict with one fit on all rows instead of the folds'.",
    )
    on_error: str = param(
        OneOf("raise", "skip"),
        default="raise",
        doc="What to do when a member's training fails; 'skip': leave it out with a warning.",
    )
    random_state: int | None = param(
        OneOf(None),
        Int(0, 2**32 - 1),
        default=None,
        doc="Seed of the folds and of the members' random states; None: they keep their own.",
    )
    verbose: int = param(
        Int(0, 2),
        OneOf(True, False),
        default=0,
        doc="0: silent; 1: a live view of each member's folds; 2: plain lines.",
    )

    _attributes = """Attributes
----------
weights_ : dict from name to float
    The weight of each member, also those that are 0.
members_ : dict from name to fitted CrossValEnsembleClassifier or CrossValEnsembleRegressor
    Those with ``oof_prediction_``, ``estimators_``, ``scores_`` and ``histories_`` of their own.
oof_prediction_ : ndarray of shape (N, C) or (N,)
    The weighted mean of the members' out-of-fold predictions; NaN where one of positive weight has
    none.
score_path_ : list of float
    The score of the mean after each round.
member_scores_ : dict from name to float
    The score of each member's out-of-fold predictions, NaN for one that was left out.
n_features_in_ : int"""

    @isolated_torch()
    def fit(self, X, y, *, sample_weight=None, groups=None, oof_predictions=None):
        """Train each member on each fold, and choose weights on the out-of-fold predictions.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        y : array-like of shape (N,) or (N, C)
        sample_weight : array-like of shape (N,), optional
            Weights of the rows, for members that take them, and for a score that does.
        groups : array-like of shape (N,), optional
            For a splitter of groups.
        oof_predictions : dict from name to array-like of shape (N, C) or (N,), optional
            Out-of-fold predictions from elsewhere, as further members. ``predict`` then needs
            theirs too.

        Returns
        -------
        self
        """
        check_params(self)
        dataset = self._read(X, y, sample_weight, groups)
        external = self._external(oof_predictions, len(dataset), dataset.y.shape[1:])
        folds = self._folds(dataset)
        members = self._members(folds, external)
        self.members_, predictions = {}, dict(external)
        for name, member in members.items():
            try:
                member.fit(
                    dataset.X, dataset.y, **self._metadata(name, member, sample_weight, groups)
                )
            except Exception as error:
                if self.on_error == "raise":
                    error.add_note(f"{self._name}: the member {name!r} failed.")
                    raise
                warnings.warn(
                    f"{self._name}: {name} is left out, it failed: {type(error).__name__}: {error}",
                    stacklevel=2,
                )
            else:
                self.members_[name], predictions[name] = member, member.oof_prediction_
                if member.cv is folds:
                    member.cv = self.cv  # the rows of each fold are not to be kept
        self._choose(dataset, predictions)
        return self

    def get_params(self, deep=True):
        """Return the parameters; with ``deep``, where all members have names, also them and theirs,
        as ``name__parameter``."""
        return self._get_params("estimators", deep=deep and self._has_names)

    def set_params(self, **params):
        """Set parameters; where all members have names, also members, and theirs, as
        ``name__parameter``."""
        if "estimators" in params:
            self.estimators = params.pop("estimators")
        return (
            self._set_params("estimators", **params)
            if self._has_names
            else super().set_params(**params)
        )

    @property
    def _has_names(self):
        # A Pipeline of two steps can be unpacked like a pair.
        return isinstance(self.estimators, list) and all(
            isinstance(item, tuple) for item in self.estimators
        )

    def _folds(self, dataset):
        """Return the folds of all members; one seed gives one set of folds."""
        seed = int(np.random.SeedSequence(self.random_state).generate_state(1)[0])
        has_classes, name = self._has_classes, self._name
        return make_folds(
            self.cv, 1, dataset, has_classes=has_classes, seed=seed, estimator_name=name
        )

    def _members(self, folds, external):
        """Return the members, each as an unfitted cross-validated ensemble, by name."""
        kind = CrossValEnsembleClassifier if self._has_classes else CrossValEnsembleRegressor
        if self._has_names:
            self._validate_names([name for name, _ in self.estimators])
        members = {}
        for name, estimator in named_estimators(self.estimators).items():
            if isinstance(estimator, CrossValEnsemble):
                member = unfitted_copy(estimator)
                if Int(2).accepts(member.cv):
                    member.set_params(cv=folds)
            else:
                shared = {
                    "early_stopping": self.early_stopping,
                    "refit": self.refit,
                    "on_error": self.on_error,
                }
                member = kind(
                    estimator,
                    cv=folds,
                    random_state=self.random_state,
                    verbose=self.verbose,
                    **shared,
                )
            members[name] = member
        if not members and not external:
            raise ValueError(
                f"{self._name}: there must be a member in estimators or oof_predictions, got none."
            )
        if both := members.keys() & external.keys():
            raise ValueError(
                f"{self._name}: estimators and oof_predictions both have a member named "
                f"{sorted(both)[0]!r}."
            )
        return members

    def _metadata(self, name, member, sample_weight, groups):
        """Return what a member's fit gets of the metadata: all, or, where metadata is routed, what
        the member asks for."""
        from sklearn import get_config

        given = {
            key: value
            for key, value in (("sample_weight", sample_weight), ("groups", groups))
            if value is not None
        }
        if not given or not get_config()["enable_metadata_routing"]:
            if sample_weight is not None and not takes_weight(member.estimator):
                raise TypeError(
                    f"{self._name}: {type(member.estimator).__name__} takes no sample_weight "
                    f"in fit."
                )
            return given  # inner splits keep groups whole, also of folds that are made already
        asked = dict.fromkeys(process_routing(self, "fit", **given)[name].fit)
        if hasattr(member.cv, "split"):
            asked["groups"] = None
        return {key: value for key, value in given.items() if key in asked}

    def get_metadata_routing(self):
        """Return which of scikit-learn's metadata goes where: ``sample_weight`` to the members,
        ``groups`` to the splitter."""
        router = MetadataRouter(owner=self)
        for name, estimator in named_estimators(self.estimators).items():
            router.add(
                **{name: estimator}, method_mapping=MethodMapping().add(caller="fit", callee="fit")
            )
        if hasattr(self.cv, "get_metadata_routing"):
            router.add(
                splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split")
            )
        return router

    def _external(self, predictions, n_rows, y_shape):
        """Return predictions from elsewhere as arrays of the right shape.

        Parameters
        ----------
        predictions : dict from name to array-like, or None
        n_rows : int
        y_shape : tuple of int
            Shape of one row's target, where y holds values.
        """
        shape = (n_rows, len(self._classes)) if self._has_classes else (n_rows, *y_shape)
        arrays = {}
        for name, prediction in (predictions or {}).items():
            array = np.asarray(prediction, dtype=np.float64)
            if self._has_classes and array.shape == (n_rows,) and shape[1] == 2:
                array = np.column_stack([1 - array, array])
            if array.shape != shape:
                raise ValueError(
                    f"{self._name}: the predictions of {name!r} must have shape {shape}, got "
                    f"{array.shape}."
                )
            arrays[name] = array
        return arrays

    def _choose(self, dataset, predictions):
        """Set the weights and what belongs to them."""
        scorer = make_prediction_scorer(self.scoring, self._classes, self._name)
        if not predictions:
            raise ValueError(f"{self._name}: no member could be trained; see the warnings.")
        present = [~np.isnan(p).reshape(len(dataset), -1).any(1) for p in predictions.values()]
        rows = Subset(dataset, np.flatnonzero(np.logical_and.reduce(present)))
        if len(rows) == 0:
            raise ValueError(
                f"{self._name}: there is no row for which all members have out-of-fold predictions."
            )
        X, y, params = rows.X, rows.y, weight_for(scorer, rows.sample_weight)
        selection = select(
            {name: prediction[rows.indices] for name, prediction in predictions.items()},
            lambda prediction: score_prediction(scorer, prediction, y, self._classes, X, params),
            self.n_rounds,
            self._name,
        )
        shares = zip(predictions, selection.weights, strict=True)
        self.weights_ = {name: float(share) for name, share in shares}
        self.score_path_, self.member_scores_ = selection.path, selection.scores
        self.oof_prediction_ = self._mean(predictions)

    def _mean(self, predictions):
        used = [(share, predictions[name]) for name, share in self.weights_.items() if share > 0]
        return np.sum([share * prediction for share, prediction in used], axis=0)

    def _prediction(self, X, given=None):
        given = given or {}
        used = [name for name, share in self.weights_.items() if share > 0]
        for name in used:
            if name not in self.members_ and name not in given:
                raise ValueError(
                    f"{self._name}: predictions must have what {name!r} predicts for X, as "
                    f"oof_predictions had at fit; got {sorted(given)}."
                )
        n_rows = X.shape[0]
        external = {name: given[name] for name in used if name not in self.members_}
        arrays = self._external(external, n_rows, self.oof_prediction_.shape[1:])
        own = {name: self._predict_member(name, X) for name in used if name in self.members_}
        return self._mean(own | arrays)

    def _predict_member(self, name, X):
        member = self.members_[name]
        return member.predict_proba(X) if self._has_classes else member.predict(X)

    def _parts(self):
        """Return the estimators whose tags the ensemble takes over."""
        return list(named_estimators(self.estimators).values())

    def __sklearn_is_fitted__(self):
        return hasattr(self, "weights_")


def named_estimators(estimators):
    """Return the members by name; an estimator without one is named after its class, with a number
    where that is not enough."""
    named = {}
    for item in estimators:
        name, estimator = item if isinstance(item, tuple) else (type(item).__name__.lower(), item)
        number, base = 2, name
        while name in named:
            if isinstance(item, tuple):
                raise ValueError(f"the names of estimators must be unique, got {name!r} twice.")
            name, number = f"{base}-{number}", number + 1
        named[name] = estimator
    return named


class GreedyEnsembleClassifier(EnsembleClassifierMixin, GreedyEnsemble):
    """A weighted mean of any classifiers' probabilities, with weights chosen greedily on
    out-of-fold predictions.

    {parameters}

    {attributes}
    classes_ : ndarray of shape (C,)

    References
    ----------
    Caruana et al.: "Ensemble Selection from Libraries of Models", ICML 2004.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from tabdl import GreedyEnsembleClassifier, TabMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> members = [TabMLPClassifier(max_epochs=20), RandomForestClassifier(20)]
    >>> blend = GreedyEnsembleClassifier(members, cv=3, random_state=0).fit(X, y)
    >>> list(blend.weights_), blend.predict_proba(X).shape
    (['tabmlpclassifier', 'randomforestclassifier'], (150, 3))
    """

    @property
    def _classes(self):
        return self.classes_

    def predict_proba(self, X, *, predictions=None):
        """Return the probability of each class, (N, C).

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        predictions : dict from name to array-like, optional
            What the members from elsewhere predict for X; see ``oof_predictions`` of fit.
        """
        return self._prediction(self._read_X(X), predictions)

    def predict(self, X, *, predictions=None):
        """Return the most probable class of each row, (N,); see ``predict_proba``."""
        codes = self.predict_proba(X, predictions=predictions).argmax(1)
        return self.classes_[codes]


class GreedyEnsembleRegressor(EnsembleRegressorMixin, GreedyEnsemble):
    """A weighted mean of any regressors' values, with weights chosen greedily on out-of-fold
    predictions.

    {parameters}

    {attributes}

    References
    ----------
    Caruana et al.: "Ensemble Selection from Libraries of Models", ICML 2004.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import RidgeCV
    >>> from tabdl import GreedyEnsembleRegressor, TabMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> members = [TabMLPRegressor(max_epochs=20), RidgeCV()]
    >>> blend = GreedyEnsembleRegressor(members, cv=3, random_state=0)
    >>> blend = blend.fit(X, y)
    >>> blend.predict(X).shape, round(sum(blend.weights_.values()), 6)
    ((442,), 1.0)
    """

    def predict(self, X, *, predictions=None):
        """Return the values of each row, (N,) or (N, C).

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        predictions : dict from name to array-like, optional
            What the members from elsewhere predict for X; see ``oof_predictions`` of fit.
        """
        return self._prediction(self._read_X(X), predictions)
