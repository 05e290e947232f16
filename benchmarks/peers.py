"""RealMLP and TabM beside pytabkit's, the same configuration on the same rows: ``python -m
benchmarks.peers``.

pytabkit needs other versions of other packages, so it lives in an environment of its own (``pip
install -c constraints.txt torch pytabkit pyarrow``), whose Python is given. Fits alternate: ours,
theirs, the next seed; before each stands a fit of one epoch that is not timed. Prints the test
score of each, the seconds of each fit, and their ratio, median and range: of the seconds that
passed, and of the processor's, which other work on the machine hardly changes. Tables are parquet
files with the column ``target``.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error
from sklearn.model_selection import train_test_split

from benchmarks.files import append_json_line, writable_file
from benchmarks.models.registry import MODELS

SHIPPED = Path(__file__).parent / "data"
# Ours, with the parameters in which the defaults differ from the other package's. Neither smooths
# labels, and both keep the epoch of the lowest validation loss: see peers_fit.py.
PARAMETERS = {
    "realmlp": {},
    "tabm": {
        "arch": "tabm",
        "d_block": 512,
        "numeric_embedding": None,
        "weight_decay": 0.0,
        "clip_norm": None,
        "batch_size": 256,
    },
}


def read(path, n_rows, seed):
    """Return whether the target is a class, and (X, y) of the training, validation and test rows.

    A column ``split`` is kept to; else the rows are split 64:16:20, by ``seed``, after a table of
    more than ``n_rows / 0.64`` rows was cut to so many at random.
    """
    table = pd.read_parquet(path)
    is_classification = not pd.api.types.is_float_dtype(table["target"])
    if "split" in table:
        tables = [
            table[table["split"] == split].drop(columns="split")
            for split in ("train", "val", "test")
        ]
        tables[0] = tables[0].sample(min(n_rows, len(tables[0])), random_state=seed)
    else:
        table = table.sample(min(len(table), int(n_rows / 0.64)), random_state=seed)
        tables = _split(table, seed, is_classification)
    return is_classification, [
        (t.drop(columns="target").reset_index(drop=True), t["target"].reset_index(drop=True))
        for t in tables
    ]


def _split(table, seed, is_classification):
    if is_classification:
        table = table[
            table.groupby("target")["target"].transform("size") >= 6
        ]  # each part needs each class

    def part(rows):
        stratify = rows["target"] if is_classification else None
        return train_test_split(rows, test_size=0.2, random_state=seed, stratify=stratify)

    rest, test = part(table)
    return [*part(rest), test]


def fit_ours(model, is_classification, train_val_test, seed, epochs, precision=None):
    """Return the predictions of the test rows, probabilities of classes, and seconds of the fit:
    passed, and of the processor."""
    limits = {} if epochs is None else {"max_epochs": epochs, "patience": epochs}
    common = {"random_state": seed, "n_jobs": torch.get_num_threads()}
    common |= {} if precision is None else {"precision": precision}
    cls = MODELS[model].estimator(not is_classification)
    estimator = cls(**common, **PARAMETERS[model], **limits)
    (X, y), (X_val, y_val), (X_test, _) = train_val_test
    clone(estimator).set_params(max_epochs=1).fit(
        X, y, X_val=X_val, y_val=y_val
    )  # makes what a process makes once
    start = time.perf_counter(), time.process_time()
    estimator.fit(X, y, X_val=X_val, y_val=y_val)
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    return estimator.predict_proba(X_test) if is_classification else estimator.predict(
        X_test
    ), seconds


def fit_theirs(python, model, is_classification, train_val_test, seed, epochs):
    """Return the same of the other package's estimator, fitted in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        for name, (X, y) in zip(("train", "val", "test"), train_val_test, strict=True):
            X.assign(target=y).to_parquet(Path(folder) / f"{name}.parquet")
        task = {
            "model": model,
            "is_classification": is_classification,
            "seed": seed,
            "epochs": epochs,
        }
        task["threads"] = torch.get_num_threads()
        (Path(folder) / "task.json").write_text(json.dumps(task))
        fit = [Path(python).absolute(), Path(__file__).with_name("peers_fit.py"), folder]
        subprocess.run(
            fit, check=True, capture_output=True, cwd=folder
        )  # skorch leaves files where it runs
        return np.load(Path(folder) / "predictions.npy"), json.loads(
            (Path(folder) / "seconds.json").read_text()
        )


