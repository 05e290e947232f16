"""Where a network lives, in which numbers it computes, and on how many threads."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

PRECISIONS = ("auto", "float32", "bfloat16", "float16", "float64")
_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_BY_PREFERENCE = torch.device("cuda"), torch.device("mps"), torch.device("cpu")


_PID_AT_IMPORT = os.getpid()


def is_device(value: Any) -> bool:
    """Return whether ``value`` is a torch.device or a name of one."""
    if isinstance(value, torch.device):
        return True
    try:
        return isinstance(value, str) and torch.device(value).type in ("cpu", "cuda", "mps")
    except RuntimeError:
        return False


def is_available(device: torch.device) -> bool:
    """Return whether this machine has ``device``."""
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu" or (device.type == "mps" and torch.backends.mps.is_available())


def choose_device(device: str | torch.device, estimator_name: str) -> torch.device:
    """Return the torch.device for a ``device`` parameter; ``"auto"``: CUDA, then MPS, then the CPU.

    Raises
    ------
    ValueError
        When this machine does not have the device that was asked for.
    """
    if device == "auto":
        return next(filter(is_available, _BY_PREFERENCE))
    chosen = torch.device(device)
    if not is_available(chosen):
        raise ValueError(
            f"{estimator_name}: device={str(device)!r} was asked for, but this machine has none; "
            "use 'auto' or 'cpu'."
        )
    return chosen


def predict_device(device: str | torch.device) -> torch.device:
    """Return where to predict: the device of the fit, or the CPU where this machine lacks it."""
    if device == "auto":
        return choose_device(device, "")
    chosen = torch.device(device)
    return chosen if is_available(chosen) else torch.device("cpu")


class ProcessSetting:
    """A setting of the whole process that fits in several threads need at once.

    The first fit to enter sets the value. The last fit to leave brings the caller's value back.

    Parameters
    ----------
    get : callable
        Returns the value.
    set : callable
        Takes the value.
    """

    def __init__(self, get: Callable[[], Any], set: Callable[[Any], Any]) -> None:
        self.get = get
        self.set = set
        self._lock = threading.Lock()
        self._n_holders = 0
        self._before = None

    @contextlib.contextmanager
    def held_at(self, value: Any) -> Iterator[None]:
        """Keep the setting at ``value`` while the context is open."""
        with self._lock:
            if self._n_holders == 0:
                self._before = self.get()
                self._change_to(value)
            self._n_holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_holders -= 1
                if self._n_holders == 0:
                    self._change_to(self._before)

    def _change_to(self, value: Any) -> None:
        if self.get() != value:
            self.set(value)


_NO_CONTEXT = contextlib.nullcontext()
_MATMUL_PRECISION = ProcessSetting(
    torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
)


@dataclass(frozen=True)
class Precision:
    """Numbers of a network.

    Attributes
    ----------
    dtype : torch.dtype
        Of parameters and tables: float32 or float64.
    half : torch.dtype or None
        bfloat16 or float16, where products are of such numbers (autocast). The loss of float16 is
        scaled (``training/loss_scale.py``).
    is_tf32 : bool
        Whether the float32 products of a GPU may have the ten bits of TF32.
    """

    dtype: torch.dtype
    half: torch.dtype | None = None
    is_tf32: bool = False

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager:
        """Return the context of a forward pass."""
        if self.half is None and not torch.is_autocast_enabled(device.type):
            return _NO_CONTEXT
        # Torch has one cache of cast weights for all threads: a fit in another thread would empty
        # it, and gradients would be rounded otherwise.
        is_half = self.half is not None
        return torch.autocast(device.type, self.half, enabled=is_half, cache_enabled=False)

    def matmuls(self, device: torch.device) -> contextlib.AbstractContextManager:
        """Return a context that allows TF32 in the whole process, where it applies."""
        is_wanted = self.is_tf32 and device.type == "cuda"
        return _MATMUL_PRECISION.held_at("high") if is_wanted else _NO_CONTEXT


def choose_dtype(precision: str, device: torch.device, estimator_name: str) -> torch.dtype:
    """Return the torch.dtype of parameters and tables for a ``precision`` parameter.

    Raises
    ------
    ValueError
        For float64 on an MPS device, which has no such numbers.
    """
    if precision == "float64" and device.type == "mps":
        raise ValueError(
            f"{estimator_name}: precision must be 'auto', 'float32', 'bfloat16' or 'float16' on an "
            "MPS device, got 'float64'; use 'float32' or device='cpu'."
        )
    return torch.float64 if precision == "float64" else torch.float32


def choose_precision(precision: str, device: torch.device, net: Any) -> Precision:
    """Return the :class:`Precision` of a network for a ``precision`` parameter.

    "auto" on a CPU means bfloat16 where the processor multiplies it and the network is at least 128
    wide, else float32. On a CUDA device it means :func:`fast_half` where the network prefers half
    the bits, which FT-Transformer alone does, else TF32 where the device has it. On MPS it means
    float32. A network whose training has overflowed in half the bits never has them.

    Parameters
    ----------
    precision : str
        One of ``PRECISIONS``.
    device : torch.device
    net : TabularNet or NetworkEnsemble
    """
    dtype = choose_dtype(precision, device, "")
    if precision != "auto":
        return Precision(dtype, _HALF.get(precision) if net.allow_bfloat16 else None)
    if device.type == "cuda":
        half = fast_half(device) if net.prefers_half and net.allow_bfloat16 else None
        # The devices with bfloat16 are those with TF32.
        return Precision(dtype, half, is_tf32=half is None and multiplies_bfloat16(device))
    # A search may give sizes as numpy's integers.
    can_be_half = device.type == "cpu" and net.allow_bfloat16 and multiplies_bfloat16(device)
    is_half = can_be_half and bool(net.width >= 128)
    return Precision(dtype, torch.bfloat16 if is_half else None)


def fast_half(device: torch.device) -> torch.dtype | None:
    """Return the numbers of 16 bits that a CUDA device multiplies faster than float32, or None.

    bfloat16 needs no scaled loss and comes first. Before it, devices of compute capability 7.0 to
    7.5 (V100, T4) multiply float16 in tensor cores; older ones (P100) have none.
    """
    if multiplies_bfloat16(device):
        return torch.bfloat16
    return torch.float16 if torch.cuda.get_device_capability(device) >= (7, 0) else None


# From here on a tenth of a millisecond saved a step repays the time of compiling.
_COMPILE_FROM_STEPS = 200_000


def choose_compile(compile: bool | str, device: torch.device, n_steps: int) -> bool:
    """Return whether to compile a network.

    Parameters
    ----------
    compile : "auto" or bool
        The parameter of the estimator.
    device : torch.device
    n_steps : int
        The fewest steps that the fit will take.
    """
    if compile == "auto":
        return device.type == "cuda" and n_steps >= _COMPILE_FROM_STEPS
    return bool(compile)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether a device has instructions for products of bfloat16 numbers.

    Without them torch emulates such products, which takes many times as long as float32. A CUDA
    device has them from compute capability 8.0 on (A100, RTX 30); a T4 (7.5) and a P100 (6.0) have
    none.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    # Older versions of torch do not say.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def is_forked() -> bool:
    """Return whether this process is a fork of the one that imported tabdl.

    Such a process has not the threads of OpenMP that its parent had started, and a parallel
    operation of torch would wait for them for ever.
    """
    return os.getpid() != _PID_AT_IMPORT


@contextlib.contextmanager
def threads(n_jobs: int | None, work: int) -> Iterator[None]:
    """Give torch a number of CPU threads while the context is open; the caller's number comes back.

    Parameters
    ----------
    n_jobs : int or None
        -1: one a core. None: as many as torch has now, but at most one for each five million
        multiplications of a step, below which a second thread gains nothing. A forked process has
        one thread in any case.
    work : int
        Multiplications of a step.
    """
    before = torch.get_num_threads()
    if is_forked():
        chosen = 1
    elif n_jobs is None:
        chosen = max(1, min(before, work // 5_000_000))
    else:
        chosen = n_cores() if n_jobs == -1 else n_jobs
    if chosen != before:
        torch.set_num_threads(chosen)
    try:
        yield
    finally:
        if chosen != before:
            torch.set_num_threads(before)


def n_cores() -> int:
    """Return the number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
