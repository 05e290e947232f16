"""The state of a training in a file, so that a killed fit goes on where it was.

The file holds tensors, numbers and text; reading it runs no code.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tabdl.data.table import Table, TableView
from tabdl.exceptions import tabdl_version
from tabdl.training.run import TrainingRun

# Writing may take this share of the time of training.
_SHARE = 0.05


class Checkpoint:
    """A file with the state of one training.

    It is written after an epoch, but so seldom that writing takes a twentieth of the time at most.

    Parameters
    ----------
    path : str or path-like
    identity : dict of str
        What the training depends on, by name: a file of another training is refused.
    estimator_name : str
        For messages.

    Attributes
    ----------
    training : dict or None
        The state of the training in the file; None where there is no file, or nothing in it yet.
    has_overflowed : bool
        Whether training in bfloat16 has overflowed, and float32 began.

    Raises
    ------
    ValueError
        For a file that is no checkpoint, or is that of another training.
    """

    def __init__(
        self, path: str | os.PathLike, identity: dict[str, str], estimator_name: str
    ) -> None:
        self.path = Path(path)
        self.identity = identity
        self.estimator_name = estimator_name
        self.has_overflowed = False
        self.training: dict[str, Any] | None = None
        self._due = 0.0
        if self.path.exists():
            self._read()

    def _read(self):
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            identity = dict(content["identity"])
        except Exception as error:  # of unpickling, of zip files, of missing keys
            raise ValueError(
                f"{self.estimator_name}: checkpoint={str(self.path)!r} is no checkpoint of tabdl, "
                f"or is damaged ({type(error).__name__}); delete the file or give another path."
            ) from error
        self._check(identity)
        self.has_overflowed = content["has_overflowed"]
        self.training = content["training"]

    def _check(self, identity):
        names = sorted(self.identity.keys() | identity.keys())
        differing = [name for name in names if self.identity.get(name) != identity.get(name)]
        if differing:
            what = "; ".join(
                f"{name} was {identity.get(name)}, is {self.identity.get(name)}"
                for name in differing
            )
            raise ValueError(
                f"{self.estimator_name}: checkpoint={str(self.path)!r} is that of another fit: "
                f"{what}. Fit with what it was begun with, delete the file, or give another path."
            )

    def resume(self, runner: Any) -> None:
        """Give an ``EpochRunner`` the state in the file; the runs after the first begin anew."""
        if self.training is not None and self.training["runner"] is not None:
            runner.load_state(self.training.pop("runner"))
            self.training["runner"] = None

    def save_if_due(self, monitors: Sequence[Any], runner: Any) -> None:
        """Write the file anew after an epoch, where it is time to.

        Parameters
        ----------
        monitors : list of TrainingMonitor
            Of all runs.
        runner : EpochRunner or None
            None where none of its runs goes on.
        """
        if time.perf_counter() < self._due and not all(m.result.stop_reason for m in monitors):
            return
        self._write(
            {
                "monitors": [monitor.state() for monitor in monitors],
                "runner": None if runner is None else runner.state(),
            }
        )

    def _write(self, training):
        """Replace the file; a kill at any moment leaves the old one or the new one."""
        start = time.perf_counter()
        content = {
            "identity": self.identity,
            "has_overflowed": self.has_overflowed,
            "training": training,
        }
        new = self.path.with_name(f"{self.path.name}.new")
        with open(new, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self.path)
        now = time.perf_counter()
        self._due = now + (now - start) / _SHARE

    def begin_anew(self) -> None:
        """Note that the training in bfloat16 has overflowed, and float32 begins."""
        self.has_overflowed = True
        self._write(None)


def versions() -> dict[str, str]:
    """Return the versions that the bits of a result depend on."""
    return {"tabdl": tabdl_version(), "torch": str(torch.__version__), "numpy": np.__version__}


def identity_of_runs(runs: Sequence[TrainingRun]) -> dict[str, str]:
    """Return digests of the rows and the numbers of the seeds of the runs."""
    first = runs[0]
    seeds = json.dumps([run.seed for run in runs])
    weights = hashlib.sha256()
    for run in runs:
        for value in run.net.state_dict().values():
            weights.update(value.cpu().numpy().tobytes())
    return {
        "the training rows": _digest(first.table),
        "the validation rows": _digest(first.val),
        "the seeds": seeds,
        "the initial weights": weights.hexdigest()[:16],
        "the device": next(first.net.parameters()).device.type,
    }


def _digest(table: Table | TableView | None) -> str:
    if table is None:
        return "none"
    rows = table if isinstance(table, Table) else table.take(slice(None))
    digest = hashlib.sha256()
    for tensor in (rows.x_num, rows.x_cat, rows.y, rows.weight):
        if tensor is not None:
            array = tensor.cpu().contiguous().numpy()
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()[:16]
