"""Cross-validated ensembles: an estimator is trained on each fold, and the folds' predictions are averaged."""

import secrets
import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from tabdl.averaging import MeanClassifier, MeanEnsemble, MeanRegressor
from tabdl.early_stopping import fit_estimator, history_of, last_step, library, takes_weight, unfitted_copy, way_of_stopping
from tabdl.fitting import Rows, fit_fold, was_interrupted
from tabdl.folds import SharedTraining, can_share
from tabdl.params import REQUIRED, Float, Int, Kind, OneOf, check_params, param
from tabdl.predictions import make_prediction_scorer, predict_array, score_prediction, weight_for
from tabdl.progress import FoldsProgress
from tabdl.splitting import is_forward, make_folds, take_rows

ESTIMATOR = Kind("an estimator with fit and predict", lambda value: hasattr(value, "fit") and hasattr(value, "predict"))
CV = Kind(
    "a splitter, or pairs of training and test rows",
    lambda value: hasattr(value, "split") or (isinstance(value, Iterable) and not isinstance(value, str)),
)
SCORING = Kind("a scorer or its name", lambda value: callable(value) or isinstance(value, str))
SCORING_DOC = (
    "The score: a scikit-learn scorer's name, an object of ``make_scorer``, or a callable (estimator, X, y) -> float, higher is\n"
    "    better. None: minus the log loss, or minus the root mean squared error."
)


_ATTRIBUTES = """Attributes
----------
estimators_ : list
    The fitted estimators, one for each fold and repeat that was trained.
oof_prediction_ : ndarray of shape (N, C) or (N,)
    For each training row what the folds predict that were not trained on it: probabilities of classes, or values; their mean
    where there are several, NaN where there is none.
scores_ : list of float
    The score of each fold's test rows.
oof_score_ : float
    The score of ``oof_prediction_``.
histories_ : list
    What each fold's estimator recorded while it was trained: ``history_`` of tabdl's, ``evals_result`` of boosted trees, or None.
refit_estimator_ : estimator
    With ``refit="all"``.
n_features_in_ : int"""


