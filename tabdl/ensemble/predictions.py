"""Predictions of any fitted estimator as arrays, in the order of one list of classes.

A prediction is (N, C) with the probabilities of C classes, or (N,) or (N, C) with the values of a
regression.
"""

from typing import Any

import numpy as np

from tabdl.data.dataset import Dataset
from tabdl.tasks.scoring import Scorer, check_scoring, make_scorer, score_decoded, weight_for
from tabdl.tasks.targets import BinaryTarget


def predict_array(
    estimator: Any, X: Any, labels: np.ndarray | None, classes: np.ndarray | None
) -> np.ndarray:
    """Return what a fitted estimator predicts.

    Parameters
    ----------
    estimator : fitted classifier with ``predict_proba``, or regressor
    X : array-like of shape (N, F)
    labels : ndarray or None
        The classes that the columns of its probabilities stand for; None for a regressor.
    classes : ndarray of shape (C,) or None
        The classes of the result, sorted; a class that ``labels`` lacks has probability 0.

    Returns
    -------
    float64 ndarray of shape (N, C), or of the shape of ``predict`` for a regressor

    Raises
    ------
    ValueError
        When the estimator has a class that ``classes`` lacks, or another number of columns than
        classes.
    """
    name = type(estimator).__name__
    if classes is None or labels is None:
        values = np.asarray(estimator.predict(X), dtype=np.float64)
        return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    probabilities = np.asarray(estimator.predict_proba(X), dtype=np.float64)
    if strange := [label for label in labels.tolist() if label not in classes.tolist()]:
        raise ValueError(
            f"{name} predicts the class {strange[0]!r}, which y has not; the classes of y: "
            f"{classes.tolist()[:10]}."
        )
    if probabilities.ndim != 2 or probabilities.shape[1] != len(labels):
        raise ValueError(
            f"{name} must predict a probability for each of its {len(labels)} classes, got "
            f"{probabilities.shape}."
        )
    aligned = np.zeros((len(probabilities), len(classes)))
    aligned[:, np.searchsorted(classes, labels)] = probabilities
    # Probabilities of float32 do not add up to 1 in float64.
    return aligned / aligned.sum(1, keepdims=True)


def score_prediction(
    scorer: Scorer,
    prediction: np.ndarray,
    y: np.ndarray,
    classes: np.ndarray | None,
    X: Any = None,
    params: dict[str, Any] | None = None,
) -> float:
    """Return the score of a prediction, a float; higher is better.

    Parameters
    ----------
    scorer : callable
        ``(estimator, X, y, **params) -> float``; the estimator that it gets predicts
        ``prediction``, whatever X is.
    prediction : ndarray of shape (N,) or (N, C)
    y : ndarray of shape (N,) or (N, C)
    classes : ndarray of shape (C,) or None
    X : array-like of shape (N, F), optional
    params : dict, optional
        Such as ``sample_weight``.
    """
    if classes is None:
        decoded = {"predict": prediction}
    else:
        labels = classes[prediction.argmax(1)]
        decoded = {"predict": labels, "predict_proba": prediction, "classes": classes}
    return score_decoded(scorer, decoded, X, y, params or {})


def check_ensemble_scoring(
    scoring: str | Scorer | None,
    dataset: Dataset,
    classes: np.ndarray | None,
    estimator_name: str,
) -> Scorer:
    """Return the scorer of an ensemble, after it has scored plausible predictions of y once.

    Raises
    ------
    ValueError, TypeError
        When the scorer cannot score y; see :func:`tabdl.tasks.scoring.check_scoring`.
    """
    scorer = make_scorer(scoring, classes, estimator_name)
    if classes is None:
        decoded = {"predict": (dataset.y + dataset.y.mean(0)) / 2}
    else:
        decoded = BinaryTarget(classes, None, estimator_name).plausible(dataset.y)
    params = weight_for(scorer, dataset.sample_weight)
    check_scoring(scorer, scoring, decoded, dataset.X, dataset.y, params, estimator_name)
    return scorer
