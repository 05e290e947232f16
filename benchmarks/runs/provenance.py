"""What made a result: versions, commit, machine and time."""

import os
import platform
import subprocess
import time
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import tabdl

PACKAGES = ("torch", "scikit-learn", "numpy", "pandas", "optuna", "xgboost", "catboost", "lightgbm")


def provenance():
    """Return versions, commit, machine and time of this process."""
    return {
        "versions": {name: version_of(name) for name in PACKAGES}
        | {"tabdl": tabdl.__version__, "python": platform.python_version()},
        "commit": commit(),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        },
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def version_of(name):
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

    def git(*arguments):
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + "+" * bool(git("status", "--porcelain", "-uno"))
    except (OSError, subprocess.CalledProcessError):
        return None


@lru_cache
def processor():
    """Return the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
