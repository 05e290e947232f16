"""What a report says about a blend and about the files: errors, shifts between the files,
duplicates."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tabdl.kaggle.blending import Blend
from tabdl.kaggle.columns import row_hashes
from tabdl.kaggle.metrics import Metric
from tabdl.kaggle.reading import Tables
from tabdl.kaggle.store import TrainedModel, rows_with_oof
from tabdl.kaggle.trees import boosted_trees

_MOST_ROWS = 5_000
_N_TREES = 60
_MOST_CLASSES = 20
_N_DECILES = 10


@dataclass(frozen=True)
class Shift:
    """How well a model tells the rows of the training file from those of the test file.

    Attributes
    ----------
    auc : float
        0.5 where it cannot, 1 where it always can.
    columns : list of (str, float)
        The columns that tell them apart, with their shares of the gain, the largest first.
    """

    auc: float
    columns: list[tuple[str, float]]


def find_shift(tables: Tables, n_jobs: int | None) -> Shift | None:
    """Return the :class:`Shift` between the files; None without LightGBM, or with few rows."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    own = tables.X.iloc[: tables.n_rows].drop(columns="is_extra", errors="ignore")
    n_rows = [min(_MOST_ROWS, len(own)), min(_MOST_ROWS, len(tables.X_test))]
    if min(n_rows) < 10:
        return None
    sides = (own, tables.X_test[own.columns])
    X: Any = pd.concat(
        [side.sample(n, random_state=0) for side, n in zip(sides, n_rows, strict=True)],
        ignore_index=True,
    )
    is_test = np.repeat([0, 1], n_rows)
    try:
        [model] = boosted_trees(X, False, n_jobs or -1, ["lightgbm"]).values()
    except ImportError:
        return None
    model[-1].set_params(
        n_estimators=_N_TREES, early_stopping_round=None, importance_type="gain", random_state=0
    )
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    p: Any = cross_val_predict(model, X, is_test, cv=cv, method="predict_proba")
    gains = model.fit(X, is_test)[-1].feature_importances_
    shares = gains / max(gains.sum(), np.finfo(float).tiny)
    ranked = sorted(zip(X.columns, shares.tolist(), strict=True), key=lambda pair: -pair[1])
    return Shift(float(roc_auc_score(is_test, p[:, 1])), ranked[:10])


def count_duplicates(tables: Tables) -> dict[str, int]:
    """Return how many training rows stand there twice, how many of these have another target, and
    how many test rows are training rows."""
    own = tables.X.iloc[: tables.n_rows]
    test: Any = tables.X_test[own.columns]
    rows, test_rows = row_hashes(own), row_hashes(test)
    y = tables.y[: tables.n_rows].reshape(len(rows), -1)[:, 0]
    frame: Any = pd.DataFrame({"row": rows, "y": y})
    n_targets = frame.groupby("row")["y"].transform("nunique")
    return {
        "in training": int(frame.duplicated("row").sum()),
        "with another target": int((n_targets > 1).sum()),
        "test rows in training": int(np.isin(test_rows, rows).sum()),
    }


def where_it_errs(blend: Blend, tables: Tables, metric: Metric) -> list[dict[str, Any]]:
    """Return the errors of a blend's out-of-fold predictions by class, or by tenth of the target.

    Returns
    -------
    list of dict
        ``part``, ``rows``, ``error`` (log loss, or root mean squared error) and ``more``: a
        sentence.
    """
    rows = rows_with_oof(blend.oof)
    y, oof = tables.y[: tables.n_rows][rows], blend.oof[rows]
    if tables.classes is not None:
        return _by_class(y, oof, tables.classes, metric, blend.class_weights)
    values = metric.decode(oof).reshape(len(y), -1)
    return _by_decile(y.reshape(len(y), -1)[:, 0], values[:, 0])


def _by_class(y, oof, classes, metric, class_weights):
    labels = metric.labels(oof, class_weights)
    losses = -np.log(np.clip(oof[np.arange(len(y)), y] / oof.sum(1), 1e-15, 1))
    found = []
    for code, label in enumerate(classes):
        inside = y == code
        if not inside.any():
            continue
        right = float((labels[inside] == code).mean())
        more = f"{right:.0%} right"
        wrong = labels[inside][labels[inside] != code]
        if len(wrong):
            more += f", most often taken for {classes[np.bincount(wrong).argmax()]}"
        found.append(
            {
                "part": str(label),
                "rows": int(inside.sum()),
                "error": float(losses[inside].mean()),
                "more": more,
            }
        )
    return sorted(found, key=lambda row: -row["error"])[:_MOST_CLASSES]


def _by_decile(y, values):
    edges = np.unique(np.quantile(y, np.linspace(0, 1, _N_DECILES + 1)))
    part = np.clip(np.searchsorted(edges, y, side="right") - 1, 0, max(0, len(edges) - 2))
    found = []
    for number in np.unique(part):
        inside = part == number
        difference = values[inside] - y[inside]
        bias = float(difference.mean())
        found.append(
            {
                "part": f"{y[inside].min():.4g} to {y[inside].max():.4g}",
                "rows": int(inside.sum()),
                "error": float(np.sqrt(np.mean(difference**2))),
                "more": f"{abs(bias):.3g} too {'high' if bias > 0 else 'low'} on average",
            }
        )
    return found


def correlations(models: list[TrainedModel]) -> np.ndarray:
    """Return the correlation of each two models' out-of-fold predictions, (M, M).

    NaN where a model predicts one value for all rows.
    """
    rows = np.all([rows_with_oof(model.oof) for model in models], axis=0)
    columns = [_flat(model.oof[rows]) for model in models]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.corrcoef(columns).reshape(len(models), len(models))


def _flat(oof):
    return oof[:, 1] if oof.ndim == 2 and oof.shape[1] == 2 else oof.ravel()