class CrossValEnsemble(MeanEnsemble):
    """The parameters and the fit of both cross-validated ensembles."""

    estimator: Any = param(
        REQUIRED, ESTIMATOR, doc="What is trained on each fold: any estimator of scikit-learn's kind, or a Pipeline."
    )
    cv: Any = param(
        8,
        Int(2),
        CV,
        doc="The folds: how many (shuffled; stratified for classes), a splitter, such as GroupKFold or TimeSeriesSplit, or\n"
        "    pairs of arrays with training and test rows.",
    )
    n_repeats: int = param(
        1,
        Int(1),
        doc="How often all folds are made and trained; a given splitter makes the same folds again unless it shuffles anew.",
    )
    early_stopping: str = param(
        "inner",
        OneOf("inner", "fold"),
        doc="The rows to stop by, for tabdl's networks, scikit-learn's histogram boosting, XGBoost, LightGBM and CatBoost where\n"
        "    their own parameters ask for early stopping: 'inner', a part of the fold's training rows (groups stay whole;\n"
        "    the last rows where folds follow time, as TimeSeriesSplit's); 'fold', the fold's test rows, which then score too\n"
        "    well.",
    )
    inner_fraction: float = param(
        0.2,
        Float("(0, 1)"),
        doc="Share of a fold's training rows to stop by with 'inner'; where neither groups nor time matter, tabdl's networks\n"
        "    have their validation_fraction.",
    )
    refit: str | None = param(
        None,
        OneOf(None, "all"),
        doc="'all': train once more on all rows, as many epochs or trees as the median fold kept, and predict with that alone.",
    )
    together: bool | str = param(
        "auto",
        OneOf("auto", True, False),
        doc="Whether the folds of a network of tabdl's are members of one training: they share one table on the device, and\n"
        "    what is learned of columns before the network comes from all training rows. 'auto': where that is quicker.\n"
        "    Folds whose embedding is made from the target ('piecewise_tree') are always trained one after the other.",
    )
    scoring: Any = param(None, OneOf(None), SCORING, doc=SCORING_DOC)
    on_error: str = param("raise", OneOf("raise", "skip"), doc="What to do when a fold's training fails; 'skip': warn and go on.")
    random_state: int | None = param(
        None,
        OneOf(None),
        Int(0, 2**32 - 1),
        doc="Seed of the folds, of inner splits, and of every random_state of the estimators, which get one each. None:\n"
        "    estimators keep their own.",
    )
    verbose: int = param(
        0, Int(0, 2), OneOf(True, False), doc="0: silent; 1: a live view of all folds; 2: a plain line a fold and epoch."
    )

    _attributes = _ATTRIBUTES

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
        X, y, weight = self._read(X, y, sample_weight, groups)
        if not self._routes(sample_weight, groups):
            weight = None
        self._fit(Rows(X, y, weight, groups, self._has_classes))
        return self

    def _fit(self, rows):
        seed = secrets.randbits(31) if self.random_state is None else self.random_state
        folds = make_folds(
            self.cv, self.n_repeats, rows.X, rows.y, rows.groups, has_classes=self._has_classes, seed=seed, owner=self._name
        )
        rows = replace(rows, forward=is_forward(folds))
        self._warn_of_missing_classes(rows.y, folds)
        scorer = make_prediction_scorer(self.scoring, self._classes, self._name)
        with FoldsProgress(self._title, len(folds), self.verbose) as shown:
            fitted = self._fit_together(rows, folds, seed, shown) or self._fit_in_turn(rows, folds, seed, shown)
        self._keep(rows, folds, fitted, scorer)
        if self.refit == "all":
            self._refit(rows, seed + len(folds))

    @property
    def _title(self):
        return f"{self._name} of {type(last_step(self.estimator)[1]).__name__}"

    def _routes(self, sample_weight, groups):
        """Return whether the estimator is to get the weights.

        Where metadata is routed, it raises if the estimator or the splitter has not said what it wants of what was given.
        """
        from sklearn import get_config

        given = {name: value for name, value in (("sample_weight", sample_weight), ("groups", groups)) if value is not None}
        if get_config()["enable_metadata_routing"] and given:
            return "sample_weight" in process_routing(self, "fit", **given).estimator.fit
        if sample_weight is not None and not takes_weight(self.estimator):
            raise TypeError(f"{self._name}: {type(self.estimator).__name__} takes no sample_weight in fit.")
        return sample_weight is not None

    def get_metadata_routing(self):
        """Return which of scikit-learn's metadata goes where: ``sample_weight`` to the estimator, ``groups`` to the splitter."""
        router = MetadataRouter(owner=self).add(
            estimator=self.estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit")
        )
        if hasattr(self.cv, "get_metadata_routing"):
            router.add(splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        return router

    def _clone(self, seed):
        """Return an unfitted copy of the estimator, whose random states come from ``seed`` if the ensemble has one."""
        estimator = unfitted_copy(self.estimator)
        if self.random_state is None:
            return estimator
        names = [name for name in estimator.get_params() if name.rpartition("__")[2] in ("random_state", "random_seed")]
        prefix, last = last_step(estimator)
        if library(last) == "catboost" and not any(name.startswith(prefix) for name in names):
            names.append(f"{prefix}random_seed")
        seeds = np.random.SeedSequence(seed).generate_state(len(names)) % 2**31
        return estimator.set_params(**{name: int(value) for name, value in zip(sorted(names), seeds, strict=True)})

    def _fit_together(self, rows, folds, seed, shown):
        """Return the fitted estimators of the folds, trained as members of one training; None where they are not to be."""
        is_split_here = self.early_stopping == "inner" and rows.has_own_inner_split
        if not self.together or is_split_here or not can_share(self.estimator, rows.y, folds):
            return None
        estimators = [self._clone(seed + i) for i in range(len(folds))]
        training = SharedTraining(estimators, rows.X, rows.y, rows.weight, folds, self.early_stopping == "fold")
        if self.together == "auto" and not training.is_faster:
            return None
        n_members = self.estimator.n_members
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=r"\w+: interrupted after epoch")
                fitted = training.run([lambda record: shown.epoch(record.get("member", 0) // n_members, record)])
        except FloatingPointError as error:
            if self.on_error == "skip":
                return None  # one after the other, so that only the fold that fails is lost
            error.add_note(self._where(getattr(error, "member", 0) // n_members, len(folds)))
            raise
        for i in range(len(folds)):
            shown.done(i)
        done = [estimator for estimator in fitted if estimator is not None]
        if any(map(was_interrupted, done)):
            self._warn_of_interrupt(len(done), len(folds))
        return fitted

    def _fit_in_turn(self, rows, folds, seed, shown):
        """Return the fitted estimators of the folds; None for a fold that failed or that an interrupt left out."""
        fitted = [None] * len(folds)
        for i, fold in enumerate(folds):
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message=r"\w+: interrupted after epoch")
                    estimator = fit_fold(
                        self._clone(seed + i),
                        rows,
                        *fold,
                        stop_by=self.early_stopping,
                        inner_fraction=self.inner_fraction,
                        seed=seed + i,
                        callback=shown.callback(i),
                    )
                if was_interrupted(estimator):
                    raise KeyboardInterrupt
                fitted[i] = estimator
                shown.done(i)
            except KeyboardInterrupt:
                n_done = sum(estimator is not None for estimator in fitted)
                if n_done == 0:
                    raise
                self._warn_of_interrupt(n_done, len(folds))
                break
            except Exception as error:
                if self.on_error == "raise" or (i == len(folds) - 1 and not any(e is not None for e in fitted)):
                    error.add_note(self._where(i, len(folds)))
                    raise
                warnings.warn(f"{self._where(i, len(folds))} It is left out: {type(error).__name__}: {error}", stacklevel=4)
        return fitted

    def _where(self, i, n_folds):
        return f"{self._name}: the training of {type(self.estimator).__name__} failed in fold {i + 1} of {n_folds}."

    def _warn_of_interrupt(self, n_done, n_folds):
        warnings.warn(f"{self._name}: interrupted; fitted with {n_done} of {n_folds} folds.", stacklevel=5)

    def _keep(self, rows, folds, fitted, scorer):
        """Set what fit leaves behind, from the folds that were trained."""
        done = [(fold, estimator) for fold, estimator in zip(folds, fitted, strict=True) if estimator is not None]
        self.estimators_ = [estimator for _, estimator in done]
        self._labels = [rows.labels(estimator, train_rows) for (train_rows, _), estimator in done]
        shape = (len(rows.y), len(self._classes)) if self._has_classes else rows.y.shape
        total, count = np.zeros(shape), np.zeros(len(rows.y))
        self.scores_ = []
        for ((_, test_rows), estimator), labels in zip(done, self._labels, strict=True):
            prediction = predict_array(estimator, take_rows(rows.X, test_rows), labels, self._classes)
            np.add.at(total, test_rows, prediction)
            np.add.at(count, test_rows, 1)
            self.scores_.append(self._score(scorer, prediction, rows, test_rows))
        with np.errstate(invalid="ignore"):
            self.oof_prediction_ = total / count.reshape(-1, *[1] * (total.ndim - 1))
        if (n_missing := int((count == 0).sum())) > 0:
            warnings.warn(
                f"{self._name}: {n_missing} of {len(count)} rows are test rows of no trained fold; oof_prediction_ is NaN there.",
                stacklevel=4,
            )
        at = np.flatnonzero(count)
        self.oof_score_ = self._score(scorer, self.oof_prediction_[at], rows, at)
        self.histories_ = [history_of(estimator) for estimator in self.estimators_]

    def _score(self, scorer, prediction, rows, at):
        """Return the score of the rows ``at``; NaN, with a warning, where it cannot be had."""
        weight = None if rows.weight is None else rows.weight[at]
        try:
            return score_prediction(
                scorer, prediction, rows.y[at], self._classes, take_rows(rows.X, at), weight_for(scorer, weight)
            )
        except ValueError as error:
            warnings.warn(f"{self._name}: a fold has no score, NaN stands for it: {error}", stacklevel=5)
            return np.nan

    def _warn_of_missing_classes(self, y, folds):
        if not self._has_classes:
            return
        lacking = {label for train_rows, _ in folds for label in np.setdiff1d(self.classes_, y[train_rows]).tolist()}
        if lacking:
            warnings.warn(
                f"{self._name}: the training rows of some folds lack the class(es) {sorted(lacking)[:10]}, which then have the "
                "probability 0 there.",
                stacklevel=4,
            )

    def _refit(self, rows, seed):
        """Train on all rows for as long as the median fold did."""
        estimator = self._clone(seed)
        prefix, last = last_step(estimator)
        way = way_of_stopping(last)
        if way is not None and way.is_on(last):
            kept = np.median([np.median(way.n_kept(last_step(fitted)[1])) for fitted in self.estimators_])
            fixed = way.fixed(last, max(1, round(float(kept))))
            estimator.set_params(**{f"{prefix}{name}": value for name, value in fixed.items()})
        everything = np.arange(len(rows.y))
        self.refit_estimator_ = fit_estimator(estimator, *rows.part(everything, rows.encoder(last, everything)), None)
        self._refit_labels = rows.labels(self.refit_estimator_, everything)

    def _prediction(self, X):
        if self.refit == "all":
            return predict_array(self.refit_estimator_, X, self._refit_labels, self._classes)
        members = zip(self.estimators_, self._labels, strict=True)
        return np.mean([predict_array(estimator, X, labels, self._classes) for estimator, labels in members], axis=0)

    def _parts(self):
        """Return the estimators whose tags the ensemble takes over."""
        return [self.estimator]

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimators_")


class CrossValEnsembleClassifier(MeanClassifier, CrossValEnsemble):
    """A classifier trained on each fold of a cross-validation; the answer is the mean of the folds' probabilities.

    {parameters}

    {attributes}
    classes_ : ndarray of shape (C,)

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import CrossValEnsembleClassifier, TabMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = CrossValEnsembleClassifier(TabMLPClassifier(max_epochs=20), cv=3, random_state=0).fit(X, y)
    >>> model.oof_prediction_.shape, len(model.estimators_)
    ((150, 3), 3)
    """

    @property
    def _classes(self):
        return self.classes_


class CrossValEnsembleRegressor(MeanRegressor, CrossValEnsemble):
    """A regressor trained on each fold of a cross-validation; the answer is the mean of the folds' values.

    {parameters}

    {attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import CrossValEnsembleRegressor, TabMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = CrossValEnsembleRegressor(TabMLPRegressor(max_epochs=20), cv=3, random_state=0).fit(X, y)
    >>> model.oof_prediction_.shape, len(model.scores_)
    ((442,), 3)
    """
