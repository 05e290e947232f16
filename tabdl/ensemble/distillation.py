"""A student: one estimator that learns from labels and from what a teacher predicts.

The teacher says of each training row what it predicts *out of fold*: of rows that it was trained on
it would repeat the labels, which the student has already.
"""

import inspect
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from tabdl.base.isolation import isolated_torch
from tabdl.data.dataset import Dataset, Subset, concat_rows, take_rows
from tabdl.data.splitting import inner_split
from tabdl.data.state import State
from tabdl.data.validation import check_X
from tabdl.ensemble.base import BaseEnsemble, EnsembleClassifierMixin, EnsembleRegressorMixin
from tabdl.ensemble.boosting import adapter_for, last_step
from tabdl.ensemble.cross_val import (
    CV,
    ESTIMATOR,
    CrossValEnsembleClassifier,
    CrossValEnsembleRegressor,
)
from tabdl.ensemble.fold import (
    FoldRules,
    fit_fold,
    probability_classes,
    takes_weight,
    unfitted_copy,
    was_interrupted,
)
from tabdl.ensemble.predictions import predict_array
from tabdl.params import Float, Int, OneOf, check_params, param

# A class that is less probable is left out of a row's targets.
_LEAST_PROBABILITY = 0.01

_ATTRIBUTES = """Attributes
----------
estimator_ : estimator
    The student, fitted. It predicts alone, and can be kept and exported without the teacher.
oof_prediction_ : ndarray of shape (N, C) or (N,)
    What the teacher predicts for the training rows, out of fold. NaN where it predicts nothing.
interrupted_ : bool
    Whether Ctrl-C ended the training of teacher or student before it was complete.
n_features_in_ : int
    Number of columns of X."""


@dataclass(frozen=True)
class Lesson:
    """Rows as a student learns them; a row of classes stands once for each probable class.

    Attributes
    ----------
    rows : int ndarray of shape (n,)
        Numbers of rows of X.
    y : ndarray of shape (n,) or (n, C)
    weight : float64 ndarray of shape (n,)
    """

    rows: np.ndarray
    y: np.ndarray
    weight: np.ndarray

    def followed_by(self, other: "Lesson") -> "Lesson":
        """Return this lesson and then another."""
        pairs = ((self.rows, other.rows), (self.y, other.y), (self.weight, other.weight))
        return Lesson(*map(np.concatenate, pairs))


class FittedStudent:
    """The types of the fitted attributes of both students."""

    estimator_: Any
    oof_prediction_: np.ndarray
    interrupted_: bool
    n_features_in_: int
    feature_names_in_: np.ndarray
    classes_: np.ndarray
    _estimator_classes: np.ndarray | None


