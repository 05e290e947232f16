"""From the user's ``y`` to what a loss takes, and from a network's outputs back to the user's
terms; the losses stand here too.

A target knows ``n_outputs`` (C), ``encode`` (y to an array), ``loss`` (outputs (B, K, C) and
encoded y to one value a row) and how to read outputs. In training the loss of K predictions is the
mean of their K losses, never the loss of their mean; validation asks for the loss of the answer
(``val_loss``).
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tabdl.tasks.calibration import fit_temperature

REGRESSION_LOSSES = ("squared_error", "absolute_error", "huber", "quantile")


class BinaryTarget:
    """Two classes: one logit.

    Parameters
    ----------
    classes : ndarray of shape (2,)
    class_weight : float ndarray of shape (2,) or None
    estimator_name : str
        The estimator's name, for messages.

    Attributes
    ----------
    temperature : float64 Tensor or None
        What logits are divided by; set by :meth:`calibrate`.
    """

    n_outputs = 1
    n_temperatures = 1
    temperature = None

    def __init__(self, classes, class_weight, estimator_name):
        self.classes, self.class_weight, self.estimator_name = classes, class_weight, estimator_name

    def _codes(self, y):
        codes = np.searchsorted(self.classes, y).clip(max=len(self.classes) - 1)
        if (unknown := self.classes[codes] != y).any():
            raise ValueError(
                f"{self.estimator_name}: y_val has the class {y[unknown].tolist()[0]!r}, which y "
                f"has not; the classes of y: {self.classes.tolist()[:10]}."
            )
        return codes

    def encode(self, y, dtype):
        """Return 0 or 1, (N, 1)."""
        return self._codes(y).astype(dtype)[:, None]

    def row_weight(self, y):
        """Return the weight of each row's class, (N,), or 1."""
        return 1.0 if self.class_weight is None else self.class_weight[self._codes(y)]

    def loss(self, outputs: Tensor, y: Tensor, label_smoothing=0.0):
        """Return the binary cross-entropy of each row, (B,)."""
        smooth = y * (1 - label_smoothing) + label_smoothing / 2
        expanded = smooth.unsqueeze(1).expand_as(outputs)
        return functional.binary_cross_entropy_with_logits(
            outputs, expanded, reduction="none"
        ).mean((1, 2))

    def val_loss(self, outputs: Tensor, y: Tensor):
        """Return the loss of each row, (B,), of the answer: the mean of the K predictions'
        probabilities."""
        return self.loss(self._combined(outputs) if outputs.shape[1] > 1 else outputs, y)

    def _combined(self, outputs):
        """Return the outputs, (B, 1, C), whose probabilities are the mean over K."""
        return _log_mean(functional.logsigmoid(outputs)) - _log_mean(
            functional.logsigmoid(-outputs)
        )

    def calibrate(self, outputs, y, weight):
        """Fit the temperature to outputs (N, K, C) of validation rows.

        It scales the answer, whose probabilities are the mean over K, and not each of the K: one
        temperature is then all that is between the old probabilities and the new ones, and no order
        of the classes changes.
        """
        outputs, y, weight = (
            outputs.cpu().double(),
            y.cpu(),
            None if weight is None else weight.cpu(),
        )
        self.temperature = fit_temperature(
            self.loss, self._combined(outputs), y, weight, self.n_temperatures
        )

    def probabilities(self, outputs):
        """Return the mean over K of the probabilities, (N, 2)."""
        positive = outputs.sigmoid().mean(1)
        return torch.cat([1 - positive, positive], 1).numpy()

    def decode(self, outputs):
        """Return ``predict``, ``predict_proba`` and ``classes`` for outputs (N, K, C)."""
        probabilities = self.probabilities(outputs.double())
        return {
            "predict": self.classes[probabilities.argmax(1)],
            "predict_proba": self._calibrated(outputs, probabilities),
            "classes": self.classes,
        }

    def _calibrated(self, outputs, probabilities):
        if self.temperature is None:
            return probabilities
        return self.probabilities(self._combined(outputs.double()) / self.temperature)


