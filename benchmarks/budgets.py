"""What a search has found after so many hours: table 11 of Gorishniy et al. 2021.

``python -m benchmarks.budgets FOLDER ...`` takes results folders of the stage ``tune``, one for
each search seed. It fits the best trial by validation of each budget again, for its test score.
Fits are run directories beside the search, so that the same command goes on where it was killed.

A budget is of the trials' seconds, added up in their order: that is the time of one worker.
"""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

from benchmarks.errors import HarnessError
from benchmarks.files import writable_file, write_text
from benchmarks.models.registry import MODELS
from benchmarks.runs.evaluate import evaluate_as
from benchmarks.runs.results import Experiment, done, read
from benchmarks.runs.tune import FIT_SEED
from benchmarks.studies import markdown
from benchmarks.tables.datasets import Source

HOURS = (0.25, 0.5, 1, 2, 3, 4, 5, 6)
PAPER = {
    ("california_housing", "xgboost"): ((0.437, 31), (0.434, 120), (0.432, 867)),
    ("california_housing", "mlp"): ((0.503, 16), (0.493, 103), (0.488, 724)),
    ("california_housing", "resnet"): ((0.488, 7), (0.483, 30), (0.484, 197)),
    ("california_housing", "ft_transformer"): ((0.466, 4), (0.465, 20), (0.459, 153)),
    ("adult", "xgboost"): ((0.871, 165), (0.872, 638), (0.872, 3500)),
    ("adult", "mlp"): ((0.856, 20), (0.858, 71), (0.856, 375)),
    ("adult", "resnet"): ((0.856, 8), (0.854, 32), (0.855, 208)),
    ("adult", "ft_transformer"): ((0.861, 6), (0.859, 27), (0.860, 148)),
    ("higgs_small", "xgboost"): ((0.725, 88), (0.724, 291), (0.725, 1559)),
    ("higgs_small", "mlp"): ((0.721, 16), (0.723, 62), (0.724, 447)),
    ("higgs_small", "resnet"): ((0.724, 8), (0.727, 32), (0.728, 154)),
    ("higgs_small", "ft_transformer"): ((0.727, 2), (0.728, 12), (0.729, 66)),
}
"""The paper's test score and number of trials, means of five searches, after PAPER_HOURS."""
PAPER_HOURS = (0.25, 1, 6)


def best_within(trials, hours):
    """Return the best of the trials that ended within a budget.

    Parameters
    ----------
    trials : DataFrame
        That of :func:`benchmarks.runs.tune.trial_table`.
    hours : float

    Returns
    -------
    n_trials : int
        Those that ended.
    best : Series or None
        Its line, the first of equal ones; None where the budget gave none, or the whole search was
        shorter.
    """
    ends = trials["seconds"].fillna(0).cumsum()
    ended = trials[ends <= 3600 * hours]
    scored = ended[ended["state"] == "COMPLETE"]
    if scored.empty or ends.iloc[-1] < 3600 * hours:
        return len(ended), None
    return len(ended), scored.loc[scored["value"].idxmax()]


def frame_of(folders, hours):
    """Return a line for each search and budget: dataset, model, protocol, seed, hours, trials and
    score.

    Raises
    ------
    HarnessError
        When a folder has no search, two have the same, or a search is of other data than is here.
    """
    lines = []
    for out in folders:
        found = sorted(Path(out).glob("*/*/tuning"))
        searches = [(folder, report) for folder in found if (report := read(folder)) is not None]
        if not searches:
            raise HarnessError(f"{out} has no finished search: run the stage tune with --out {out}")
        for folder, report in searches:
            lines += _lines(folder, report["identity"], out, hours)
    frame = pd.DataFrame(lines)
    if frame.duplicated(["dataset", "model", "seed", "hours"]).any():
        raise HarnessError(
            "two folders hold a search of the same seed: give each its --search-seed"
        )
    return frame


def _lines(folder, identity, out, hours):
    names = ("dataset", "model", "config", "device", "time_limit", "variant", "protocol")
    dataset, model, config, device, time_limit, variant, protocol = map(identity.get, names)
    if variant is not None or model not in MODELS:
        raise HarnessError(f"{folder}: only models of the harness are fitted again, no variants")
    how = config, device, time_limit, str(out)
    experiment = Experiment(Source(dataset), model, *how, protocol=protocol)
    done(folder, identity | experiment.identity())
    trials = _read_trials(folder / "trials.parquet")
    for budget in hours:
        n_trials, best = best_within(trials, budget)
        line = {"dataset": dataset, "model": model, "protocol": protocol}
        score = None if best is None else _test_score(experiment, best)
        found = {"hours": budget, "trials": n_trials, "score": score}
        yield line | {"seed": identity["search_seed"]} | found


def _read_trials(path):
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise HarnessError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def _test_score(experiment, trial):
    """Return RMSE or accuracy of a trial on test rows: it is fitted again with its own seed."""
    folder = experiment.folder / "budgets" / str(trial["number"])
    report = evaluate_as(experiment, FIT_SEED, json.loads(trial["config"]), folder)
    return abs(report["metrics"]["test"]["score"])


def table_of(frame):
    """Return mean score and number of trials: a line a dataset and model, with the paper's below
    where the protocol is the paper's; a column a budget that all searches reached."""
    lines = []
    keys = ["dataset", "model", "protocol"]
    for (dataset, model, protocol), group in frame.groupby(keys, sort=False):
        line = {"dataset": dataset, "model": MODELS[model].label}
        ours = {
            hours: (found["score"].mean(), found["trials"].mean())
            for hours, found in group.groupby("hours")
            if found["score"].notna().all()
        }
        published = PAPER.get((dataset, model)) if protocol == "paper" else None
        lines.append(line | {"searches": str(group["seed"].nunique())} | _cells(ours))
        if published is not None:
            theirs = dict(zip(PAPER_HOURS, published, strict=True))
            lines.append(line | {"searches": "paper, 5"} | _cells(theirs))
    columns = ["dataset", "model", "searches", *map(_name, sorted(frame["hours"].unique()))]
    return pd.DataFrame(lines).reindex(columns=columns)


def _cells(figures):
    return {_name(hours): f"{score:.4g} ({n:.0f})" for hours, (score, n) in figures.items()}


def _name(hours):
    return f"{hours:g} h"


def main(argv=None):
    """Fit what searches had found and print the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.budgets", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--hours", nargs="+", type=float, default=HOURS, metavar="H")
    parser.add_argument("--report", type=writable_file, metavar="FILE")
    options = parser.parse_args(argv)
    try:
        table = markdown(table_of(frame_of(options.folders, options.hours)))
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = (
        "# What does a search find in so many hours?\n\n"
        "Test RMSE or accuracy of the best trial by validation, mean over the searches, and in "
        f"brackets the mean number of trials that had ended.\n\n{table}\n"
    )
    print(text)
    if options.report:
        write_text(options.report, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
