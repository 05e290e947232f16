"""The two tasks: what an estimator does with ``y`` and with the outputs of its network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
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


class Task:
    """What both tasks share, and what a task needs of its estimator: ``_decoded``.

    A task adds ``_check_y``, ``_make_target`` and, where it differs, ``_train_loss``; see
    ``tabdl.base.TabularEstimator``, which calls them.
    """

    _has_classes = False
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

    def _predicted(self, X: Any, what: str) -> np.ndarray:
        """Return one of the things that the target makes of the outputs for X."""
        return self._decoded(X, lambda outputs: self._target.decode(outputs)[what])


@dataclass(kw_only=True, eq=False, repr=False)
class ClassifierTask(ClassifierMixin, Task):
    """Classes: two, many, or several labels a row."""

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
        ndarray of shape (N,), of the type of ``classes_``; with several labels a row, 0 or 1 for
        each, (N, C)

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
        float64 ndarray of shape (N, C), in the order of ``classes_``; with several labels a row, of
        each label

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
        float64 ndarray of shape (N, C), in the order of ``classes_``

        Raises
        ------
        NotFittedError, ValueError
            As ``predict_proba``.
        """
        return self._decoded(X, lambda outputs: self._target.log_probabilities(outputs))

    def _check_y(self, y: Any, name: str) -> np.ndarray:
        return class_labels(y, self._name, name)

    def _make_target(self, train: Subset) -> BinaryTarget:
        y = train.dataset.used.y
        if y.ndim == 2:
            if self.class_weight is not None:
                raise ValueError(
                    f"{self._name}: class_weight must be None with several labels a row, got "
                    f"{self.class_weight!r}."
                )
            return MultilabelTarget(y.shape[1], self._name)
        classes = np.unique(y)
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
    """Numbers: one or several a row."""

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
        float64 ndarray of shape (N,) or (N, C), as y was at fit

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
