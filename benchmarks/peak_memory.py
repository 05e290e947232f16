"""The most memory that a piece of work holds, of the host and of a GPU."""

import resource
import sys
from contextlib import contextmanager
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
    _reset_host()
    try:
        yield peaks
    finally:
        peaks["host_mb"] = _host_peak()
        peaks["gpu_mb"] = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None


def _reset_host():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _host_peak():
    try:
        line = next(
            line
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        units = 2**20 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units
