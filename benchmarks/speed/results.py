"""The table of results: a JSON file a kind of device, in which a part that is measured again
replaces only its own entries."""

import os
import platform
import shlex
from datetime import UTC, datetime
from pathlib import Path

import torch

import tabdl
from benchmarks.files import read_json, write_json
from benchmarks.runs.provenance import processor, version_of

DEVICES = {"cpu": "CPU", "cuda": "GPU"}
PACKAGES = ("torch", "numpy", "pandas", "scikit-learn")
PACKAGES += ("rtdl_revisiting_models", "pytabkit", "deeptab", "skorch")


def _check(held):
    """Raise ValueError for what is no table of results."""
    is_table = isinstance(held, dict) and isinstance(held.get("runs"), list)
    if not is_table or not isinstance(held.get("entries"), dict):
        raise ValueError("it has no runs and entries")


class Results:
    """The entries of one kind of device, each with the run (machine, command, versions) that
    measured it.

    Parameters
    ----------
    out : path
        The folder of the file.
    kind : {"cpu", "cuda"}
    """

    def __init__(self, out, kind):
        self.path = Path(out) / f"speed-{kind}.json"
        held = read_json(self.path, _check) or {"runs": [], "entries": {}}
        self.runs, self.entries = held["runs"], held["entries"]

    def begin(self, run):
        """Let the entries that follow belong to ``run``, a dict."""
        self.runs.append(run)

    def put(self, key, entry):
        """Write an entry, in place of an earlier one of the same key; ``key`` begins with the
        part's name and a slash."""
        last = len(self.runs) - 1  # the run that is going on
        self.entries[key] = entry | {"run": last}
        used = sorted({entry["run"] for entry in self.entries.values()} | {last})
        self.runs = [self.runs[i] for i in used]
        for entry in self.entries.values():
            entry["run"] = used.index(entry["run"])
        write_json(self.path, {"runs": self.runs, "entries": self.entries})

    def part(self, name):
        """Return the entries of a part, in the order in which they were first measured."""
        return [entry for key, entry in self.entries.items() if key.split("/")[0] == name]


def describe_run(device, arguments):
    """Return what a reader has to know of a run: machine, threads, versions, date, command."""
    versions = {name: version_of(name) for name in PACKAGES}
    return {
        "command": "python -m benchmarks.speed " + shlex.join(arguments),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": _machine(device),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "tabdl": tabdl.__version__}
        | {name: version for name, version in versions.items() if version is not None},
    }


def _machine(device):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    host = f"{processor()}, {cores} of {os.cpu_count()} cores"
    if torch.device(device).type == "cuda":
        return f"{torch.cuda.get_device_name(device)}; {host}"
    return f"{host}, {torch.backends.cpu.get_cpu_capability()}"
