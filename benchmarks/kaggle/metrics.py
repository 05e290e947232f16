"""The metrics of competitions, and whether a target fits them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.errors import HarnessError


@dataclass(frozen=True)
class Metric:
    """A competition's metric.

    Attributes
    ----------
    scoring : str or callable
        A scikit-learn scorer or its name; higher is better.
    answer : {"probability", "label", "value"}
        What a submission holds.
    is_log : bool
        Whether models learn the logarithm of 1 + target.
    """

    scoring: str | Callable
    answer: str
    is_log: bool = False

    @property
    def is_regression(self) -> bool:
        """Whether the target is a number, not a class."""
        return self.answer == "value"

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Return the target that models learn, (N,)."""
        return np.log1p(y) if self.is_log else y

    def decode(self, prediction: np.ndarray) -> np.ndarray:
        """Return predicted values on the scale of the target, (N,)."""
        if not self.is_log:
            return prediction
        with np.errstate(over="ignore"):  # an infinite value is refused when files are checked
            return np.maximum(np.expm1(prediction), 0)  # the metric takes no negative value


def _kappa(estimator, X, y):
    from sklearn.metrics import cohen_kappa_score

    return cohen_kappa_score(y, estimator.predict(X), weights="quadratic")


METRICS = {
    "logloss": Metric("neg_log_loss", "probability"),
    "auc": Metric("roc_auc_ovr", "probability"),
    "accuracy": Metric("accuracy", "label"),
    "f1": Metric("f1_macro", "label"),
    "qwk": Metric(_kappa, "label"),
    "rmse": Metric("neg_root_mean_squared_error", "value"),
    "rmsle": Metric("neg_root_mean_squared_error", "value", is_log=True),
    "mae": Metric("neg_mean_absolute_error", "value"),
    "r2": Metric("r2", "value"),
}


def check_target(y: np.ndarray, name: str, metric: str, folds: int) -> None:
    """Check that a target can be learned and scored.

    Parameters
    ----------
    y : ndarray of shape (N,)
        Without missing values.
    name : str
        The column.
    metric : str
        A name of :data:`METRICS`.
    folds : int

    Raises
    ------
    HarnessError
        When the metric, or the folds, do not fit the target.
    """
    if len(y) < folds:
        raise HarnessError(f"--folds {folds}: there are only {len(y)} training rows with a target.")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise HarnessError(f"The target {name!r} holds an infinite number: give a finite one.")
    if METRICS[metric].is_regression:
        _check_values(y, name, metric)
    else:
        _check_classes(y, name, metric, folds)


def _check_values(y, name, metric):
    if y.dtype.kind not in "iuf":
        raise HarnessError(
            f"--metric {metric} needs numbers; the target {name!r} holds values such as "
            f"{y.tolist()[0]!r}."
        )
    if METRICS[metric].is_log and (lowest := y.min()) < 0:
        raise HarnessError(
            f"--metric {metric} needs a target of 0 or more; the lowest value of {name!r} is "
            f"{lowest}. Give another metric, such as rmse."
        )


def _check_classes(y, name, metric, folds):
    if y.dtype.kind == "f":
        raise HarnessError(
            f"--metric {metric} needs classes; the target {name!r} holds decimal numbers. Give a "
            f"metric of numbers, such as rmse."
        )
    if metric == "qwk" and y.dtype.kind not in "iu":
        raise HarnessError(
            f"--metric qwk needs whole numbers, whose order it knows; the target {name!r} holds "
            f"values such as {y.tolist()[0]!r}."
        )
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2:
        raise HarnessError(
            f"--metric {metric} needs two classes or more; every row of {name!r} is "
            f"{classes.tolist()[0]!r}."
        )
    if counts.max() < folds:
        raise HarnessError(
            f"--folds {folds}: no class of {name!r} has so many rows; the most frequent has "
            f"{counts.max()}. Give fewer folds, or a metric of numbers, such as rmse."
        )
