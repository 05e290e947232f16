"""Cross-validated ensembles: the mean over estimators that are trained on the folds."""

import inspect
import secrets
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from tabdl.base.estimator import are_faster_together, train_fits
from tabdl.base.isolation import isolated_torch
from tabdl.base.progress import FoldsProgress
from tabdl.data.dataset import Dataset, Subset
from tabdl.data.splitting import Fold, is_forward, make_folds
from tabdl.data.state import State
from tabdl.ensemble.base import BaseEnsemble, EnsembleClassifierMixin, EnsembleRegressorMixin
from tabdl.ensemble.boosting import adapter_for, history_of, last_step, library
from tabdl.ensemble.fold import (
    FoldRules,
    fit_estimator,
    fit_fold,
    label_encoder,
    probability_classes,
    takes_weight,
    unfitted_copy,
    was_interrupted,
)
from tabdl.ensemble.predictions import check_ensemble_scoring, predict_array, score_prediction
from tabdl.ensemble.several_devices import SideBySide, devices_for, placed
from tabdl.ensemble.shared_training import can_share, fits_of_folds
from tabdl.exceptions import FitInterruptedWarning, NonFiniteLossError
from tabdl.params import Float, Int, OneOf, Predicate, check_params, param
from tabdl.tasks.scoring import Scorer, weight_for

ESTIMATOR = Predicate(
    "an estimator with fit and predict",
    lambda value: hasattr(value, "fit") and hasattr(value, "predict"),
)
CV = Predicate(
    "a splitter, or pairs of training and test rows",
    lambda value: (
        hasattr(value, "split") or (isinstance(value, Iterable) and not isinstance(value, str))
    ),
)
SCORING = Predicate("a scorer or its name", lambda value: callable(value) or isinstance(value, str))
SCORING_DOC = (
    "The score: the name of a scikit-learn scorer, an object of ``make_scorer``, or a callable "
    "(estimator, X, y) -> float; higher is better. It is tried on plausible predictions of y "
    "before any training. None: minus the log loss, or minus the root mean squared error."
)


_ATTRIBUTES = """Attributes
----------
estimators_ : list
    The fitted estimators, one for each fold and repeat that was trained.
oof_prediction_ : ndarray of shape (N, C) or (N,)
    For each training row the prediction of the fold that was not trained on this row: probabilities
    of classes, or values. The mean where there are several such folds, NaN where there is none.
scores_ : list of float
    The score of the test rows of each fold.
oof_score_ : float
    The score of ``oof_prediction_``.
histories_ : list
    What the estimator of each fold recorded in training: ``history_`` of the networks of tabdl,
    ``evals_result`` of boosted trees, or None.
refit_estimator_ : estimator or None
    The estimator that predicts with ``refit="all"``; None without, and after an interrupt.
interrupted_ : bool
    Whether Ctrl-C ended the fit before it was complete.
n_features_in_ : int
    Number of columns of X."""


class FittedCrossVal:
    """The types of the fitted attributes of both cross-validated ensembles."""

    estimators_: list[Any]
    oof_prediction_: np.ndarray
    scores_: list[float]
    oof_score_: float
    histories_: list[Any]
    refit_estimator_: Any
    interrupted_: bool
    n_features_in_: int
    feature_names_in_: np.ndarray
    classes_: np.ndarray
    _probability_classes: list[np.ndarray | None]
    _refit_classes: np.ndarray | None


