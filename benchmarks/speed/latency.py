"""How long a prediction takes, of one row and of many: ``python -m benchmarks.speed.latency``.

Networks of tabdl, their graphs in onnxruntime and CatBoost predict rows of Adult and California
Housing on one thread. The seconds are those of the processor, so that other work on the machine
counts little; the smallest and the median of the repeats are printed. The networks are trained for
two epochs only: their speed does not depend on what they have learned.
"""

import argparse
import functools
import os
import resource
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

import tabdl
from benchmarks.speed.results import describe_run
from benchmarks.tables.datasets import adult, california_housing

SIZES = (1, 100, 10_000, 1_000_000)
NETWORKS = {
    "MLP": (tabdl.TabMLPClassifier, tabdl.TabMLPRegressor, {}),
    "ResNet": (tabdl.TabResNetClassifier, tabdl.TabResNetRegressor, {}),
    "TabM, pruned": (tabdl.TabMClassifier, tabdl.TabMRegressor, {"prune": True}),
}


class Line(NamedTuple):
    """What one way of predicting takes; ``low`` and ``median`` are milliseconds."""

    dataset: str
    model: str
    form: str
    n_rows: int
    low: float
    median: float


def seconds(function, n_rows):
    """Return the smallest and the median of the seconds of a call."""
    n_repeats = 300 if n_rows == 1 else 30 if n_rows <= 100 else 3
    function()
    times = []
    for _ in range(n_repeats if n_rows < 1_000_000 else 1):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times), float(np.median(times))


def rows_of(X, n_rows):
    """Return so many rows of a data frame, again and again."""
    return X.iloc[np.arange(n_rows) % len(X)].reset_index(drop=True)


def forms(X, n_rows):
    """Return the rows as what callers have, by name."""
    frame = rows_of(X, n_rows)
    found = {"data frame": lambda predict: lambda: predict(frame)}
    if n_rows == 1:
        record = frame.iloc[0].to_dict()
        found["dict, made a data frame"] = lambda predict: lambda: predict(pd.DataFrame([record]))
    return found


def of_networks(name, X, y, X_test, options):
    """Yield and print the lines of the networks and of their graphs."""
    for network, (classifier, regressor, params) in NETWORKS.items():
        cls = classifier if name == "Adult" else regressor
        model = cls(max_epochs=2, random_state=0, **params).fit(X, y)
        for n_rows in options.sizes:
            for form, call in forms(X_test, n_rows).items():
                yield report(name, network, form, n_rows, call(model.predict))
        if name != "Adult":
            plain = cls(max_epochs=2, random_state=0, **params).fit(X.to_numpy(), y)
            for n_rows in options.sizes:
                array = rows_of(X_test, n_rows).to_numpy()
                yield report(
                    name, network, "numpy", n_rows, lambda model=plain, X=array: model.predict(X)
                )
        yield from of_graph(name, network, model, X_test, options)


def of_graph(name, network, model, X_test, options):
    """Yield and print the lines of the graph of a network in onnxruntime."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        tabdl.to_onnx(model, path, X_test.iloc[:10])
        session = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )
    for n_rows in options.sizes:
        if n_rows <= 10_000:  # beyond, onnxruntime keeps what lies between its nodes in memory
            feed = tabdl.onnx_inputs(model, rows_of(X_test, n_rows))
            call = functools.partial(session.run, None, feed)
            yield report(name, network, "onnxruntime", n_rows, call)


def of_catboost(name, X, y, X_test, options):
    """Yield and print the lines of CatBoost with 1,000 trees."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    cls = CatBoostClassifier if name == "Adult" else CatBoostRegressor
    categories = X.select_dtypes(exclude="number").columns.tolist()

    def readable(X):
        return X.assign(**{name: X[name].astype(object).fillna("missing") for name in categories})

    model = cls(
        iterations=1000, thread_count=1, verbose=False, random_seed=0, allow_writing_files=False
    )
    model.fit(readable(X), y, cat_features=categories)
    for n_rows in options.sizes:
        frame = readable(rows_of(X_test, n_rows))
        yield report(
            name,
            "CatBoost",
            "data frame",
            n_rows,
            lambda frame=frame: model.predict(frame, thread_count=1),
        )


