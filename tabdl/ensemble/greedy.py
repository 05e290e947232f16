"""Greedy ensembles of any estimators: weights chosen on out-of-fold predictions."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import _BaseComposition

from tabdl.base.isolation import isolated_torch
from tabdl.base.progress import PlainLines, is_live
from tabdl.data.dataset import Dataset, Subset
from tabdl.data.splitting import Fold, make_folds
from tabdl.data.state import State
from tabdl.ensemble.base import BaseEnsemble, EnsembleClassifierMixin, EnsembleRegressorMixin
from tabdl.ensemble.cross_val import (
    CV,
    ESTIMATOR,
    SCORING,
    SCORING_DOC,
    CrossValEnsemble,
    CrossValEnsembleClassifier,
    CrossValEnsembleRegressor,
)
from tabdl.ensemble.fold import takes_weight, unfitted_copy
from tabdl.ensemble.predictions import check_ensemble_scoring, score_prediction
from tabdl.ensemble.selection import select
from tabdl.exceptions import FitInterruptedWarning
from tabdl.params import Int, OneOf, Predicate, check_params, param
from tabdl.tasks.scoring import Scorer, weight_for


def _is_member(item: Any) -> bool:
    is_named = isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
    return ESTIMATOR.accepts(item[1] if is_named else item)


_ESTIMATORS = Predicate(
    "a list of estimators, or of pairs (name, estimator)",
    lambda value: (
        isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_member, value))
    ),
)


class FittedGreedy:
    """The types of the fitted attributes of both greedy ensembles."""

    weights_: dict[str, float]
    members_: dict[str, Any]
    oof_prediction_: np.ndarray
    score_path_: list[float]
    member_scores_: dict[str, float]
    interrupted_: bool
    n_features_in_: int
    feature_names_in_: np.ndarray
    classes_: np.ndarray


class GreedyEnsemble(FittedGreedy, BaseEnsemble, _BaseComposition):
    """The parameters and the fit of both greedy ensembles."""

    estimators: Any = param(
        _ESTIMATORS,
        doc="The members: estimators, or pairs (name, estimator). Each is trained as a "
        "cross-validated ensemble with the folds of ``cv``. A cross-validated ensemble keeps its "
        "parameters, and its cv unless this is a number.",
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
        doc="'all': members predict with one fit on all rows instead of the fits of the folds.",
    )
    on_error: str = param(
        OneOf("raise", "skip"),
        default="raise",
        doc="What to do when the training of a member fails; 'skip': leave the member out, with a "
        "warning.",
    )
    random_state: int | None = param(
        OneOf(None),
        Int(0, 2**32 - 1),
        default=None,
        doc="Seed of the folds and of every random_state of the members. None: the members keep "
        "their own random_state.",
    )
    verbose: int = param(
        Int(0, 2),
        OneOf(True, False),
        default=0,
        doc="0: silent; 1: a live view of the folds of each member, without a terminal a plain "
        "line a member; 2: a plain line a fold and epoch.",
    )

    _attributes = """Attributes
----------
weights_ : dict from name to float
    The weight of each member, also weights of 0.
members_ : dict from name to fitted CrossValEnsembleClassifier or CrossValEnsembleRegressor
    The trained members, with their own ``oof_prediction_``, ``estimators_``, ``scores_`` and
    ``histories_``.
oof_prediction_ : ndarray of shape (N, C) or (N,)
    The weighted mean of the out-of-fold predictions. NaN where a member of positive weight
    has none.
score_path_ : list of float
    The score of the mean after each round.
member_scores_ : dict from name to float
    The score of the out-of-fold predictions of each member; NaN where the score failed.
interrupted_ : bool
    Whether Ctrl-C ended the fit before all members were trained.
