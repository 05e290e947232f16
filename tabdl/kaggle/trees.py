"""Boosted trees on tables as they are: categories as each library takes them, early stopping in its
own words."""

import math
import re
import threading
import time
from collections.abc import Iterable
from functools import wraps
from importlib import import_module
from typing import Any

import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline

TREES = ("catboost", "xgboost", "lightgbm")
N_TREES = 2000
PATIENCE = 50
_TRIAL_TREES = 8  # whose time says how many there is time for
_SAFETY = 0.9  # of the time that is left
_MOMENTS = ["datetime", "datetimetz", "timedelta"]


def names_of_categories(X: pd.DataFrame) -> list[str]:
    """Return the names of the columns that are no numbers, dates or durations."""
    return X.select_dtypes(exclude=["number", *_MOMENTS]).columns.tolist()


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """Return names that LightGBM and XGBoost take, by the names that a table has.

    They refuse brackets, braces, colons, commas, quotes and "<", and LightGBM makes blanks
    underscores. Every sign that is no letter or digit becomes an underscore, and names stay
    different; other names stay as they are.
    """
    names = list(names)
    safe = {name: name for name in names if re.fullmatch(r"\w+", name)}
    taken = set(safe)
    for name in names:
        if name not in safe:
            new = re.sub(r"\W", "_", name)
            while new in taken:
                new += "_"
            safe[name] = new
            taken.add(new)
    return safe


class Texts(TransformerMixin, BaseEstimator):
    """Categories as text, with the word "missing" where there is none, dates and durations as days;
    for CatBoost."""

    def fit(self, X, y=None):
        """Find the columns that are categories."""
        self.names_ = names_of_categories(X)
        return self

    def transform(self, X):
        """Return X with these columns as text."""
        texts = {
            name: X[name].astype(object).where(X[name].notna(), "missing").astype(str)
            for name in self.names_
        }
        return dates_as_days(X).assign(**texts)


class Categories(Texts):
    """Categories as pandas has them, those of the rows of ``fit``, dates and durations as days, and
    safe names of columns; for XGBoost and LightGBM."""

    def fit(self, X, y=None):
        """Learn the categories of each column."""
        super().fit(X)
        self.safe_names_ = safe_names(list(X.columns))
        seen = {name: sorted(X[name].dropna().astype(str).unique()) for name in self.names_}
        # XGBoost takes no column without categories.
        self.dtypes_ = {
            name: pd.CategoricalDtype(values or ["missing"]) for name, values in seen.items()
        }
        return self

    def transform(self, X):
        """Return X with these categories, others missing, and with safe names."""
        texts = super().transform(X)
        known = {}
        for name, dtype in self.dtypes_.items():
            is_known = X[name].notna() & texts[name].isin(list(dtype.categories))
            known[name] = texts[name].where(is_known).astype(dtype)
        return texts.assign(**known).rename(columns=self.safe_names_)


def dates_as_days(X: pd.DataFrame) -> pd.DataFrame:
    """Return X with dates (since 1970) and durations as days, float; missing ones as NaN."""

    def days(column):
        start = pd.Timedelta(0) if column.dtype.kind == "m" else pd.Timestamp(0, tz=column.dt.tz)
        return (column - start) / pd.Timedelta(days=1)

    return X.assign(**{name: days(X[name]) for name in X.select_dtypes(_MOMENTS).columns})


class Clock:
    """Ends the training of boosted trees at a moment, and remembers that it did.

    Attributes
    ----------
    end : float
        As ``time.monotonic`` counts.
    stop : threading.Event or None
        Ends a training at once when it is set.
    was_needed : bool
        Whether a training ended so.
    """

    def __init__(self, end: float = math.inf, stop: threading.Event | None = None) -> None:
        self.end = end
        self.stop = stop
        self.was_needed = False

    def is_stopped(self) -> bool:
        """Return whether all trainings must end."""
        return self.stop is not None and self.stop.is_set()

    def is_over(self) -> bool:
        """Return whether the moment has come."""
        over = time.monotonic() >= self.end or self.is_stopped()
        self.was_needed = self.was_needed or over
        return over


