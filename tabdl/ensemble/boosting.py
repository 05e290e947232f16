"""How estimators stop early, each in its own words: the rows to stop by, what is kept, and how to
train as long without them."""

import copy
import inspect
import sys

from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

_LIGHTGBM_ROUNDS = (
    "early_stopping_round",
    "early_stopping_rounds",
    "early_stopping",
    "n_iter_no_change",
)
_CATBOOST_TREES = ("iterations", "n_estimators", "num_boost_round", "num_trees")


class ValidationRows:
    """Estimators whose ``fit`` takes ``X_val`` and ``y_val``: tabdl's, and scikit-learn's histogram
    boosting.

    They hold rows out themselves when they get none.
    """

    holds_out_itself = True

    @staticmethod
    def enabled(estimator):
        """Return whether the estimator's own parameters ask for early stopping."""
        return estimator.get_params()["early_stopping"] is True

    @staticmethod
    def arguments(estimator, X, y, weight):
        """Return the keyword arguments of ``fit`` that name the rows to stop by."""
        return {"X_val": X, "y_val": y} | ({} if weight is None else {"sample_weight_val": weight})

    @staticmethod
    def best_iteration(estimator):
        """Return how many epochs or trees a fitted estimator keeps."""
        return estimator.best_epoch_ if hasattr(estimator, "best_epoch_") else estimator.n_iter_

    @staticmethod
    def fixed_length_params(estimator, best_iteration):
        """Return the parameters that train ``n_kept`` epochs or trees without early stopping."""
        name = "max_epochs" if "max_epochs" in estimator.get_params() else "max_iter"
        return {"early_stopping": False, name: best_iteration}


class XGBoost:
    """XGBoost's estimators; they stop early by ``early_stopping_rounds`` or an ``EarlyStopping``
    callback."""

    holds_out_itself = False

    @staticmethod
    def enabled(estimator):
        """Return whether the estimator's own parameters ask for early stopping."""
        return estimator.early_stopping_rounds is not None or any(
            map(_stops, estimator.callbacks or ())
        )

    @staticmethod
    def arguments(estimator, X, y, weight):
        """Return the keyword arguments of ``fit`` that name the rows to stop by."""
        weights = {} if weight is None else {"sample_weight_eval_set": [weight]}
        return {"eval_set": [(X, y)], "verbose": False} | weights

    @staticmethod
    def best_iteration(estimator):
        """Return how many trees a fitted estimator keeps."""
        return estimator.best_iteration + 1

    @staticmethod
    def fixed_length_params(estimator, best_iteration):
        """Return the parameters that train ``n_kept`` trees without early stopping."""
        callbacks = [callback for callback in estimator.callbacks or () if not _stops(callback)]
        return {
            "early_stopping_rounds": None,
            "callbacks": callbacks or None,
            "n_estimators": best_iteration,
        }


class LightGBM:
    """LightGBM's estimators; they stop early by ``early_stopping_round`` or one of its aliases."""

    holds_out_itself = False

    @staticmethod
    def enabled(estimator):
        """Return whether the estimator's own parameters ask for early stopping."""
        return any((estimator.get_params().get(name) or 0) > 0 for name in _LIGHTGBM_ROUNDS)

    @staticmethod
    def arguments(estimator, X, y, weight):
        """Return the keyword arguments of ``fit`` that name the rows to stop by."""
        # The names since 4.7; the older one warns there.
        new = "eval_X" in inspect.signature(estimator.fit).parameters
        rows = {"eval_X": X, "eval_y": y} if new else {"eval_set": [(X, y)]}
        return rows | ({} if weight is None else {"eval_sample_weight": [weight]})

    @staticmethod
    def best_iteration(estimator):
        """Return how many trees a fitted estimator keeps."""
        return estimator.best_iteration_

    @staticmethod
    def fixed_length_params(estimator, best_iteration):
        """Return the parameters that train ``n_kept`` trees without early stopping."""
        given = estimator.get_params()
        return {name: None for name in _LIGHTGBM_ROUNDS if name in given} | {
            "n_estimators": best_iteration
        }


