"""Greedy selection of members on their predictions.

Caruana, Niculescu-Mizil, Crew, Ksikes: "Ensemble Selection from Libraries of Models" (ICML 2004):
members are added one by one, with replacement, each time the one with which the mean predicts best.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabdl.ensemble.predictions import score_prediction
from tabdl.tasks.scoring import Scorer, make_scorer

# Scores that differ by less, relative to their size, are ties: sums of the same numbers in another
# order.
_TIE = 1e-12


def greedy_weights(
    predictions: Sequence[Any], y: Any, score: str | Callable[[Any, Any], float], n_rounds: int = 25
) -> np.ndarray:
    """Return the weights of a greedy ensemble of given predictions.

    Parameters
    ----------
    predictions : sequence of M array-likes of one shape, (N,) or (N, C)
        Out-of-fold predictions: values, or probabilities.
    y : array-like of shape (N,) or (N, C)
        Labels, or values.
    score : callable or str
        ``(y, prediction) -> float``, higher is better; or the name of a scikit-learn scorer, for
        which predictions of classes are (N, C) with a column for each class of y in order.
    n_rounds : int
        Members to add, with replacement; the best prefix is kept.

    Returns
    -------
    float64 ndarray of shape (M,)
        Their sum is 1.

    Raises
    ------
    ValueError
        For predictions of other lengths than y, NaN in all predictions, or a score that no
        prediction has.

    References
    ----------
    Caruana et al.: "Ensemble Selection from Libraries of Models", ICML 2004, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from tabdl import greedy_weights
    >>> y = np.array([0.0, 1.0, 2.0, 3.0])
    >>> low, high, bad = y - 0.2, y + 0.1, 3 - y
    >>> greedy_weights([low, high, bad], y, "neg_root_mean_squared_error").round(2)
    array([0.33, 0.67, 0.  ])
    """
    y = np.asarray(y)
    named = {
        f"predictions[{i}]": np.asarray(prediction, dtype=np.float64)
        for i, prediction in enumerate(predictions)
    }
    for name, prediction in named.items():
        if len(prediction) != len(y) or prediction.shape != named["predictions[0]"].shape:
            raise ValueError(
                "greedy_weights: all predictions must have one shape, with a row for each of the "
                f"{len(y)} values of y; {name} has shape {prediction.shape}."
            )
    if isinstance(score, str):
        classes = np.unique(y) if y.ndim == 1 and named["predictions[0]"].ndim == 2 else None
        scorer: Scorer = make_scorer(score, classes, "greedy_weights")
        return select(
            named, lambda p: score_prediction(scorer, p, y, classes), n_rounds, "greedy_weights"
        ).weights
    return select(named, lambda p: score(y, p), n_rounds, "greedy_weights").weights


@dataclass(frozen=True)
class Selection:
    """What a greedy selection found.

    Attributes
    ----------
    weights : ndarray of shape (M,)
        The share of each member.
    path : list of float
        The score after each round.
    scores : dict from name to float
        The score of each member alone; NaN for a member whose score fails.
    """

    weights: np.ndarray
    path: list[float]
    scores: dict[str, float]


def select(
    predictions: dict[str, np.ndarray],
    score: Callable[[np.ndarray], float],
    n_rounds: int,
    estimator_name: str,
) -> Selection:
    """Choose members one by one, with replacement, and return the :class:`Selection`.

    A member whose score fails, or is NaN or infinite, is left out with a warning.

    Parameters
    ----------
    predictions : dict from name to ndarray
    score : callable
        ``prediction -> float``, higher is better.
    n_rounds : int
    estimator_name : str
        For messages.
    """
    names = list(predictions)
    alone = {name: _try_score(score, predictions[name], name, estimator_name) for name in names}
    usable = [i for i, name in enumerate(names) if np.isfinite(alone[name])]
    if not usable:
        raise ValueError(
            f"{estimator_name}: none of the members has a score: {', '.join(names)}; see the "
            "warnings."
        )
    counts = np.zeros(len(names), dtype=int)
    total = np.zeros_like(predictions[names[0]])
    path: list[float] = []
    best_score = -np.inf
    best_weights = counts / 1
    for n_chosen in range(1, n_rounds + 1):
        scores = {
            i: alone[names[i]]
            if n_chosen == 1
            else score((total + predictions[names[i]]) / n_chosen)
            for i in usable
        }
        chosen = _best(scores, counts)
        counts[chosen] += 1
        total = total + predictions[names[chosen]]
        path.append(float(scores[chosen]))
        if n_chosen == 1 or path[-1] > best_score + _TIE * abs(best_score):
            best_score = path[-1]
            best_weights = counts / n_chosen
    return Selection(best_weights, path, alone)


def _best(scores: dict[int, float], counts: np.ndarray) -> int:
    """Return the member of the highest score; of ties the one that was chosen most often."""
    highest = max(scores.values())
    ties = [i for i, score in scores.items() if score >= highest - _TIE * abs(highest)]
    return max(ties, key=lambda i: counts[i])


def _try_score(
    score: Callable[[np.ndarray], float], prediction: np.ndarray, name: str, estimator_name: str
) -> float:
    """Return the score of a member alone; NaN, with a warning, where there is none."""
    try:
        value = float(score(prediction))
    except Exception as error:
        warnings.warn(
            f"{estimator_name}: {name} is left out, its score fails: {type(error).__name__}: "
            f"{error}",
            stacklevel=5,
        )
        return np.nan
    if not np.isfinite(value):
        said = "NaN" if np.isnan(value) else str(value)
        warnings.warn(f"{estimator_name}: {name} is left out, its score is {said}.", stacklevel=5)
    return value