class CrossValEnsemble(FittedCrossVal, BaseEnsemble):
    """The parameters and the fit of both cross-validated ensembles."""

    estimator: Any = param(
        ESTIMATOR,
        doc="The estimator to train on each fold: any with the methods of scikit-learn's, or a "
        "Pipeline.",
    )
    cv: Any = param(
        Int(2),
        CV,
        default=8,
        doc="The folds: how many (shuffled; stratified for classes), a splitter, such as "
        "GroupKFold or TimeSeriesSplit, or pairs of arrays with training and test rows.",
    )
    n_repeats: int = param(
        Int(1),
        default=1,
        doc="How often all folds are made and trained; a given splitter makes the same folds "
        "again unless it shuffles anew.",
    )
    early_stopping: str = param(
        OneOf("inner", "fold"),
        default="inner",
        doc="The rows to stop by, for the networks of tabdl, the histogram boosting of "
        "scikit-learn, XGBoost, LightGBM and CatBoost, where their own parameters ask for early "
        "stopping. 'inner': a part of the training rows of the fold (groups stay whole; the last "
        "rows where folds follow time, as those of TimeSeriesSplit). 'fold': the test rows of the "
        "fold, whose scores are then too good.",
    )
    inner_fraction: float = param(
        Float("(0, 1)"),
        default=0.2,
        doc="Share of the training rows of a fold to stop by with 'inner'. Where neither groups "
        "nor time matter, the networks of tabdl use their validation_fraction instead.",
    )
    refit: str | None = param(
        OneOf(None, "all"),
        default=None,
        doc="'all': train once more on all rows, as many epochs or trees as the median fold kept, "
        "and predict with this estimator alone.",
    )
    together: bool | str = param(
        OneOf("auto", True, False),
        default="auto",
        doc="Whether the folds of a network of tabdl are trained at once. They then share one "
        "table on the device, and quantiles and categories are learned from all training rows. "
        "'auto': where one training is quicker. Folds whose embedding is made from the target "
        "('piecewise_tree'), or whose rows have neighbours (``swap_noise_from='nearest'``), are "
        "always trained one after the other.",
    )
    scoring: Any = param(OneOf(None), SCORING, default=None, doc=SCORING_DOC)
    on_error: str = param(
        OneOf("raise", "skip"),
        default="raise",
        doc="What to do when the training of a fold fails; 'skip': warn and go on.",
    )
    random_state: int | None = param(
        OneOf(None),
        Int(0, 2**32 - 1),
        default=None,
        doc="Seed of the folds, of inner splits, and of every random_state of the estimators. "
        "None: the estimators keep their own random_state.",
    )
    verbose: int = param(
        Int(0, 2),
        OneOf(True, False),
        default=0,
        doc="0: silent; 1: a live view of all folds, without a terminal a plain line a fold (some "
        "thirty at most); 2: a plain line a fold and epoch.",
    )

    _attributes = _ATTRIBUTES
    _fitted_names = frozenset(inspect.get_annotations(FittedCrossVal))

    @isolated_torch()
    def fit(self, X: Any, y: Any, *, sample_weight: Any = None, groups: Any = None) -> Self:
        """Train the estimator on each fold.

        Ctrl-C ends the fit and keeps the folds that are trained, with a ``FitInterruptedWarning``;
        nothing is trained on all rows then. To stop a search such as GridSearchCV with Ctrl-C, give
        the search ``error_score="raise"`` and make the warning an error:
        ``warnings.simplefilter("error", tabdl.exceptions.FitInterruptedWarning)``.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        y : array-like of shape (N,) or (N, C)
            Labels, or values; (N, C) for several targets of numbers.
        sample_weight : array-like of shape (N,), optional
            Weights of the rows, for estimators that take them, and for a score that does.
        groups : array-like of shape (N,), optional
            For a splitter of groups.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For a parameter, a fold, a target, weights or groups that cannot be used, and for a
            ``scoring`` that cannot score y.
        KeyboardInterrupt
            When Ctrl-C comes before a fold is trained.
        Exception
            What the training of a fold raises, with a note that names the fold; see ``on_error``.
        """
        check_params(self)
        dataset = self._read(X, y, sample_weight, groups)
        if not self._routes(sample_weight, groups):
            dataset = replace(dataset, sample_weight=None)
        self._fit(dataset)
        return self

    def _fit(self, dataset: Dataset) -> None:
        scorer = check_ensemble_scoring(self.scoring, dataset, self._classes, self._name)
        seed = secrets.randbits(31) if self.random_state is None else self.random_state
        folds = make_folds(
            self.cv,
            self.n_repeats,
            dataset,
            has_classes=self._has_classes,
            seed=seed,
            estimator_name=self._name,
        )
        self._warn_of_missing_classes(dataset.y, folds)
        self.interrupted_ = False
        self.refit_estimator_ = None
        with FoldsProgress(self._description(), len(folds), self.verbose) as progress:
            fitted = self._fit_together(dataset, folds, seed, progress)
            if fitted is None:
                fitted = self._fit_in_turn(dataset, folds, seed, progress)
        self._keep(dataset, folds, fitted, scorer)
        if self.refit == "all" and not self.interrupted_:
            self._refit(dataset, seed + len(folds))

    def _rules(self, folds: Sequence[Fold]) -> FoldRules:
        return FoldRules(
            self._name,
            self._has_classes,
            is_forward(folds),
            self.early_stopping,
            self.inner_fraction,
        )

    def _description(self) -> str:
        return f"{self._name} of {type(last_step(self.estimator)[1]).__name__}"

    def _routes(self, sample_weight: Any, groups: Any) -> bool:
        """Return whether the estimator gets the weights.

        Raises
        ------
        TypeError
            When the estimator takes no weights.
        UnsetMetadataPassedError
            When metadata is routed and the estimator, or the splitter, requests nothing.
        """
        from sklearn import get_config

        given = {
            name: value
            for name, value in (("sample_weight", sample_weight), ("groups", groups))
            if value is not None
        }
        if get_config()["enable_metadata_routing"] and given:
            return "sample_weight" in process_routing(self, "fit", **given).estimator.fit
        if sample_weight is not None and not takes_weight(self.estimator):
            raise TypeError(
                f"{self._name}: {type(self.estimator).__name__} takes no sample_weight in fit."
            )
        return sample_weight is not None

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the routes of metadata: weights to the estimator, groups to the splitter.

        Returns
        -------
        MetadataRouter
        """
        router = MetadataRouter(owner=self).add(
            estimator=self.estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit")
        )
        if hasattr(self.cv, "get_metadata_routing"):
            router.add(
                splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split")
            )
        return router

    def _clone(self, seed: int) -> Any:
        """Return an unfitted copy of the estimator.

        Its random states come from ``seed`` where the ensemble has a random_state.
        """
        estimator = unfitted_copy(self.estimator)
        if self.random_state is None:
            return estimator
        names = [
            name
            for name in estimator.get_params()
            if name.rpartition("__")[2] in ("random_state", "random_seed")
        ]
        prefix, last = last_step(estimator)
        if library(last) == "catboost" and not any(name.startswith(prefix) for name in names):
            names.append(f"{prefix}random_seed")
        seeds = np.random.SeedSequence(seed).generate_state(len(names)) % 2**31
        return estimator.set_params(
            **{name: int(value) for name, value in zip(sorted(names), seeds, strict=True)}
        )

    def _fit_together(
        self, dataset: Dataset, folds: Sequence[Fold], seed: int, progress: FoldsProgress
    ) -> list[Any] | None:
        """Return the estimators of the folds, trained at once.

        None where the folds must be trained one after the other. A None in the list stands for a
        fold that an interrupt left without an epoch.
        """
        needs_split = self._rules(folds).needs_inner_split(dataset.groups)
        if not self.together or needs_split or not can_share(self.estimator, dataset.y, folds):
            return None
        estimators = [self._clone(seed + i) for i in range(len(folds))]
        devices = devices_for(self.estimator)[: len(folds)]
        groups = [list(range(first, len(folds), len(devices))) for first in range(len(devices))]

        def train(i, device):
            watch = together.watched
            return self._fit_group(dataset, folds, estimators, groups[i], device, progress, watch)

        is_cut = False
        together = SideBySide(train, devices, len(groups))
        with together:
            try:
                trained = [together.result(i) for i in range(len(groups))]
            except NonFiniteLossError:
                if self.on_error == "skip":
                    return None  # one after the other only the fold that fails is lost
                raise
            except KeyboardInterrupt:
                if len(groups) == 1:
                    raise
                together.stop()
                is_cut = True
                trained = [together.result(i) for i in range(len(groups))]
        if None in trained:
            return None
        fitted: list[Any] = [None] * len(folds)
        for group, fits in zip(groups, trained, strict=True):
            for i, fit in zip(group, fits, strict=True):
                progress.done(i)
                fitted[i] = fit.estimator if fit.is_trained else None
        done = [estimator for estimator in fitted if estimator is not None]
        if is_cut or any(map(was_interrupted, done)):
            self._note_interrupt(len(done), len(folds))
        return fitted

    def _fit_group(self, dataset, folds, estimators, group, device, progress, watch):
        """Return the fits of some folds, trained at once on a device; None where in turn is faster.

        Parameters
        ----------
        dataset : Dataset
        folds : list of Fold
        estimators : list of TabularEstimator
        group : list of int
            The numbers of the folds.
        device : str or None
        progress : FoldsProgress
        watch : callable
            Makes a callback of training that can also end it.
        """
        n_members = self.estimator.n_members
        own = [estimators[i] for i in group]
        with placed(own, device):
            stop_by_fold = self.early_stopping == "fold"
            fits = fits_of_folds(own, dataset, [folds[i] for i in group], stop_by_fold)
            if self.together == "auto" and not are_faster_together(fits):
                return None

            def show(record):
                progress.epoch(group[record.get("member", 0) // n_members], record)

            try:
                train_fits(fits, [watch(show)])
            except NonFiniteLossError as error:
                error.add_note(self._failure(group[error.member // n_members], len(folds)))
                raise
        return fits

    def _fit_in_turn(
        self, dataset: Dataset, folds: Sequence[Fold], seed: int, progress: FoldsProgress
    ) -> list[Any]:
        """Return the fitted estimators of the folds; None for one that failed or was left out."""
        fitted: list[Any] = [None] * len(folds)

        def fit(i, device):
            callback = side_by_side.watched(progress.callback(i))
            return self._fit_one(dataset, folds, i, seed + i, callback, device)

        side_by_side = SideBySide(fit, devices_for(self.estimator), len(folds))
        with side_by_side:
            for i in range(len(folds)):
                try:
                    fitted[i] = side_by_side.result(i)
                    progress.done(i)
                except KeyboardInterrupt:
                    n_done = sum(estimator is not None for estimator in fitted)
                    if n_done == 0:
                        raise
                    self._note_interrupt(n_done, len(folds))
                    break
                except Exception as error:
                    is_last_hope = i == len(folds) - 1 and not any(e is not None for e in fitted)
                    if self.on_error == "raise" or is_last_hope:
                        error.add_note(self._failure(i, len(folds)))
                        raise
                    warnings.warn(
                        f"{self._failure(i, len(folds))} It is left out: {type(error).__name__}: "
                        f"{error}",
                        stacklevel=4,
                    )
        return fitted

    def _fit_one(
        self,
        dataset: Dataset,
        folds: Sequence[Fold],
        i: int,
        seed: int,
        callback: Callable[[dict], Any] | None,
        device: str | None,
    ) -> Any:
        """Return the estimator of a fold; raise KeyboardInterrupt where Ctrl-C cut its training."""
        train = Subset(dataset, folds[i][0])
        test = Subset(dataset, folds[i][1])
        estimator = self._clone(seed)
        # Ctrl-C reaches the main thread alone, and the filters of warnings belong to all threads.
        is_alone = device is None
        with placed([estimator], device), warnings.catch_warnings() if is_alone else nullcontext():
            if is_alone:  # the ensemble warns itself
                warnings.simplefilter("ignore", FitInterruptedWarning)
            estimator = fit_fold(
                estimator, train, test, self._rules(folds), seed=seed, callback=callback
            )
        if was_interrupted(estimator):
            raise KeyboardInterrupt
        return estimator

    def _failure(self, i: int, n_folds: int) -> str:
        return (
            f"{self._name}: the training of {type(self.estimator).__name__} failed in fold "
            f"{i + 1} of {n_folds}."
        )

    def _note_interrupt(self, n_done: int, n_folds: int) -> None:
        """Set ``interrupted_``, and warn."""
        self.interrupted_ = True
        warnings.warn(
            f"{self._name}: interrupted; fitted with {n_done} of {n_folds} folds.",
            FitInterruptedWarning,
            stacklevel=5,
        )

    def _keep(
        self, dataset: Dataset, folds: Sequence[Fold], fitted: list[Any], scorer: Scorer
    ) -> None:
        """Set the fitted attributes from the folds that were trained."""
        done = [
            (Subset(dataset, train_rows), Subset(dataset, test_rows), estimator)
            for (train_rows, test_rows), estimator in zip(folds, fitted, strict=True)
            if estimator is not None
        ]
        self.estimators_ = [estimator for _, _, estimator in done]
        self._probability_classes = [
            probability_classes(estimator, train, self._has_classes) for train, _, estimator in done
        ]
        shape = (len(dataset), len(self._classes)) if self._has_classes else dataset.y.shape
        total = np.zeros(shape)
        count = np.zeros(len(dataset))
        self.scores_ = []
        for (_, test, estimator), labels in zip(done, self._probability_classes, strict=True):
            prediction = predict_array(estimator, test.X, labels, self._classes)
            np.add.at(total, test.indices, prediction)
            np.add.at(count, test.indices, 1)
            self.scores_.append(self._score(scorer, prediction, test))
        with np.errstate(invalid="ignore"):
            self.oof_prediction_ = total / count.reshape(-1, *[1] * (total.ndim - 1))
        if (n_missing := int((count == 0).sum())) > 0:
            warnings.warn(
                f"{self._name}: {n_missing} of {len(count)} rows are test rows of no trained "
                "fold; oof_prediction_ is NaN there.",
                stacklevel=4,
            )
        covered = Subset(dataset, np.flatnonzero(count))
        self.oof_score_ = self._score(scorer, self.oof_prediction_[covered.indices], covered)
        self.histories_ = [history_of(estimator) for estimator in self.estimators_]

    def _score(self, scorer: Scorer, prediction: np.ndarray, subset: Subset) -> float:
        """Return the score of a prediction; NaN, with a warning, where the scorer fails."""
        params = weight_for(scorer, subset.sample_weight)
        try:
            return score_prediction(scorer, prediction, subset.y, self._classes, subset.X, params)
        except ValueError as error:
            warnings.warn(
                f"{self._name}: a fold has no score, NaN stands for it: {error}", stacklevel=5
            )
            return np.nan

    def _warn_of_missing_classes(self, y: np.ndarray, folds: Sequence[Fold]) -> None:
        if not self._has_classes:
            return
        lacking = {
            label
            for train_rows, _ in folds
            for label in np.setdiff1d(self._classes, y[train_rows]).tolist()
        }
        if lacking:
            warnings.warn(
                f"{self._name}: the training rows of some folds lack the class(es) "
                f"{sorted(lacking)[:10]}, which then have the probability 0 there.",
                stacklevel=4,
            )

    def _refit(self, dataset: Dataset, seed: int) -> None:
        """Train on all rows, as many epochs or trees as the median fold kept."""
        estimator = self._clone(seed)
        prefix, last = last_step(estimator)
        adapter = adapter_for(last)
        if adapter is not None and adapter.enabled(last):
            fitted = [last_step(estimator)[1] for estimator in self.estimators_]
            length = np.median([adapter.best_iteration(estimator) for estimator in fitted])
            params = adapter.fixed_length_params(last, max(1, round(float(length))))
            estimator.set_params(**{f"{prefix}{name}": value for name, value in params.items()})
        rows = Subset(dataset, np.arange(len(dataset)))
        y = label_encoder(last, rows, self._has_classes)(dataset.y)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FitInterruptedWarning)
                estimator = fit_estimator(estimator, dataset.X, y, dataset.sample_weight, None)
            self.interrupted_ = was_interrupted(estimator)
        except KeyboardInterrupt:
            self.interrupted_ = True
        if self.interrupted_:
            warnings.warn(
                f"{self._name}: interrupted in the training on all rows; the mean over the "
                f"{len(self.estimators_)} folds predicts.",
                FitInterruptedWarning,
                stacklevel=4,
            )
            return
        self.refit_estimator_ = estimator
        self._refit_classes = probability_classes(estimator, rows, self._has_classes)

    def _prediction(self, X: Any) -> np.ndarray:
        if self.refit_estimator_ is not None:
            return predict_array(self.refit_estimator_, X, self._refit_classes, self._classes)
        members = zip(self.estimators_, self._probability_classes, strict=True)
        predictions = [
            predict_array(estimator, X, labels, self._classes) for estimator, labels in members
        ]
        return np.mean(predictions, axis=0)

    def _parts(self) -> list[Any]:
        return [self.estimator]

    def _fitted_members(self) -> list[Any]:
        refit = [] if self.refit_estimator_ is None else [self.refit_estimator_]
        return [*self.estimators_, *refit]

    def _check_fitted(self, state: State) -> None:
        members = state.items("estimators_")
        if not members:
            state.refuse("estimators_", "one estimator at least")
        state.items("scores_", float, len(members))
        state.items("histories_", length=len(members))
        if not isinstance(state.fields["oof_score_"], float):
            state.refuse("oof_score_", "a float")
        labels = state.items("_probability_classes", length=len(members))
        for member, own in zip(members, labels, strict=True):
            self._check_labels(state, "_probability_classes", own)
            self._check_member(state, "estimators_", member, own)
        refit = state.fields["refit_estimator_"]
        if refit is not None:
            own = state.fields.get("_refit_classes")
            self._check_labels(state, "refit_estimator_", own)
            self._check_member(state, "refit_estimator_", refit, own)

    def _check_labels(self, state: State, name: str, labels: Any) -> None:
        """Check the labels that the probabilities of a member stand for; None without classes."""
        if not self._has_classes:
            is_right = labels is None
        else:
            known = set(state.fields["classes_"].tolist())
            is_right = isinstance(labels, np.ndarray) and labels.ndim == 1
            is_right = is_right and 0 < len(labels) == len({*labels.tolist()} & known)
        if not is_right:
            state.refuse(name, "labels of classes_ for each classifier, None for a regressor")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimators_")


class CrossValEnsembleClassifier(EnsembleClassifierMixin, CrossValEnsemble):
    """A classifier that is trained on each fold; it predicts the mean of the probabilities.

    Use it for out-of-fold predictions, and where a mean of several fits is worth their cost.

    {parameters}

    {attributes}
    classes_ : ndarray of shape (C,)
        The class labels.

    See Also
    --------
    GreedyEnsembleClassifier : Several estimators with weights.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import CrossValEnsembleClassifier, TabMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> network = TabMLPClassifier(max_epochs=20)
    >>> model = CrossValEnsembleClassifier(network, cv=3, random_state=0).fit(X, y)
    >>> model.oof_prediction_.shape, len(model.estimators_)
    ((150, 3), 3)
    """


class CrossValEnsembleRegressor(EnsembleRegressorMixin, CrossValEnsemble):
    """A regressor that is trained on each fold; it predicts the mean of the values.

    Use it for out-of-fold predictions, and where a mean of several fits is worth their cost.

    {parameters}

    {attributes}

    See Also
    --------
    GreedyEnsembleRegressor : Several estimators with weights.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import CrossValEnsembleRegressor, TabMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> network = TabMLPRegressor(max_epochs=20)
    >>> model = CrossValEnsembleRegressor(network, cv=3, random_state=0).fit(X, y)
    >>> model.oof_prediction_.shape, len(model.scores_)
    ((442,), 3)
    """
