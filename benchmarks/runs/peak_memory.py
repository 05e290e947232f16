"""The most memory that a piece of work holds, of the host and of a GPU."""

import gc
import resource
import sys
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def peak_memory(device):
    """Yield a dict that holds, after the block, ``host_mb`` and, for nets on a GPU, ``gpu_mb``.

    ``host_mb`` is the whole process, with its libraries. On Linux it starts anew with the block;
    elsewhere it is the most since the process began. Boosted trees ask the driver for GPU memory
    themselves: that is not counted.
    """
    import torch

    peaks = {}
    on_gpu = device.startswith("cuda")
    if on_gpu:
        # Without it the next line fails where nothing has used the GPU yet, as with boosted trees.
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats(device)
    start_of_peak()
    try:
        yield peaks
    finally:
        peaks["host_mb"] = peak_bytes() / 2**20
        peaks["gpu_mb"] = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None


def start_of_peak():
    """Let the peak begin now, where the system can do that; return the bytes in use."""
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return read_bytes("VmRSS") or peak_bytes()


def peak_bytes():
    """Return the largest memory of this process so far."""
    # Linux hands ru_maxrss down from the process that started this one, so it can be that one's.
    unit = 1 if sys.platform == "darwin" else 1024
    return read_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def read_bytes(name, path="/proc/self/status"):
    """Return the bytes of a line of a file of the system; None where it is not there."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")]
    return sizes[0] if sizes else None
