"""The devices that networks are trained on."""

import torch

from tabdl.kaggle.errors import CompetitionError


def find_devices(device: str) -> list[str]:
    """Return the devices that networks are trained on, one or several side by side.

    Parameters
    ----------
    device : str
        "auto"; the name of a device; or several names with commas, as "cuda:0,cuda:2". "auto" and
        "cuda" mean all CUDA devices where there are several.

    Raises
    ------
    CompetitionError
        When this machine lacks one of them.
    """
    n_cuda = torch.cuda.device_count()
    if device in ("auto", "cuda") and n_cuda > 1:
        return [f"cuda:{i}" for i in range(n_cuda)]
    names = [name.strip() for name in device.split(",")]
    for name in names:
        if not _is_there(name) and device != "auto":
            raise CompetitionError(
                f"--device {device}: this machine has no such device; use cpu or auto."
            )
    return names


def _is_there(name):
    try:
        found = torch.device(name)
    except RuntimeError:
        return False
    if found.type == "cuda":
        return (found.index or 0) < torch.cuda.device_count()
    return found.type == "cpu" or (found.type == "mps" and torch.backends.mps.is_available())
