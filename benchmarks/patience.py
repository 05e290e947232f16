"""How long should small tables wait for a better epoch? ``python -m benchmarks.patience``.

Trains default networks with a patience of 64 epochs on samples of the development tables, and reads
from the validation and test error of each epoch what a shorter patience would have given. A rule
"16 epochs, or 832 steps" waits as many epochs as the paper's 16 on its smallest table (52 steps
each), at most a number of epochs. Each fit is one line of the results file, and a fit that has its
line is not made again.
"""

import argparse
import itertools
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, root_mean_squared_error

from benchmarks.defaults import resume, train_val_test
from benchmarks.files import writable_file, write_text
from benchmarks.models.registry import MODELS

REPORT = Path(__file__).parent / "reports" / "patience.md"
TABLES = (
    "concrete",
    "california_housing",
    "wine_quality",
    "bike_sharing",
    "phoneme",
    "credit_g",
    "telco_churn",
    "sleep",
)
NUMERIC_EMBEDDINGS = {
    "mlp": None,
    "resnet": None,
    "ft_transformer": "linear",
    "tabm": "piecewise_tree",
}
LONGEST = 64
BATCH_SIZE = 32  # the default up to 2,800 training rows
RULES = {  # the least and the largest number of epochs, 832 steps between them
    "16": (16, 16),
    "16, or 832 steps up to 32": (16, 32),
    "16, or 832 steps up to 48": (16, 48),
    "16, or 832 steps up to 64": (16, 64),
    "32": (32, 32),
    "64": (64, 64),
}


class Watch:
    """A validation score that looks at the test rows too: the last rows that it is given.

    Attributes
    ----------
    val, test : list of float
        The error after each epoch.
    """

    def __init__(self, n_val):
        self.n_val, self.val, self.test = n_val, [], []

    def __call__(self, estimator, X, y):
        """Return minus the error of the validation rows."""
        if hasattr(estimator, "predict_proba"):
            answers = estimator.predict_proba(X)

            def error(rows):
                return log_loss(y[rows], answers[rows], labels=estimator.classes_)
        else:
            answers = estimator.predict(X)

            def error(rows):
                return root_mean_squared_error(y[rows], answers[rows])

        for errors, rows in (
            (self.val, slice(None, self.n_val)),
            (self.test, slice(self.n_val, None)),
        ):
            errors.append(float(error(rows)))
        return -self.val[-1]


def curves(network, table, is_regression, n_rows, seed):
    """Return the record of one fit: the errors of each epoch, the steps of an epoch and the
    seconds."""
    train, val, test = train_val_test(table, is_regression, n_rows, seed)
    watch = Watch(len(val[1]))
    common = {"random_state": seed, "batch_size": BATCH_SIZE, "patience": LONGEST}
    model = MODELS[network].estimator(is_regression)(
        numeric_embedding=NUMERIC_EMBEDDINGS[network], scoring=watch, **common
    )
    start = time.perf_counter()
    X, y = (
        pd.concat(pair, ignore_index=True)
        for pair in zip(val, (part.iloc[:1000] for part in test), strict=True)
    )
    model.fit(*train, X_val=X, y_val=y)
    n_steps = math.ceil(len(train[1]) / BATCH_SIZE)
    # The scorer was tried once before the first epoch.
    return {
        "val": watch.val[-model.n_iter_ :],
        "test": watch.test[-model.n_iter_ :],
        "n_steps": n_steps,
        "seconds": time.perf_counter() - start,
    }


def stopped(record, patience):
    """Return the test error of the kept epoch, and the number of epochs trained."""
    best = 0
    for epoch, error in enumerate(record["val"]):
        if error < record["val"][best]:
            best = epoch
        if epoch - best >= patience:
            break
    return record["test"][best], epoch + 1


def report(records, command):
    """Return the report in Markdown."""
    lines = [
        "# Patience on small tables",
        "",
        f"`{command}`",
        "",
        __doc__.split("\n\n")[1].replace("\n", " "),
        "",
    ]
    lines += [
        (
            "Change of the test error (RMSE or log loss) against a patience of 16, mean over "
            "tables and seeds (in brackets: how many"
        ),
        (
            "fits get better and worse), and how many times as many epochs train. A table that "
            "has fewer rows gives four fifths of"
        ),
        "what it has, the same for all larger numbers (concrete 824, credit_g 800).",
        "",
    ]
    names = list(RULES)
    lines += [
        "| network | rows | fits | " + " | ".join(names[1:]) + " |",
        "| --- | --- | --- |" + " --- |" * (len(names) - 1),
    ]
    frame = pd.DataFrame(records)
    for (network, n_rows), group in frame.groupby(["network", "rows"], sort=False):
        cells = [_change(group, RULES[name]) for name in names[1:]]
        lines.append(f"| {network} | {n_rows:,} | {len(group)} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| network | table | rows | steps an epoch | " + " | ".join(names) + " |",
        "| --- " * (4 + len(names)) + "|",
    ]
    for (network, table, n_rows), group in frame.groupby(["network", "table", "rows"], sort=False):
        cells = [_mean_error(group, RULES[name]) for name in names]
        n_steps = group["n_steps"].iloc[0]
        lines.append(
            f"| {network} | {table} | {n_rows:,} | {n_steps} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"


def _pairs(group, rule):
    least, largest = rule
    return [
        stopped(record, min(max(least, math.ceil(832 / record["n_steps"])), largest))
        for record in group.to_dict("records")
    ]


def _change(group, rule):
    before, after = (np.array(_pairs(group, r)) for r in (RULES["16"], rule))
    change = after[:, 0] / before[:, 0] - 1
    better, worse = (change < 0).sum(), (change > 0).sum()
    return (
        f"{change.mean():+.2%} ({better} better, {worse} worse), "
        f"{after[:, 1].sum() / before[:, 1].sum():.2f} × epochs"
    )


def _mean_error(group, rule):
    return f"{np.mean([error for error, _ in _pairs(group, rule)]):.4g}"


def main(argv=None):
    """Run what is missing and write the report."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.patience", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="where the development tables are"
    )
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument(
        "--networks", nargs="+", default=["mlp", "resnet"], choices=NUMERIC_EMBEDDINGS
    )
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        default=[500, 1000, 2000],
        help="training and validation rows, 3,500 at most",
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--results", type=writable_file, default=Path("results/patience.jsonl"))
    parser.add_argument("--report", type=writable_file, default=REPORT)
    options = parser.parse_args(argv)
    if not (options.data / "datasets.json").exists():
        print(
            f"Nothing to do: no development tables (datasets.json and a parquet a table) in "
            f"{options.data}."
        )
        return
    described = json.loads((options.data / "datasets.json").read_text())
    options.results.parent.mkdir(parents=True, exist_ok=True)

    def measure(network, table, rows, seed):
        frame = pd.read_parquet(options.data / f"{table}.parquet")
        return curves(network, frame, described[table]["task"] == "regression", rows, seed)

    names = ("seed", "rows", "table", "network")
    every = itertools.product(range(options.seeds), options.rows, options.tables, options.networks)
    records = resume(
        options.results, [dict(zip(names, values, strict=True)) for values in every], measure
    )
    command = "python -m benchmarks.patience " + " ".join(sys.argv[1:] if argv is None else argv)
    write_text(options.report, report(records, command.strip()))
    print(options.report)


if __name__ == "__main__":
    main()
