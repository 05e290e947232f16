"""Adapters to early stopping: the libraries have different words for the same three things.

They are the rows to stop by, the number of epochs or trees that is kept, and how to train as long
without rows to stop by.
"""

import inspect
import sys
from typing import Any, Protocol

import numpy as np
from sklearn.utils.validation import has_fit_parameter

_LIGHTGBM_ROUNDS = (
    "early_stopping_round",
    "early_stopping_rounds",
    "early_stopping",
    "n_iter_no_change",
)
_CATBOOST_TREES = ("iterations", "n_estimators", "num_boost_round", "num_trees")


class Adapter(Protocol):
    """What an ensemble needs to know of early stopping in a library.

    Attributes
    ----------
    holds_out_itself : bool
        Whether an estimator without rows to stop by holds some of its training rows out.
    """

    holds_out_itself: bool

    def enabled(self, estimator: Any) -> bool:
        """Return whether the parameters of the estimator ask for early stopping."""
        ...

    def fit_kwargs(self, estimator: Any, X: Any, y: Any, weight: np.ndarray | None) -> dict:
        """Return the keyword arguments of ``fit`` that give the rows to stop by."""
        ...

    def best_iteration(self, estimator: Any) -> int:
        """Return how many epochs or trees a fitted estimator keeps."""
        ...

    def fixed_length_params(self, estimator: Any, best_iteration: int) -> dict:
        """Return the parameters that train so many epochs or trees without early stopping."""
        ...


class ValidationRows:
    """Estimators whose ``fit`` takes ``X_val`` and ``y_val``.

    They are the networks of tabdl and the histogram boosting of scikit-learn.
    """

    holds_out_itself = True

    def enabled(self, estimator: Any) -> bool:
        """Return whether the parameters of the estimator ask for early stopping."""
        return estimator.get_params()["early_stopping"] is True

    def fit_kwargs(self, estimator: Any, X: Any, y: Any, weight: np.ndarray | None) -> dict:
        """Return the keyword arguments of ``fit`` that give the rows to stop by."""
        return {"X_val": X, "y_val": y} | ({} if weight is None else {"sample_weight_val": weight})

    def best_iteration(self, estimator: Any) -> int:
        """Return how many epochs or trees a fitted estimator keeps."""
        return estimator.best_epoch_ if hasattr(estimator, "best_epoch_") else estimator.n_iter_

    def fixed_length_params(self, estimator: Any, best_iteration: int) -> dict:
        """Return the parameters that train so many epochs or trees without early stopping."""
        name = "max_epochs" if "max_epochs" in estimator.get_params() else "max_iter"
        return {"early_stopping": False, name: best_iteration}


class XGBoost:
    """Estimators of XGBoost.

    They stop early by ``early_stopping_rounds`` or an ``EarlyStopping`` callback.
    """

    holds_out_itself = False

    def enabled(self, estimator: Any) -> bool:
        """Return whether the parameters of the estimator ask for early stopping."""
        return estimator.early_stopping_rounds is not None or any(
            map(_stops, estimator.callbacks or ())
        )

    def fit_kwargs(self, estimator: Any, X: Any, y: Any, weight: np.ndarray | None) -> dict:
        """Return the keyword arguments of ``fit`` that give the rows to stop by."""
        weights = {} if weight is None else {"sample_weight_eval_set": [weight]}
        return {"eval_set": [(X, y)], "verbose": False} | weights

    def best_iteration(self, estimator: Any) -> int:
        """Return how many trees a fitted estimator keeps."""
        return estimator.best_iteration + 1

    def fixed_length_params(self, estimator: Any, best_iteration: int) -> dict:
        """Return the parameters that train so many trees without early stopping."""
        callbacks = [callback for callback in estimator.callbacks or () if not _stops(callback)]
        return {
            "early_stopping_rounds": None,
            "callbacks": callbacks or None,
            "n_estimators": best_iteration,
        }


