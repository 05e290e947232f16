"""The blend of a competition's models: greedy weights of an arithmetic or a geometric mean, or a
linear stack.

They are compared on rows that their weights were not chosen on: the weights of each part of the
rows come from the other parts.

Genest, Zidek: "Combining Probability Distributions", Statistical Science 1, 1986, section 3, for
the geometric mean of probabilities (the logarithmic pool).
"""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import tabdl
from tabdl.kaggle.metrics import Metric
from tabdl.kaggle.store import TrainedModel, rows_with_oof

_N_PARTS = 5
_MOST_STRETCHES = 10  # of time
_MOST_CLASSES = 20  # of labels whose weights are searched
_MOST_ROWS = 50_000  # to choose weights on
_N_ROUNDS = 25  # of the greedy selection
_FACTORS = np.geomspace(1 / 50, 50, 41)
_WEIGHTED = ", class weights"
_LEAST = 1e-6  # probability whose logarithm is taken for that of a smaller one


@dataclass(frozen=True)
class Blend:
    """A blend of models.

    Attributes
    ----------
    kind : {"greedy", "geometric", "stack"}
        The one that scores best. Only probabilities have a geometric mean.
    part_scores : dict from kind to list of float
        The score of each part of the rows, with weights that were chosen on the other parts; higher
        is better. With class weights also, say, "greedy, class weights".
    row_scores : dict from kind to float
        The same for all rows at once. The parts have other weights, so that their predictions may
        not compare.
    weights : dict from model to float
        Shares of the mean; of a stack, the mean absolute effect of each model.
    oof : ndarray of shape (N,) or (N, C)
        Out-of-fold predictions of all rows, NaN where a model has none; their weights were chosen
        on the same rows.
    test : ndarray of shape (T,) or (T, C)
    class_weights : ndarray of shape (C,) or None
        Factors of the probabilities before labels are chosen.
    """

    kind: str
    part_scores: dict[str, list[float]]
    row_scores: dict[str, float]
    weights: dict[str, float]
    oof: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    class_weights: np.ndarray | None

    @property
    def scores(self) -> dict[str, float]:
        """The means of ``part_scores``."""
        return {kind: float(np.mean(scores)) for kind, scores in self.part_scores.items()}

    @property
    def used(self) -> str:
        """The kind, with or without class weights, of the predictions."""
        return self.kind if self.class_weights is None else f"{self.kind}{_WEIGHTED}"

    @property
    def score(self) -> float:
        """The mean score of the parts; higher is better."""
        return self.scores[self.used]


def blend_models(
    models: Sequence[TrainedModel],
    y: np.ndarray,
    metric: Metric,
    parts: np.ndarray,
    is_in_time: bool = False,
) -> Blend:
    """Return the best one of greedy means and a stack.

    Parameters
    ----------
    models : list of TrainedModel
    y : ndarray of shape (N,) or (N, targets)
        Codes of classes, or values on the scale of the file.
    metric : Metric
    parts : int ndarray of shape (N,)
        The fold of each row; rows of one fold stay together. No weights are chosen on the rows of
        negative ones.
    is_in_time : bool
        Whether the parts follow each other. Greedy weights are then the mean of those that each
        part alone would choose, so that no odd one decides.

    Raises
    ------
    ValueError
        When no model has a score.
    """
    has_oof = np.all([rows_with_oof(model.oof) for model in models], axis=0)
    covered = np.flatnonzero(has_oof)
    rows = _some(np.flatnonzero(has_oof & (parts >= 0)))
    oof = [model.oof[rows] for model in models]
    test = [model.test for model in models]
    y_rows, parts = y[rows], _joined(parts[rows], is_in_time)
    kinds: dict[str, Any] = {"greedy": partial(_Greedy, by_part=is_in_time)}
    if len(models) > 1:
        if not metric.is_regression:
            kinds["geometric"] = partial(_Geometric, by_part=is_in_time)
        kinds["stack"] = _Stack
    honest = {
        name: (_cross(kind, oof, y_rows, metric, parts), None) for name, kind in kinds.items()
    }
    if metric.answer == "label":
        honest |= _with_class_weights(honest, y_rows, metric, parts)
    by_part = {name: _score_parts(p, y_rows, metric, parts) for name, (p, _) in honest.items()}
    best = max(by_part, key=lambda name: np.mean(by_part[name]))  # of equals the first: greedy
    kind, class_weights = best.removesuffix(_WEIGHTED), honest[best][1]
    final = kinds[kind](metric).fit(oof, y_rows, parts)
    by_row = {name: metric.score(y_rows, p) for name, (p, _) in honest.items()}
    whole = np.full((len(y), *oof[0].shape[1:]), np.nan)
    whole[covered] = final.predict([model.oof[covered] for model in models])
    names = [model.name for model in models]
    weights = dict(zip(names, final.weights.tolist(), strict=True))
    return Blend(kind, by_part, by_row, weights, whole, final.predict(test), class_weights)