def scores(is_classification, predictions, y_train, y_test):
    """Return the test scores by name: log loss and accuracy, or the error in standard deviations of
    the target."""
    if not is_classification:
        return {"rmse": root_mean_squared_error(y_test, predictions)}
    classes = np.unique(y_train)
    found = {"log loss": log_loss(y_test, predictions, labels=classes)}
    return found | {"accuracy": accuracy_score(y_test, classes[predictions.argmax(1)])}


def compare(options, table, model, seed):
    """Fit both and return a record of the run."""
    path = (
        SHIPPED / f"{table}.parquet"
        if options.data is None
        else Path(options.data) / f"{table}.parquet"
    )
    is_classification, train_val_test = read(path, options.rows, seed)
    record = {
        "table": table,
        "model": model,
        "seed": seed,
        "rows": len(train_val_test[0][0]),
        "epochs": options.epochs,
    }
    record |= {"precision": options.precision, "threads": options.threads}
    task = (model, is_classification, train_val_test, seed, options.epochs)
    for name, (predictions, (passed, processor)) in {
        "ours": fit_ours(*task, options.precision),
        "theirs": fit_theirs(options.python, *task),
    }.items():
        record[name] = scores(
            is_classification, predictions, train_val_test[0][1], train_val_test[2][1]
        ) | {
            "seconds": passed,
            "cpu": processor,
        }
    return record


def summary(records):
    """Return a Markdown table: means over the seeds, and the ratio of seconds with its range."""
    heads = [
        "table",
        "model",
        "rows",
        "score",
        "ours",
        "theirs",
        "ours s",
        "theirs s",
        "times as fast",
        "by processor seconds",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for table, model in dict.fromkeys((r["table"], r["model"]) for r in records):
        runs = [r for r in records if (r["table"], r["model"]) == (table, model)]
        ratios = [
            _ratio([r["theirs"][clock] / r["ours"][clock] for r in runs])
            for clock in ("seconds", "cpu")
        ]
        seconds = [
            f"{statistics.mean(r[side]['seconds'] for r in runs):.1f}"
            for side in ("ours", "theirs")
        ]
        for score in [name for name in runs[0]["ours"] if name not in ("seconds", "cpu")]:
            means = [_mean([r[side][score] for r in runs]) for side in ("ours", "theirs")]
            lines.append(
                "| "
                + " | ".join([table, model, str(runs[0]["rows"]), score, *means, *seconds, *ratios])
                + " |"
            )
    return "\n".join(lines)


def _ratio(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def _mean(values):
    return f"{statistics.mean(values):.4f}" + (
        f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    )


def main(argv=None):
    """Run what the command line asks for, print each run and then the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--python", required=True, help="the Python of the environment that has pytabkit"
    )
    parser.add_argument("--data", help="a folder of parquet files (default: the shipped tables)")
    parser.add_argument("--tables", nargs="+", default=["california_housing"], metavar="NAME")
    parser.add_argument("--models", nargs="+", default=list(PARAMETERS), choices=list(PARAMETERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    parser.add_argument("--rows", type=int, default=4000, help="training rows at most")
    parser.add_argument(
        "--epochs",
        type=int,
        help="epochs of every fit, without early stopping (default: each package's own rule)",
    )
    parser.add_argument(
        "--precision", help="of our networks (default: the estimator's); theirs are of float32"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--out", type=writable_file, help="a file of JSON lines, one a run, that grows"
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    records = []
    for table in options.tables:
        for model in options.models:
            for seed in options.seeds:
                records.append(compare(options, table, model, seed))
                print(json.dumps(records[-1]), flush=True)
                if options.out:
                    append_json_line(options.out, records[-1])
    print(summary(records))


if __name__ == "__main__":
    main()