n_features_in_ : int
    Number of columns of X."""

    _fitted_names = frozenset(inspect.get_annotations(FittedGreedy))

    @isolated_torch()
    def fit(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        oof_predictions: dict[str, Any] | None = None,
    ) -> Self:
        """Train each member on each fold, and choose weights on the out-of-fold predictions.

        Ctrl-C ends the training: no further member and no further fold is trained, and weights are
        chosen among the members that are there, with a ``FitInterruptedWarning``. They are chosen
        on the rows for which all these members have out-of-fold predictions. To stop a search
        such as GridSearchCV with Ctrl-C, give the search ``error_score="raise"`` and make the
        warning an error:
        ``warnings.simplefilter("error", tabdl.exceptions.FitInterruptedWarning)``.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        y : array-like of shape (N,) or (N, C)
            Labels, or values; (N, C) for several targets of numbers.
        sample_weight : array-like of shape (N,), optional
            Weights of the rows, for members that take them, and for a score that does.
        groups : array-like of shape (N,), optional
            For a splitter of groups.
        oof_predictions : dict from name to array-like of shape (N, C) or (N,), optional
            Out-of-fold predictions from elsewhere, as further members. ``predict`` then needs
            predictions of these members too.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For a parameter, a fold, a target, weights, groups or predictions that cannot be used,
            and for a ``scoring`` that cannot score y.
        KeyboardInterrupt
            When Ctrl-C comes before a member has a trained fold.
        """
        check_params(self)
        dataset = self._read(X, y, sample_weight, groups)
        external = self._external(oof_predictions, len(dataset), dataset.y.shape[1:])
        scorer = check_ensemble_scoring(self.scoring, dataset, self._classes, self._name)
        folds = self._folds(dataset)
        members = self._members(folds, external)
        self._fit_members(dataset, members, has_others=bool(external))
        for member in self.members_.values():
            if member.cv is folds:
                member.cv = self.cv  # the rows of each fold are not kept
        self._choose(dataset, external, scorer)
        return self

    def _fit_members(
        self, dataset: Dataset, members: dict[str, CrossValEnsemble], has_others: bool
    ) -> None:
        """Train members until all are trained or Ctrl-C comes, and set ``members_``.

        Parameters
        ----------
        dataset : Dataset
        members : dict from name to unfitted CrossValEnsemble
        has_others : bool
            Whether there are members from elsewhere.
        """
        self.members_ = {}
        self.interrupted_ = False
        lines = PlainLines(len(members), shows_all=self.verbose > 1)
        for name, member in members.items():
            try:
                self._fit_member(name, member, dataset)
            except KeyboardInterrupt:
                if not self.members_ and not has_others:
                    raise
                self.interrupted_ = True
            if self.interrupted_:
                warnings.warn(
                    f"{self._name}: interrupted in the training of member {name!r}; weights are "
                    f"chosen among the members that are there, {[*self.members_]}.",
                    FitInterruptedWarning,
                    stacklevel=3,
                )
                break
            if self.verbose and not is_live(self.verbose):
                lines.add(f"{self._name}: the training of member {name!r} is done")
        lines.close()

    def _fit_member(self, name: str, member: CrossValEnsemble, dataset: Dataset) -> None:
        """Train a member and keep it, unless its training fails and ``on_error`` is "skip"."""
        try:
            metadata = self._metadata(name, member, dataset)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FitInterruptedWarning)  # fit warns itself
                member.fit(dataset.X, dataset.y, **metadata)
        except Exception as error:
            if self.on_error == "raise":
                error.add_note(f"{self._name}: the member {name!r} failed.")
                raise
            warnings.warn(
                f"{self._name}: {name} is left out, it failed: {type(error).__name__}: {error}",
                stacklevel=4,
            )
            return
        self.members_[name] = member
        self.interrupted_ = member.interrupted_

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Where all members have names: also the members and their parameters, as
            ``name__parameter``.

        Returns
        -------
        dict from str to object
        """
        return self._get_params("estimators", deep=deep and self._has_names)

    def set_params(self, **params: Any) -> Self:
        """Set parameters.

        Parameters
        ----------
        **params : object
            Parameters by name. Where all members have names: also members and their parameters, as
            ``name__parameter``.

        Returns
        -------
        self
        """
        if "estimators" in params:
            self.estimators = params.pop("estimators")
        return (
            self._set_params("estimators", **params)
            if self._has_names
            else super().set_params(**params)
        )

    @property
    def _has_names(self) -> bool:
        # A Pipeline of two steps can be unpacked like a pair.
        return isinstance(self.estimators, list) and all(
            isinstance(item, tuple) for item in self.estimators
        )

    def _folds(self, dataset: Dataset) -> list[Fold]:
        """Return the folds of all members; one seed gives one set of folds."""
        seed = int(np.random.SeedSequence(self.random_state).generate_state(1)[0])
        return make_folds(
            self.cv,
            1,
            dataset,
            has_classes=self._has_classes,
            seed=seed,
            estimator_name=self._name,
        )

    def _members(
        self, folds: list[Fold], external: dict[str, np.ndarray]
    ) -> dict[str, CrossValEnsemble]:
        """Return the members, each as an unfitted cross-validated ensemble, by name."""
        if self._has_names:
            self._validate_names([name for name, _ in self.estimators])
        estimators = named_estimators(self.estimators)
        members = {name: self._member(estimator, folds) for name, estimator in estimators.items()}
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

    def _member(self, estimator: Any, folds: list[Fold]) -> CrossValEnsemble:
        """Return an estimator as an unfitted cross-validated ensemble."""
        if isinstance(estimator, CrossValEnsemble):
            member = unfitted_copy(estimator)
            return member.set_params(cv=folds) if Int(2).accepts(member.cv) else member
        kind = CrossValEnsembleClassifier if self._has_classes else CrossValEnsembleRegressor
        # Without a terminal, verbose=1 is a line a member.
        is_shown = self.verbose > 1 or is_live(self.verbose)
        return kind(
            estimator,
            cv=folds,
            early_stopping=self.early_stopping,
            refit=self.refit,
            on_error=self.on_error,
            random_state=self.random_state,
            verbose=self.verbose if is_shown else 0,
        )

    def _metadata(self, name: str, member: CrossValEnsemble, dataset: Dataset) -> dict[str, Any]:
        """Return the metadata for the fit of a member.

        All of it, or, where metadata is routed, what the member requests.
        """
        from sklearn import get_config

        both = {"sample_weight": dataset.sample_weight, "groups": dataset.groups}
        given = {key: value for key, value in both.items() if value is not None}
        if not given or not get_config()["enable_metadata_routing"]:
            if "sample_weight" in given and not takes_weight(member.estimator):
                raise TypeError(
                    f"{self._name}: {type(member.estimator).__name__} takes no sample_weight "
                    f"in fit."
                )
            return given  # inner splits keep groups whole, also of folds that are made already
        asked = dict.fromkeys(process_routing(self, "fit", **given)[name].fit)
        if hasattr(member.cv, "split"):
            asked["groups"] = None
        return {key: value for key, value in given.items() if key in asked}

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the routes of metadata: weights to the members, groups to the splitter.

        Returns
        -------
        MetadataRouter
        """
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

    def _external(
        self, predictions: Any, n_rows: int, y_shape: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        """Return predictions from elsewhere as arrays of the right shape.

        Parameters
        ----------
        predictions : dict from name to array-like, or None
        n_rows : int
        y_shape : tuple of int
            Shape of the target of one row, where y holds values.

        Raises
        ------
        TypeError, ValueError
            For predictions without names, of another shape or with infinite values.
        """
        if not isinstance(predictions or {}, dict):
            raise TypeError(
                f"{self._name}: predictions from elsewhere must be a dict from name to array, got "
                f"{type(predictions).__name__}."
            )
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
            if np.isinf(array).any():
                raise ValueError(f"{self._name}: the predictions of {name!r} must be finite.")
            arrays[name] = array
        return arrays

    def _choose(self, dataset: Dataset, external: dict[str, np.ndarray], scorer: Scorer) -> None:
        """Choose the weights, and set the fitted attributes that follow from them."""
        own = {name: member.oof_prediction_ for name, member in self.members_.items()}
        predictions = external | own
        if not predictions:
            raise ValueError(f"{self._name}: no member could be trained; see the warnings.")
        present = [~np.isnan(p).reshape(len(dataset), -1).any(1) for p in predictions.values()]
        rows = Subset(dataset, np.flatnonzero(np.logical_and.reduce(present)))
        if len(rows) == 0:
            raise ValueError(
                f"{self._name}: there is no row for which all members have out-of-fold predictions."
            )
        X = rows.X
        y = rows.y
        params = weight_for(scorer, rows.sample_weight)
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

    def _mean(self, predictions: dict[str, np.ndarray]) -> np.ndarray:
        used = [(share, predictions[name]) for name, share in self.weights_.items() if share > 0]
        return np.sum([share * prediction for share, prediction in used], axis=0)

    def _prediction(self, X: Any, given: dict[str, Any] | None = None) -> np.ndarray:
        others = [name for name in self.weights_ if name not in self.members_]
        external = self._external(given, X.shape[0], self.oof_prediction_.shape[1:])
        if unknown := sorted(set(external) - set(others)):
            raise ValueError(
                f"{self._name}: predictions must have names of oof_predictions at fit, {others}; "
                f"got {unknown}."
            )
        used = [name for name, share in self.weights_.items() if share > 0]
        for name in used:
            if name not in self.members_ and name not in external:
                raise ValueError(
                    f"{self._name}: predictions must have what {name!r} predicts for X, as "
                    f"oof_predictions had at fit; got {sorted(external)}."
                )
            if name in external and np.isnan(external[name]).any():
                raise ValueError(
                    f"{self._name}: the predictions of {name!r} must be numbers for all rows of X, "
                    "got NaN."
                )
        own = {name: self._predict_member(name, X) for name in used if name in self.members_}
        return self._mean(external | own)

    def _predict_member(self, name: str, X: Any) -> np.ndarray:
        member = self.members_[name]
        return member.predict_proba(X) if self._has_classes else member.predict(X)

    def _parts(self) -> list[Any]:
        return list(named_estimators(self.estimators).values())

    def _fitted_members(self) -> list[Any]:
        return list(self.members_.values())

    def _check_fitted(self, state: State) -> None:
        weights = state.table("weights_")
        shares = list(weights.values())
        is_share = all(isinstance(share, float) and 0 <= share <= 1 + 1e-9 for share in shares)
        if not is_share or abs(sum(shares) - 1) > 1e-6:
            state.refuse("weights_", "weights by name whose sum is 1")
        state.items("score_path_", float)
        scores = state.table("member_scores_")
        if not all(isinstance(score, float) for score in scores.values()):
            state.refuse("member_scores_", "floats by name")
        members = state.table("members_")
        if not set(members) <= set(weights):
            state.refuse("members_", "members with weights")
        shape = state.fields["oof_prediction_"].shape[1:]
        for member in members.values():
            if not isinstance(member, CrossValEnsemble) or not member.__sklearn_is_fitted__():
                state.refuse("members_", "fitted cross-validated ensembles")
            own: Any = getattr(member, "classes_", None)
            self._check_member(state, "members_", member, own)
            if self._has_classes and not np.array_equal(own, state.fields["classes_"]):
                state.refuse("members_", "members with the classes of the ensemble")
            if member.oof_prediction_.shape[1:] != shape:
                state.refuse("members_", "members that predict as many targets")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "weights_")


def named_estimators(estimators: Sequence[Any]) -> dict[str, Any]:
    """Return the members by name.

    An estimator without a name has the name of its class, with a number where names are equal.
    """
    named = {}
    for item in estimators:
        name, estimator = item if isinstance(item, tuple) else (type(item).__name__.lower(), item)
        base = name
        number = 2
        while name in named:
            if isinstance(item, tuple):
                raise ValueError(f"the names of estimators must be unique, got {name!r} twice.")
            name, number = f"{base}-{number}", number + 1
        named[name] = estimator
    return named


class GreedyEnsembleClassifier(EnsembleClassifierMixin, GreedyEnsemble):
    """A weighted mean of the probabilities of any classifiers.

    The weights are chosen greedily on out-of-fold predictions.

    {parameters}

    {attributes}
    classes_ : ndarray of shape (C,)
        The class labels.

    See Also
    --------
    CrossValEnsembleClassifier : One estimator on each fold.
    DistilledClassifier : One estimator that learns from a blend.

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

    def predict_proba(self, X: Any, *, predictions: dict[str, Any] | None = None) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        predictions : dict from name to array-like, optional
            What the members from elsewhere predict for X; see ``oof_predictions`` of fit.

        Returns
        -------
        float64 ndarray of shape (N, C)
            In the order of ``classes_``.
        """
        return self._prediction(self._read_X(X), predictions)

    def predict_log_proba(self, X: Any, *, predictions: dict[str, Any] | None = None) -> np.ndarray:
        """Return the logarithm of the probability of each class.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        predictions : dict from name to array-like, optional
            See ``predict_proba``.

        Returns
        -------
        float64 ndarray of shape (N, C)
            In the order of ``classes_``; minus infinity for probability 0.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X, predictions=predictions))

    def predict(self, X: Any, *, predictions: dict[str, Any] | None = None) -> np.ndarray:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        predictions : dict from name to array-like, optional
            See ``predict_proba``.

        Returns
        -------
        ndarray of shape (N,)
            Of the type of ``classes_``.
        """
        codes = self.predict_proba(X, predictions=predictions).argmax(1)
        return self.classes_[codes]


class GreedyEnsembleRegressor(EnsembleRegressorMixin, GreedyEnsemble):
    """A weighted mean of the values of any regressors.

    The weights are chosen greedily on out-of-fold predictions.

    {parameters}

    {attributes}

    See Also
    --------
    CrossValEnsembleRegressor : One estimator on each fold.
    DistilledRegressor : One estimator that learns from a blend.

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

    def predict(self, X: Any, *, predictions: dict[str, Any] | None = None) -> np.ndarray:
        """Return the weighted mean of the values of the members, in the units of y.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        predictions : dict from name to array-like, optional
            What the members from elsewhere predict for X; see ``oof_predictions`` of fit.

        Returns
        -------
        float64 ndarray of shape (N,) or (N, C)
            As y was at fit.
        """
        return self._prediction(self._read_X(X), predictions)