class CatBoost:
    """CatBoost's estimators; they stop early by ``early_stopping_rounds``, ``od_wait``, ``od_pval``
    or ``od_type``."""

    holds_out_itself = False

    @staticmethod
    def enabled(estimator):
        """Return whether the estimator's own parameters ask for early stopping."""
        given = estimator.get_params()
        return any(
            given.get(name) is not None
            for name in ("early_stopping_rounds", "od_wait", "od_pval", "od_type")
        )

    @staticmethod
    def arguments(estimator, X, y, weight):
        """Return the keyword arguments of ``fit`` that name the rows to stop by."""
        if weight is None:
            return {"eval_set": (X, y)}
        given = estimator.get_params()
        kinds = {
            name: given.get(name)
            for name in ("cat_features", "text_features", "embedding_features")
        }
        return {"eval_set": sys.modules["catboost"].Pool(X, y, weight=weight, **kinds)}

    @staticmethod
    def best_iteration(estimator):
        """Return how many trees a fitted estimator keeps."""
        return estimator.tree_count_

    @staticmethod
    def fixed_length_params(estimator, best_iteration):
        """Return the parameters that train ``n_kept`` trees; without rows to stop by CatBoost
        trains all of them."""
        given = estimator.get_params()
        return {
            next((name for name in _CATBOOST_TREES if name in given), "iterations"): best_iteration
        }


def _stops(callback):
    return type(callback).__name__ == "EarlyStopping"


def library(estimator):
    """Return the top package that an estimator's class, or a class it inherits from, belongs to, of
    those known here."""
    packages = {cls.__module__.split(".")[0] for cls in type(estimator).__mro__}
    return next((name for name in ("xgboost", "lightgbm", "catboost") if name in packages), None)


def adapter_for(estimator):
    """Return how ``estimator`` stops early, as one of the classes above; None when it knows no way
    that is known here."""
    ways = {"xgboost": XGBoost, "lightgbm": LightGBM, "catboost": CatBoost}
    if (name := library(estimator)) in ways:
        return ways[name]
    takes_rows = hasattr(estimator, "fit") and has_fit_parameter(estimator, "X_val")
    return ValidationRows if takes_rows and "early_stopping" in estimator.get_params() else None


def last_step(estimator):
    """Return the prefix of its parameters and the estimator that ends a Pipeline; ``("",
    estimator)`` for any other."""
    from sklearn.pipeline import Pipeline

    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return prefix, estimator


def unfitted_copy(estimator):
    """Return an unfitted copy with the same parameters.

    CatBoost copies the lists among its parameters, for which scikit-learn's ``clone`` refuses it;
    such an estimator is copied as it is.
    """
    try:
        return clone(estimator)
    except RuntimeError:
        return copy.deepcopy(estimator)


def takes_weight(estimator):
    """Return whether the last step of an estimator takes ``sample_weight`` in ``fit``."""
    return has_fit_parameter(last_step(estimator)[1], "sample_weight")


def fit_estimator(estimator, X, y, weight, rows_to_stop_by):
    """Fit an estimator, or a Pipeline, with weights and rows to stop by where there are some.

    Parameters
    ----------
    estimator : estimator
    X, y : the training rows
    weight : ndarray of shape (N,) or None
    rows_to_stop_by : tuple of (X, y, weight or None), or None
        What the last step stops by, in the way of its library. A Pipeline's other steps transform
        them.
    """
    from sklearn import get_config
    from sklearn.pipeline import Pipeline

    prefix, last = last_step(estimator)
    if rows_to_stop_by is None:
        name = (
            "sample_weight" if get_config()["enable_metadata_routing"] else f"{prefix}sample_weight"
        )
        return estimator.fit(X, y, **({} if weight is None else {name: weight}))
    if isinstance(estimator, Pipeline):
        head = estimator[:-1]
        X_stop, *rest = rows_to_stop_by
        X = head.fit_transform(X, y) if head.steps else X
        rows_to_stop_by = (head.transform(X_stop) if head.steps else X_stop, *rest)
        estimator.steps = [
            *head.steps,
            (estimator.steps[-1][0], fit_estimator(estimator[-1], X, y, weight, rows_to_stop_by)),
        ]
        return estimator
    weights = {} if weight is None else {"sample_weight": weight}
    return last.fit(X, y, **weights, **adapter_for(last).arguments(last, *rows_to_stop_by))


def history_of(estimator):
    """Return what the last step of a fitted estimator recorded while it was trained, in its own
    words; None if nothing."""
    last = last_step(estimator)[1]
    if hasattr(last, "history_"):
        return last.history_
    if library(last) == "lightgbm":
        return last.evals_result_ or None
    if library(last) == "catboost":
        return last.get_evals_result() or None
    if library(last) == "xgboost" and adapter_for(last).enabled(last):
        return last.evals_result()
    return None