def greedy_weights_of(
    predictions: Mapping[str, np.ndarray], y: np.ndarray, metric: Metric
) -> dict[str, float]:
    """Return the weights that a greedy blend gives to models on the same rows.

    Parameters
    ----------
    predictions : dict from model to ndarray of shape (n,) or (n, C)
    y : ndarray of shape (n,) or (n, targets)
    metric : Metric
    """
    if not predictions:
        return {}
    blend = _Greedy(metric).fit(list(predictions.values()), y, np.zeros(len(y), np.int8))
    return dict(zip(predictions, blend.weights.tolist(), strict=True))


def _joined(parts, is_in_time):
    """Return the numbers of fewer parts: neighbours are joined where they follow each other."""
    if not is_in_time or len(parts) == 0:
        return parts % _N_PARTS
    n = parts.max() + 1
    return parts * min(n, _MOST_STRETCHES) // n


def _some(rows):
    """Return all rows, or as many of them, drawn evenly, as are enough to choose weights on."""
    if len(rows) <= _MOST_ROWS:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, _MOST_ROWS, replace=False))


def seconds_to_blend(
    y: np.ndarray,
    classes: np.ndarray | None,
    metric: Metric,
    n_models: int,
    is_in_time: bool = False,
) -> float:
    """Return about how long :func:`blend_models` takes, from the time of one score.

    Parameters
    ----------
    y : ndarray of shape (N,) or (N, targets)
    classes : ndarray of shape (C,) or None
    metric : Metric
    n_models : int
    is_in_time : bool
    """
    y = y[:_MOST_ROWS]
    n_parts = _MOST_STRETCHES if is_in_time else _N_PARTS
    if classes is None:
        prediction = metric.encode(y.astype(float))
    else:
        prediction = np.random.default_rng(0).dirichlet(np.ones(len(classes)), len(y))
    start = time.perf_counter()
    try:
        metric.score(y, prediction)
    except ValueError:  # of rows that lack a class
        return 0.0
    seconds = time.perf_counter() - start
    n_means = 1 if classes is None else 2
    n_scores = n_means * _N_ROUNDS * n_models * (n_parts if n_models > 1 else 0)
    if metric.answer == "label" and classes is not None and len(classes) <= _MOST_CLASSES:
        n_kinds = 3 if n_models > 1 else 1
        n_searches = 2 * n_kinds * (len(classes) if len(classes) > 2 else 1)
        n_scores += n_searches * len(_FACTORS) * n_parts
    return n_scores * seconds + 1e-6 * prediction.size * n_models * n_parts


def _cross(kind, oof, y, metric, parts):
    """Return predictions of all rows, each with weights that were chosen on other parts."""
    present = np.unique(parts)
    if len(present) < 2:
        return kind(metric).fit(oof, y, parts).predict(oof)
    found = np.empty_like(oof[0])
    for part in present:
        inside = parts == part
        fitted = kind(metric).fit([p[~inside] for p in oof], y[~inside], parts[~inside])
        found[inside] = fitted.predict([p[inside] for p in oof])
    return found


def _score_parts(p, y, metric, parts):
    """Return the score of each part; of all rows where a part has none, for lack of a class."""
    found = [_score_of(p[parts == i], y[parts == i], metric) for i in np.unique(parts)]
    return found if np.isfinite(found).all() else [metric.score(y, p)]


