"""The figures of the report, each drawn from the one table."""

import tomllib
from pathlib import Path

import numpy as np

from benchmarks.models.registry import colour_of
from benchmarks.report.ranking import complete_scores
from benchmarks.report.table import later, published
from benchmarks.runs.results import PAPER
from tabdl.kaggle.files import new_file

WORDS = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
"""What the report says, and the captions of its figures."""
MARKERS = {"default": "o", "paper-tuned": "s", "tuned": "D"}
MIN_DATASETS = 3
"""A test over fewer datasets than this says nothing about ranks."""


def draw(table, folder):
    """Write the figures that the table has data for and remove the others; return their captions
    by file name."""
    captions = {}
    for name, drawer in DRAWERS.items():
        path = Path(folder) / name
        figure = drawer(table)
        if figure is None:
            path.unlink(missing_ok=True)
        else:
            save(figure, path)
            captions[name] = WORDS["captions"][name]
    return captions


def new_axes(n_rows, n_columns, width, height):
    """Return a figure, in inches, and its axes, (n_rows, n_columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure, path):
    """Write a figure as PNG, in one step."""
    with new_file(path) as new:
        figure.savefig(new, dpi=130, format="png")


def _log_ticks(axis):
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    subs = (1, 2, 5) if high / low < 1000 else (1,)  # more labels would meet
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _label(dataset):
    models = PAPER["scores"].get(dataset, {}).values()
    means = [figure["mean"] for model in models for figure in model.values()]
    return "score" if not means else "minus RMSE" if max(means) < 0 else "accuracy"


def scores(table):
    """Draw every fit and ensemble beside the paper's mean and deviation."""
    runs = table[table["stage"].isin(["evaluation", "ensemble"])]
    if runs.empty:
        return None
    datasets = list(runs["dataset"].unique())
    n_rows = runs.groupby("dataset")["name"].nunique().max()
    figure, axes = new_axes(1, len(datasets), 5.5 * len(datasets), 1.6 + 0.42 * n_rows)
    for axis, dataset in zip(axes[0], datasets, strict=True):
        _scores(axis, dataset, runs[runs["dataset"] == dataset])
        axis.set(title=dataset, xlabel=f"test score ({_label(dataset)}; right is better)")
    _legend_below(figure, axes)
    return figure


def _legend_below(figure, axes):
    """Name what the axes show, each name once, where it covers nothing."""
    handles = {}
    for axis in axes.flat:
        lines, labels = axis.get_legend_handles_labels()
        handles |= dict(zip(labels, lines, strict=True))
    how = {"loc": "outside lower center", "ncols": 4, "frameon": False, "fontsize": 8}
    figure.legend(handles.values(), handles.keys(), **how)


STAGES = {
    "evaluation": ("a fit", 0.12, "tab:blue"),
    "ensemble": ("an ensemble", -0.12, "tab:orange"),
}
"""Label, distance from the model's line, and colour."""


def _scores(axis, dataset, runs):
    keys = ["name", "model", "config", "variant", "protocol"]
    order = runs.groupby(keys)["test_score"].mean().sort_values().reset_index()
    for y, (name, model, config, *how) in enumerate(order[keys].itertuples(index=False)):
        for stage, (label, offset, colour) in STAGES.items():
            found = runs[(runs["name"] == name) & (runs["stage"] == stage)]["test_score"]
            if len(found):
                line = {"color": colour, "markersize": 9, "label": label}
                axis.plot(found, np.full(len(found), y + offset), "|", **line)
            paper = published(dataset, model, config, stage, *how)
            if paper is not None:
                style = {"color": "black", "alpha": 0.55, "markersize": 3.5, "capsize": 2}
                style |= {"fmt": "D", "label": "the paper", "xerr": paper["std"]}
                axis.errorbar(paper["mean"], y + offset, **style)
    axis.set_yticks(range(len(order)), order["name"])
    axis.grid(axis="x", alpha=0.3)
    best = later(dataset)
    if len(best):
        style = {"color": "tab:green", "linestyle": ":", "label": "best later single model"}
        axis.axvline(best["single"].max(), **style)


def time(table):
    """Draw the score against the seconds of a fit."""
    single = table[table["stage"] == "evaluation"]
    if single.empty:
        return None
    datasets = list(single["dataset"].unique())
    figure, axes = new_axes(1, len(datasets), 5 * len(datasets), 4.2)
    for axis, dataset in zip(axes[0], datasets, strict=True):
        fits = single[single["dataset"] == dataset]
        for (name, model, config), group in fits.groupby(["name", "model", "config"]):
            found = group["test_score"]
            style = {"fmt": MARKERS.get(config, "o"), "color": colour_of(model), "capsize": 3}
            style |= {"label": name, "yerr": found.std(ddof=1) if len(group) > 1 else 0}
            axis.errorbar(group["fit_s"].median(), found.mean(), **style)
        axis.set(xscale="log", title=dataset, ylabel=f"test score ({_label(dataset)})")
        axis.set_xlabel("seconds of a fit (median)")
        _log_ticks(axis.xaxis)
        axis.grid(alpha=0.3)
    _legend_below(figure, axes)
    return figure


def tuning(table):
    """Draw the best validation score so far, by trial and by hour."""
    trials = table[table["stage"] == "trial"]
    if trials.empty:
        return None
    datasets = list(trials["dataset"].unique())
    figure, axes = new_axes(len(datasets), 2, 10, 3.4 * len(datasets))
    for row, dataset in zip(axes, datasets, strict=True):
        here = trials[trials["dataset"] == dataset]
        for (name, model), group in here.groupby(["name", "model"]):
            best = group["val_score"].cummax()
            style = {"where": "post", "label": name, "color": colour_of(model)}
            row[0].step(np.arange(1, len(best) + 1), best, **style)
            row[1].step(group["hours"], best, **style)
        low, high = here["val_score"].quantile(0.3), here["val_score"].max()
        for axis in row:
            axis.set(title=dataset, ylabel=f"best validation score ({_label(dataset)})")
            axis.set_ylim(low - 0.05 * (high - low), None)
            axis.grid(alpha=0.3)
        row[0].set_xlabel("trial")
        row[0].xaxis.get_major_locator().set_params(integer=True)
        row[0].legend(fontsize=8, frameon=False)
        row[1].set(xscale="log", xlabel="hours of fitting, all trials before together")
        _log_ticks(row[1].xaxis)
    return figure


def ranks(table):
    """Draw average ranks with groups that a Nemenyi test does not part; needs three datasets and
    three models."""
    found = complete_scores(table)
    if len(found) < MIN_DATASETS or found.shape[1] < 3:
        return None
    import scikit_posthocs

    average = found.rank(axis="columns", ascending=False).mean()
    p_values = scikit_posthocs.posthoc_nemenyi_friedman(found.to_numpy())
    p_values.index = p_values.columns = found.columns
    figure, axes = new_axes(1, 1, 8, 1.5 + 0.25 * len(average))
    scikit_posthocs.critical_difference_diagram(average, p_values, ax=axes[0, 0])
    return figure


DRAWERS = {"scores.png": scores, "time.png": time, "tuning.png": tuning, "ranks.png": ranks}
"""By file name: from the table to a figure, or None where it has no data."""
