"""The metrics of competitions, and whether a target fits them.

A metric scores what models predict: probabilities (N, C) of classes 0 to C-1, or values (N,) or
(N, targets). A higher score is better; an error has a minus.
"""

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import metrics

from tabdl.kaggle.errors import CompetitionError
from tabdl.tasks.scoring import make_scorer, score_decoded

ANSWERS = ("probability", "label", "ranking", "value")


@dataclass(frozen=True)
class Metric:
    """A competition's metric.

    Attributes
    ----------
    name : str
    answer : {"probability", "label", "ranking", "value"}
        What a submission holds.
    function : callable
        ``(y, answer) -> float``, higher is better: y are codes of classes, or values; the answer is
        (N, C) for probabilities and rankings, codes (N,) for labels, or values.
    is_log : bool
        Whether models learn the logarithm of 1 + target.
    k : int
        The number of labels in a ranking.
    needs_order : bool
        Whether classes must be numbers.
    """

    name: str
    answer: str
    function: Callable[[np.ndarray, np.ndarray], float]
    is_log: bool = False
    k: int = 1
    needs_order: bool = False

    @property
    def is_regression(self) -> bool:
        """Whether the target is a number, not a class."""
        return self.answer == "value"

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Return the target that models learn."""
        return np.log1p(y) if self.is_log else y

    def decode(self, prediction: np.ndarray) -> np.ndarray:
        """Return predicted values on the scale of the target."""
        if not self.is_log:
            return prediction
        with np.errstate(over="ignore"):  # an infinite value is refused when files are checked
            return np.maximum(np.expm1(prediction), 0)  # the metric takes no negative value

    def labels(self, prediction: np.ndarray, class_weights: np.ndarray | None = None) -> np.ndarray:
        """Return the codes (N,) of the classes with the largest weighted probability."""
        return (prediction if class_weights is None else prediction * class_weights).argmax(1)

    def score(
        self, y: np.ndarray, prediction: np.ndarray, class_weights: np.ndarray | None = None
    ) -> float:
        """Return the score of what models predict, for y as in the tables; higher is better.

        Parameters
        ----------
        y : ndarray of shape (N,) or (N, targets)
        prediction : ndarray of shape (N, C), (N,) or (N, targets)
        class_weights : ndarray of shape (C,), optional
            Factors of the probabilities before labels are chosen.
        """
        if self.answer == "label":
            return float(self.function(y, self.labels(prediction, class_weights)))
        if self.is_regression:
            return self._mean_over_targets(y, self.decode(prediction))
        return float(self.function(y, prediction))

    def _mean_over_targets(self, y, values):
        if y.ndim == 1:
            return float(self.function(y, values))
        return float(np.mean([self.function(y[:, j], values[:, j]) for j in range(y.shape[1])]))


# --- classes

_NO_PREDICTION: dict[str, Any] = {"zero_division": 0.0}  # the score of a class that nobody predicts


def _log_loss(y, p):
    chosen = p[np.arange(len(y)), y] / p.sum(1)
    return float(np.log(np.clip(chosen, 1e-15, 1)).mean())


def _auc(y, p):
    if p.shape[1] == 2:
        return metrics.roc_auc_score(y, p[:, 1])
    p = p / p.sum(1, keepdims=True)
    # A class of few rows may have none in a fold, and then no area.
    return float(np.mean([metrics.roc_auc_score(y == c, p[:, c]) for c in np.unique(y)]))


def _gini(y, p):
    return 2 * _auc(y, p) - 1


def _map_at_k(y, p, k):
    """Mean average precision at k with one right label a row: 1 / its place, 0 from place k + 1."""
    order = np.argsort(-p, axis=1, kind="stable")[:, :k]
    places = np.arange(1, order.shape[1] + 1)
    return float(((order == y[:, None]) / places).sum(1).mean())


def _f_beta(y, labels, beta):
    average = "binary" if y.max() <= 1 else "macro"
    return metrics.fbeta_score(y, labels, beta=beta, average=average, **_NO_PREDICTION)


def _f1_macro(y, labels):
    return metrics.f1_score(y, labels, average="macro", **_NO_PREDICTION)


def _kappa(y, labels, weights=None):
    return metrics.cohen_kappa_score(y, labels, weights=weights)


# --- values


def _rmse(y, values):
    return -float(np.sqrt(np.mean((y - values) ** 2)))


def _rmsle(y, values):
    return _rmse(np.log1p(y), np.log1p(np.maximum(values, 0)))


def _mae(y, values):
    return -float(np.mean(np.abs(y - values)))


def _median_error(y, values):
    return -float(np.median(np.abs(y - values)))


def _mape(y, values):
    return -metrics.mean_absolute_percentage_error(y, values)


def _smape(y, values):
    """Percent, 0 where both are 0, as in competitions of forecasts."""
    size = (np.abs(y) + np.abs(values)) / 2
    return -100 * float(np.mean(np.abs(y - values) / np.where(size > 0, size, 1)))


def _pinball(y, values, quantile):
    return -metrics.mean_pinball_loss(y, values, alpha=quantile)


_PLAIN = {
    "logloss": ("probability", _log_loss, {}),
    "auc": ("probability", _auc, {}),
    "gini": ("probability", _gini, {}),
    "accuracy": ("label", metrics.accuracy_score, {}),
    "balanced_accuracy": ("label", metrics.balanced_accuracy_score, {}),
    "mcc": ("label", metrics.matthews_corrcoef, {}),
    "f1": ("label", _f1_macro, {}),
    "kappa": ("label", _kappa, {}),
    "lwk": ("label", partial(_kappa, weights="linear"), {"needs_order": True}),
    "qwk": ("label", partial(_kappa, weights="quadratic"), {"needs_order": True}),
    "rmse": ("value", _rmse, {}),
    "rmsle": ("value", _rmsle, {"is_log": True}),
    "mae": ("value", _mae, {}),
    "medae": ("value", _median_error, {}),
    "mape": ("value", _mape, {}),
    "smape": ("value", _smape, {}),
    "r2": ("value", metrics.r2_score, {}),
}
_WITH_NUMBER = {
    "map": ("ranking", lambda k: {"function": partial(_map_at_k, k=int(k)), "k": int(k)}),
    "fbeta": ("label", lambda beta: {"function": partial(_f_beta, beta=beta)}),
    "pinball": ("value", lambda q: {"function": partial(_pinball, quantile=q)}),
}
_OF_NUMBERS = re.compile(
    r"neg_(mean|root|median|max)_.*(error|deviance)|r2|explained_variance|d2_ab.*"
)
_OF_PROBABILITIES = re.compile(r"roc_auc.*|average_precision|.*log_loss.*|.*brier.*|top_k_accuracy")
METRIC_NAMES = (*_PLAIN, *(f"{name}@NUMBER" for name in _WITH_NUMBER))


def find_metric(name: str) -> Metric:
    """Return the metric of a name: one of competitions, or of a scorer of scikit-learn.

    Raises
    ------
    CompetitionError
        When there is none of that name.
    """
    if name in _PLAIN:
        answer, function, more = _PLAIN[name]
        return Metric(name, answer, function, **more)
    kind, _, number = name.partition("@")
    if kind in _WITH_NUMBER and re.fullmatch(r"\d*\.?\d+", number) and float(number) > 0:
        answer, make = _WITH_NUMBER[kind]
        is_allowed = {"pinball": float(number) < 1, "map": float(number) % 1 == 0}
        if is_allowed.get(kind, True):
            return Metric(name, answer, **make(float(number)))
    if name not in metrics.get_scorer_names():
        raise CompetitionError(
            f"--metric {name} is unknown; there are {', '.join(METRIC_NAMES)} and the scorers of "
            f"scikit-learn, such as neg_mean_poisson_deviance. --metric-file takes any other."
        )
    if _OF_NUMBERS.fullmatch(name):
        return Metric(name, "value", partial(_by_scorer, name=name))
    answer = "probability" if _OF_PROBABILITIES.fullmatch(name) else "label"
    return Metric(name, answer, partial(_by_scorer, name=name))


def _by_scorer(y, answer, name):
    """Return the score of a scorer of scikit-learn; classes are codes, so that 1 is positive."""
    if _OF_NUMBERS.fullmatch(name):
        return score_decoded(make_scorer(name, None, "metric"), {"predict": answer}, None, y, {})
    decoded: dict[str, Any] = {"predict": answer, "classes": np.unique(y)}
    if answer.ndim == 2:
        classes = np.arange(answer.shape[1])
        p = answer / answer.sum(1, keepdims=True)
        decoded = {"predict": answer.argmax(1), "predict_proba": p, "classes": classes}
    return score_decoded(make_scorer(name, decoded["classes"], "metric"), decoded, None, y, {})


def metric_of_file(path: Path, target_classes: np.ndarray | None = None) -> Metric:
    """Return the metric of a Python file.

    The file defines ``score(y_true, prediction)``. It may define ``ANSWER``, one of "probability",
    "label", "ranking" and "value" (default "value"), and ``GREATER_IS_BETTER`` (default True).
    The target is in the words of the training file; probabilities are (N, C), and (N,), those of
    the second class, for two classes.

    Parameters
    ----------
    path : Path
    target_classes : ndarray of shape (C,), optional
        The labels of the codes.

    Raises
    ------
    CompetitionError
        When the file cannot be used.
    """
    function = _ScoreOfFile(path, target_classes)
    return Metric(path.stem, function.answer, function)


class _ScoreOfFile:
    """The function of a Python file; a copy in another process runs the file again."""

    def __init__(self, path, target_classes):
        module = load_module(path, "--metric-file")
        if not callable(getattr(module, "score", None)):
            raise CompetitionError(f"--metric-file {path} defines no score(y_true, prediction).")
        self.answer = getattr(module, "ANSWER", "value")
        if self.answer not in ANSWERS:
            raise CompetitionError(
                f"--metric-file {path}: ANSWER must be one of {', '.join(ANSWERS)}, got "
                f"{self.answer!r}."
            )
        self.path = path
        self.target_classes = target_classes
        self.score = module.score
        self.sign = 1 if getattr(module, "GREATER_IS_BETTER", True) else -1

    def __reduce__(self):
        return _ScoreOfFile, (self.path, self.target_classes)

    def __call__(self, y, given):
        classes = self.target_classes
        if classes is not None:
            y = classes[y]
            given = classes[given] if self.answer == "label" else given
        if self.answer == "probability" and given.shape[1] == 2:
            given = given[:, 1]
        return self.sign * float(self.score(y, given))


def load_module(path: Path, option: str) -> Any:
    """Return the module of a Python file of the user.

    Raises
    ------
    CompetitionError
        When the file cannot be run.
    """
    spec = importlib.util.spec_from_file_location(f"user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CompetitionError(f"{option} {path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise CompetitionError(
            f"{option} {path} cannot be run: {type(error).__name__}: {error}"
        ) from error
    return module


# --- does the target fit


def check_target(y: np.ndarray, name: str, metric: Metric) -> None:
    """Check that a target can be learned and scored.

    Parameters
    ----------
    y : ndarray of shape (N,)
        Without missing values, as in the file.
    name : str
        The column.
    metric : Metric

    Raises
    ------
    CompetitionError
        When the metric does not fit the target.
    """
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise CompetitionError(f"The target {name!r} holds an infinite number: give a finite one.")
    if metric.is_regression:
        _check_values(y, name, metric)
    else:
        _check_classes(y, name, metric)


def _check_values(y, name, metric):
    if y.dtype.kind not in "iuf":
        raise CompetitionError(
            f"--metric {metric.name} needs numbers; the target {name!r} holds values such as "
            f"{y.tolist()[0]!r}."
        )
    if metric.is_log and (lowest := y.min()) < 0:
        raise CompetitionError(
            f"--metric {metric.name} needs a target of 0 or more; the lowest value of {name!r} is "
            f"{lowest}. Give another metric, such as rmse."
        )


def _check_classes(y, name, metric):
    if y.dtype.kind == "f":
        raise CompetitionError(
            f"--metric {metric.name} needs classes; the target {name!r} holds decimal numbers. "
            f"Give a metric of numbers, such as rmse."
        )
    if metric.needs_order and y.dtype.kind not in "iu":
        raise CompetitionError(
            f"--metric {metric.name} needs whole numbers, whose order it knows; the target "
            f"{name!r} holds values such as {y.tolist()[0]!r}."
        )
    classes = np.unique(y)
    if len(classes) < 2:
        raise CompetitionError(
            f"--metric {metric.name} needs two classes or more; every row of {name!r} is "
            f"{classes.tolist()[0]!r}."
        )


def check_score(metric: Metric, y: np.ndarray, n_classes: int | None) -> None:
    """Score plausible predictions once, before anything is trained.

    Raises
    ------
    CompetitionError
        When the metric fails.
    """
    if n_classes is None:
        plausible = metric.encode((y + y.mean(0)) / 2)
    else:
        plausible = np.full((len(y), n_classes), 0.3 / n_classes)
        plausible[np.arange(len(y)), y] += 0.7
    try:
        score = metric.score(y, plausible)
    except Exception as error:
        raise CompetitionError(
            f"--metric {metric.name} cannot score this target: {type(error).__name__}: "
            f"{str(error)[:300]}"
        ) from error
    if not np.isfinite(score):
        raise CompetitionError(
            f"--metric {metric.name} gives the score {score} where predictions are nearly right; "
            f"use another metric."
        )
