"""What a prediction takes, of one row and of many: ``python -m benchmarks.speed.latency``.

Networks of tabdl, their graphs in onnxruntime and CatBoost predict rows of Adult and California
Housing on one thread. The seconds are those of the processor, so that other work on the machine
counts little; the smallest and the median of the repeats are printed. The networks are trained for
two epochs only: their speed does not depend on what they have learned. Of many rows the memory is
printed too: the largest during the call over that before it, which has the table.
"""

import argparse
import ctypes
import functools
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow
import torch

import tabdl
from benchmarks.files import write_text
from benchmarks.models.registry import MODELS
from benchmarks.report.table import markdown
from benchmarks.runs.peak_memory import peak_bytes, start_of_peak
from benchmarks.speed.results import describe_run
from benchmarks.tables.datasets import adult, california_housing
from tabdl.kaggle.trees import Texts

TEXT = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
SIZES = (1, 100, 10_000, 1_000_000)
NETWORKS = {"MLP": ("mlp", {}), "ResNet": ("resnet", {}), "TabM, pruned": ("tabm", {"prune": True})}
NETWORKS |= {"FT-Transformer": ("ft_transformer", {})}
TABLES = {"Adult": adult, "California": california_housing}
KEY = ["dataset", "model", "form"]
_MANY_ROWS = 10_000  # from here on memory is measured


class Line(NamedTuple):
    """What one way of predicting takes.

    Attributes
    ----------
    low, median : float
        Milliseconds of a call.
    memory : float or None
        Megabytes at the peak of a call beyond those before it.
    """

    dataset: str
    model: str
    form: str
    n_rows: int
    low: float
    median: float
    memory: float | None = None


def seconds(function, n_rows):
    """Return the smallest and the median of the seconds of a call."""
    n_repeats = 300 if n_rows == 1 else 30 if n_rows <= 100 else 3 if n_rows < 1_000_000 else 1
    times = []
    for _ in range(n_repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times), float(np.median(times))


def rows_of(X, n_rows):
    """Return so many rows of a data frame, again and again."""
    return X.iloc[np.arange(n_rows) % len(X)].reset_index(drop=True)


class Way(NamedTuple):
    """A model and the form in which it gets its rows.

    Attributes
    ----------
    call : callable
        From a number of rows to a function without arguments that predicts so many.
    most_rows : int
        The largest number of rows that is measured.
    """

    dataset: str
    model: str
    form: str
    call: Callable[[int], Callable[[], Any]]
    most_rows: int = 2**63


def ways_of_networks(name, X, y, X_test, networks):
    """Yield the ways of fitted networks and of their graphs."""
    for network in networks:
        model_name, params = NETWORKS[network]
        cls = MODELS[model_name].estimator(is_regression=name != "Adult")
        model = cls(max_epochs=2, random_state=0, **params).fit(X, y)
        yield Way(name, network, "data frame", _of_frames(model.predict, X_test))
        yield Way(name, network, "dict, made a data frame", _of_dicts(model, X_test), 1)
        if name != "Adult":
            plain = cls(max_epochs=2, random_state=0, **params).fit(X.to_numpy(), y)
            call = _of_frames(plain.predict, X_test, pd.DataFrame.to_numpy)
            yield Way(name, network, "numpy", call, _MANY_ROWS)
        # With more rows onnxruntime keeps what lies between its nodes in memory.
        yield Way(name, network, "onnxruntime", _of_graph(model, X_test), _MANY_ROWS)


