"""Network by network: tabdl against the plain loop, in turn, in one process; what counts is the
ratio of the two. Beside them the physical limit: what the machine does in matrix products."""

from dataclasses import replace
from itertools import product

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.cases import (
    AUTHORS_BATCH,
    PLAIN,
    PRECISIONS,
    Case,
    encoded,
    has_reference,
    timed,
)
from tabdl.training.devices import multiplies_bfloat16

PREDICT_BATCHES = (64, 256, 1024, AUTHORS_BATCH)
SIZES = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the matrices of the limit."""


def run(options):
    """Yield key and entry of every network with every batch size."""
    for network, batch_size in product(options.networks, options.batch_sizes):
        if not has_reference(network):
            print(f"{network}: the authors' package is not installed: no comparison")
        case = Case(network, n_rows=options.rows, batch_size=batch_size, device=options.device)
        yield f"networks/{network}/{batch_size}", measure(case, options.repeats, options.epochs)


def measure(case, repeats, epochs):
    """Return a case's entry: seconds of each repeat, by who and by what, and the limits measured
    beside them."""
    best_batch = _warm_up(case)
    X, y = case.table()
    limits, seconds = [], {}
    for _ in range(repeats):
        limits.append(matrix_limits(case.device))
        once = {precision: tabdl_seconds(case, X, y, precision, epochs) for precision in PRECISIONS}
        if best_batch:
            once[PLAIN] = plain_seconds(case, X, y, epochs, best_batch)
        for who, found in once.items():
            seconds.setdefault(who, []).append(found)
    names = ("network", "batch_size", "n_rows")
    return {name: getattr(case, name) for name in names} | {
        "epochs": epochs,
        "best_batch": best_batch,
        "flop_per_row": flop_per_row(case) if best_batch else None,
        "limits": limits,
        "seconds": seconds,
    }


def tabdl_seconds(case, X, y, precision, epochs):
    """Return the seconds of the last epoch, of a whole fit of one epoch, and of predicting all
    rows."""
    model = case.estimator(max_epochs=epochs, precision=precision)
    whole, _ = timed(lambda: model.fit(X, y), case.device)
    train = model.history_[-1]["seconds"]
    predict, _ = timed(lambda: model.predict(X), case.device)
    if epochs > 1:
        whole, _ = timed(lambda: model.set_params(max_epochs=1).fit(X, y), case.device)
    return {"train": train, "first_epoch": whole, "predict": predict}


def plain_seconds(case, X, y, epochs, best_batch):
    """Return the same of the plain loop: its table is encoded beforehand, its network and tensors
    are made in the first epoch."""
    arrays = encoded(X, y, case.n_num)
    setup, loop = timed(lambda: case.loop(arrays), case.device)
    trained = [timed(loop.train, case.device)[0] for _ in range(epochs)]
    predict, best = (_prediction(loop, size, case.device) for size in (AUTHORS_BATCH, best_batch))
    return {
        "train": trained[-1],
        "first_epoch": setup + trained[0],
        "predict": predict,
        "predict_best": predict if best_batch == AUTHORS_BATCH else best,
    }


def _prediction(loop, batch_size, device):
    return timed(lambda: loop.predict(batch_size), device)[0]


def _warm_up(case):
    """Run everything once, on a CPU with few rows; return the batch in which the plain loop
    predicts fastest, or None."""
    if case.device == "cpu":
        case = replace(case, n_rows=min(case.n_rows, AUTHORS_BATCH))
    X, y = case.table()
    for precision in PRECISIONS:
        tabdl_seconds(case, X, y, precision, 1)
    if not has_reference(case.network):
        return None
    loop = case.loop(encoded(X, y, case.n_num))
    loop.train()
    loop.predict()
    return min(PREDICT_BATCHES, key=lambda size: _prediction(loop, size, case.device))


def matrix_limits(device):
    """Return FLOP/s of one large matrix product by the name of its numbers.

    In bfloat16 where the device has instructions for that; on CUDA also in TF32.
    """
    has_half = multiplies_bfloat16(torch.device(device))
    names = ("float32", "bfloat16") if has_half else ("float32",)
    limits = {name: _product(device, getattr(torch, name)) for name in names}
    if torch.device(device).type == "cuda":
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            limits["tf32"] = _product(device, torch.float32)
        finally:
            torch.set_float32_matmul_precision(precision)
    return limits


def _product(device, dtype):
    size = SIZES[torch.device(device).type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = a @ b  # a warm-up
    seconds = min(timed(lambda: torch.mm(a, b, out=out), device)[0] for _ in range(3))
    return 2 * size**3 / seconds


def flop_per_row(case):
    """Return the FLOP in matrix products of a training step of the plain network, per row."""
    case = replace(case, n_rows=case.batch_size)
    loop = case.loop(encoded(*case.table(), case.n_num))
    with FlopCounterMode(display=False) as counter:
        loop.train()
    return counter.get_total_flops() / case.batch_size
