"""Everything that was measured, as one table; and what follows from it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.files import tell, tell_damaged
from benchmarks.runs.results import FORMAT, PAPER, STAGES, read, run_name
from benchmarks.tables.splits import PARTS

TEXTS = (
    *("dataset", "name", "model", "config", "variant", "protocol", "stage", "state", "device"),
    *("processor", "tabdl", "commit"),
)
"""``name`` is the model with its configuration and variant, see :func:`label`; ``stage`` is
evaluation, ensemble or trial."""
NUMBERS = (
    *("train_score", "val_score", "test_score", "fit_s", "predict_s", "hours", "n_parameters"),
    *("n_iter", "best_iter", "time_limit", "host_mb", "gpu_mb"),
)
"""``hours`` are those of all trials up to this one."""
COLUMNS = dict.fromkeys(TEXTS, "str") | dict.fromkeys(NUMBERS, "float64")
COLUMNS |= {"index": "int64", "hit_time_limit": "boolean"}
"""``index`` is the seed, the number of the ensemble or that of the trial."""


def collect(out):
    """Return the table of a results folder: a line for an evaluation, an ensemble and a trial.

    A report that is damaged, stray, or of another layout is left out; a line on stderr names it.
    """
    lines = [line for folder in _folders(out) for line in _lines(folder)]
    table = pd.DataFrame(lines, columns=list(COLUMNS)).astype(COLUMNS)
    order = ["dataset", "name", "stage", "index"]
    return table.sort_values(order, kind="stable", ignore_index=True)


def _folders(out):
    patterns = ("*/*/tuning", "*/*/evaluation/*", "*/*/ensemble/*")
    found = (folder for pattern in patterns for folder in Path(out).glob(pattern))
    return sorted(f for f in found if (f / "report.json").exists() and not f.name.startswith("."))


def read_sound(folder):
    """Return the report of a directory; None, with a line that says why, where the report is
    damaged, of another layout, or of a run that belongs elsewhere."""
    report = read(folder)
    if report is None:
        return None
    identity = report["identity"]
    if identity.get("format") != FORMAT:
        layout = identity.get("format", "unknown")
        tell(f"{folder} has a report of layout {layout}, this is layout {FORMAT}: left out")
        return None
    if identity.get("stage") not in STAGES or not _is_in_its_place(folder, identity):
        tell(f"{folder} has a report that does not belong there: left out")
        return None
    return report


def _is_in_its_place(folder, identity):
    """Return whether a directory is the one of a run: DATASET/NAME/STAGE, and a number."""
    stage_folder = folder if identity["stage"] == "tuning" else folder.parent
    name = run_name(identity["model"], identity["config"], identity["variant"])
    place = (identity["dataset"], name, identity["stage"])
    is_numbered = folder == stage_folder or re.fullmatch("[0-9]{1,9}", folder.name)
    return stage_folder.parts[-3:] == place and bool(is_numbered)


def _lines(folder):
    report = read_sound(folder)
    if report is None:
        return []
    identity = report["identity"]
    names = ("dataset", "model", "config", "protocol", "time_limit", "tabdl", "device", "stage")
    common = {name: identity[name] for name in names} | {"variant": identity["variant"] or ""}
    common["time_limit"] = report.get("time_limit", identity["time_limit"])
    common["name"] = label(identity["model"], identity["config"], identity["variant"])
    common |= {"commit": report["commit"], "processor": report["machine"]["processor"]}
    if identity["stage"] == "tuning":
        return _trials(folder / "trials.parquet", common)
    metrics = report["metrics"]
    scores = {f"{part}_score": metrics[part]["score"] for part in PARTS if part in metrics}
    times = {f"{name}_s": seconds for name, seconds in report["seconds"].items()}
    names = ("n_parameters", "n_iter", "best_iter", "hit_time_limit", "device")
    same = {name: report[name] for name in names if name in report}
    memory = report.get("peak_memory", {})
    return [common | {"index": int(folder.name)} | scores | times | same | memory]


def _trials(path, common):
    names = {"number": "index", "value": "val_score", "seconds": "fit_s"}
    try:
        trials = pd.read_parquet(path).rename(columns=names)
        trials["hours"] = trials["fit_s"].fillna(0).cumsum() / 3600
        found = trials[["index", "state", "val_score", "fit_s", "hours", "n_iter"]]
        return [common | {"stage": "trial"} | line for line in found.to_dict("records")]
    except Exception as error:  # pyarrow's, the system's, or of columns that are not there
        tell_damaged(path, error)
        return []


def published(dataset, model, config, stage, variant="", protocol="paper"):
    """Return the paper's figure for a kind of run, a dict with mean, std and runs; None where it
    has none: a variant, or an estimator with its own defaults, is another model."""
    if variant or (config == "default" and protocol != "paper"):
        return None
    kind = ("default" if config == "default" else "tuned") + (
        "_ensemble" if stage == "ensemble" else ""
    )
    return PAPER["scores"].get(dataset, {}).get(model, {}).get(kind)


def later(dataset):
    """Return what later papers publish for a dataset in their split: rows of study, model, single,
    ensemble_of_5; none for the paper's split, whose validation rows are others."""
    table, _, split = dataset.partition(".")
    studies = PAPER["later"].get(table, {}) if split == "later" else {}
    lines = [
        {"study": study, "model": model} | figures
        for study, models in studies.items()
        for model, figures in models.items()
    ]
    return pd.DataFrame(lines, columns=["study", "model", "single", "ensemble_of_5"])


