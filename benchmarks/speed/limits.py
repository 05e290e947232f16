"""The physical limit: what this machine does in matrix products, and how many of them a network
asks for."""

from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.cases import PlainLoop, encoded, timed

SIZES = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the matrices."""


def matrix_limits(device):
    """Return FLOP/s of one large matrix product by the name of its numbers; on CUDA also in
    TF32."""
    kind = torch.device(device).type
    size = SIZES[kind]
    limits = {
        name: _product(device, size, getattr(torch, name)) for name in ("float32", "bfloat16")
    }
    if kind == "cuda":
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            limits["tf32"] = _product(device, size, torch.float32)
        finally:
            torch.set_float32_matmul_precision(precision)
    return limits


def _product(device, size, dtype):
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = a @ b  # a warm-up
    seconds = min(timed(lambda: torch.mm(a, b, out=out), device)[0] for _ in range(3))
    return 2 * size**3 / seconds


def flop_per_row(case):
    """Return the FLOP in matrix products of a training step of the plain network, per row."""
    case = replace(case, n_rows=case.batch_size)
    loop = PlainLoop(case, encoded(*case.table(), case.n_num))
    with FlopCounterMode(display=False) as counter:
        loop.train()
    return counter.get_total_flops() / case.batch_size
