"""The two tasks: what an estimator does with ``y`` and with the outputs of its network."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from tabdl.data.dataset import Subset
from tabdl.data.validation import class_labels, numeric_target
from tabdl.params import Float, OneOf, Predicate, param
from tabdl.tasks.targets import (
    REGRESSION_LOSSES,
    BinaryTarget,
    Loss,
    MulticlassTarget,
    MultilabelTarget,
    RegressionTarget,
    Target,
)


def _can_go_on(estimator: Any) -> bool:
    return estimator._goes_on


class Task:
    """What both tasks share, and what a task needs of its estimator: ``_decoded``.

    A task adds ``_check_y``, ``_make_target``, ``_kept_target`` and, where it differs,
    ``_train_loss``; see ``tabdl.base.TabularEstimator``, which calls them.
    """

    _has_classes = False
    # Whether a fitted network can be trained further.
    _goes_on = True
    _target: Any

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def target_(self) -> Target:
        """What turns y into the numbers of the loss, and outputs into predictions."""
        check_is_fitted(self)
        return self._target

    def _decoded(self, X: Any, decode: Callable[[Tensor], np.ndarray]) -> np.ndarray:
        """Return what ``decode`` makes of the outputs (n, K, C) of the network for rows of X."""
        raise NotImplementedError(f"{self._name} has no network")

    def _pass(self, X: Any, y: Any, sample_weight: Any, first_target: Callable) -> Self:
        """Train for one epoch over the rows given."""
        raise NotImplementedError(f"{self._name} has no network")

    def _predicted(self, X: Any, what: str) -> np.ndarray:
        """Return one of the things that the target makes of the outputs for X."""
        return self._decoded(X, lambda outputs: self._target.decode(outputs)[what])


@dataclass(kw_only=True, eq=False, repr=False)
class ClassifierTask(ClassifierMixin, Task):
    """Classes: two, many, or several labels a row; classifiers' pages describe the parameters."""

    class_weight: Any = param(
        OneOf(None, "balanced"),
        Predicate("a dict from class to weight", lambda value: isinstance(value, dict)),
        default=None,
        doc="Weights of the classes in the loss; 'balanced': inversely proportional to their "
        "frequencies.",
    )
    label_smoothing: float = param(
        Float("[0, 1)"),
        default=0.0,
        doc="Share of the target that is spread evenly over all classes.",
    )
    calibrate: bool = param(
        OneOf(True, False),
        default=False,
        doc="Divide the logits by the temperature that gives the validation rows the smallest "
        "loss (1706.04599, section 4.2); ``predict`` stays the same. Needs validation rows.",
    )

    _has_classes = True
    _task_attributes = """
classes_ : ndarray of shape (C,)
    The class labels; with several labels a row, the numbers of the labels.
temperature_ : float, or ndarray of shape (C,)
    The divisor of the logits, with several labels a row one for each; only with
    ``calibrate=True``."""

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
            The columns of fit, in the same order and of the same kinds. New categories and missing
            values are allowed.

        Returns
        -------
        ndarray of shape (N,) or (N, C)
            Of the type of ``classes_``; with several labels a row (N, C), 0 or 1 for each.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For other columns than at fit, or infinite numbers; the message names the column.
        """
        return self._predicted(X, "predict")

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
            The columns of fit, in the same order and of the same kinds. New categories and missing
            values are allowed.

        Returns
        -------
        float64 ndarray of shape (N, C)
            In the order of ``classes_``; with several labels a row, of each label.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For other columns than at fit, or infinite numbers; the message names the column.
        """
        return self._predicted(X, "predict_proba")

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of the probability of each class.

        It comes from the logits of the network, so that it is finite also where a probability is
        too small for a float.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
            See ``predict_proba``.

        Returns
        -------
        float64 ndarray of shape (N, C)
            In the order of ``classes_``.

        Raises
        ------
        NotFittedError, ValueError
            As ``predict_proba``.
        """
        return self._decoded(X, lambda outputs: self._target.log_probabilities(outputs))

    @available_if(_can_go_on)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one epoch over the rows given; a stream calls this again and again.

        The first call fits the encoder, the target and the first weights of its rows: let it be
        large. Later calls go on from the weights, and from the state of the optimizer, which files
        and pickles leave out. The learning rate is ``lr``: schedules, ``warmup_epochs``,
        ``max_epochs`` and early stopping have no part in it; when to stop is the caller's choice.
        ``history_`` has the record of the latest call.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
            In later calls the columns of the first, of the same kinds. Categories that the first
            call has not are unknown, as in ``predict``.
        y : array-like of shape (N,) or (N, C)
            Labels. (N, C): 0 or 1 for each of several labels.
        classes : array-like of shape (C,), optional
            All classes that will come. The first call needs them, later calls may repeat them.
            Not needed with several labels a row.
        sample_weight : array-like of shape (N,), optional
            Weights of the rows in the loss, relative to the other rows of the call.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As ``fit``; and for a class that is new, other columns, and parameters that need
            validation rows or a known end.
        NonFiniteLossError
            When the loss is no longer finite; the estimator stays as it was before the call.
        """
        if classes is not None and hasattr(self, "_target"):
            self._check_classes(classes)
        return self._pass(X, y, sample_weight, lambda train: self._first_target(train, classes))

    def _check_classes(self, classes: Any) -> None:
        known = self._target.classes.tolist()
        if sorted(np.unique(np.asarray(classes)).tolist()) != sorted(known):
            raise ValueError(
                f"{self._name}: classes={classes!r} is not the same as at the first call of "
                f"partial_fit or fit: {known}."
            )

    def _first_target(self, train: Subset, classes: Any) -> BinaryTarget:
        """Return the target of the first rows of a stream, whose classes are ``classes``."""
        if train.y.ndim == 2:
            if classes is not None and len(np.unique(np.asarray(classes))) != train.y.shape[1]:
                raise ValueError(
                    f"{self._name}: y has {train.y.shape[1]} labels a row, and classes="
                    f"{classes!r} not so many."
                )
            return self._make_target(train)
        if classes is None:
            raise ValueError(
                f"{self._name}: classes must be passed on the first call to partial_fit: all "
                "classes that will come."
            )
        known = np.unique(np.asarray(classes))
        self._refuse_unseen(train.y, known, "classes")
        return self._target_of(known, train)

    def _kept_target(self, target: Any, train: Subset) -> BinaryTarget:
        is_multilabel = isinstance(target, MultilabelTarget)
        if is_multilabel != (train.y.ndim == 2) or (
            is_multilabel and train.y.shape[1] != target.n_outputs
        ):
            labels = f"{target.n_outputs} labels" if is_multilabel else "one label"
            raise ValueError(
                f"{self._name}: y had {labels} a row at the first fit, got shape {train.y.shape}."
            )
        if not is_multilabel:
            self._refuse_unseen(train.y, target.classes, "classes_ of the first fit")
        kept = copy.copy(target)
        kept.temperature = None
        if is_multilabel:
            self._refuse_weights_of_labels()
        else:
            kept.class_weight = _class_weights(self.class_weight, target.classes, train, self._name)
        return kept

    def _refuse_unseen(self, y: np.ndarray, classes: np.ndarray, where: str) -> None:
        """Raise ValueError for a class of y that is not among ``classes``."""
        known = classes.tolist()
        unseen = [label for label in pd.unique(y).tolist() if label not in known]
        if unseen:
            raise ValueError(
                f"{self._name}: y has the class {unseen[0]!r}, which is not among {where}: "
                f"{known[:10]}."
            )

    def _check_y(self, y: Any, name: str) -> np.ndarray:
        return class_labels(y, self._name, name)

    def _make_target(self, train: Subset) -> BinaryTarget:
        y = train.dataset.used.y
        if y.ndim == 2:
            self._refuse_weights_of_labels()
            return MultilabelTarget(y.shape[1], self._name)
        return self._target_of(np.unique(y), train)

    def _refuse_weights_of_labels(self) -> None:
        if self.class_weight is not None:
            raise ValueError(
                f"{self._name}: class_weight must be None with several labels a row, got "
                f"{self.class_weight!r}."
            )

    def _target_of(self, classes: np.ndarray, train: Subset) -> BinaryTarget:
        """Return the target of rows with one label each, whose classes are in ascending order."""
        if len(classes) < 2:
            raise ValueError(
                f"{self._name}: y must have at least 2 classes, got 1 class: "
                f"{classes.tolist()[0]!r}."
            )
        kind = BinaryTarget if len(classes) == 2 else MulticlassTarget
        weights = _class_weights(self.class_weight, classes, train, self._name)
        return kind(classes, weights, self._name)

    def _train_loss(self, target: Target) -> Loss:
        assert isinstance(target, BinaryTarget)
        smoothing = self._smoothing()
        return lambda outputs, y: target.loss(outputs, y, smoothing)

    def _smoothing(self) -> float:
        return self.label_smoothing

    @property
    def classes_(self) -> np.ndarray:
        """The class labels."""
        check_is_fitted(self)
        return self._target.classes

    @property
    def temperature_(self) -> float | np.ndarray:
        """The divisor of the logits."""
        check_is_fitted(self)
        if self._target.temperature is None:
            raise AttributeError(
                f"{self._name}: temperature_ is there only after a fit with calibrate=True."
            )
        temperature = self._target.temperature.numpy()
        return temperature if self._target.n_temperatures > 1 else float(temperature[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class RegressorTask(RegressorMixin, Task):
    """Numbers: one or several a row; the pages of regressors describe the parameters."""

    loss: str = param(
        OneOf(*REGRESSION_LOSSES),
        default="squared_error",
        doc="The loss of the standardised targets.",
    )
    quantile: float = param(
        Float("(0, 1)"), default=0.5, doc="The quantile that ``loss='quantile'`` predicts."
    )
    huber_delta: float = param(
        Float("(0, inf)"),
        default=1.0,
        doc="The error from which ``loss='huber'`` is linear, in standard deviations of y.",
    )

    _task_attributes = """
n_outputs_ : int
    Number of targets a row."""

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted values, in the units of y.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
            The columns of fit, in the same order and of the same kinds. New categories and missing
            values are allowed.

        Returns
        -------
        float64 ndarray of shape (N,) or (N, C)
            As y was at fit.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For other columns than at fit, or infinite numbers; the message names the column.
        """
        return self._predicted(X, "predict")

    @property
    def n_outputs_(self) -> int:
        """Number of targets a row."""
        check_is_fitted(self)
        return self._target.n_outputs

    @available_if(_can_go_on)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch over the rows given; a stream calls this again and again.

        The first call fits the encoder, the target and the first weights of its rows: let it be
        large. Later calls go on from the weights, and from the state of the optimizer, which files
        and pickles leave out. The learning rate is ``lr``: schedules, ``warmup_epochs``,
        ``max_epochs`` and early stopping have no part in it; when to stop is the caller's choice.
        ``history_`` has the record of the latest call.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
            In later calls the columns of the first, of the same kinds. Categories that the first
            call has not are unknown, as in ``predict``.
        y : array-like of shape (N,) or (N, C)
            Mean and standard deviation of the first call scale later ones: let it be large.
        sample_weight : array-like of shape (N,), optional
            Weights of the rows in the loss, relative to the other rows of the call.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As ``fit``; and for other columns, and parameters that need validation rows or a known
            end.
        NonFiniteLossError
            When the loss is no longer finite; the estimator stays as it was before the call.
        """
        return self._pass(X, y, sample_weight, self._make_target)

    def _kept_target(self, target: Any, train: Subset) -> RegressionTarget:
        n_outputs = 1 if train.y.ndim == 1 else train.y.shape[1]
        if n_outputs != target.n_outputs:
            raise ValueError(
                f"{self._name}: y had {target.n_outputs} target(s) a row at the first fit, got "
                f"shape {train.y.shape}."
            )
        kept = copy.copy(target)
        kept.kind, kept.quantile, kept.huber_delta = self.loss, self.quantile, self.huber_delta
        return kept

    def _check_y(self, y: Any, name: str) -> np.ndarray:
        return numeric_target(y, self._name, name)

    def _make_target(self, train: Subset) -> RegressionTarget:
        return RegressionTarget(
            train.y, train.weight, self.loss, self.quantile, self.huber_delta, self._name
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _class_weights(
    class_weight: Any, classes: np.ndarray, train: Subset, estimator_name: str
) -> np.ndarray | None:
    """Return one weight a class, or None."""
    if class_weight is None:
        return None
    if class_weight == "balanced":
        present, codes = np.unique(train.y, return_inverse=True)
        mass = np.bincount(codes, weights=train.weight)
        weights = dict(zip(present.tolist(), mass.sum() / (len(mass) * mass), strict=True))
    else:
        weights = class_weight
    unknown = [label for label in weights if label not in classes.tolist()]
    if unknown or any(not Float("[0, inf)").accepts(value) for value in weights.values()):
        raise ValueError(
            f"{estimator_name}: class_weight must map classes of y ({classes.tolist()[:10]}) to "
            f"weights >= 0, got {class_weight!r}."
        )
    return np.array([weights.get(label, 1.0) for label in classes.tolist()], dtype=np.float64)
