"""The report of a competition: one page, with everything in the file."""

from typing import TYPE_CHECKING, Any

import numpy as np

from tabdl.kaggle.blending import Blend
from tabdl.kaggle.diagnosis import correlations, count_duplicates, where_it_errs
from tabdl.kaggle.store import TrainedModel

if TYPE_CHECKING:
    from tabdl.kaggle.competition import Competition

_N_IMPORTANT_MODELS = 3
_N_COLUMNS = 15
_CLEAR_SHIFT = 0.7
_WIDTH, _HEIGHT, _MARGIN = 320, 180, 6


def report_page(competition: "Competition", blend: Blend) -> str:
    """Return the report of a blend as a page of HTML; every name in it is escaped.

    Parameters
    ----------
    competition : Competition
    blend : Blend

    Raises
    ------
    ImportError
        Without the package jinja2.
    """
    from jinja2 import Environment, PackageLoader

    models = sorted(competition.trained(), key=lambda model: -model.mean_score)
    tables = competition.tables
    shift = competition.shift
    duplicates = count_duplicates(tables)
    used = [model for model in models if model.name in blend.weights]
    page = Environment(loader=PackageLoader("tabdl.kaggle"), autoescape=True)
    return page.get_template("report.html").render(
        competition=competition,
        tables=tables,
        blend=blend,
        models=models,
        spread=_spread,
        curves=[(model, _curves(model)) for model in models],
        correlated=used,
        correlations=correlations(used).tolist(),
        important=[_important(m) for m in models if m.importances][:_N_IMPORTANT_MODELS],
        errors=where_it_errs(blend, tables, competition.metric),
        error_name="root mean squared error" if tables.classes is None else "log loss",
        shift=shift,
        duplicates=duplicates,
        warnings=[*tables.notes, *_warnings(models, blend, shift, duplicates, tables)],
    )


def _spread(scores):
    """Return the mean of the scores of folds, and their deviation."""
    if len(scores) == 1:
        return f"{scores[0]:.5f}"
    return f"{np.mean(scores):.5f} ± {np.std(scores):.5f}"


def _important(model):
    """Return a model's name and its most important columns, with shares of the largest."""
    ranked = sorted(model.importances.items(), key=lambda pair: -pair[1])[:_N_COLUMNS]
    largest = max(ranked[0][1], np.finfo(float).tiny)
    return model.name, [(name, value, max(0.0, value) / largest) for name, value in ranked]


def _warnings(models, blend, shift, duplicates, tables) -> list[str]:
    found = [
        f"{model.name}: the time limit cut {model.n_cut} of {len(model.folds)} folds."
        for model in models
        if model.n_cut
    ]
    found += [
        f"{model.name} was trained on {len(model.folds)} of {model.n_folds} folds and is not in "
        f"the blend."
        for model in models
        if model.name not in blend.weights
    ]
    if refitted := [model.name for model in models if model.is_refitted]:
        found.append(
            f"{', '.join(refitted)}: a training on all rows has a part in the predictions of the "
            f"test rows, which no score knows."
        )
    if shift is not None and shift.auc > _CLEAR_SHIFT:
        found.append(
            f"Training and test rows can be told apart (AUC {shift.auc:.2f}), above all by "
            f"{shift.columns[0][0]!r}: scores of the test rows may be other ones."
        )
    if duplicates["in training"] > 0.01 * tables.n_rows:
        found.append(
            f"{duplicates['in training']:,} training rows stand there twice: where a fold tests "
            f"a row that it trained on, scores are too good."
        )
    return found


def _curves(model: TrainedModel) -> dict[str, Any] | None:
    """Return the validation losses of a model's folds as lines of an SVG, None without any."""
    curves = [np.asarray(fold.curve) for fold in model.folds if len(fold.curve) > 1]
    if not curves:
        return None
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    low = float(values.min())
    high = max(float(np.quantile(values, 0.97)), low + 1e-9)
    longest = max(map(len, curves))
    lines = []
    for curve in curves:
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * np.arange(len(curve)) / (longest - 1)
        part = (np.clip(np.nan_to_num(curve, nan=high), low, high) - low) / (high - low)
        y = _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * part
        step = max(1, len(curve) // 300)
        pairs = zip(x[::step], y[::step], strict=True)
        lines.append(" ".join(f"{a:.1f},{b:.1f}" for a, b in pairs))
    return {
        "lines": lines,
        "low": low,
        "high": high,
        "longest": longest,
        "width": _WIDTH,
        "height": _HEIGHT,
    }
