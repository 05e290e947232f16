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

from benchmarks.errors import HarnessError, told
from benchmarks.files import writable_file, write_text
from benchmarks.models.registry import MODELS
from benchmarks.runs.evaluate import evaluate_as
from benchmarks.runs.results import PAPER, Experiment, done, read
from benchmarks.runs.tune import FIT_SEED
from benchmarks.studies import markdown
from benchmarks.tables.datasets import Source

HOURS = (0.25, 0.5, 1, 2, 3, 4, 5, 6)


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
    with told(f"{folder / 'trials.parquet'} is damaged", OSError, ValueError):
        trials = pd.read_parquet(folder / "trials.parquet")
    for budget in hours:
        n_trials, best = best_within(trials, budget)
        line = {"dataset": dataset, "model": model, "protocol": protocol}
        score = None if best is None else _test_score(experiment, best)
        found = {"hours": budget, "trials": n_trials, "score": score}
        yield line | {"seed": identity["search_seed"]} | found


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
        lines.append(line | {"searches": str(group["seed"].nunique())} | _cells(ours))
        theirs = PAPER["budgets"].get(dataset, {}).get(model)
        if theirs is not None and protocol == "paper":
            by_hours = {float(hours): found for hours, found in theirs.items()}
            lines.append(line | {"searches": "paper, 5"} | _cells(by_hours))
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