def report(dataset, model, form, n_rows, function):
    """Measure, print and return one line."""
    low, median = seconds(function, n_rows)
    line = Line(dataset, model, form, n_rows, 1e3 * low, 1e3 * median)
    print(
        f"| {dataset} | {model} | {form} | {n_rows:,} | {line.low:.2f} | {line.median:.2f} |",
        flush=True,
    )
    return line


def tables(lines):
    """Return two tables: the median milliseconds of all lines, and how one row compares.

    Parameters
    ----------
    lines : list of Line
    """
    sizes = sorted({line.n_rows for line in lines})
    found = {(line.dataset, line.model, line.form, line.n_rows): line for line in lines}
    rows = list(dict.fromkeys((line.dataset, line.model, line.form) for line in lines))
    text = [
        f"| table | model | rows come as | {' | '.join(f'{n:,}' for n in sizes)} |",
        f"| --- | --- | --- | {' | '.join('---' for _ in sizes)} |",
        *(
            f"| {' | '.join(row)} | {' | '.join(_cell(found.get((*row, n))) for n in sizes)} |"
            for row in rows
        ),
        "",
        "| table | one row of a data frame to | times onnxruntime | times CatBoost |",
        "| --- | --- | --- | --- |",
    ]
    for dataset, model, form in rows:
        if form == "data frame" and model != "CatBoost":
            others = (model, "onnxruntime"), ("CatBoost", "data frame")
            own = found[dataset, model, form, sizes[0]].median
            ratios = [own / found[dataset, *other, sizes[0]].median for other in others]
            text.append(f"| {dataset} | {model} | {ratios[0]:.1f} | {ratios[1]:.1f} |")
    return "\n".join(text)


def _cell(line):
    return "" if line is None else f"{line.median:.2f} ({line.low:.2f})"


def write_report(path, lines, run, load):
    """Write the report of the lines of a run, see ``describe_run``."""
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    path.write_text(
        f"""# How long a prediction takes

Milliseconds of a call of `predict` on one thread: the median of 300 calls of one row (30 of 100
rows, 3 of 10,000, 1 of more), and the smallest in brackets. They are those of the processor
(`time.process_time`).

{tables(lines)}

The features of onnxruntime come as arrays that are made before the time begins; a data frame is
read within the time. CatBoost has 1,000 trees. Pruned TabM has the predictions that pruning has
left. The networks are trained for two epochs.

Measured on {run["date"]} with `{run["command"]}`
on {run["machine"]}, on {run["threads"]} thread. Other processes ran beside it: {load:.1f} wanted
to run at once, on average over five minutes. They empty the processor's caches between calls, so
medians are larger than on a machine that is idle. Versions: {versions}.
"""
    )


def main(argv=None):
    """Measure what the command line asks for."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.latency", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--train-rows", type=int, default=4000)
    parser.add_argument("--report", type=Path, help="a file for the report, such as latency.md")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    lines = []
    print("| table | model | rows come as | rows | ms, smallest | ms, median |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, dataset in (("Adult", adult()), ("California", california_housing())):
        (X, y), _, (X_test, _) = dataset.train_val_test
        X, y = X.iloc[: options.train_rows], y.iloc[: options.train_rows]
        lines += of_networks(name, X, y, X_test, options)
        lines += of_catboost(name, X, y, X_test, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"largest memory of the process: {peak:.2f} GB", file=sys.stderr)
    if options.report is not None:
        run = describe_run("cpu", argv)
        run["command"] = f"python -m benchmarks.speed.latency {shlex.join(argv)}"
        write_report(options.report, lines, run, os.getloadavg()[1])


if __name__ == "__main__":
    main()
