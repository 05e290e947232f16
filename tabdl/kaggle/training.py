"""The training of one model on one fold."""

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import tabdl
from tabdl.kaggle.folds import Fold
from tabdl.kaggle.metrics import Metric
from tabdl.kaggle.models import ModelSpec
from tabdl.kaggle.reading import Tables
from tabdl.kaggle.store import TrainedFold
from tabdl.kaggle.trees import Clock

_N_STRETCHES = 20  # of time, some of which are held out to stop by
_ROWS_OF_IMPORTANCES = 500
_TIME_OF_IMPORTANCES = 0.1  # share of the time of a fold


@dataclass(frozen=True)
class Setting:
    """What all models of a competition are trained with.

    Attributes
    ----------
    tables : Tables
    metric : Metric
    folds : list of (int ndarray, int ndarray)
    seed : int
    device : str
    n_jobs : int or None
    """

    tables: Tables
    metric: Metric
    folds: list[Fold]
    seed: int
    device: str = "auto"
    n_jobs: int | None = None

    @property
    def inner_groups(self) -> np.ndarray | None:
        """What stays whole when rows are held out to stop by, for all rows of X."""
        groups, moments = self.tables.groups, self.tables.time
        if groups is None:
            if moments is None:
                return None
            groups = moments * _N_STRETCHES // (moments.max() + 1)
        n_extra = len(self.tables.X) - len(groups)
        return np.append(groups, groups.max() + 1 + np.arange(n_extra))

    def estimator(self, spec: ModelSpec, clock: Clock) -> Any:
        """Return an unfitted estimator of a model; the clock ends the training of trees."""
        is_regression = self.metric.is_regression
        return spec.make(self.tables.X, is_regression, self.device, self.n_jobs, clock)

    def shapes(self, number: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the predictions of a fold."""
        y, classes = self.tables.y, self.tables.classes
        more = y.shape[1:] if classes is None else (len(classes),)
        n_oof = len(self.folds[number][1])
        return {"oof": (n_oof, *more), "test": (len(self.tables.X_test), *more)}


class Fitted:
    """Estimators that are fitted on one fold, whose predictions are joined.

    Parameters
    ----------
    members : list of list of estimators
        The seeds of each target; one target for an estimator of several.
    is_regression : bool
    """

    def __init__(self, members: list[list[Any]], is_regression: bool) -> None:
        self.members = members
        self.is_regression = is_regression

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Return probabilities (n, C), or values (n,) or (n, targets)."""
        targets = [np.mean([self._of(m, X) for m in seeds], axis=0) for seeds in self.members]
        return targets[0] if len(targets) == 1 else np.stack(targets, axis=1)

    def _of(self, member, X):
        return member.predict(X) if self.is_regression else member.predict_proba(X)


def train_fold(
    spec: ModelSpec, number: int, setting: Setting, limit: float | None, with_importances: bool
) -> TrainedFold:
    """Return a model that was trained on a fold.

    Parameters
    ----------
    spec : ModelSpec
    number : int
        Of the fold.
    setting : Setting
    limit : float or None
        Seconds that the training may take, of models that can be cut.
    with_importances : bool
        Whether to shuffle columns, too, where that is quick.

    Raises
    ------
    KeyboardInterrupt
        When Ctrl-C ends the training.
    ValueError
        When a prediction is missing or infinite.
    Exception
        What the model raises.
    """
    start = time.monotonic()
    clock = Clock()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = _fit(spec, number, setting, limit, clock)
        test = np.asarray(fitted.predict(setting.tables.X_test), np.float64)
        rows = setting.folds[number][1]
        oof = np.asarray(fitted.predict(setting.tables.X.iloc[rows]), np.float64)
    _tell(spec.name, caught)
    _check(oof, test, setting.shapes(number))
    seconds = time.monotonic() - start
    importances = None
    if with_importances:
        most = _TIME_OF_IMPORTANCES * seconds + 2.0
        importances = _importances(fitted, rows, setting, most)
    first = fitted.members[0][0]
    return TrainedFold(
        oof,
        test,
        score=setting.metric.score(setting.tables.y[rows], oof),
        seconds=time.monotonic() - start,
        was_cut=clock.was_needed or any(map(_was_cut, sum(fitted.members, []))),
        curve=curve(first.histories_[0]),
        importances=importances,
    )


def _fit(spec, number, setting, limit, clock):
    tables, metric = setting.tables, setting.metric
    y = metric.encode(tables.y)
    several = y.ndim == 2 and not spec.is_network
    targets = list(y.T) if several else [y]
    n_fits = len(targets) * spec.n_seeds
    end = None if limit is None else time.monotonic() + limit
    members: list[list[Any]] = []
    for target in targets:
        members.append([])
        for i in range(spec.n_seeds):
            n_left = n_fits - sum(map(len, members))
            share = None if end is None else max(0.05, (end - time.monotonic()) / n_left)
            model = setting.estimator(spec, clock)
            if share is not None and spec.is_network:
                model.set_params(time_limit=share)
            clock.end = np.inf if share is None else time.monotonic() + share
            seed = int(np.random.SeedSequence([setting.seed, number, i]).generate_state(1)[0])
            members[-1].append(_fit_one(model, target, number, setting, seed))
    return Fitted(members, metric.is_regression)


def _fit_one(model, y, number, setting, seed):
    kind: Any = tabdl.CrossValEnsembleClassifier
    if setting.metric.is_regression:
        kind = tabdl.CrossValEnsembleRegressor
    ensemble = kind(model, cv=[setting.folds[number]], random_state=seed, together=False)
    return ensemble.fit(setting.tables.X, y, groups=setting.inner_groups)


def _was_cut(ensemble):
    """Return whether the time limit ended the training of a network, or led its schedule."""
    results = getattr(ensemble.estimators_[0], "member_results_", [])
    return any(
        result.stop_reason == "time_limit" or (result.plan or {}).get("turn") is not None
        for result in results
    )


def _tell(name, caught):
    """Print the first lines of warnings, without those that one fold of several must cause."""
    texts = dict.fromkeys(str(warning.message).splitlines()[0] for warning in caught)
    known = ("test rows of no trained fold", "a fold has no score")
    for text in [text for text in texts if not any(part in text for part in known)][:3]:
        print(f"{name}: {text[:300]}", flush=True)


def _check(oof, test, shapes):
    for array, part in ((oof, "oof"), (test, "test")):
        if array.shape != shapes[part] or not np.isfinite(array).all():
            raise ValueError(
                f"predictions must be finite numbers of shape {shapes[part]}, got {array.shape}"
            )


def _importances(fitted, rows, setting, most_seconds):
    """Return how much the score falls when each column is shuffled; None where it takes longer."""
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(rows)[:_ROWS_OF_IMPORTANCES])
    X, y = setting.tables.X.iloc[rows], setting.tables.y[rows]
    start = time.monotonic()
    try:
        whole = setting.metric.score(y, fitted.predict(X))
        if (time.monotonic() - start) * X.shape[1] > most_seconds:
            return None
        order = rng.permutation(len(rows))
        found = {}
        for name in X.columns:
            shuffled = X.assign(**{name: X[name].to_numpy()[order]}).astype({name: X[name].dtype})
            found[name] = float(whole - setting.metric.score(y, fitted.predict(shuffled)))
    except (ValueError, TypeError):  # a metric that needs every class among the rows
        return None
    return found if all(map(np.isfinite, found.values())) else None


def curve(history: Any) -> list[float]:
    """Return the validation loss of each epoch or tree, of any library's record; empty where it has
    none."""
    if not history:
        return []
    if isinstance(history, list):
        return [
            record["val_loss"]
            for record in history
            if record.get("member", 0) == 0 and record["val_loss"] is not None
        ]
    metrics = list(history.values())[-1]  # of the last set of rows: those to stop by
    return [float(value) for value in next(iter(metrics.values()))]