class MulticlassTarget(BinaryTarget):
    """Three classes or more: a logit each."""

    def __init__(self, classes, class_weight, estimator_name):
        super().__init__(classes, class_weight, estimator_name)
        self.n_outputs = len(classes)

    def encode(self, y, dtype):
        """Return codes, (N,) int64."""
        return self._codes(y).astype(np.int64)

    def loss(self, outputs: Tensor, y: Tensor, label_smoothing=0.0):
        """Return the cross-entropy of each row, (B,)."""
        expanded = y.unsqueeze(1).expand(outputs.shape[:2])
        options = {"reduction": "none", "label_smoothing": label_smoothing}
        return functional.cross_entropy(outputs.transpose(1, 2), expanded, **options).mean(1)

    def _combined(self, outputs):
        return _log_mean(outputs.log_softmax(-1))

    def probabilities(self, outputs):
        """Return the mean over K of the probabilities, (N, C)."""
        return outputs.softmax(-1).mean(1).numpy()


class MultilabelTarget(BinaryTarget):
    """Several yes-or-no labels a row: a logit, and a temperature, each; the loss is the mean over
    the labels."""

    def __init__(self, n_labels, estimator_name):
        super().__init__(np.arange(n_labels), None, estimator_name)
        self.n_outputs = self.n_temperatures = n_labels

    def encode(self, y, dtype):
        """Return the indicators, (N, C)."""
        if y.ndim != 2 or y.shape[1] != self.n_outputs:
            raise ValueError(
                f"{self.estimator_name}: y_val must have {self.n_outputs} labels a row as y has, "
                f"got shape {y.shape}."
            )
        return y.astype(dtype)

    def probabilities(self, outputs):
        """Return the mean over K of each label's probability, (N, C)."""
        return outputs.sigmoid().mean(1).numpy()

    def decode(self, outputs):
        """Return ``predict``, ``predict_proba`` and ``classes`` for outputs (N, K, C)."""
        probabilities = self.probabilities(outputs.double())
        return {
            "predict": (probabilities > 0.5).astype(np.int64),
            "predict_proba": self._calibrated(outputs, probabilities),
            "classes": self.classes,
        }


class RegressionTarget:
    """One or several numbers a row, standardised by the (weighted) mean and standard deviation of
    the training rows.

    Parameters
    ----------
    y : float64 ndarray of shape (N,) or (N, C)
    weight : float64 ndarray of shape (N,)
    loss : {"squared_error", "absolute_error", "huber", "quantile"}
    quantile : float in (0, 1)
    huber_delta : float
        Where the Huber loss turns linear, in standard deviations of the target.
    estimator_name : str
        The estimator's name, for messages.
    """

    def __init__(self, y, weight, loss, quantile, huber_delta, estimator_name):
        self.is_1d = y.ndim == 1
        y = y.reshape(len(y), -1)
        self.n_outputs = y.shape[1]
        self.mean = np.average(y, axis=0, weights=weight)
        std = np.sqrt(np.average((y - self.mean) ** 2, axis=0, weights=weight))
        # A spread at rounding's size is a constant target.
        self.std = np.where(std > 1e-12 * np.abs(self.mean), std, 1.0)
        self.kind, self.quantile, self.huber_delta, self.estimator_name = (
            loss,
            quantile,
            huber_delta,
            estimator_name,
        )

    def encode(self, y, dtype):
        """Return standardised targets, (N, C)."""
        if y.reshape(len(y), -1).shape[1] != self.n_outputs:
            raise ValueError(
                f"{self.estimator_name}: y_val must have {self.n_outputs} target(s) a row as y "
                f"has, got shape {y.shape}."
            )
        return ((y.reshape(len(y), -1) - self.mean) / self.std).astype(dtype)

    def loss(self, outputs: Tensor, y: Tensor):
        """Return the loss of each row in standardised units, (B,): the mean over K and over the
        targets."""
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

    def val_loss(self, outputs: Tensor, y: Tensor):
        """Return the loss of each row, (B,), of the answer: the mean of the K predictions."""
        return self.loss(outputs.mean(1, keepdim=True), y)

    def values(self, outputs):
        """Return the mean over K in the target's units, (N,) or (N, C)."""
        values = outputs.double().mean(1).numpy() * self.std + self.mean
        return values[:, 0] if self.is_1d else values

    def row_weight(self, y):
        """Return 1: no target weighs more than another."""
        return 1.0

    def decode(self, outputs):
        """Return ``predict`` for outputs (N, K, C)."""
        return {"predict": self.values(outputs)}


def _log_mean(log_probabilities):
    """Return the logarithm of the mean over K, (B, 1, C)."""
    return log_probabilities.logsumexp(1, keepdim=True) - math.log(log_probabilities.shape[1])
