"""The figures of the report, each drawn from the one table."""

from pathlib import Path

import numpy as np

from benchmarks.files import new_file
from benchmarks.models.registry import colour_of
from benchmarks.report.ranking import complete_scores
from benchmarks.report.table import later, published

MARKERS = {"default": "o", "paper-tuned": "s", "tuned": "D"}
MIN_DATASETS = 3
"""A test over fewer datasets than this says nothing about ranks."""


def draw(table, folder):
    """Write the figures that the table has data for and remove the others; return their captions
    by file name."""
    import matplotlib

    matplotlib.use("Agg")
    captions = {}
    for name, drawer in DRAWERS.items():
        caption = drawer(table, Path(folder) / name)
        if caption is None:
            (Path(folder) / name).unlink(missing_ok=True)
        else:
            captions[name] = caption
    return captions


def _axes(n_rows, n_columns, width, height):
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(width, height), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure, path):
    from matplotlib import pyplot as plt

    with new_file(path) as new:
        figure.savefig(new, dpi=130, format="png")
    plt.close(figure)


def _log_ticks(axis):
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(
        LogLocator(subs=(1, 2, 5) if high / low < 1000 else (1,))
    )  # more labels would meet
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _label(dataset):
    from benchmarks.runs.results import PAPER

    scores = [
        figure["mean"]
        for model in PAPER["scores"].get(dataset, {}).values()
        for figure in model.values()
    ]
    return "score" if not scores else "minus RMSE" if max(scores) < 0 else "accuracy"


def scores(table, path):
    """Every fit and ensemble beside the paper's mean and deviation."""
    runs = table[table["stage"].isin(["evaluation", "ensemble"])]
    if runs.empty:
        return None
    datasets = list(runs["dataset"].unique())
    n_rows = max(runs.loc[runs["dataset"] == d, "name"].nunique() for d in datasets)
    figure, axes = _axes(1, len(datasets), 5.5 * len(datasets), 1.6 + 0.42 * n_rows)
    for axis, dataset in zip(axes[0], datasets, strict=True):
        _scores(axis, runs[runs["dataset"] == dataset])
        axis.set(title=dataset, xlabel=f"test score ({_label(dataset)}; right is better)")
    handles = {
        label: handle
        for axis in axes[0]
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=8,
    )
    _save(figure, path)
    return "Test scores: every fit, every ensemble, and the paper's mean ± standard deviation."


STAGES = {
    "evaluation": ("a fit", 0.12, "tab:blue"),
    "ensemble": ("an ensemble", -0.12, "tab:orange"),
}
"""Label, distance from the model's line, and colour."""


def _scores(axis, runs):
    dataset = runs["dataset"].iloc[0]
    keys = ["name", "model", "config", "variant", "protocol"]
    order = runs.groupby(keys)["test_score"].mean().sort_values().reset_index()
    for y, (name, model, config, *how) in enumerate(order[keys].itertuples(index=False)):
        for stage, (label, offset, colour) in STAGES.items():
            found = runs[(runs["name"] == name) & (runs["stage"] == stage)]["test_score"]
            if len(found):
                line = {"color": colour, "markersize": 9, "label": label}
                axis.plot(found, np.full(len(found), y + offset), "|", **line)
            _paper(axis, published(dataset, model, config, stage, *how), y + offset)
    axis.set_yticks(range(len(order)), order["name"])
    axis.grid(axis="x", alpha=0.3)
    best = later(dataset)
    if len(best):
        axis.axvline(
            best["single"].max(), color="tab:green", linestyle=":", label="best later single model"
        )


def _paper(axis, figure, y):
    if figure is None:
        return
    style = {"fmt": "D", "color": "black", "alpha": 0.55, "markersize": 3.5, "capsize": 2}
    axis.errorbar(figure["mean"], y, xerr=figure["std"], label="the paper", **style)


def time(table, path):
    """Score against the seconds of a fit."""
    single = table[table["stage"] == "evaluation"]
    if single.empty:
        return None
    datasets = list(single["dataset"].unique())
    figure, axes = _axes(1, len(datasets), 5 * len(datasets), 3.8)
    for axis, dataset in zip(axes[0], datasets, strict=True):
        fits = single[single["dataset"] == dataset]
        for (name, model, config), group in fits.groupby(["name", "model", "config"]):
            spread = group["test_score"].std(ddof=1) if len(group) > 1 else 0
            axis.errorbar(
                group["fit_s"].median(),
                group["test_score"].mean(),
                yerr=spread,
                fmt=MARKERS.get(config, "o"),
                color=colour_of(model),
                capsize=3,
                label=name,
            )
        axis.set(
            xscale="log",
            title=dataset,
            xlabel="seconds of a fit (median)",
            ylabel=f"test score ({_label(dataset)})",
        )
        _log_ticks(axis.xaxis)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, frameon=False)
    _save(figure, path)
    return (
        "Test score (mean ± standard deviation) against the median seconds of a fit, on "
        "the machine and device named above."
    )


def tuning(table, path):
    """The best validation score so far, by trial and by hour."""
    trials = table[table["stage"] == "trial"]
    if trials.empty:
        return None
    datasets = list(trials["dataset"].unique())
    figure, axes = _axes(len(datasets), 2, 10, 3.4 * len(datasets))
    for row, dataset in zip(axes, datasets, strict=True):
        searches = trials[trials["dataset"] == dataset].groupby(["name", "model"])
        for (name, model), group in searches:
            best = group["val_score"].cummax()
            style = {"where": "post", "label": name, "color": colour_of(model)}
            row[0].step(np.arange(1, len(best) + 1), best, **style)
            row[1].step(group["hours"], best, **style)
        values = trials.loc[trials["dataset"] == dataset, "val_score"]
        low = values.quantile(0.3)
        for axis, xlabel in zip(
            row, ("trial", "hours of fitting, all trials before together"), strict=True
        ):
            axis.set(
                title=dataset, xlabel=xlabel, ylabel=f"best validation score ({_label(dataset)})"
            )
            axis.set_ylim(low - 0.05 * (values.max() - low), None)
            axis.grid(alpha=0.3)
        row[0].xaxis.get_major_locator().set_params(integer=True)
        row[1].set_xscale("log")
        _log_ticks(row[1].xaxis)
        row[0].legend(fontsize=8, frameon=False)
    _save(figure, path)
    return (
        "The best validation score after each trial, and after each hour of fitting. The "
        "axis begins at their 30 % quantile."
    )


def ranks(table, path):
    """Average ranks with groups that a Nemenyi test does not part; needs three datasets and three
    models."""
    scores = complete_scores(table)
    if len(scores) < MIN_DATASETS or scores.shape[1] < 3:
        return None
    import scikit_posthocs

    average = scores.rank(axis="columns", ascending=False).mean()
    p_values = scikit_posthocs.posthoc_nemenyi_friedman(scores.to_numpy())
    p_values.index = p_values.columns = scores.columns
    figure, axes = _axes(1, 1, 8, 1.5 + 0.25 * len(average))
    scikit_posthocs.critical_difference_diagram(average, p_values, ax=axes[0, 0])
    _save(figure, path)
    text = f"Average rank over {len(scores)} datasets; 1 is best."
    return f"{text} A bar joins models whose difference a Nemenyi test at 5 % does not find."


DRAWERS = {"scores.png": scores, "time.png": time, "tuning.png": tuning, "ranks.png": ranks}
