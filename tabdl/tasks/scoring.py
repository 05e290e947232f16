"""Scores of validation predictions by any scikit-learn scorer, without encoding the validation rows
anew each epoch."""

import inspect

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class _Decoded(BaseEstimator):
    """A fitted estimator that has its predictions already; scorers ask it for ``predict`` or
    ``predict_proba``."""

    def __init__(self, decoded=None):
        self.decoded = decoded

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X):
        return self.decoded["predict"]


class DecodedClassifier(ClassifierMixin, _Decoded):
    @property
    def classes_(self):
        return self.decoded["classes"]

    def predict_proba(self, X):
        return self.decoded["predict_proba"]


class DecodedRegressor(RegressorMixin, _Decoded):
    pass


def make_score(scoring, decode, X, y, weight, estimator_name):
    """Return ``score(outputs, val_loss) -> float`` (higher is better) for one set of validation
    rows.

    Parameters
    ----------
    scoring : None, str or callable
        None: minus the validation loss. Else a scorer's name, or a callable ``(estimator, X, y) ->
        float``.
    decode : callable
        From network outputs to a dict with ``predict`` and, for classifiers, ``predict_proba`` and
        ``classes``.
    X, y : the validation rows as the user gave them
    weight : ndarray of shape (N,) or None
        Given to the scorer as ``sample_weight`` if it takes one.
    estimator_name : str
        The estimator's name, for messages.
    """
    if scoring is None:
        return lambda outputs, val_loss: -val_loss
    scorer = _scorer(scoring, estimator_name)
    weights = {} if weight is None or not takes_weight(scorer) else {"sample_weight": weight}

    def score(outputs, val_loss):
        decoded = decode(outputs.cpu())
        estimator = (DecodedClassifier if "classes" in decoded else DecodedRegressor)(decoded)
        value = scorer(estimator, X, y, **weights)
        try:
            return float(value)
        except TypeError:
            raise TypeError(
                f"{estimator_name}: scoring must return a number, got {value!r}."
            ) from None

    return score


def _scorer(scoring, estimator_name):
    if callable(scoring):
        return scoring
    from sklearn.metrics import get_scorer, get_scorer_names

    if scoring not in get_scorer_names():
        raise ValueError(
            f"{estimator_name}: scoring must be None, a callable (estimator, X, y) or a name from "
            f"sklearn.metrics.get_scorer_names(), got {scoring!r}."
        )
    return get_scorer(scoring)


def takes_weight(scorer):
    # A scorer made by make_scorer takes sample_weight itself, but not every metric below it does.
    function = getattr(scorer, "_score_func", scorer)
    return "sample_weight" in inspect.signature(function).parameters
