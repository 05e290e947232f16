"""Predictions as arrays: of any fitted estimator, in the order of one list of classes, and their
scores by any scorer.

A prediction is (N, C) with the probabilities of C classes, or (N,) or (N, C) with the values of a
regression.
"""

import inspect
import math

import numpy as np

from tabdl.tasks.scoring import DecodedClassifier, DecodedRegressor, takes_weight


def predict_array(estimator, X, labels, classes):
    """Return what a fitted estimator predicts.

    Parameters
    ----------
    estimator : fitted classifier with ``predict_proba``, or regressor
    X : array-like of shape (N, F)
    labels : ndarray or None
        The classes that its columns stand for; None for a regressor.
    classes : ndarray of shape (C,) or None
        The classes of the result, sorted; a class that ``labels`` lacks has probability 0.

    Returns
    -------
    float64 ndarray of shape (N, C), or of the shape of a regressor's prediction

    Raises
    ------
    ValueError
        When the estimator has a class that ``classes`` lacks, or another number of columns than
        classes.
    """
    name = type(estimator).__name__
    if classes is None:
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
    return aligned / aligned.sum(
        1, keepdims=True
    )  # float32's sums are not 1 to float64's precision


def make_prediction_scorer(scoring, classes, estimator_name):
    """Return the scikit-learn scorer that ``scoring`` asks for.

    Parameters
    ----------
    scoring : None, str or callable
        None: minus the log loss, or minus the root mean squared error. A scorer's name, an object
        of ``make_scorer``, or a callable ``(estimator, X, y) -> float``.
    classes : ndarray of shape (C,) or None
    estimator_name : str
        The estimator's name, for messages.
    """
    from sklearn.metrics import get_scorer, get_scorer_names, log_loss, make_scorer

    if scoring is None:
        scoring = "neg_root_mean_squared_error" if classes is None else "neg_log_loss"
    if scoring == "neg_log_loss" and classes is not None:
        # A fold's rows may lack a class; the scorer of that name refuses them.
        scorer = make_scorer(
            log_loss, greater_is_better=False, response_method="predict_proba", labels=classes
        )
        return scorer.set_score_request(sample_weight=True) if _routing() else scorer
    if isinstance(scoring, str):
        if scoring not in get_scorer_names():
            raise ValueError(
                f"{estimator_name}: scoring must be None, a callable (estimator, X, y), an object "
                "of make_scorer or a name from sklearn.metrics.get_scorer_names(), got "
                f"{scoring!r}."
            )
        return get_scorer(scoring)
    if n_positional(scoring) < 3:
        raise ValueError(
            f"{estimator_name}: scoring must be a callable (estimator, X, y), got one of fewer "
            f"arguments: {scoring!r}. A function (y_true, prediction) becomes one by "
            "sklearn.metrics.make_scorer."
        )
    return scoring


def n_positional(function):
    """Return how many arguments a callable takes by position; infinity where that has no end or
    cannot be known."""
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


def _routing():
    from sklearn import get_config

    return get_config()["enable_metadata_routing"]


def score_prediction(scorer, prediction, y, classes, X=None, params=None):
    """Return the score of a prediction, a float; higher is better.

    Parameters
    ----------
    scorer : callable
        ``(estimator, X, y, **params) -> float``; the estimator that it gets answers with
        ``prediction``, whatever X is.
    prediction : ndarray of shape (N,) or (N, C)
    y : ndarray of shape (N,) or (N, C)
    classes : ndarray of shape (C,) or None
    X : array-like of shape (N, F), optional
    params : dict, optional
        Such as ``sample_weight``.
    """
    if classes is None:
        estimator = DecodedRegressor({"predict": prediction})
    else:
        labels = classes[prediction.argmax(1)]
        estimator = DecodedClassifier(
            {"predict": labels, "predict_proba": prediction, "classes": classes}
        )
    return float(scorer(estimator, X, y, **(params or {})))


def weight_for(scorer, weight):
    """Return ``{"sample_weight": weight}`` if there is a weight and the scorer takes one, else an
    empty dict."""
    return {"sample_weight": weight} if weight is not None and takes_weight(scorer) else {}
