"""Run directories: ``report.json`` and the files beside it, there as a whole or not at all.

A directory that has ``report.json`` is done. It is written beside its place and renamed, under a
lock, so that a command that is killed leaves nothing half-written, and two commands on one folder
do not do the same work twice.
"""

import json
import os
import platform
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path

from filelock import FileLock

import tabdl
from benchmarks.datasets import Source, load
from benchmarks.errors import HarnessError

FORMAT = 2
"""The version of the layout; raised when the meaning of a report changes."""
PAPER = json.loads((Path(__file__).parent / "paper.json").read_text())
CONFIGS = ("default", "paper-tuned", "tuned")
PACKAGES = ("torch", "scikit-learn", "numpy", "pandas", "optuna", "xgboost", "catboost", "lightgbm")


@dataclass(frozen=True)
class Experiment:
    """A model with one kind of configuration on one dataset.

    Attributes
    ----------
    source : Source
    model : str
        A name of :data:`benchmarks.models.registry.MODELS`.
    config : {"default", "paper-tuned", "tuned"}
        The model's defaults, the paper's tuned configuration, or the best of the search in this
        folder.
    device : str
    time_limit : float or None
        Seconds of training.
    out : str
        The results folder.
    """

    source: Source
    model: str
    config: str
    device: str
    time_limit: float | None
    out: str

    @property
    def name(self):
        """The model, with its kind of configuration where that is not the search's."""
        return self.model if self.config == "tuned" else f"{self.model}-{self.config}"

    @property
    def folder(self):
        """Where its runs are."""
        return Path(self.out) / self.source.name / self.name

    @cached_property
    def published(self):
        """The paper's tuned parameters; None where it has none."""
        return PAPER["tuned_configs"].get(self.source.name, {}).get(self.model)

    def parameters(self):
        """Return the parameters that differ from the model's defaults."""
        if self.config == "default":
            return {}
        if self.config == "paper-tuned":
            return self.published
        report = read(self.folder / "tuning")
        if report is None:
            raise HarnessError(
                f"{self.folder} has no tuning/report.json: run the stage tune first, or use "
                f"--config default"
            )
        return report["parameters"]

    def identity(self):
        """Return what every run of this must agree in; a report that says otherwise belongs to
        another."""
        return {
            "format": FORMAT,
            "tabdl": tabdl.__version__,
            "dataset": self.source.name,
            "model": self.model,
            "config": self.config,
            "device": self.device,
            "time_limit": self.time_limit,
            "checksums": load(self.source).checksums,
        }


def read(folder):
    """Return the report of a directory, None if there is none.

    Raises
    ------
    HarnessError
        When it is damaged.
    """
    path = Path(folder) / "report.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise damaged(path, error) from error


def damaged(path, error):
    """Return the error for a file of a run that cannot be read."""
    return HarnessError(
        f"{path} is damaged ({type(error).__name__}: {error}). Remove its folder, or repeat that "
        "run with --force and its dataset, model and seed."
    )


def done(folder, identity):
    """Return the report of a directory if there is one.

    Raises
    ------
    HarnessError
        When it is not of a run with this identity; the message says what differs.
    """
    report = read(folder)
    if report is None:
        return None
    asked = json.loads(json.dumps(identity))
    different = [
        f"{name} is {there} there, {here} here"
        for name, there, here in _differences(report.get("identity", {}), asked, "")
    ]
    if different:
        raise HarnessError(
            f"{folder} holds a run of something else: {'; '.join(different)}. Use another "
            f"--out, or --force to do it again."
        )
    return report


def _differences(there, here, prefix):
    for name in sorted({*there, *here}):
        a, b = there.get(name, "not given"), here.get(name, "not given")
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{name}.")
        elif a != b:
            yield f"{prefix}{name}", a, b


@contextmanager
def locked(folder):
    """Wait until no other process works on a directory, and keep them away from it."""
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        lock.acquire()
    except OSError as error:
        raise _not_written(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def write(folder, report, files=None):
    """Write a directory, complete or not at all; the caller holds its lock.

    Parameters
    ----------
    folder : path
    report : dict
        Becomes ``report.json``, with versions, commit, machine and time.
    files : dict, optional
        From a file's name to the function that writes it to a path.

    Raises
    ------
    HarnessError
        When the disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)  # of a command that was killed
    try:
        new.mkdir(parents=True)
        for name, save in (files or {}).items():
            save(new / name)
        (new / "report.json").write_text(json.dumps(report | provenance(), indent=1) + "\n")
        new.rename(folder)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise _not_written(folder, error) from error


def _not_written(folder, error):
    return HarnessError(
        f"{folder} could not be written ({error}): it is not marked done; the same command "
        f"does it again"
    )


def provenance():
    """Return versions, commit, machine and time of this process."""
    return {
        "versions": {name: _version(name) for name in PACKAGES}
        | {"tabdl": tabdl.__version__, "python": platform.python_version()},
        "commit": commit(),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        },
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _version(name):
    """Return a package's version; None where it is not installed: a network's fit is not lost for
    want of boosted trees."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@lru_cache
def commit():
    """Return the commit of this checkout, with ``+`` where files differ from it; None where it is
    not a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + "+" * bool(changed)


@lru_cache
def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