def boosted_trees(
    X: pd.DataFrame,
    is_regression: bool,
    n_jobs: int,
    names: Iterable[str] = TREES,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Return boosted trees by name, as pipelines; 2,000 trees at most, stopped after 50 without a
    better score.

    Parameters
    ----------
    X : DataFrame
        The table, for the names of its categories.
    is_regression : bool
    n_jobs : int
    names : iterable of str
        Some of :data:`TREES`; only their libraries need be installed.
    clock : Clock, optional
        Ends the training of these pipelines and of their clones.
    """
    make = {"catboost": _catboost, "xgboost": _xgboost, "lightgbm": _lightgbm}
    task = "Regressor" if is_regression else "Classifier"
    return {name: make[name](X, task, n_jobs, clock) for name in names}


def _catboost(X, task, n_jobs, clock):
    cls = _timed(getattr(import_module("catboost"), f"CatBoost{task}"), clock, _for_catboost)
    model = cls(
        iterations=N_TREES,
        early_stopping_rounds=PATIENCE,
        cat_features=names_of_categories(X),
        thread_count=n_jobs,
        allow_writing_files=False,
        logging_level="Silent",
    )
    return make_pipeline(Texts(), model)


def _xgboost(X, task, n_jobs, clock):
    cls = _timed(getattr(import_module("xgboost"), f"XGB{task}"), clock, _for_xgboost)
    model = cls(
        n_estimators=N_TREES,
        early_stopping_rounds=PATIENCE,
        enable_categorical=True,
        tree_method="hist",
        n_jobs=n_jobs,
    )
    return make_pipeline(Categories(), model)


def _lightgbm(X, task, n_jobs, clock):
    cls = _timed(getattr(import_module("lightgbm"), f"LGBM{task}"), clock, _for_lightgbm)
    model = cls(n_estimators=N_TREES, early_stopping_round=PATIENCE, verbose=-1, n_jobs=n_jobs)
    return make_pipeline(Categories(), model)


# --- the length in the words of each library

_WORDS = {
    "catboost": ("iterations", "early_stopping_rounds"),
    "xgboost": ("n_estimators", "early_stopping_rounds"),
    "lightgbm": ("n_estimators", "early_stopping_round"),
}


def with_length(name: str, model: Any, n_trees: int) -> Any:
    """Return an unfitted copy of one of :data:`TREES` with so many trees, without early stopping.

    It is made anew: CatBoost takes no None in the place of a parameter.
    """
    length, rounds = _WORDS[name]
    given = {key: value for key, value in model.get_params().items() if key != rounds}
    return type(model)(**(given | {length: n_trees}))


def n_trees(name: str, fitted: Any) -> int | None:
    """Return how many trees a model keeps after early stopping; None where it had none."""
    if name == "catboost":
        return fitted.tree_count_
    if name == "lightgbm":
        return fitted.best_iteration_ or None
    best = getattr(fitted, "best_iteration", None)  # none after a training that the clock ended
    return None if best is None else best + 1


# --- the clock in the words of each library


def _timed(cls, clock, prepare):
    """Return a subclass whose fit ends when the clock says so; ``cls`` itself without a clock.

    The class holds the clock, so that clones of scikit-learn have it too.
    """
    if clock is None:
        return cls

    @wraps(cls.fit)  # whose signature says which words the library knows
    def fit(self, *args, **kwargs):
        kwargs |= prepare(self, clock, args, kwargs)
        return cls.fit(self, *args, **kwargs)

    return type(cls.__name__, (cls,), {"fit": fit})


class _CatBoostWatch:
    """Ends the training of CatBoost by a clock, or after the trees that there is time for."""

    def __init__(self, clock: Clock, n_trees: float = math.inf) -> None:
        self.clock = clock
        self.n_trees = n_trees
        self.moments: list[float] = []

    def after_iteration(self, info: Any) -> bool:
        """Return whether training goes on."""
        self.moments.append(time.monotonic())
        if len(self.moments) == self.n_trees:
            self.clock.was_needed = True
        return not self.clock.is_over()


def _for_catboost(model, clock, args, kwargs):
    """Ask for no more trees than there is time for: the learning rate that CatBoost chooses follows
    from their number, and a training that is cut has learned too slowly."""
    params = model.get_params()
    if math.isinf(clock.end) or "learning_rate" in params:
        return {"callbacks": [_CatBoostWatch(clock)]}
    start, watch = time.monotonic(), _CatBoostWatch(clock)
    plain: Any = type(model).__base__  # its fit has no clock
    trial = plain(**(params | {"iterations": _TRIAL_TREES}))
    trial.fit(*args, **kwargs, callbacks=[watch])
    first, last = watch.moments[0], watch.moments[-1]
    a_tree = max(last - first, 1e-6) / max(len(watch.moments) - 1, 1)
    left = _SAFETY * (clock.end - last) - (first - start)  # to read the table takes time again
    n_trees = max(_TRIAL_TREES, int(left / a_tree))
    if n_trees >= params["iterations"]:
        return {"callbacks": [_CatBoostWatch(clock)]}
    model.set_params(iterations=n_trees)
    return {"callbacks": [_CatBoostWatch(clock, n_trees)]}


def _for_xgboost(model, clock, args, kwargs):
    from xgboost.callback import TrainingCallback

    class Stop(TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            return clock.is_over()

    model.set_params(callbacks=[Stop()])
    return {}


def _for_lightgbm(model, clock, args, kwargs):
    from lightgbm.callback import EarlyStopException

    def stop(env):
        if clock.is_over():
            raise EarlyStopException(env.iteration, env.evaluation_result_list)

    return {"callbacks": [stop]}
