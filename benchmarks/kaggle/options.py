"""The command line, and what can be said about it before anything is read."""

import argparse
import hashlib
import math
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.boosted import TREES
from benchmarks.errors import HarnessError
from benchmarks.kaggle.metrics import METRICS
from tabdl.devices import is_available, is_device

NETWORKS = {"tabm": "TabM", "resnet": "TabResNet", "ft_transformer": "FTTransformer"}
MODELS = (*TREES, *NETWORKS)
_TITLE = "A competition from its files to a submission."


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kaggle", description=_TITLE)
    add = parser.add_argument
    add("train", type=_file, help="a CSV or Parquet file with the target")
    add("test", type=_file, help="the rows to predict")
    add("--target", required=True, metavar="COLUMN")
    add("--metric", required=True, choices=list(METRICS))
    add(
        "--id",
        metavar="COLUMN",
        help="the column that names rows (default: the one named id, or with a name that ends so)",
    )
    add("--sample", type=_file, metavar="FILE", help="a sample submission, which has the ids")
    add(
        "--out",
        type=Path,
        default=Path("submission.csv"),
        help="the submission (default submission.csv)",
    )
    add(
        "--time-limit",
        type=_minutes,
        default=30,
        metavar="MIN",
        help="minutes for the training of all models (default 30)",
    )
    add("--models", nargs="+", metavar="NAME", help=f"some of {', '.join(MODELS)}")
    add("--folds", type=_integer(2), default=8)
    add("--seed", type=_integer(0, 2**32 - 1), default=0)
    add("--device", default="auto")
    add("--n-jobs", type=_integer(1), help="threads (default: as many as there are)")
    return parser.parse_args(argv)


def _file(text):
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no file")
    return Path(text)


def _minutes(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of minutes")
    return value


def _integer(low, high=None):
    limits = f"from {low}" if high is None else f"from {low} to {high}"

    def convert(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number {limits}")
        return value

    return convert


def chosen_models(options: argparse.Namespace) -> list[str]:
    """Return the names of the models to train, those first that need less time.

    Raises
    ------
    HarnessError
        When a name is unknown, or its library is not installed.
    """
    asked = options.models or MODELS
    if unknown := [name for name in asked if name not in MODELS]:
        raise HarnessError(
            f"--models: {', '.join(unknown)} is unknown; there are {', '.join(MODELS)}."
        )
    absent = [name for name in TREES if name in asked and find_spec(name) is None]
    if absent and options.models:
        raise HarnessError(
            f"--models: {', '.join(absent)} is not installed; pip install {' '.join(absent)}."
        )
    for name in absent:
        print(f"{name} is not installed, and is left out.", flush=True)
    return [name for name in MODELS if name in asked and name not in absent]


def check(options: argparse.Namespace) -> None:
    """Check that the files can be written and the device be used.

    Raises
    ------
    HarnessError
    """
    device = options.device
    if device != "auto" and not (is_device(device) and is_available(torch.device(device))):
        raise HarnessError(f"--device {device}: this machine has no such device; use cpu or auto.")
    out, folder = options.out, options.out.with_suffix("")
    if out.suffix != ".csv":
        raise HarnessError(f"--out {out}: the submission's name must end in .csv.")
    for path in filter(None, (options.train, options.test, options.sample)):
        is_output = out.exists() and out.samefile(path)
        if is_output or folder.resolve() in path.resolve().parents:
            raise HarnessError(
                f"--out {out} would write over {path}, which is read: give another name."
            )
    _check_place(out, folder)


def _check_place(out, folder):
    if out.is_dir():
        raise HarnessError(f"--out {out} is a folder; give the name of a file.")
    if folder.exists() and not folder.is_dir():
        raise HarnessError(f"--out {out}: {folder} is a file, and must be a folder for reports.")
    place = folder if folder.exists() else folder.absolute().parent
    while not place.exists():
        place = place.parent
    for needed in {place, out.parent} if out.parent.exists() else {place}:
        if not (needed.is_dir() and os.access(needed, os.W_OK | os.X_OK)):
            raise HarnessError(f"--out {out}: nothing can be written to {needed}.")


def settings_of(options: argparse.Namespace, id_name: str | None) -> dict:
    """Return what must be the same for a run to go on."""
    settings = {}
    for part in ("train", "test"):
        with getattr(options, part).open("rb") as file:
            settings[part] = hashlib.file_digest(file, "sha256").hexdigest()
    same = {name: getattr(options, name) for name in ("target", "metric", "folds", "seed")}
    return settings | same | {"id": id_name}
