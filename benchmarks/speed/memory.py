"""Memory, and what ``fit`` costs beside its loop: each measured in a Python of its own, which this
module is the main of."""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.models.registry import MODELS
from benchmarks.runs.peak_memory import peak_bytes, start_of_peak
from benchmarks.speed.cases import (
    NETWORKS,
    PACKAGED,
    PLAIN,
    PRECISIONS,
    Case,
    encoded,
    has_reference,
    timed,
)
from benchmarks.speed.opponents import COMMON, OPPONENTS, is_installed, train_val

ROOT = Path(__file__).parent.parent.parent
N_COLUMNS = 90
# The networks that take numbers as they are.
SMALL_NETWORKS = [name for name in PACKAGED if NETWORKS[name].numeric_embedding is None]
SMALL = {"n_blocks": 1, "d_block": 64, "numeric_embedding": None}
SMALL |= {"batch_size": 4096, "max_epochs": 1, "random_state": 0}


def run_memory(options):
    """Yield the peak memory of one epoch of every network and everybody who can train it."""
    for network, batch_size in itertools.product(options.networks, options.batch_sizes):
        others = filter(is_installed, OPPONENTS) if network in COMMON else []
        everybody = [*PRECISIONS, *([PLAIN] if has_reference(network) else []), *others]
        case = Case(network, n_rows=options.rows, batch_size=batch_size, device=options.device)
        for who in everybody:
            entry = in_new_python("memory", case=asdict(case), who=who)
            if entry is not None:
                key = f"memory/{network}/{batch_size}/{who}"
                yield key, asdict(case) | {"who": who} | entry


def run_overhead(options):
    """Yield what a fit of one epoch costs beside its loop, with and without rows held out."""
    networks = [name for name in options.networks if name in SMALL_NETWORKS]
    for network, early_stopping in itertools.product(networks, (False, True)):
        job = {"network": network, "early_stopping": early_stopping}
        job |= {"n_rows": options.overhead_rows}
        each = [
            in_new_python("overhead", **job, device=options.device) for _ in range(options.repeats)
        ]
        if None not in each:
            found = {name: [once[name] for once in each] for name in ("fit", "loop", "growth")}
            table = {"n_columns": N_COLUMNS, "table_bytes": each[0]["table_bytes"]}
            held_out = "held_out" if early_stopping else "all_rows"
            yield f"overhead/{network}/{held_out}", job | found | table


def in_new_python(what, **job):
    """Return what a job measures in a Python of its own; None, with a line printed, when that one
    failed."""
    command = [sys.executable, "-m", "benchmarks.speed.memory", json.dumps({"what": what} | job)]
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
        print(f"{what} {job}: failed with status {done.returncode}: {reason}", flush=True)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def measure_memory(case, who):
    """Return the process's memory before the fit and at its peak, and the GPU's at its peak."""
    case = Case(**case)
    fit = _one_epoch(case, who)
    before = start_of_peak()
    fit()
    on_gpu = torch.device(case.device).type == "cuda"
    gpu_peak = torch.cuda.max_memory_allocated() if on_gpu else None
    return {"before": before, "peak": peak_bytes(), "gpu_peak": gpu_peak}


def _one_epoch(case, who):
    """Return the function to call, with its table made."""
    if who in OPPONENTS:
        X_y = train_val(case)
        return lambda: OPPONENTS[who](case, X_y, 1)
    X, y = case.table()
    if who in PRECISIONS:
        return lambda: case.estimator(max_epochs=1, precision=who).fit(X, y)
    arrays = encoded(X, y, case.n_num)
    case.reference()  # whose own module is built before memory counts
    return lambda: case.loop(arrays).train()


def measure_overhead(network, early_stopping, n_rows, device):
    """Return the seconds of a fit and of its loop, the growth of memory in it, and the size of the
    table."""
    values = np.random.default_rng(0).standard_normal((n_rows, N_COLUMNS), dtype=np.float32)
    X = pd.DataFrame(values, columns=[f"n{j}" for j in range(N_COLUMNS)])
    y = values[:, 0] * values[:, 1]
    model = MODELS[network].regressor(**SMALL, early_stopping=early_stopping, device=device)
    torch.ones(1, device=device)  # a GPU's start is no fit's
    before = start_of_peak()
    fit, _ = timed(lambda: model.fit(X, y), device)
    loop = sum(record["seconds"] for record in model.history_)
    table_bytes = int(X.memory_usage(index=False).sum())
    return {"fit": fit, "loop": loop, "growth": peak_bytes() - before, "table_bytes": table_bytes}


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    measure = {"memory": measure_memory, "overhead": measure_overhead}[job.pop("what")]
    print(json.dumps(measure(**job)))
