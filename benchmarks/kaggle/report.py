"""The one-page report of ``benchmarks.kaggle``: scores, weights and learning curves, with figures
inside the file."""

import argparse
import base64
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.boosted import TREES
from benchmarks.kaggle.trained import Trained

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
color: #1a1a1a; } table { border-collapse: collapse; } th, td { padding: .25rem .9rem .25rem 0;
text-align: right; border-bottom: 1px solid #ddd; } th:first-child, td:first-child { text-align:
left; } img { max-width: 100%; } .best { font-weight: 600; }
"""


def report_page(
    options: argparse.Namespace,
    facts: Mapping[str, int],
    models: Sequence[Trained],
    weights: Mapping[str, float],
    score_path: Sequence[float],
) -> str:
    """Return the report as a page of HTML.

    Parameters
    ----------
    options : Namespace
        Of the command line.
    facts : dict
        ``train``, ``test`` and ``columns``: how many.
    models : list of Trained
    weights : dict from name to float
    score_path : list of float
        Of the greedy selection, a score a round.
    """
    models = sorted(models, key=lambda model: -model.score)
    rows = [_row("blend", max(score_path), None, None, None, "best")]
    rows += [_row(m.name, m.score, m.scores, weights[m.name], m.seconds, "") for m in models]
    title = f"{html.escape(options.target)}: {options.metric} of {options.folds} folds"
    selection = _png(lambda figure: _draw_selection(figure, weights, score_path), 3.2)
    curves = _png(lambda figure: _draw_curves(figure, models), 2.6 * ((len(models) + 2) // 3))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>
<h1>{title}</h1>
<p>{facts["train"]:,} rows to train on, {facts["test"]:,} to predict, {facts["columns"]} columns, seed {options.seed}.
Scores are of out-of-fold predictions, higher is better.</p>
<table><tr><th>model</th><th>score</th><th>folds: mean ± sd</th><th>weight</th><th>seconds</th></tr>{"".join(rows)}</table>
<h2>Greedy selection</h2>
<img alt="weights, and the score after each round" src="{selection}">
<h2>Learning curves</h2>
<p>Validation loss of each fold, by epoch or tree; its own scale for each model.</p>
<img alt="learning curves" src="{curves}">
</html>
"""


def _row(name, score, scores, weight, seconds, style):
    spread = "" if scores is None else f"{np.mean(scores):.5f} ± {np.std(scores):.5f}"
    cells = [
        name,
        f"{score:.5f}",
        spread,
        "" if weight is None else f"{weight:.2f}",
        "" if seconds is None else f"{seconds:.0f}",
    ]
    return (
        f'<tr class="{style}">'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
    )


def _png(draw, height):
    """Return a figure as a data URL."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, height), layout="constrained")
    draw(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _draw_selection(figure, weights, score_path):
    left, right = figure.subplots(1, 2)
    names = sorted(weights, key=weights.get)
    left.barh(names, [weights[name] for name in names], color="tab:blue")
    left.set_xlabel("weight")
    right.plot(range(1, len(score_path) + 1), score_path, marker=".")
    best = int(np.argmax(score_path))
    right.plot(best + 1, score_path[best], "o", color="tab:orange", label="kept")
    right.set(xlabel="members chosen, with replacement", ylabel="out-of-fold score")
    right.ticklabel_format(useOffset=False)
    right.legend()


def _draw_curves(figure, models):
    axes = figure.subplots((len(models) + 2) // 3, 3, squeeze=False).ravel()
    for axis, model in zip(axes, models, strict=False):
        for curve in model.curves:
            axis.plot(range(1, len(curve) + 1), curve, linewidth=1, alpha=0.7)
        axis.set_title(model.name, fontsize=10)
        axis.set_xlabel("tree" if model.name in TREES else "epoch", fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.tick_params(labelsize=8)
    for axis in axes[len(models) :]:
        axis.remove()
