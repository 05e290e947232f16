"""Where a network lives, in which numbers it computes, and on how many threads."""

import contextlib
import os
from dataclasses import dataclass

import torch

PRECISIONS = ("auto", "float32", "bfloat16", "float64")


def is_device(value):
    """Return whether ``value`` is a torch.device or a name of one."""
    if isinstance(value, torch.device):
        return True
    try:
        return isinstance(value, str) and torch.device(value).type in ("cpu", "cuda", "mps")
    except RuntimeError:
        return False


def is_available(device):
    """Return whether this machine has ``device``, a torch.device."""
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu" or (device.type == "mps" and torch.backends.mps.is_available())


def choose_device(device, estimator_name):
    """Return the torch.device for a ``device`` parameter; ``"auto"``: CUDA, then MPS, then the CPU.

    Raises
    ------
    ValueError
        When this machine does not have the device that was asked for.
    """
    if device == "auto":
        return next(d for d in map(torch.device, ("cuda", "mps", "cpu")) if is_available(d))
    chosen = torch.device(device)
    if not is_available(chosen):
        raise ValueError(
            f"{estimator_name}: device={str(device)!r} was asked for, but this machine has none; "
            "use 'auto' or 'cpu'."
        )
    return chosen


def predict_device(device):
    """Return where to predict: the device of the fit, or the CPU where this machine lacks it."""
    if device == "auto" or is_available(torch.device(device)):
        return choose_device(device, "")
    return torch.device("cpu")


@dataclass(frozen=True)
class Precision:
    """Numbers of a network.

    Attributes
    ----------
    dtype : torch.dtype
        Of parameters and tables: float32 or float64.
    is_bfloat16 : bool
        Whether products are of bfloat16 numbers (autocast).
    is_tf32 : bool
        Whether a GPU's float32 products may have TF32's ten bits.
    """

    dtype: torch.dtype
    is_bfloat16: bool = False
    is_tf32: bool = False

    def autocast(self, device):
        """Return the context of a forward pass."""
        # The cache of cast weights is the process's: another thread's fit would empty it, and
        # gradients be rounded otherwise.
        return torch.autocast(
            device.type, torch.bfloat16, enabled=self.is_bfloat16, cache_enabled=False
        )

    @contextlib.contextmanager
    def matmuls(self, device):
        """Allow TF32 while the context is open, where it applies; torch has one switch for the
        whole process."""
        if not self.is_tf32 or device.type != "cuda":
            yield
            return
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)


def choose_dtype(precision, device, estimator_name):
    """Return the torch.dtype of parameters and tables for a ``precision`` parameter."""
    if precision == "float64" and device.type == "mps":
        raise ValueError(
            f"{estimator_name}: precision='float64' cannot be had on an MPS device; use "
            "'float32' or device='cpu'."
        )
    return torch.float64 if precision == "float64" else torch.float32


def choose_precision(precision, device, net):
    """Return the :class:`Precision` of a network for a ``precision`` parameter.

    "auto" on a CPU: bfloat16 where the processor multiplies it and the network is wide enough to
    gain (measured: from a width of 128; at 384 it is 1.2 to 1.6 times as fast, the default
    FT-Transformer 2 times, at 64 it is slower), else float32. On a CUDA device: bfloat16 for
    Transformers, TF32 for the rest. On MPS: float32. No bfloat16 where it has overflowed in
    training.
    """
    dtype = choose_dtype(precision, device, "")
    if precision != "auto":
        return Precision(dtype, is_bfloat16=precision == "bfloat16" and net.allow_bfloat16)
    if device.type == "cuda":
        is_bfloat16 = net.prefers_bfloat16 and net.allow_bfloat16
        return Precision(dtype, is_bfloat16=is_bfloat16, is_tf32=not is_bfloat16)
    # A search may give sizes as numpy's integers.
    is_wide_on_cpu = device.type == "cpu" and bool(net.width >= 128)
    is_bfloat16 = is_wide_on_cpu and net.allow_bfloat16 and cpu_multiplies_bfloat16()
    return Precision(dtype, is_bfloat16=is_bfloat16)


# Compiling took 7 s (TabM, ResNet) to 37 s (FT-Transformer) for each size of batch, on one core. A
# tenth of a millisecond saved a step would repay that from here on. Not measured on a GPU yet.
_COMPILE_FROM_STEPS = 200_000


def choose_compile(compile, device, n_steps):
    """Return whether to compile a network, for a ``compile`` parameter and the fewest steps that
    the fit will take."""
    return (
        compile if compile != "auto" else device.type == "cuda" and n_steps >= _COMPILE_FROM_STEPS
    )


def cpu_multiplies_bfloat16():
    """Return whether this processor has instructions for products of bfloat16 numbers."""
    capabilities = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # older versions of torch do not say
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextlib.contextmanager
def isolated_torch():
    """Set what a fit or a prediction expects of torch while the context is open.

    Gradients are on, autocast is off, new tensors are float32 and on the CPU, whatever the caller
    has set. The caller's settings come back.
    """
    with contextlib.ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        # The default dtype is the whole process's: it is left alone where it is right already.
        if (dtype := torch.get_default_dtype()) != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield


@contextlib.contextmanager
def threads(n_jobs, work):
    """Let torch use so many threads of the CPU while the context is open; the caller's number comes
    back.

    Parameters
    ----------
    n_jobs : int or None
        -1: one a core. None: as many as torch has now, but one for each five million
        multiplications of a step: below, a second thread gained nothing (measured with two).
    work : int
        Multiplications of a step.
    """
    before = torch.get_num_threads()
    by_work = max(1, min(before, work // 5_000_000))
    chosen = {None: by_work, -1: _n_cores()}.get(n_jobs, n_jobs)
    if chosen != before:
        torch.set_num_threads(chosen)
    try:
        yield
    finally:
        if chosen != before:
            torch.set_num_threads(before)


def _n_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
