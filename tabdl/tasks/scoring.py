"""Scores of predictions by any scikit-learn scorer, without a call of the estimator."""

import inspect
import math
import textwrap
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from torch import Tensor

from tabdl.tasks.targets import Decoded, Target

Scorer = Callable[..., Any]

# The ways out for metrics of two classes, by the name of the metric.
_FOR_MORE_CLASSES = {
    "roc_auc_score": "'roc_auc_ovr'",
    "average_precision_score": "'roc_auc_ovr'",
    "f1_score": "'f1_macro'",
    "precision_score": "'precision_macro'",
    "recall_score": "'recall_macro'",
    "jaccard_score": "'jaccard_macro'",
    "brier_score_loss": "'neg_log_loss'",
}


class _Decoded(BaseEstimator):
    """A fitted estimator whose predictions are given, whatever X is."""

    def __init__(self, decoded: Any = None) -> None:
        self.decoded = decoded

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return type(self).__name__

    def predict(self, X: Any) -> np.ndarray:
        """Return the given labels or values."""
        return self.decoded["predict"]


class DecodedClassifier(ClassifierMixin, _Decoded):
    """A fitted classifier whose predictions are given."""

    @property
    def classes_(self) -> np.ndarray:
        """The class labels."""
        return self.decoded["classes"]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the given probabilities."""
        return self.decoded["predict_proba"]


class DecodedRegressor(RegressorMixin, _Decoded):
    """A fitted regressor whose predictions are given."""


class ValidationScore:
    """The score of one set of validation rows; higher is better.

    An epoch for which the scorer fails has the worst score, minus infinity.

    Parameters
    ----------
    scoring : None, str or callable
        None: minus the validation loss. Else the name of a scorer, or a callable
        ``(estimator, X, y) -> float``.
    target : Target
        Decodes the outputs of the network.
    X : data frame or array of N rows, or None
        The validation rows as the user gave them, for callables.
    y : ndarray of shape (N,) or (N, C)
    weight : ndarray of shape (N,) or None
        Given to the scorer as ``sample_weight`` if the scorer takes weights.
    estimator_name : str
        The name of the estimator, for messages.

    Attributes
    ----------
    problem : str
        Why the latest score that failed has failed; empty if none has.

    Raises
    ------
    ValueError, TypeError
        When the scorer cannot score plausible predictions of the rows.
    """

    def __init__(
        self,
        scoring: str | Scorer | None,
        target: Target,
        X: Any,
        y: np.ndarray,
        weight: np.ndarray | None,
        estimator_name: str,
    ) -> None:
        self.scoring = scoring
        self.target = target
        self.X = X
        self.y = y
        self.problem = ""
        if scoring is None:
            return
        classes = getattr(target, "classes", None) if y.ndim == 1 else None
        self.scorer = make_scorer(scoring, classes, estimator_name)
        self.params = weight_for(self.scorer, weight)
        plausible = target.plausible(y)
        check_scoring(self.scorer, scoring, plausible, X, y, self.params, estimator_name)

    def __call__(self, outputs: Tensor, val_loss: float) -> float:
        """Return the score of an epoch.

        Parameters
        ----------
        outputs : Tensor of shape (N, K, C)
            Outputs of the network for the validation rows.
        val_loss : float
            The validation loss.
        """
        if self.scoring is None:
            return -val_loss
        decoded = self.target.decode(outputs.cpu())
        try:
            score = score_decoded(self.scorer, decoded, self.X, self.y, self.params)
        except (ValueError, ArithmeticError) as error:
            self.problem = f"{type(error).__name__}: {error}"
            return -math.inf
        if math.isnan(score):
            self.problem = "the score is NaN"
            return -math.inf
        return score


def make_scorer(
    scoring: str | Scorer | None, classes: np.ndarray | None, estimator_name: str
) -> Scorer:
    """Return the scikit-learn scorer that ``scoring`` asks for.

    Parameters
    ----------
    scoring : None, str or callable
        None: minus the log loss, or minus the root mean squared error. The name of a scorer, an
        object of ``make_scorer``, or a callable ``(estimator, X, y) -> float``.
    classes : ndarray of shape (C,) or None
        The classes of y; None for values and for several labels a row.
    estimator_name : str
        The name of the estimator, for messages.

    Raises
    ------
    ValueError
        For an unknown name, or a function of fewer than three arguments.
    """
    from sklearn import metrics

    if scoring is None:
        scoring = "neg_root_mean_squared_error" if classes is None else "neg_log_loss"
    if scoring == "neg_log_loss" and classes is not None:
        # The rows to score may lack a class; the scorer of that name then fails.
        scorer = metrics.make_scorer(
            metrics.log_loss,
            greater_is_better=False,
            response_method="predict_proba",
            labels=classes,
        )
        return scorer.set_score_request(sample_weight=True) if _is_routing() else scorer
    if isinstance(scoring, str):
        if scoring not in metrics.get_scorer_names():
            raise ValueError(
                f"{estimator_name}: scoring must be None, a callable (estimator, X, y), an object "
                "of make_scorer or a name from sklearn.metrics.get_scorer_names(), got "
                f"{scoring!r}."
            )
        return metrics.get_scorer(scoring)
    if n_positional(scoring) < 3:
        raise ValueError(
            f"{estimator_name}: scoring must be a callable (estimator, X, y), got one of fewer "
            f"arguments: {scoring!r}. A function (y_true, prediction) becomes one by "
            "sklearn.metrics.make_scorer."
        )
    return scoring


def score_decoded(
    scorer: Scorer, decoded: Decoded, X: Any, y: np.ndarray, params: dict[str, Any]
) -> float:
    """Return the score of decoded predictions.

    Raises
    ------
    TypeError
        When the scorer returns no number.
    """
    estimator = (DecodedClassifier if "classes" in decoded else DecodedRegressor)(decoded)
    value = scorer(estimator, X, y, **params)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"scoring must return a number, got {value!r}.") from None


def check_scoring(
    scorer: Scorer,
    scoring: str | Scorer | None,
    decoded: Decoded,
    X: Any,
    y: np.ndarray,
    params: dict[str, Any],
    estimator_name: str,
) -> None:
    """Score plausible predictions once, before anything is trained.

    Parameters
    ----------
    scorer : callable
    scoring : None, str or callable
        The parameter that ``scorer`` was made from.
    decoded : dict
        Predictions such as a good estimator makes.
    X, y : the rows to score
    params : dict
        Such as ``sample_weight``.
    estimator_name : str

    Raises
    ------
    ValueError
        When the scorer fails, or the score is NaN or infinite; the message says what to do.
    TypeError
        When the scorer returns no number.
    """
    place = f"{estimator_name}: scoring={scoring!r}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            score = score_decoded(scorer, decoded, X, y, params)
    except Exception as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"{place} cannot score the {len(y)} rows to score by. {_way_out(scorer, decoded, y)} "
            f"It says: {type(error).__name__}: {textwrap.shorten(str(error), 300)}"
        ) from error
    if not math.isfinite(score):
        raise ValueError(
            f"{place} gives the {len(y)} rows to score by the score {score} even where predictions "
            f"are nearly right. {_way_out(scorer, decoded, y)}"
        )


def _way_out(scorer: Scorer, decoded: Decoded, y: np.ndarray) -> str:
    """Return what to do where a scorer cannot score ``y``."""
    metric = getattr(scorer, "_score_func", None)
    if metric is None:
        return (
            "It must be a scorer (estimator, X, y) -> float; a function (y_true, prediction) "
            "becomes one by sklearn.metrics.make_scorer."
        )
    name = getattr(metric, "__name__", "metric")
    undefined = f"The metric {name} is not defined for such a y; use another scoring, or None."
    if "classes" not in decoded:
        return undefined
    labels = decoded["classes"].tolist()
    if y.ndim == 1 and len(present := np.unique(y)) < len(labels):
        return (
            f"They have rows of {len(present)} of the {len(labels)} classes; use validation rows "
            "of all classes (X_val and y_val, or a larger validation_fraction), or scoring=None."
        )
    if len(labels) > 2 and name in _FOR_MORE_CLASSES:
        return f"y has {len(labels)} classes; use scoring={_FOR_MORE_CLASSES[name]}."
    if len(labels) == 2 and "pos_label" in inspect.signature(metric).parameters:
        return (
            f"The classes are {labels}; say which one is positive: "
            f"make_scorer({name}, pos_label={labels[1]!r})."
        )
    return undefined


def n_positional(function: Callable) -> float:
    """Return how many arguments a callable takes by position.

    Infinity where the number has no end or cannot be known.
    """
    try:
        kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return math.inf
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return math.inf
    return sum(
        kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for kind in kinds
    )


def weight_for(scorer: Scorer, weight: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return ``{"sample_weight": weight}`` where a scorer takes weights, else an empty dict."""
    if weight is None:
        return {}
    # A scorer of make_scorer takes sample_weight itself, but not every metric below it does.
    function = getattr(scorer, "_score_func", scorer)
    takes_weight = "sample_weight" in inspect.signature(function).parameters
    return {"sample_weight": weight} if takes_weight else {}


def _is_routing() -> bool:
    from sklearn import get_config

    return get_config()["enable_metadata_routing"]
