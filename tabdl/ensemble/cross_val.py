"""Cross-validated ensembles: an estimator is trained on each fold, and the folds' predictions are
averaged."""

import secrets
import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from tabdl.base import are_faster_together, train_fits
from tabdl.data.dataset import Subset
from tabdl.data.splitting import is_forward, make_folds
from tabdl.devices import isolated_torch
from tabdl.ensemble.base import BaseEnsemble, EnsembleClassifierMixin, EnsembleRegressorMixin
from tabdl.ensemble.boosting import (
    adapter_for,
    fit_estimator,
    history_of,
    last_step,
    library,
    takes_weight,
    unfitted_copy,
)
from tabdl.ensemble.fold import (
    FoldRules,
    fit_fold,
    label_encoder,
    probability_classes,
    was_interrupted,
)
from tabdl.ensemble.predictions import (
    make_prediction_scorer,
    predict_array,
    score_prediction,
    weight_for,
)
from tabdl.ensemble.shared_training import can_share, fits_of_folds
from tabdl.exceptions import FitInterruptedWarning, NonFiniteLossError
from tabdl.params import Float, Int, OneOf, Predicate, check_params, param
from tabdl.progress import FoldsProgress

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
    "The score: a scikit-learn scorer's name, an object of ``make_scorer``, or a "
    "callable (estimator, X, y) -> float, higher is\n"
    "    better. None: minus the log loss, or minus the root mean squared error."
)


_ATTRIBUTES = """Attributes
----------
estimators_ : list
    The fitted estimators, one for each fold and repeat that was trained.
oof_prediction_ : ndarray of shape (N, C) or (N,)
    For each training row what the folds predict that were not trained on it: probabilities of
    classes, or values; their mean where there are several, NaN where there is none.
scores_ : list of float
    The score of each fold's test rows.
oof_score_ : float
    The score of ``oof_prediction_``.
histories_ : list
    What each fold's estimator recorded while it was trained: ``history_`` of tabdl's,
    ``evals_result`` of boosted trees, or None.
refit_estimator_ : estimator
    With ``refit="all"``.
n_features_in_ : int"""