class Distilled(FittedStudent, BaseEnsemble):
    """The parameters and the fit of both students."""

    estimator: Any = param(ESTIMATOR, doc="The student: one estimator, or a Pipeline.")
    teacher: Any = param(
        ESTIMATOR,
        doc="The teacher: an estimator, which is cross-fitted with the folds of ``cv``; or a "
        "CrossValEnsemble or GreedyEnsemble, which makes its own folds. One of these that is "
        "fitted to the same rows is used as it is.",
    )
    teacher_share: float = param(
        Float("[0, 1]"),
        default=0.7,
        doc="Share of the teacher's prediction in the target of a row; the rest is its label.",
    )
    cv: Any = param(Int(2), CV, default=5, doc="The folds of a teacher that makes none itself.")
    inner_fraction: float = param(
        Float("(0, 1)"),
        default=0.2,
        doc="Share of the rows by whose labels a student stops that stops early. They do not "
        "train it; their groups stay whole.",
    )
    random_state: int | None = param(
        OneOf(None),
        Int(0, 2**32 - 1),
        default=None,
        doc="Seed of the folds and of the rows to stop by. The student keeps its own.",
    )

    _attributes = _ATTRIBUTES
    _fitted_names = frozenset(inspect.get_annotations(FittedStudent))

    @isolated_torch()
    def fit(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        X_unlabelled: Any = None,
    ) -> Self:
        """Fit the teacher where it needs it, then the student.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        y : array-like of shape (N,) or (N, C)
            Labels, or values; (N, C) for several targets of numbers.
        sample_weight : array-like of shape (N,), optional
            Weights of the rows, for teacher and student.
        groups : array-like of shape (N,), optional
            For the folds of the teacher; the rows to stop by are whole groups.
        X_unlabelled : like X, of shape (M, F), optional
            Further rows, such as test rows. The student learns what the teacher predicts for them.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For a parameter, a target, weights or groups that cannot be used, a fitted teacher of
            other rows, and a student of classes that takes no weights.
        """
        check_params(self)
        dataset = self._read(X, y, sample_weight, groups)
        if self._has_classes and not takes_weight(self.estimator):
            raise TypeError(
                f"{self._name}: {type(last_step(self.estimator)[1]).__name__} takes no "
                "sample_weight in fit, which says how probable the teacher finds each class; use "
                "another estimator."
            )
        teacher = self._fitted_teacher(dataset)
        self.oof_prediction_ = teacher.oof_prediction_
        train, stop = self._rows_to_stop_by(dataset)
        lesson = self._labelled(train)
        if X_unlabelled is not None:
            more = check_X(self, X_unlabelled, reset=False, name="X_unlabelled")
            lesson = lesson.followed_by(self._unlabelled(teacher, more, dataset))
            dataset = replace(dataset, X=concat_rows(dataset.X, more))
        self._fit_student(dataset, lesson, stop)
        self.interrupted_ = teacher.interrupted_ or was_interrupted(self.estimator_)
        return self

    def _fitted_teacher(self, dataset: Dataset) -> Any:
        """Return the teacher as a fitted ensemble with out-of-fold predictions."""
        teacher = self.teacher
        if not isinstance(teacher, BaseEnsemble):
            kind = CrossValEnsembleClassifier if self._has_classes else CrossValEnsembleRegressor
            teacher = kind(teacher, cv=self.cv, random_state=self.random_state)
        elif teacher.__sklearn_is_fitted__():
            self._check_teacher(teacher, dataset)
            return teacher
        teacher = unfitted_copy(teacher)
        given = {"sample_weight": dataset.sample_weight, "groups": dataset.groups}
        given = {name: value for name, value in given.items() if value is not None}
        return teacher.fit(dataset.X, dataset.y, **given)

    def _check_teacher(self, teacher: Any, dataset: Dataset) -> None:
        """Check that a fitted teacher was fitted to as many rows, and to the same classes."""
        n_rows = len(teacher.oof_prediction_)
        if n_rows != len(dataset):
            raise ValueError(
                f"{self._name}: teacher was fitted to {n_rows} rows, and X has {len(dataset)}: fit "
                "it to the same rows, or pass an unfitted one."
            )
        classes = getattr(teacher, "classes_", None)
        if not np.array_equal(
            [] if classes is None else classes, self.classes_ if self._has_classes else []
        ):
            raise ValueError(f"{self._name}: teacher was fitted to other classes than those of y.")

    def _rows_to_stop_by(self, dataset: Dataset) -> tuple[Subset, Subset | None]:
        """Return the rows that train the student, and the rows that it stops by or None."""
        adapter = adapter_for(last_step(self.estimator)[1])
        if adapter is None or not adapter.enabled(last_step(self.estimator)[1]):
            return dataset.used, None
        return inner_split(
            dataset.used,
            self.inner_fraction,
            has_classes=self._has_classes,
            forward=False,
            seed=0 if self.random_state is None else self.random_state,
            estimator_name=self._name,
        )

    def _labelled(self, train: Subset) -> Lesson:
        """Return labels and predictions, mixed; a row without a prediction has its label alone."""
        predicted = self.oof_prediction_[train.indices]
        labels = train.y
        if self._has_classes:
            labels = (labels[:, None] == self.classes_).astype(np.float64)
        is_known = np.isfinite(predicted).reshape(len(train), -1).all(1)
        share = self.teacher_share * is_known.reshape(-1, *[1] * (labels.ndim - 1))
        predicted = np.where(np.isfinite(predicted), predicted, 0.0).reshape(labels.shape)
        return self._lesson(train.indices, (1 - share) * labels + share * predicted, train.weight)

    def _unlabelled(self, teacher: Any, X: Any, dataset: Dataset) -> Lesson:
        """Return what the teacher predicts for rows that follow those of the data set."""
        predicted = predict_array(teacher, X, self._classes, self._classes)
        rows = len(dataset) + np.arange(len(predicted))
        weight = 1.0 if dataset.sample_weight is None else dataset.used.weight.mean()
        predicted = predicted.reshape(len(rows), *dataset.y.shape[1:] or predicted.shape[1:])
        return self._lesson(rows, predicted, np.full(len(rows), weight))

    def _lesson(self, rows: np.ndarray, targets: np.ndarray, weight: np.ndarray) -> Lesson:
        """Return rows whose targets are probabilities (n, C), or values."""
        if not self._has_classes:
            return Lesson(rows, targets, weight)
        # The weight of a row is shared out to its classes: the sum of their losses is the
        # cross-entropy of the probabilities.
        kept = np.where(targets < _LEAST_PROBABILITY, 0.0, targets)
        kept /= kept.sum(1, keepdims=True)
        row, label = np.nonzero(kept)
        return Lesson(rows[row], self.classes_[label], weight[row] * kept[row, label])

    def _fit_student(self, dataset: Dataset, lesson: Lesson, stop: Subset | None) -> None:
        """Set ``estimator_``, fitted to the lesson."""
        n_lesson = len(lesson.rows)
        rows, y, weight = lesson.rows, lesson.y, lesson.weight
        if stop is not None:
            rows = np.concatenate([rows, stop.indices])
            y = np.concatenate([y, stop.y])
            weight = np.concatenate([weight, stop.weight])
        is_weighted = self._has_classes or dataset.sample_weight is not None
        lessons = Dataset(take_rows(dataset.X, rows), y, weight if is_weighted else None)
        train = Subset(lessons, np.arange(n_lesson))
        rules = FoldRules(self._name, self._has_classes, False, "fold", self.inner_fraction)
        test = Subset(lessons, np.arange(n_lesson, len(rows)))
        student = unfitted_copy(self.estimator)
        self.estimator_ = fit_fold(student, train, test, rules, seed=0, callback=None)
        self._estimator_classes = probability_classes(self.estimator_, train, self._has_classes)

    def _prediction(self, X: Any) -> np.ndarray:
        return predict_array(self.estimator_, X, self._estimator_classes, self._classes)

    def _parts(self) -> list[Any]:
        return [self.estimator, self.teacher]

    def _fitted_members(self) -> list[Any]:
        return [self.estimator_]

    def _check_fitted(self, state: State) -> None:
        own = state.fields["_estimator_classes"]
        if self._has_classes:
            state.array("_estimator_classes", "biufOSU", (len(state.fields["classes_"]),))
        elif own is not None:
            state.refuse("_estimator_classes", "None for a regressor")
        self._check_member(state, "estimator_", state.fields["estimator_"], own)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")