class LightGBM:
    """Estimators of LightGBM; they stop early by ``early_stopping_round`` or an alias of it."""

    holds_out_itself = False

    def enabled(self, estimator: Any) -> bool:
        """Return whether the parameters of the estimator ask for early stopping."""
        return any((estimator.get_params().get(name) or 0) > 0 for name in _LIGHTGBM_ROUNDS)

    def fit_kwargs(self, estimator: Any, X: Any, y: Any, weight: np.ndarray | None) -> dict:
        """Return the keyword arguments of ``fit`` that give the rows to stop by."""
        # eval_set is deprecated since LightGBM 4.7.
        new = "eval_X" in inspect.signature(estimator.fit).parameters
        rows = {"eval_X": X, "eval_y": y} if new else {"eval_set": [(X, y)]}
        return rows | ({} if weight is None else {"eval_sample_weight": [weight]})

    def best_iteration(self, estimator: Any) -> int:
        """Return how many trees a fitted estimator keeps."""
        return estimator.best_iteration_

    def fixed_length_params(self, estimator: Any, best_iteration: int) -> dict:
        """Return the parameters that train so many trees without early stopping."""
        given = estimator.get_params()
        return {name: None for name in _LIGHTGBM_ROUNDS if name in given} | {
            "n_estimators": best_iteration
        }


class CatBoost:
    """Estimators of CatBoost.

    They stop early by ``early_stopping_rounds``, ``od_wait``, ``od_pval`` or ``od_type``.
    """

    holds_out_itself = False

    def enabled(self, estimator: Any) -> bool:
        """Return whether the parameters of the estimator ask for early stopping."""
        given = estimator.get_params()
        return any(
            given.get(name) is not None
            for name in ("early_stopping_rounds", "od_wait", "od_pval", "od_type")
        )

    def fit_kwargs(self, estimator: Any, X: Any, y: Any, weight: np.ndarray | None) -> dict:
        """Return the keyword arguments of ``fit`` that give the rows to stop by."""
        if weight is None:
            return {"eval_set": (X, y)}
        given = estimator.get_params()
        kinds = {
            name: given.get(name)
            for name in ("cat_features", "text_features", "embedding_features")
        }
        return {"eval_set": sys.modules["catboost"].Pool(X, y, weight=weight, **kinds)}

    def best_iteration(self, estimator: Any) -> int:
        """Return how many trees a fitted estimator keeps."""
        return estimator.tree_count_

    def fixed_length_params(self, estimator: Any, best_iteration: int) -> dict:
        """Return the parameters that train so many trees.

        CatBoost trains all of them where it has no rows to stop by.
        """
        given = estimator.get_params()
        return {
            next((name for name in _CATBOOST_TREES if name in given), "iterations"): best_iteration
        }


def _stops(callback: Any) -> bool:
    return type(callback).__name__ == "EarlyStopping"


_ADAPTERS: dict[str, Adapter] = {
    "xgboost": XGBoost(),
    "lightgbm": LightGBM(),
    "catboost": CatBoost(),
}


def library(estimator: Any) -> str | None:
    """Return "xgboost", "lightgbm" or "catboost" for their estimators and subclasses, else None."""
    packages = {cls.__module__.split(".")[0] for cls in type(estimator).__mro__}
    return next((name for name in _ADAPTERS if name in packages), None)


def adapter_for(estimator: Any) -> Adapter | None:
    """Return the adapter to the early stopping of ``estimator``; None where there is none."""
    if (name := library(estimator)) is not None:
        return _ADAPTERS[name]
    takes_rows = hasattr(estimator, "fit") and has_fit_parameter(estimator, "X_val")
    return ValidationRows() if takes_rows and "early_stopping" in estimator.get_params() else None


def last_step(estimator: Any) -> tuple[str, Any]:
    """Return the last step of a Pipeline, after the prefix of its parameters.

    For any other estimator ``("", estimator)``.
    """
    from sklearn.pipeline import Pipeline

    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return prefix, estimator


def history_of(estimator: Any) -> Any:
    """Return what the last step of a fitted estimator recorded in training, in its own format.

    None where it recorded nothing.
    """
    last = last_step(estimator)[1]
    if hasattr(last, "history_"):
        return last.history_
    if library(last) == "lightgbm":
        return last.evals_result_ or None
    if library(last) == "catboost":
        return last.get_evals_result() or None
    if library(last) == "xgboost" and _ADAPTERS["xgboost"].enabled(last):
        return last.evals_result()
    return None
