"""Scores of validation predictions by any scikit-learn scorer, without encoding the validation rows anew each epoch."""

import inspect

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class _Answers(BaseEstimator):
    """A fitted estimator that has its answers already; scorers ask it for ``predict`` or ``predict_proba``."""

    def __init__(self, answers=None):
        self.answers = answers

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X):
        return self.answers["predict"]


class _ClassifierAnswers(ClassifierMixin, _Answers):
    @property
    def classes_(self):
        return self.answers["classes"]

    def predict_proba(self, X):
        return self.answers["predict_proba"]


class _RegressorAnswers(RegressorMixin, _Answers):
    pass


def make_score(eval_metric, answers_of, X, y, weight, owner):
    """Return ``score(outputs, val_loss) -> float`` (higher is better) for one set of validation rows.

    Parameters
    ----------
    eval_metric : None, str or callable
        None: minus the validation loss. Else a scorer's name, or a callable ``(estimator, X, y) -> float``.
    answers_of : callable
        From network outputs to a dict with ``predict`` and, for classifiers, ``predict_proba`` and ``classes``.
    X, y : the validation rows as the user gave them
    weight : ndarray of shape (N,) or None
        Given to the scorer as ``sample_weight`` if it takes one.
    owner : str
        The estimator's name, for messages.
    """
    if eval_metric is None:
        return lambda outputs, val_loss: -val_loss
    scorer = _scorer(eval_metric, owner)
    weights = {} if weight is None or not _takes_weight(scorer) else {"sample_weight": weight}

    def score(outputs, val_loss):
        answers = answers_of(outputs.cpu())
        estimator = (_ClassifierAnswers if "classes" in answers else _RegressorAnswers)(answers)
        value = scorer(estimator, X, y, **weights)
        try:
            return float(value)
        except TypeError:
            raise TypeError(f"{owner}: eval_metric must return a number, got {value!r}.") from None

    return score


def _scorer(eval_metric, owner):
    if callable(eval_metric):
        return eval_metric
    from sklearn.metrics import get_scorer, get_scorer_names

    if eval_metric not in get_scorer_names():
        raise ValueError(
            f"{owner}: eval_metric must be None, a callable (estimator, X, y) or a name from "
            f"sklearn.metrics.get_scorer_names(), got {eval_metric!r}."
        )
    return get_scorer(eval_metric)


def _takes_weight(scorer):
    # A scorer made by make_scorer takes sample_weight itself, but not every metric below it does.
    function = getattr(scorer, "_score_func", scorer)
    return "sample_weight" in inspect.signature(function).parameters
