"""Where a network lives and in which numbers it computes."""

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


def choose_device(device, owner):
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
        raise ValueError(f"{owner}: device={str(device)!r} was asked for, but this machine has none; use 'auto' or 'cpu'.")
    return chosen


def predict_device(device):
    """Return where to predict: as :func:`choose_device`, and on the CPU where this machine lacks the device of the fit."""
    return choose_device(device, "") if device == "auto" or is_available(torch.device(device)) else torch.device("cpu")


def choose_precision(precision, device, owner):
    """Return the torch.dtype for a ``precision`` parameter; ``"auto"`` is float32."""
    if precision == "float64" and device.type == "mps":
        raise ValueError(f"{owner}: precision='float64' cannot be had on an MPS device; use 'float32' or device='cpu'.")
    return torch.float32 if precision == "auto" else getattr(torch, precision)