def way_of_catboost(name, X, y, X_test):
    """Return the way of a fitted CatBoost with 1,000 trees."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    cls = CatBoostClassifier if name == "Adult" else CatBoostRegressor
    texts = Texts().fit(X)
    model = cls(
        iterations=1000, thread_count=1, verbose=False, random_seed=0, allow_writing_files=False
    )
    model.fit(texts.transform(X), y, cat_features=texts.names_)
    predict = functools.partial(model.predict, thread_count=1)
    return Way(name, "CatBoost", "data frame", _of_frames(predict, X_test, texts.transform))


def _of_frames(predict, X, convert=lambda frame: frame):
    def call(n_rows):
        rows = convert(rows_of(X, n_rows))
        return lambda: predict(rows)

    return call


def _of_dicts(model, X):
    record = X.iloc[0].to_dict()
    return lambda n_rows: lambda: model.predict(pd.DataFrame([record]))


def _of_graph(model, X):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        tabdl.to_onnx(model, path, X.iloc[:10])
        session = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )

    def call(n_rows):
        feed = tabdl.onnx_inputs(model, rows_of(X, n_rows))
        return lambda: session.run(None, feed)

    return call


def measured(ways, sizes, longest):
    """Yield and print the lines of all ways, the fewest rows first.

    Parameters
    ----------
    ways : list of Way
    sizes : list of int
    longest : float
        No call takes more seconds than this, going by those of the size before.
    """
    per_row: dict[Way, float] = {}
    for n_rows in sorted(sizes):
        for way in ways:
            if n_rows <= way.most_rows and n_rows * per_row.get(way, 0) <= longest:
                line = report(way, n_rows)
                per_row[way] = line.median / 1e3 / n_rows if n_rows >= _MANY_ROWS else 0.0
                yield line


def report(way, n_rows):
    """Measure, print and return one line."""
    function = way.call(n_rows)
    if n_rows < 1_000_000:
        function()
    before = _settled_memory() if n_rows >= _MANY_ROWS else None
    low, median = seconds(function, n_rows)
    memory = None if before is None else (peak_bytes() - before) / 2**20
    line = Line(*way[:3], n_rows, 1e3 * low, 1e3 * median, memory)
    print(
        f"| {' | '.join(way[:3])} | {n_rows:,} | {line.low:.2f} | {line.median:.2f} | "
        f"{'' if memory is None else f'{memory:z.0f}'} |",
        flush=True,
    )
    return line


def _settled_memory():
    """Return the bytes in use, without those that were freed and that an allocator still holds."""
    pyarrow.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # not every C library has it
        ctypes.CDLL(None).malloc_trim(0)
    return start_of_peak()


def tables(lines):
    """Return tables: the milliseconds of all lines, how one row compares, the memory of many.

    Parameters
    ----------
    lines : list of Line
    """
    frame = pd.DataFrame(lines)
    frame["milliseconds"] = [f"{line.median:.2f} ({line.low:.2f})" for line in lines]
    frame["megabytes"] = frame["memory"].map("{:z.0f}".format, na_action="ignore")
    first = frame[frame["n_rows"] == frame["n_rows"].min()].set_index(KEY)["median"]
    ratios = [
        {
            "table": dataset,
            "one row of a data frame to": model,
            "times onnxruntime": f"{own / first[dataset, model, 'onnxruntime']:.1f}",
            "times CatBoost": f"{own / first[dataset, 'CatBoost', 'data frame']:.1f}",
        }
        for (dataset, model, form), own in first.items()
        if form == "data frame" and model != "CatBoost"
    ]
    parts = [_by_size(frame, "milliseconds", "rows come as"), markdown(pd.DataFrame(ratios))]
    many = frame.dropna(subset="memory")
    if len(many):
        parts.append(_by_size(many, "megabytes", "MB beyond; rows come as"))
    return "\n\n".join(parts)


def _by_size(frame, column, form):
    """Return a table of a column: a line a way, a column a number of rows."""
    found = frame.pivot_table(column, KEY, "n_rows", aggfunc="first", sort=False).sort_index(axis=1)
    found = found.rename_axis(["table", "model", form]).rename(columns="{:,}".format)
    return markdown(found.fillna(""))


def write_report(path, lines, run, load):
    """Write the report of the lines of a run, see ``describe_run``."""
    facts = run | {"versions": ", ".join(f"{k} {v}" for k, v in run["versions"].items())}
    write_text(path, TEXT.format(tables=tables(lines), load=load, **facts))


def main(argv=None):
    """Measure what the command line asks for."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.latency", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--sizes", nargs="+", type=int, default=list(SIZES))
    add("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    add("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    add("--longest", type=float, default=180, help="seconds of a call, by those of fewer rows")
    add("--train-rows", type=int, default=4000)
    add("--report", type=Path, help="a file for the report, such as latency.md")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    ways = []
    for name in options.tables:
        (X, y), _, (X_test, _) = TABLES[name]().train_val_test
        X, y = X.iloc[: options.train_rows], y.iloc[: options.train_rows]
        ways += ways_of_networks(name, X, y, X_test, options.networks)
        ways.append(way_of_catboost(name, X, y, X_test))
    run = describe_run("cpu", argv)
    run["command"] = f"python -m benchmarks.speed.latency {shlex.join(argv)}"
    print("| table | model | rows come as | rows | ms, smallest | ms, median | MB beyond |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    lines = []
    for line in measured(ways, options.sizes, options.longest):
        lines.append(line)
        if options.report is not None and line.n_rows > min(options.sizes):
            write_report(options.report, lines, run, os.getloadavg()[1])


if __name__ == "__main__":
    main()
