"""From ``y`` to the numbers of a loss, and from the outputs of a network to predictions.

A target knows ``n_outputs`` (C), ``encode`` (y to an array), ``loss`` (outputs (B, K, C) and
encoded y to one value a row) and how to decode outputs. In training the loss of K predictions is
the mean of their K losses, never the loss of their mean. In validation (``val_loss``) it is the
loss of the mean of the K predictions, which is what the estimator predicts.
"""

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tabdl.data.state import State
from tabdl.tasks.calibration import fit_temperature

REGRESSION_LOSSES = ("squared_error", "absolute_error", "huber", "quantile")
# Predictions stay finite up to some hundred standard deviations from such a target.
_LARGEST_TARGET = 1e300
Decoded = dict[str, np.ndarray]


class BinaryTarget:
    """Two classes: one logit.

    Parameters
    ----------
    classes : ndarray of shape (2,)
    class_weight : float ndarray of shape (2,) or None
    estimator_name : str
        The name of the estimator, for messages.

    Attributes
    ----------
    temperature : float64 Tensor or None
        The divisor of the logits; set by :meth:`calibrate`.
    """

    kind = "binary"
    n_outputs = 1
    n_temperatures = 1
    temperature: Tensor | None = None

    def __init__(
        self, classes: np.ndarray, class_weight: np.ndarray | None, estimator_name: str
    ) -> None:
        self.classes = classes
        self.class_weight = class_weight
        self.estimator_name = estimator_name

    def _codes(self, y: np.ndarray) -> np.ndarray:
        codes = np.searchsorted(self.classes, y).clip(max=len(self.classes) - 1)
        if (unknown := self.classes[codes] != y).any():
            raise ValueError(
                f"{self.estimator_name}: y_val has the class {y[unknown].tolist()[0]!r}, which y "
                f"has not; the classes of y: {self.classes.tolist()[:10]}."
            )
        return codes

    def encode(self, y: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
        """Return 0 or 1, (N, 1)."""
        return self._codes(y).astype(dtype)[:, None]

    def row_weight(self, y: np.ndarray) -> np.ndarray | float:
        """Return the class weight of each row, (N,), or 1."""
        return 1.0 if self.class_weight is None else self.class_weight[self._codes(y)]

    def loss(self, outputs: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the binary cross-entropy of each row, (B,)."""
        smooth = y * (1 - label_smoothing) + label_smoothing / 2
        expanded = smooth.unsqueeze(1).expand_as(outputs)
        return functional.binary_cross_entropy_with_logits(
            outputs, expanded, reduction="none"
        ).mean((1, 2))

    def val_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each row, (B,), of the mean of the K predicted probabilities."""
        return self.loss(self._combined(outputs) if outputs.shape[1] > 1 else outputs, y)

    def _combined(self, outputs: Tensor) -> Tensor:
        """Return the outputs, (B, 1, C), whose probabilities are the mean over K."""
        return _log_mean(functional.logsigmoid(outputs)) - _log_mean(
            functional.logsigmoid(-outputs)
        )

    def calibrate(self, outputs: Tensor, y: Tensor, weight: Tensor | None) -> None:
        """Fit the temperature to outputs (N, K, C) of validation rows.

        The temperature scales the mean of the K predictions, not each of them. So it alone stands
        between the old probabilities and the new ones, and no order of the classes changes.
        """
        self.temperature = fit_temperature(
            self.loss,
            self._combined(outputs.cpu().double()),
            y.cpu(),
            None if weight is None else weight.cpu(),
            self.n_temperatures,
        )

    def probabilities(self, outputs: Tensor) -> np.ndarray:
        """Return the mean over K of the probabilities, (N, 2)."""
        # One minus a probability near one would be zero.
        parts = (-outputs).sigmoid(), outputs.sigmoid()
        return torch.cat([_mean(part) for part in parts], 1).numpy()

    def log_probabilities(self, outputs: Tensor) -> np.ndarray:
        """Return logarithms of the probabilities of the classes, (N, 2), from outputs (N, K, 1).

        They are finite also where a probability is too small for a float64.
        """
        logits = self._calibrated_logits(outputs)[:, 0]
        return torch.cat([functional.logsigmoid(-logits), functional.logsigmoid(logits)], 1).numpy()

    def decode(self, outputs: Tensor) -> Decoded:
        """Return ``predict``, ``predict_proba`` and ``classes`` for outputs (N, K, C)."""
        probabilities = self.probabilities(outputs.double())
        return self._decoded(self.classes[probabilities.argmax(1)], outputs, probabilities)

    def _decoded(self, labels: np.ndarray, outputs: Tensor, probabilities: np.ndarray) -> Decoded:
        if self.temperature is not None:
            probabilities = self.probabilities(self._calibrated_logits(outputs))
        return {"predict": labels, "predict_proba": probabilities, "classes": self.classes}

    def _calibrated_logits(self, outputs: Tensor) -> Tensor:
        """Return the logits of the mean of the K predictions over the temperature, (N, 1, C)."""
        logits = self._combined(outputs.double())
        return logits if self.temperature is None else logits / self.temperature

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, see ``data/state.py``."""
        return {
            "kind": self.kind,
            "classes": self.classes,
            "class_weight": self.class_weight,
            "temperature": None if self.temperature is None else self.temperature.numpy(),
        }

    @classmethod
    def from_state(cls, fields: State, estimator_name: str) -> Self:
        """Return the target of checked fields."""
        classes = fields.array("classes", "biufOSU", (None,))
        weight = fields.optional_array("class_weight", "f", classes.shape)
        target = cls._of_classes(classes, weight, estimator_name)
        if not cls._fits(classes):
            fields.refuse("classes", f"different labels for the target {cls.kind!r}")
        temperature = fields.optional_array("temperature", "f", (target.n_temperatures,))
        if temperature is not None:
            if not (temperature > 0).all():
                fields.refuse("temperature", "positive numbers")
            target.temperature = torch.from_numpy(temperature.astype(np.float64))
        return target

    @classmethod
    def _of_classes(
        cls, classes: np.ndarray, weight: np.ndarray | None, estimator_name: str
    ) -> Self:
        return cls(classes, weight, estimator_name)

    @classmethod
    def _fits(cls, classes: np.ndarray) -> bool:
        return len(classes) == 2 and len({*classes.tolist()}) == 2

    def plausible(self, y: np.ndarray) -> Decoded:
        """Return what a good network would predict where the true labels are ``y``."""
        codes = self._codes(y)
        probabilities = np.full((len(y), len(self.classes)), 0.5 / len(self.classes))
        probabilities[np.arange(len(y)), codes] += 0.5
        labels = self.classes[codes]
        return {"predict": labels, "predict_proba": probabilities, "classes": self.classes}


class MulticlassTarget(BinaryTarget):
    """Three classes or more: a logit each."""

    kind = "multiclass"

    def __init__(
        self, classes: np.ndarray, class_weight: np.ndarray | None, estimator_name: str
    ) -> None:
        super().__init__(classes, class_weight, estimator_name)
        self.n_outputs = len(classes)

    @classmethod
    def _fits(cls, classes: np.ndarray) -> bool:
        return len(classes) > 2 and len({*classes.tolist()}) == len(classes)

    def encode(self, y: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
        """Return codes, (N,) int64."""
        return self._codes(y).astype(np.int64)

    def loss(self, outputs: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the cross-entropy of each row, (B,)."""
        expanded = y.unsqueeze(1).expand(outputs.shape[:2])
        return functional.cross_entropy(
            outputs.transpose(1, 2), expanded, reduction="none", label_smoothing=label_smoothing
        ).mean(1)

    def _combined(self, outputs: Tensor) -> Tensor:
        return _log_mean(outputs.log_softmax(-1))

    def probabilities(self, outputs: Tensor) -> np.ndarray:
        """Return the mean over K of the probabilities, (N, C)."""
        return _mean(outputs.softmax(-1)).numpy()

    def log_probabilities(self, outputs: Tensor) -> np.ndarray:
        """Return logarithms of the probabilities of the classes, (N, C)."""
        return self._calibrated_logits(outputs)[:, 0].log_softmax(-1).numpy()


class MultilabelTarget(BinaryTarget):
    """Several yes-or-no labels a row: a logit and a temperature each.

    The loss is the mean over the labels.
    """

    kind = "multilabel"

    def __init__(self, n_labels: int, estimator_name: str) -> None:
        super().__init__(np.arange(n_labels), None, estimator_name)
        self.n_outputs = n_labels
        self.n_temperatures = n_labels

    @classmethod
    def _of_classes(
        cls, classes: np.ndarray, weight: np.ndarray | None, estimator_name: str
    ) -> Self:
        return cls(len(classes), estimator_name)

    @classmethod
    def _fits(cls, classes: np.ndarray) -> bool:
        return len(classes) > 0 and np.array_equal(classes, np.arange(len(classes)))

    def encode(self, y: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
        """Return the indicators, (N, C)."""
        if y.ndim != 2 or y.shape[1] != self.n_outputs:
            raise ValueError(
                f"{self.estimator_name}: y_val must have {self.n_outputs} labels a row as y has, "
                f"got shape {y.shape}."
            )
        return y.astype(dtype)

    def probabilities(self, outputs: Tensor) -> np.ndarray:
        """Return the mean over K of the probability of each label, (N, C)."""
        return _mean(outputs.sigmoid()).numpy()

    def log_probabilities(self, outputs: Tensor) -> np.ndarray:
        """Return the logarithm of the probability of each label, (N, C)."""
        return functional.logsigmoid(self._calibrated_logits(outputs)[:, 0]).numpy()

    def decode(self, outputs: Tensor) -> Decoded:
        """Return ``predict``, ``predict_proba`` and ``classes`` for outputs (N, K, C)."""
        probabilities = self.probabilities(outputs.double())
        return self._decoded((probabilities > 0.5).astype(np.int64), outputs, probabilities)

    def plausible(self, y: np.ndarray) -> Decoded:
        """Return what a good network would predict where the true indicators are ``y``."""
        return {"predict": y, "predict_proba": 0.25 + 0.5 * y, "classes": self.classes}


class RegressionTarget:
    """One or several numbers a row, standardised by the training rows.

    A constant target has no spread: it is predicted as it is, whatever the network says.

    Parameters
    ----------
    y : float64 ndarray of shape (N,) or (N, C)
    weight : float64 ndarray of shape (N,)
    loss : {"squared_error", "absolute_error", "huber", "quantile"}
    quantile : float in (0, 1)
    huber_delta : float
        Where the Huber loss turns linear, in standard deviations of the target.
    estimator_name : str
        The name of the estimator, for messages.

    Attributes
    ----------
    mean, std : float64 ndarray of shape (C,)
        Weighted mean and standard deviation of the targets; the deviation of a constant is 1.
    is_constant : bool ndarray of shape (C,)
    """

    def __init__(
        self,
        y: np.ndarray,
        weight: np.ndarray,
        loss: str,
        quantile: float,
        huber_delta: float,
        estimator_name: str,
    ) -> None:
        self.is_1d = y.ndim == 1
        self.kind = loss
        self.quantile = quantile
        self.huber_delta = huber_delta
        self.estimator_name = estimator_name
        y = y.reshape(len(y), -1)
        self.n_outputs = y.shape[1]
        if (largest := np.abs(y).max()) > _LARGEST_TARGET:
            raise ValueError(
                f"{estimator_name}: y must lie within +-{_LARGEST_TARGET:g}, got {largest:g}; "
                "divide y by a constant."
            )
        # Units in which squares neither overflow nor vanish: powers of two, which are exact.
        exponent = np.frexp(np.abs(y).max(0))[1]
        y = np.ldexp(y, -exponent)
        mean = np.average(y, axis=0, weights=weight)
        std = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weight))
        # A spread at the size of rounding is none.
        self.is_constant = (std <= 1e-12 * np.abs(mean)) | (np.ptp(y, axis=0) == 0)
        mean = np.where(np.ptp(y, axis=0) == 0, y[0], mean)
        self.mean = np.ldexp(mean, exponent)
        self.std = np.where(self.is_constant, 1.0, np.ldexp(std, exponent))

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, see ``data/state.py``."""
        own = {name: getattr(self, name) for name in _REGRESSION if name != "loss"}
        return {
            **own,
            "loss": self.kind,
            "quantile": float(self.quantile),
            "huber_delta": float(self.huber_delta),
        }

    @classmethod
    def from_state(cls, fields: State, estimator_name: str) -> Self:
        """Return the target of checked fields."""
        target = cls.__new__(cls)
        target.estimator_name = estimator_name
        target.kind = fields.text("loss", *REGRESSION_LOSSES)
        target.quantile = fields.number("quantile", above=0)
        target.huber_delta = fields.number("huber_delta", above=0)
        target.is_1d = fields.flag("is_1d")
        target.mean = fields.array("mean", "f", (1,) if target.is_1d else (None,))
        target.n_outputs = len(target.mean)
        if target.n_outputs == 0:
            fields.refuse("mean", "one number at least")
        target.std = fields.array("std", "f", target.mean.shape)
        if not (target.std > 0).all():
            fields.refuse("std", "positive numbers")
        target.is_constant = fields.array("is_constant", "b", target.mean.shape)
        return target

    def encode(self, y: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
        """Return standardised targets, (N, C).

        Raises
        ------
        ValueError
            For another number of targets a row, or values that ``dtype`` cannot hold.
        """
        y = y.reshape(len(y), -1)
        if y.shape[1] != self.n_outputs:
            raise ValueError(
                f"{self.estimator_name}: y_val must have {self.n_outputs} target(s) a row as y "
                f"has, got shape {y.shape}."
            )
        with np.errstate(over="ignore"):
            scaled = (y - self.mean) / self.std
            encoded = np.where(self.is_constant, 0.0, scaled).astype(dtype)
        if not np.isfinite(encoded).all():
            raise ValueError(
                f"{self.estimator_name}: y_val must be of the size of y, whose standard deviation "
                f"is {self.std.tolist()}; got values up to {np.abs(y).max():g}."
            )
        return encoded

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each row in standardised units, (B,): the mean over K and targets."""
        error = y.unsqueeze(1) - outputs
        if self.kind == "squared_error":
            losses = error.square()
        elif self.kind == "absolute_error":
            losses = error.abs()
        elif self.kind == "huber":
            losses = functional.huber_loss(
                error, torch.zeros_like(error), reduction="none", delta=self.huber_delta
            )
        else:
            losses = torch.maximum(self.quantile * error, (self.quantile - 1) * error)
        return losses.mean((1, 2))

    def val_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each row, (B,), of the mean of the K predictions."""
        return self.loss(outputs.mean(1, keepdim=True), y)

    def values(self, outputs: Tensor) -> np.ndarray:
        """Return the mean over K in the units of the target, (N,) or (N, C)."""
        values = _mean(outputs.double()).numpy() * self.std + self.mean
        values = np.where(self.is_constant, self.mean, values)
        return values[:, 0] if self.is_1d else values

    def row_weight(self, y: np.ndarray) -> np.ndarray | float:
        """Return 1: no target weighs more than another."""
        return 1.0

    def decode(self, outputs: Tensor) -> Decoded:
        """Return ``predict`` for outputs (N, K, C)."""
        return {"predict": self.values(outputs)}

    def plausible(self, y: np.ndarray) -> Decoded:
        """Return what a good network would predict where the true values are ``y``.

        They lie between the values and the mean of the training rows: a deviance that needs
        positive predictions gets them where y is positive or zero.
        """
        values = (y.reshape(len(y), -1) + self.mean) / 2
        return {"predict": values[:, 0] if self.is_1d else values}


Target = BinaryTarget | RegressionTarget
_CLASSIFICATION: dict[str, type[BinaryTarget]] = {
    target.kind: target for target in (BinaryTarget, MulticlassTarget, MultilabelTarget)
}
_REGRESSION = ("loss", "quantile", "huber_delta", "is_1d", "mean", "std", "is_constant")


def target_from_state(state: Any, has_classes: bool, estimator_name: str) -> Target:
    """Return the target of a state.

    Raises
    ------
    ValueError
        For a state that no fit leaves behind.
    """
    where = f"{estimator_name}: target"
    if not has_classes:
        return RegressionTarget.from_state(State(state, _REGRESSION, where), estimator_name)
    fields = State(state, ("kind", "classes", "class_weight", "temperature"), where)
    kind = fields.text("kind", *_CLASSIFICATION)
    return _CLASSIFICATION[kind].from_state(fields, estimator_name)


Loss = Callable[[Tensor, Tensor], Tensor]


def _mean(values: Tensor) -> Tensor:
    """Return the mean over K, (N, C), of values (N, K, C)."""
    return values[:, 0] if values.shape[1] == 1 else values.mean(1)


def _log_mean(log_probabilities: Tensor) -> Tensor:
    """Return the logarithm of the mean over K, (B, 1, C)."""
    return log_probabilities.logsumexp(1, keepdim=True) - math.log(log_probabilities.shape[1])