class CrossValEnsemble(BaseEnsemble):
    """The parameters and the fit of both cross-validated ensembles."""

    estimator: Any = param(
        ESTIMATOR,
        doc="What is trained on each fold: any estimator of scikit-learn's kind, or a Pipeline.",
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
        doc="The rows to stop by, for tabdl's networks, scikit-learn's histogram boosting, "
        "XGBoost, LightGBM and CatBoost where their own parameters ask for early stopping: "
        "'inner', a part of the fold's training rows (groups stay whole; the last rows where "
        "folds follow time, as TimeSeriesSplit's); 'fold', the fold's test rows, which then "
        "score too well.",
    )
    inner_fraction: float = param(
        Float("(0, 1)"),
        default=0.2,
        doc="Share of a fold's training rows to stop by with 'inner'; where neither groups nor "
        "time matter, tabdl's networks have their validation_fraction.",
    )
    refit: str | None = param(
        OneOf(None, "all"),
        default=None,
        doc="'all': train once more on all rows, as many epochs or trees as the median fold kept,"
        " and predict with that alone.",
    )
    together: bool | str = param(
        OneOf("auto", True, False),
        default="auto",
        doc="Whether the folds of a network of tabdl's are members of one training: they share "
        "one table on the device, and what is learned of columns before the network comes "
        "from all training rows. 'auto': where that is quicker. Folds whose embedding is made"
        " from the target ('piecewise_tree') are always trained one after the other.",
    )
    scoring: Any = param(OneOf(None), SCORING, default=None, doc=SCORING_DOC)
    on_error: str = param(
        OneOf("raise", "skip"),
        default="raise",
        doc="What to do when a fold's training fails; 'skip': warn and go on.",
    )
    random_state: int | None = param(
        OneOf(None),
        Int(0, 2**32 - 1),
        default=None,
        doc="Seed of the folds, of inner splits, and of every random_state of the estimators, "
        "which get one each. None: estimators keep their own.",
    )
    verbose: int = param(
        Int(0, 2),
        OneOf(True, False),
        default=0,
        doc="0: silent; 1: a live view of all folds; 2: a plain line a fold and epoch.",
    )

    _attributes = _ATTRIBUTES

    @isolated_torch()
    def fit(self, X, y, *, sample_weight=None, groups=None):
        """Train the estimator on each fold.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        y : array-like of shape (N,) or (N, C)
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
            For a parameter, a fold, a target or weights that cannot be used.
        Exception
            What the training of a fold raises, with a note that names the fold; see ``on_error``.
        """
        check_params(self)
        dataset = self._read(X, y, sample_weight, groups)
        if not self._routes(sample_weight, groups):
            dataset = replace(dataset, sample_weight=None)
        self._fit(dataset)
        return self

    def _fit(self, dataset):
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
        scorer = make_prediction_scorer(self.scoring, self._classes, self._name)
        with FoldsProgress(self._title, len(folds), self.verbose) as progress:
            fitted = self._fit_together(dataset, folds, seed, progress)
            if fitted is None:
                fitted = self._fit_in_turn(dataset, folds, seed, progress)
        self._keep(dataset, folds, fitted, scorer)
        if self.refit == "all":
            self._refit(dataset, seed + len(folds))

    def _rules(self, folds):
        forward = is_forward(folds)
        return FoldRules(self._has_classes, forward, self.early_stopping, self.inner_fraction)

    @property
    def _title(self):
        return f"{self._name} of {type(last_step(self.estimator)[1]).__name__}"

    def _routes(self, sample_weight, groups):
        """Return whether the estimator is to get the weights.

        Where metadata is routed, it raises if the estimator or the splitter has not said what it
        wants of what was given.
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

    def get_metadata_routing(self):
        """Return which of scikit-learn's metadata goes where: ``sample_weight`` to the estimator,
        ``groups`` to the splitter."""
        router = MetadataRouter(owner=self).add(
            estimator=self.estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit")
        )
        if hasattr(self.cv, "get_metadata_routing"):
            router.add(
                splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split")
            )
        return router

    def _clone(self, seed):
        """Return an unfitted copy of the estimator, whose random states come from ``seed`` if the
        ensemble has one."""
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

    def _fit_together(self, dataset, folds, seed, progress):
        """Return the fitted estimators of the folds, trained in one training.

        None where they are not to be; a None among them stands for a fold that an interrupt left
        without an epoch.
        """
        splits_itself = self._rules(folds).splits_itself(dataset.groups)
        if not self.together or splits_itself or not can_share(self.estimator, dataset.y, folds):
            return None
        estimators = [self._clone(seed + i) for i in range(len(folds))]
        fits = fits_of_folds(estimators, dataset, folds, self.early_stopping == "fold")
        if self.together == "auto" and not are_faster_together(fits):
            return None
        n_members = self.estimator.n_members
        try:
            train_fits(
                fits, [lambda record: progress.epoch(record.get("member", 0) // n_members, record)]
            )
        except NonFiniteLossError as error:
            if self.on_error == "skip":
                return None  # one after the other, so that only the fold that fails is lost
            error.add_note(self._where(error.member // n_members, len(folds)))
            raise
        for i in range(len(folds)):
            progress.done(i)
        done = [fit.estimator for fit in fits if fit.is_trained]
        if any(map(was_interrupted, done)):
            self._warn_of_interrupt(len(done), len(folds))
        return [fit.estimator if fit.is_trained else None for fit in fits]

    def _fit_in_turn(self, dataset, folds, seed, progress):
        """Return the fitted estimators of the folds; None for one that failed or was left out."""
        fitted: list[Any] = [None] * len(folds)
        for i, fold in enumerate(folds):
            try:
                fitted[i] = self._fit_one(dataset, fold, folds, seed + i, progress.callback(i))
                progress.done(i)
            except KeyboardInterrupt:
                n_done = sum(estimator is not None for estimator in fitted)
                if n_done == 0:
                    raise
                self._warn_of_interrupt(n_done, len(folds))
                break
            except Exception as error:
                is_last_hope = i == len(folds) - 1 and not any(e is not None for e in fitted)
                if self.on_error == "raise" or is_last_hope:
                    error.add_note(self._where(i, len(folds)))
                    raise
                warnings.warn(
                    f"{self._where(i, len(folds))} It is left out: {type(error).__name__}: {error}",
                    stacklevel=4,
                )
        return fitted

    def _fit_one(self, dataset, fold, folds, seed, callback):
        train, test = (Subset(dataset, rows) for rows in fold)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitInterruptedWarning)  # the ensemble warns itself
            estimator = fit_fold(
                self._clone(seed), train, test, self._rules(folds), seed=seed, callback=callback
            )
        if was_interrupted(estimator):
            raise KeyboardInterrupt
        return estimator

    def _where(self, i, n_folds):
        return (
            f"{self._name}: the training of {type(self.estimator).__name__} failed in fold "
            f"{i + 1} of {n_folds}."
        )

    def _warn_of_interrupt(self, n_done, n_folds):
        warnings.warn(
            f"{self._name}: interrupted; fitted with {n_done} of {n_folds} folds.", stacklevel=5
        )

    def _keep(self, dataset, folds, fitted, scorer):
        """Set what fit leaves behind, from the folds that were trained."""
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
        total, count = np.zeros(shape), np.zeros(len(dataset))
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

    def _score(self, scorer, prediction, subset):
        """Return the score of a prediction; NaN, with a warning, where it cannot be had."""
        params = weight_for(scorer, subset.sample_weight)
        try:
            return score_prediction(scorer, prediction, subset.y, self._classes, subset.X, params)
        except ValueError as error:
            warnings.warn(
                f"{self._name}: a fold has no score, NaN stands for it: {error}", stacklevel=5
            )
            return np.nan

    def _warn_of_missing_classes(self, y, folds):
        if not self._has_classes:
            return
        lacking = {
            label
            for train_rows, _ in folds
            for label in np.setdiff1d(self.classes_, y[train_rows]).tolist()
        }
        if lacking:
            warnings.warn(
                f"{self._name}: the training rows of some folds lack the class(es) "
                f"{sorted(lacking)[:10]}, which then have the probability 0 there.",
                stacklevel=4,
            )

    def _refit(self, dataset, seed):
        """Train on all rows for as long as the median fold did."""
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
        self.refit_estimator_ = fit_estimator(estimator, dataset.X, y, dataset.sample_weight, None)
        self._refit_classes = probability_classes(self.refit_estimator_, rows, self._has_classes)

    def _prediction(self, X):
        if self.refit == "all":
            return predict_array(self.refit_estimator_, X, self._refit_classes, self._classes)
        members = zip(self.estimators_, self._probability_classes, strict=True)
        predictions = [
            predict_array(estimator, X, labels, self._classes) for estimator, labels in members
        ]
        return np.mean(predictions, axis=0)

    def _parts(self):
        """Return the estimators whose tags the ensemble takes over."""
        return [self.estimator]

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimators_")


class CrossValEnsembleClassifier(EnsembleClassifierMixin, CrossValEnsemble):
    """A classifier trained on each fold of a cross-validation; the answer is the mean of the folds'
    probabilities.

    {parameters}

    {attributes}
    classes_ : ndarray of shape (C,)

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import CrossValEnsembleClassifier, TabMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = CrossValEnsembleClassifier(TabMLPClassifier(max_epochs=20), cv=3, random_state=0)
    >>> model = model.fit(X, y)
    >>> model.oof_prediction_.shape, len(model.estimators_)
    ((150, 3), 3)
    """

    @property
    def _classes(self):
        return self.classes_


class CrossValEnsembleRegressor(EnsembleRegressorMixin, CrossValEnsemble):
    """A regressor trained on each fold of a cross-validation; the answer is the mean of the folds'
    values.

    {parameters}

    {attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import CrossValEnsembleRegressor, TabMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = CrossValEnsembleRegressor(TabMLPRegressor(max_epochs=20), cv=3, random_state=0)
    >>> model = model.fit(X, y)
    >>> model.oof_prediction_.shape, len(model.scores_)
    ((442,), 3)
    """
