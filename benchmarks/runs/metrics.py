"""What predictions are worth: one array a part, values (N,) or probabilities (N, C)."""

import numpy as np


def predictions(fit, X):
    """Return values, (N,), or probabilities, (N, C)."""
    return np.asarray(fit.predict_proba(X) if fit.classes is not None else fit.predict(X)).astype(
        np.float64
    )


def metrics(y, predicted, classes=None):
    """Return the paper's ``score`` (accuracy, or minus RMSE; higher is better) and others, by name.

    Parameters
    ----------
    y : array-like of shape (N,)
    predicted : ndarray of shape (N,) or (N, C)
    classes : ndarray of shape (C,), optional
        For probabilities.
    """
    y = np.asarray(y)
    if classes is None:
        return _of_values(y.astype(np.float64), predicted)
    return _of_probabilities(y, predicted, np.asarray(classes))


def _of_values(y, predicted):
    error = y - predicted
    rmse, spread = float(np.sqrt(np.mean(error**2))), float(np.mean((y - y.mean()) ** 2))
    return {
        "score": -rmse,
        "rmse": rmse,
        "mae": float(np.mean(np.abs(error))),
        "r2": 1 - rmse**2 / spread if spread else None,
    }


def _of_probabilities(y, probabilities, classes):
    from sklearn.metrics import roc_auc_score

    accuracy = float(np.mean(classes[probabilities.argmax(1)] == y))
    codes = np.searchsorted(classes, y).clip(0, len(classes) - 1)
    # A class that no training row has was given no probability.
    own = np.where(classes[codes] == y, probabilities[np.arange(len(y)), codes], 0)
    result = {
        "score": accuracy,
        "accuracy": accuracy,
        "log_loss": float(-np.log(own.clip(1e-15, 1)).mean()),
    }
    if len(classes) == 2 and len(np.unique(y)) == 2:
        result["roc_auc"] = float(roc_auc_score(y == classes[1], probabilities[:, 1]))
    return result