class DistilledClassifier(EnsembleClassifierMixin, Distilled):
    """One classifier that learns from labels and from a teacher, and predicts alone.

    Use it for a network that keeps most of what a blend knows and predicts as quickly as a network.
    A teacher that is worse than the student makes the student worse.

    {parameters}

    {attributes}
    classes_ : ndarray of shape (C,)
        The class labels.

    See Also
    --------
    GreedyEnsembleClassifier : A teacher of several estimators.

    References
    ----------
    Hinton, Vinyals and Dean: "Distilling the Knowledge in a Neural Network", 1503.02531.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from tabdl import DistilledClassifier, TabMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> student = TabMLPClassifier(max_epochs=20, random_state=0)
    >>> teacher = RandomForestClassifier(random_state=0)
    >>> model = DistilledClassifier(student, teacher, random_state=0)
    >>> model.fit(X, y).predict_proba(X).shape, model.estimator_.n_iter_ > 0
    ((150, 3), True)
    """


class DistilledRegressor(EnsembleRegressorMixin, Distilled):
    """One regressor that learns from values and from a teacher, and predicts alone.

    Use it for a network that keeps most of what a blend knows and predicts as quickly as a network.
    A teacher that is worse than the student makes the student worse.

    {parameters}

    {attributes}

    See Also
    --------
    GreedyEnsembleRegressor : A teacher of several estimators.

    References
    ----------
    Hinton, Vinyals and Dean: "Distilling the Knowledge in a Neural Network", 1503.02531.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> from tabdl import DistilledRegressor, TabMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> student = TabMLPRegressor(max_epochs=20, random_state=0)
    >>> teacher = RandomForestRegressor(random_state=0)
    >>> model = DistilledRegressor(student, teacher, random_state=0)
    >>> model.fit(X, y).predict(X).shape
    (442,)
    """
