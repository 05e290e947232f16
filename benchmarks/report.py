"""The comparison: scores beside the paper's, as a table."""

import statistics

from benchmarks.results import PAPER

HEADINGS = (
    "dataset",
    "model",
    "config",
    "seeds",
    "score",
    "paper: default",
    "paper: tuned",
    "fit s",
    "predict s",
    "parameters",
    "epochs",
)


def rows(reports):
    """Return a tuple of strings for each dataset, model and configuration, in the order of the reports."""
    groups = {}
    for report in reports:
        run = report["run"]
        groups.setdefault((run["dataset"], run["model"], run["config"]), []).append(report)
    return [(*key, *_figures(key, group)) for key, group in groups.items()]


def _figures(key, group):
    dataset, model, _ = key
    paper = PAPER["scores"][dataset][model]
    cut = any(report["was_cut"] for report in group)
    unit = "trees" if model in ("xgboost", "catboost") else "epochs"
    return (
        str(len(group)),
        _spread([report["test_score"] for report in group]) + (" cut" if cut else ""),
        *(_paper_figure(paper.get(config)) for config in ("default", "tuned")),
        f"{_median(group, 'fit_time_s'):.1f}",
        f"{_median(group, 'predict_time_s'):.2f}",
        f"{int(_median(group, 'n_parameters')):,}" + (" leaves" if unit == "trees" else ""),
        f"{int(_median(group, 'n_iter'))} {unit}",
    )


def _median(group, name):
    return statistics.median(report[name] for report in group)


def _spread(scores):
    spread = f" ± {statistics.stdev(scores):.4f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.4f}{spread}"


def _paper_figure(figure):
    return "–" if figure is None else f"{figure['mean']:.4f} ± {figure['std']:.4f}"


def footnote(reports):
    """Return what a reader of the table has to know."""
    lines = [
        "score: accuracy (adult) or minus RMSE (california_housing) of the test rows; higher is better; mean ± deviation",
        "of the seeds. paper: Gorishniy et al. 2021, 15 seeds. Medians of seconds, parameters (trees: leaves) and epochs.",
    ]
    if any(report["was_cut"] for report in reports):
        limits = sorted({report["run"]["time_limit"] for report in reports if report["was_cut"]})
        seconds = ", ".join(f"{limit:g}" for limit in limits)
        lines.append(f"cut: training was stopped after {seconds} s (--time-limit 0 lifts that): not the model's best score.")
    return "\n".join(lines)


def markdown(reports):
    """Return the table in Markdown."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *rows(reports)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
