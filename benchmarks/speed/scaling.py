"""Curves: training and prediction over rows, features, cardinality and batch size.

A point is one epoch and one prediction, of as many rows as take a few seconds (the rows axis: of
exactly its rows). Two batches are tried first; a point that would go beyond the budget of time, or
that does not fit into memory, is left out and named, and so ends the line: larger values are not
tried.
"""

import contextlib
import sys
from dataclasses import replace
from itertools import product

import torch

from benchmarks.runs.peak_memory import read_bytes
from benchmarks.speed.cases import (
    AUTHORS_BATCH,
    CARDINALITIES,
    PLAIN,
    Case,
    encoded,
    has_reference,
    timed,
)

AXES = {
    "rows": (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000),
    "features": (8, 16, 32, 64, 128, 256, 512, 1024),
    "cardinality": (10, 100, 1_000, 10_000, 100_000),
    "batch_size": (32, 64, 128, 256, 512, 1024, 2048, 4096),
}
MOST_ROWS, MOST_CELLS = 100_000, 20_000_000
WIDE = 128


def run(options):
    """Yield every curve after each of its points."""
    for axis, network in product(options.axes, options.networks):
        everybody = ["tabdl", PLAIN] if has_reference(network) else ["tabdl"]
        entry = {"axis": axis, "network": network, "points": [], "missing": []}
        for value in AXES[axis]:
            left_out = {gap["who"] for gap in entry["missing"]}
            case = case_at(axis, value, network, options)
            _point(entry, value, case, [who for who in everybody if who not in left_out], options)
            yield f"scaling/{axis}/{network}", entry


def case_at(axis, value, network, options):
    """Return the case of a point; its number of rows counts on the rows axis only."""
    case = Case(network, batch_size=options.batch_sizes[0], device=options.device)
    if axis == "rows":
        return replace(case, n_rows=value)
    if axis == "cardinality":
        return replace(case, cardinalities=(value,))
    if axis == "batch_size":
        return replace(case, batch_size=value)
    # Of 256 rows of 1,024 tokens the attention alone would not fit into the memory of a small
    # machine.
    batch_size = 32 if network == "ft_transformer" and options.device == "cpu" else case.batch_size
    return replace(case, n_num=value - len(CARDINALITIES), batch_size=batch_size)


def _point(entry, value, case, everybody, options):
    on_rows_axis = entry["axis"] == "rows"
    few = min(case.n_rows, 2 * case.batch_size) if on_rows_axis else 2 * case.batch_size
    tried = {who: _rates(who, replace(case, n_rows=few), options.epochs) for who in everybody}
    trained = [rates["train"] for rates in tried.values() if isinstance(rates, dict)]
    if trained and not on_rows_axis:
        case = replace(case, n_rows=_enough_rows(case, min(trained) * options.point_seconds))
    for who, rates in tried.items():
        if isinstance(rates, dict):
            seconds = case.n_rows * (options.epochs / rates["train"] + 1 / rates["predict"])
            is_over = seconds > options.budget
            why = f"over the budget of {options.budget:g} s"
            rates = why if is_over else _rates(who, case, options.epochs)
        if isinstance(rates, dict):
            entry["points"].append({"value": value, "who": who, "n_rows": case.n_rows} | rates)
        else:
            entry["missing"].append({"value": value, "who": who, "why": rates})


def _enough_rows(case, n_rows):
    """Return ``n_rows`` within limits: four batches at least, and every category once."""
    n_features = case.n_num + len(case.cardinalities)
    most = min(MOST_ROWS, MOST_CELLS // n_features)
    return int(max(min(n_rows, most), 4 * case.batch_size, *case.cardinalities))


def _rates(who, case, epochs):
    """Return rows a second in training and prediction, or, as text, why there are none."""
    try:
        with _memory_limit(case.device):
            train, predict = {"tabdl": _tabdl, PLAIN: _plain}[who](case, epochs)
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        return "out of memory"
    return {"train": case.n_rows / train, "predict": case.n_rows / predict}


def _tabdl(case, epochs):
    X, y = case.table()
    model = case.estimator(max_epochs=epochs).fit(X, y)
    return model.history_[-1]["seconds"], timed(lambda: model.predict(X), case.device)[0]


def _plain(case, epochs):
    loop = case.loop(encoded(*case.table(), case.n_num))
    train = [timed(loop.train, case.device)[0] for _ in range(epochs)][-1]
    # The authors' batch; of wide tables as much less as attention's memory grows.
    n_features = case.n_num + len(case.cardinalities)
    narrower = (WIDE / max(n_features, WIDE)) ** 2 if case.network == "ft_transformer" else 1
    batch_size = int(AUTHORS_BATCH * narrower)
    return train, timed(lambda: loop.predict(batch_size), case.device)[0]


@contextlib.contextmanager
def _memory_limit(device):
    """Let an allocation beyond the free memory raise; otherwise Linux may end this process, or
    another one."""
    if not sys.platform.startswith("linux") or torch.device(device).type == "cuda":
        yield
        return
    import resource

    free, in_use = read_bytes("MemAvailable", "/proc/meminfo"), read_bytes("VmSize")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(in_use + 0.8 * free), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _is_out_of_memory(error):
    # The CPU's allocator raises a plain RuntimeError.
    texts = ("can't allocate memory", "not enough memory", "bad alloc", "bad_alloc")
    is_one = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return is_one or any(text in str(error) for text in texts)