KEY = ["dataset", "name", "stage"]
FACTS = ["model", "config", "variant", "protocol"]
MEDIANS = ["fit_s", "predict_s", "n_parameters", "n_iter"]


def summary(table):
    """Return a line for each dataset, name and stage: n, mean and std of the test score, and the
    paper's.

    ``difference`` is in the paper's standard deviations; missing where the paper has no figure or
    no deviation.
    """
    runs = table[table["stage"] != "trial"]
    lines = []
    for key, group in runs.groupby(KEY, sort=False):
        facts = dict(zip(KEY, key, strict=True)) | {name: group[name].iloc[0] for name in FACTS}
        lines.append(facts | _of_runs(group) | _beside_the_paper(group, facts))
    own = ["n", "mean", "std", "hit_time_limit", "device", *MEDIANS]
    papers = ["paper_mean", "paper_std", "paper_n", "difference"]
    return pd.DataFrame(lines, columns=[*KEY, *FACTS, *own, *papers])


def _of_runs(group):
    scores, is_papers = group["test_score"], group["protocol"].iloc[0] == "paper"
    return {
        "n": len(scores),
        "mean": scores.mean(),
        # The paper's deviations are the population's.
        "std": scores.std(ddof=int(not is_papers)) if len(scores) > 1 else np.nan,
        "hit_time_limit": bool(group["hit_time_limit"].fillna(False).any()),
        "device": listed(group["device"]),
    } | {name: group[name].median() for name in MEDIANS}


def _beside_the_paper(group, facts):
    paper = published(**{key: value for key, value in facts.items() if key != "name"})
    if paper is None:
        return {}
    figures = {"paper_mean": paper["mean"], "paper_std": paper["std"], "paper_n": paper["runs"]}
    if paper["std"] > 0:
        figures["difference"] = (group["test_score"].mean() - paper["mean"]) / paper["std"]
    return figures


def listed(column):
    """Return the different texts of a column, one after the other."""
    return ", ".join(sorted(column.dropna().unique()))


def label(model, config, variant=None):
    """Return the model, with its kind of configuration where that is not the search's, and its
    variant."""
    notes = [config] * (config != "tuned") + [variant] * bool(variant)
    return f"{model} ({', '.join(notes)})" if notes else model


def markdown(frame, digits=4):
    """Return a frame as a Markdown table: numbers with so many digits, a dash for missing ones."""

    def text(value):
        if isinstance(value, float | np.floating):
            return "–" if np.isnan(value) else f"{value:.{digits}g}"
        return f"{value:,}" if isinstance(value, int | np.integer) else str(value)

    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    lines = [frame.columns, ["---"] * frame.shape[1], *frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(map(text, line)) + " |" for line in lines)
