"""The training of one model on one fold, or on all rows."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import tabdl
from tabdl.kaggle.features import FoldFeatures
from tabdl.kaggle.folds import Fold
from tabdl.kaggle.metrics import Metric
from tabdl.kaggle.models import ModelSpec
from tabdl.kaggle.reading import Tables
from tabdl.kaggle.recording import recorded_warnings
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
    features : FoldFeatures or None
    """

    tables: Tables
    metric: Metric
    folds: list[Fold]
    seed: int
    device: str = "auto"
    n_jobs: int | None = None
    features: FoldFeatures | None = None

    @property
    def all_rows(self) -> int:
        """What stands for the training on all rows where folds have a number."""
        return len(self.folds)

    def fold(self, number: int) -> Fold:
        """Return the training and test rows of a fold; all rows and none for ``all_rows``."""
        if number == self.all_rows:
            return np.arange(len(self.tables.X)), np.empty(0, dtype=int)
        return self.folds[number]

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

    def identity(self, spec: ModelSpec) -> dict[str, Any]:
        """Return what must be the same for a fold of a model to count as trained."""
        chosen = {} if self.features is None else {"features": self.features.n_features}
        return spec.identity | chosen

    def shapes(self, number: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the predictions of a fold."""
        y, classes = self.tables.y, self.tables.classes
        more = y.shape[1:] if classes is None else (len(classes),)
        n_oof = len(self.fold(number)[1])
        return {"oof": (n_oof, *more), "test": (len(self.tables.X_test), *more)}


@dataclass(frozen=True)
class Member:
    """Estimators of one target that are fitted on one fold, each with a seed of its own.

    Attributes
    ----------
    ensembles : list of CrossValEnsemble
    features : InteractionFeatures or None
        In front of all.
    """

    ensembles: list[Any]
    features: Any

    def predict(self, X: pd.DataFrame, is_regression: bool) -> np.ndarray:
        """Return the mean of the probabilities or values."""
        X = X if self.features is None else self.features.transform(X)
        return np.mean(
            [e.predict(X) if is_regression else e.predict_proba(X) for e in self.ensembles], axis=0
        )


class Fitted:
    """What is fitted on one fold, whose predictions are joined.

    Parameters
    ----------
    members : list of Member
        One for each target; one for an estimator of several.
    is_regression : bool
    """

    def __init__(self, members: list[Member], is_regression: bool) -> None:
        self.members = members
        self.is_regression = is_regression

    @property
    def ensembles(self) -> list[Any]:
        """All ensembles of all targets."""
        return [ensemble for member in self.members for ensemble in member.ensembles]

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Return probabilities (n, C), or values (n,) or (n, targets)."""
        targets = [member.predict(X, self.is_regression) for member in self.members]
        return targets[0] if len(targets) == 1 else np.stack(targets, axis=1)


def train_fold(
    spec: ModelSpec,
    number: int,
    setting: Setting,
    limit: float | None,
    with_importances: bool,
    *,
    lengths: Sequence[int] = (),
    stop: threading.Event | None = None,
) -> TrainedFold:
    """Return a model that was trained on a fold.

    Parameters
    ----------
    spec : ModelSpec
    number : int
        Of the fold; ``setting.all_rows`` for none.
    setting : Setting
    limit : float or None
        Seconds that the training may take, of models that can be cut.
    with_importances : bool
        Whether to shuffle columns, too, where that is quick.
    lengths : sequence of int
        Epochs or trees of each target; without them, rows are held out to stop by.
    stop : threading.Event, optional
        Ends the training of models that can be cut.

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
    clock = Clock(stop=stop)
    rows = setting.fold(number)[1]
    shapes = setting.shapes(number)
    with recorded_warnings() as caught:
        fitted = _fit(spec, number, setting, limit, clock, lengths)
        test = np.asarray(fitted.predict(setting.tables.X_test), np.float64)
        oof = np.empty(shapes["oof"])
        if len(rows):
            oof = np.asarray(fitted.predict(setting.tables.X.iloc[rows]), np.float64)
    _tell(spec.name, caught)
    _check(oof, test, shapes)
    seconds = time.monotonic() - start
    importances = None
    if with_importances:
        most = _TIME_OF_IMPORTANCES * seconds + 2.0
        importances = _importances(fitted, rows, setting, most)
    return TrainedFold(
        oof,
        test,
        score=setting.metric.score(setting.tables.y[rows], oof) if len(rows) else np.nan,
        seconds=time.monotonic() - start,
        was_cut=clock.was_needed or any(map(_was_cut, fitted.ensembles)),
        curve=curve(fitted.ensembles[0].histories_[0]),
        importances=importances,
        lengths=_lengths(spec, fitted),
    )


def _fit(spec, number, setting, limit, clock, lengths):
    y = setting.metric.encode(setting.tables.y)
    # Features are chosen for one target.
    several = y.ndim == 2 and (setting.features is not None or not spec.is_network)
    targets = list(y.T) if several else [y]
    end = None if limit is None else time.monotonic() + limit
    members: list[Member] = []
    for j, target in enumerate(targets):
        made, X = None, setting.tables.X
        if setting.features is not None:
            made = setting.features.fitted(number, setting.fold(number), j)
            X = made.transform(X)
        members.append(Member([], made))
        for i in range(spec.n_seeds):
            n_left = (len(targets) - j) * spec.n_seeds - i
            share = None if end is None else max(0.05, (end - time.monotonic()) / n_left)
            length = lengths[j] if lengths else None
            model = _estimator(spec, setting, X, clock, share, length)
            members[-1].ensembles.append(_fit_one(model, X, target, number, setting, i))
    return Fitted(members, setting.metric.is_regression)


def _estimator(spec, setting, X, clock, share, length):
    """Return an unfitted estimator that a share of the time, or the clock, ends."""
    is_regression = setting.metric.is_regression
    model = spec.make(X, is_regression, setting.device, setting.n_jobs, clock, length)
    clock.end = np.inf if share is None else time.monotonic() + share
    if spec.is_network and share is not None:
        model.set_params(time_limit=share)
    if spec.is_network and clock.stop is not None:
        model.set_params(callbacks=[*(model.callbacks or ()), lambda _: clock.is_stopped()])
    return model


def _fit_one(model, X, y, number, setting, i):
    kind: Any = tabdl.CrossValEnsembleClassifier
    if setting.metric.is_regression:
        kind = tabdl.CrossValEnsembleRegressor
    train, test = setting.fold(number)
    cv = [(train, test if len(test) else train[:1])]  # the ensemble wants rows to test
    seed = int(np.random.SeedSequence([setting.seed, number, i]).generate_state(1)[0])
    ensemble = kind(model, cv=cv, random_state=seed, together=False)
    groups = setting.inner_groups
    if groups is not None and len(np.unique(groups[train])) == 1:
        groups = None  # a single one cannot be parted
    return ensemble.fit(X, y, groups=groups)


def _lengths(spec, fitted):
    """Return the epochs or trees that are kept, the median of the seeds, for each target."""
    found = [
        [spec.length_of(ensemble.estimators_[0]) for ensemble in member.ensembles]
        for member in fitted.members
    ]
    if any(None in lengths for lengths in found):
        return []
    return [max(1, round(float(np.median(lengths)))) for lengths in found]


def _was_cut(ensemble):
    """Return whether the time limit ended the training of a network, or led its schedule."""
    results = getattr(ensemble.estimators_[0], "member_results_", [])
    return any(
        result.stop_reason == "time_limit" or (result.plan or {}).get("turn") is not None
        for result in results
    )


def _tell(name, caught):
    """Print the first lines of warnings, without those that one fold of several must cause."""
    texts = dict.fromkeys(caught)
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