def _score_of(p, y, metric):
    """Return the score of rows, NaN where they have none: some metrics want every class."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return metric.score(y, p)
    except ValueError:
        return np.nan


class _Greedy:
    """A weighted mean; weights by greedy selection.

    The score is the mean over the parts: the folds of a model need not be of one scale, which ranks
    over all rows would punish. With ``by_part`` the weights are the mean of those of each part.
    """

    def __init__(self, metric, by_part=False):
        self.metric = metric
        self.by_part = by_part

    def fit(self, oof, y, parts):
        if len(oof) == 1:
            self.weights = np.ones(1)
            return self
        chosen: list[Any] = [slice(None)]
        if self.by_part:
            each = [parts == part for part in np.unique(parts)]
            scores = [_score_of(oof[0][rows], y[rows], self.metric) for rows in each]
            chosen = [each[i] for i in np.flatnonzero(np.isfinite(scores))] or chosen
        found = [self._search([p[rows] for p in oof], y[rows], parts[rows]) for rows in chosen]
        self.weights = np.mean(found, axis=0)
        return self

    def _search(self, oof, y, parts):
        def score(y, mean):
            return float(np.mean(_score_parts(self._outputs(mean), y, self.metric, parts)))

        return tabdl.greedy_weights(list(map(self._inputs, oof)), y, score, _N_ROUNDS)

    def predict(self, predictions):
        inputs = map(self._inputs, predictions)
        return self._outputs(sum(w * z for w, z in zip(self.weights, inputs, strict=True)))

    def _inputs(self, p):
        """Return what a mean is taken of."""
        return p

    def _outputs(self, mean):
        """Return predictions from the mean."""
        return mean


class _Geometric(_Greedy):
    """A weighted geometric mean of probabilities; weights by greedy selection.

    A model that is sure of a class counts for more than in an arithmetic mean.
    """

    def _inputs(self, p):
        return _logs(p)

    def _outputs(self, mean):
        return _probabilities(mean)


def _logs(p):
    return np.log(np.clip(p, _LEAST, 1))


def _probabilities(logs):
    """Return probabilities (n, C) in proportion to the exponentials."""
    p = np.exp(logs - logs.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


class _Stack:
    """A ridge regression on values, or a logistic regression on log odds."""

    def __init__(self, metric):
        self.metric = metric

    def fit(self, oof, y, parts):
        from sklearn.linear_model import LogisticRegression, RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        Z = self._inputs(oof)
        if self.metric.is_regression:
            model: Any = RidgeCV(np.geomspace(1e-3, 1e3, 13))
            y = self.metric.encode(y)
        else:
            model = LogisticRegression(C=0.1, max_iter=1000)
        self.model = make_pipeline(StandardScaler(), model)
        self.model.fit(Z, y)
        self.classes = None if self.metric.is_regression else np.unique(y)
        effects = np.abs(np.atleast_2d(model.coef_)).mean(0)
        per_model = effects.reshape(len(oof), -1).sum(1)
        self.weights = per_model / max(per_model.sum(), np.finfo(float).tiny)
        return self

    def predict(self, predictions):
        Z = self._inputs(predictions)
        if self.metric.is_regression:
            return self.model.predict(Z).reshape(predictions[0].shape)
        found = np.zeros_like(predictions[0])
        found[:, self.classes] = self.model.predict_proba(Z)
        return found

    def _inputs(self, predictions):
        """Return (n, models × outputs); of two classes the log odds of the second."""
        if self.metric.is_regression:
            return np.concatenate([p.reshape(len(p), -1) for p in predictions], axis=1)
        logs = list(map(_logs, predictions))
        if logs[0].shape[1] == 2:
            return np.stack([log[:, 1] - log[:, 0] for log in logs], axis=1)
        return np.concatenate(logs, axis=1)


# --- weights of classes


def _with_class_weights(honest, y, metric, parts):
    """Return, by kind, the predictions with factors and the factors, where these help."""
    found = {}
    for name, (p, _) in honest.items():
        weights, weighted = _class_weights(p, y, metric, parts)
        if weights is not None:
            found[f"{name}{_WEIGHTED}"] = weighted, weights
    return found


def _class_weights(oof, y, metric, parts):
    """Return factors of the probabilities, and probabilities with factors of other parts.

    None where they do not help rows that they were not chosen on.
    """
    present = np.unique(parts)
    if oof.shape[1] > _MOST_CLASSES or len(present) < 2:
        return None, oof
    weighted = np.empty_like(oof)
    for part in present:
        inside = parts == part
        weights = search_class_weights(oof[~inside], y[~inside], metric)
        weighted[inside] = oof[inside] * weights
    scores = [np.mean(_score_parts(p, y, metric, parts)) for p in (oof, weighted)]
    if scores[1] <= scores[0]:
        return None, oof
    return search_class_weights(oof, y, metric), weighted


def search_class_weights(p: np.ndarray, y: np.ndarray, metric: Metric) -> np.ndarray:
    """Return the factors of probabilities that score best, one class after the other, twice.

    Parameters
    ----------
    p : ndarray of shape (n, C)
    y : int ndarray of shape (n,)
    metric : Metric
        Of labels.

    Returns
    -------
    ndarray of shape (C,)
    """
    weights = np.ones(p.shape[1])
    best = metric.score(y, p, weights)
    last = range(1, 2) if p.shape[1] == 2 else range(p.shape[1])
    for _ in range(2):
        for j in last:
            for factor in _FACTORS:
                tried = weights.copy()
                tried[j] = factor
                if (score := metric.score(y, p, tried)) > best:
                    best, weights = score, tried
    return weights
