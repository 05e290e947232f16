"""Run directories: ``report.json`` and the files beside it, there as a whole or not at all.

A directory that has a sound ``report.json`` is done. It is written beside its place and renamed,
under a lock, so that a command that is killed leaves nothing half-written, and two commands on one
folder do not do the same work twice. A damaged report counts as absent.
"""

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import tabdl
from benchmarks.tables.datasets import Source, load
from benchmarks.errors import HarnessError, told
from benchmarks.files import check_dict, new_folder, read_json
from benchmarks.models.registry import MODELS
from benchmarks.runs.provenance import provenance
from benchmarks.tables.splits import PARTS

FORMAT = 4
"""The version of the layout; raised when the meaning of a report changes."""
PAPER = json.loads((Path(__file__).parent.parent / "paper.json").read_text())
CONFIGS = ("default", "paper-tuned", "tuned")
PROTOCOLS = ("plain", "paper")
NAME = re.compile(r"[\w][\w.-]*")
"""What a dataset, a model and a configuration may be called: they name folders."""

NUMBER, TEXT, NONE = (int, float), (str,), (type(None),)
SCORE = {"score": NUMBER}
COMMON = {
    "identity": dict.fromkeys(("tabdl", "dataset", "model", "config", "protocol", "device"), TEXT)
    | {"format": int, "variant": TEXT + NONE, "time_limit": NUMBER + NONE},
    "commit": TEXT + NONE,
    "machine": {"processor": str},
}
FIT = {"seconds": {"fit": NUMBER}}
STAGES = {
    "evaluation": {
        "metrics": dict.fromkeys(PARTS, SCORE),
        "seconds": dict.fromkeys(("fit", "cpu", "predict"), NUMBER),
        "history": {},
        "peak_memory": {"host_mb": NUMBER, "gpu_mb": NUMBER + NONE},
        **dict.fromkeys(("n_parameters", "n_iter", "best_iter"), int),
        "hit_time_limit": bool,
        "device": str,
    },
    "ensemble": FIT | {"metrics": {"val": SCORE, "test": SCORE}, "weights": {}},
    "tuning": FIT
    | {"parameters": {}, "best": {"number": int, "val_score": NUMBER}, "trials": {}},
}
"""What the report of each stage holds, with its types; a dict is a dict of these."""


@dataclass(frozen=True)
class Variant:
    """A name for parameters that override those of a configuration.

    Attributes
    ----------
    name : str
        Names a folder: letters, digits, ``_``, ``-`` and ``.``.
    parameters : dict
        Values that JSON can hold.
    """

    name: str
    parameters: dict[str, Any] = field(hash=False)

    def __post_init__(self):
        if not NAME.fullmatch(self.name):
            raise HarnessError(f"{self.name!r} cannot name a variant: it has to name a folder")


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
    shares_time : bool
        Whether that is a mean over the fits of a command: what one leaves is the others'.
    out : str
        The results folder.
    variant : Variant, optional
        What overrides the configuration.
    protocol : {"plain", "paper"}
        Whether models are trained as a user of theirs trains them, or as the paper does.
    """

    source: Source
    model: str
    config: str
    device: str
    time_limit: float | None
    out: str
    variant: Variant | None = None
    protocol: str = "plain"
    shares_time: bool = False

    @property
    def name(self):
        """The model, with its kind of configuration where that is not the search's, and its
        variant."""
        return run_name(self.model, self.config, self.variant_name)

    @property
    def variant_name(self):
        """The name of its variant; None without one."""
        return None if self.variant is None else self.variant.name

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
        own = {} if self.variant is None else self.variant.parameters
        if self.config == "default":
            return own
        if self.config == "paper-tuned":
            return self.published | own
        report = read(self.folder / "tuning")
        if report is None:
            raise HarnessError(
                f"{self.folder} has no tuning/report.json: run the stage tune first, or use "
                f"--config default"
            )
        return report["parameters"] | own

    def identity(self):
        """Return what every run of this must agree in; a report that says otherwise belongs to
        another."""
        return {
            "format": FORMAT,
            "tabdl": tabdl.__version__,
            "dataset": self.source.name,
            "model": self.model,
            "config": self.config,
            "variant": self.variant_name,
            "protocol": self.protocol,
            "model_file": MODELS[self.model].checksum if self.model in MODELS else None,
            "device": self.device,
            "time_limit": self.time_limit,
            "checksums": load(self.source).checksums,
            **({"shares_time": True} if self.shares_time else {}),
        }


def run_name(model, config, variant=None):
    """Return what a folder of runs is called: the model, with its kind of configuration where that
    is not the search's, and its variant."""
    name = model if config == "tuned" else f"{model}-{config}"
    return name if variant is None else f"{name}.{variant}"


def read(folder):
    """Return the report of a directory; None if there is none, or a damaged one.

    A damaged one is named on stderr; the command that needs it makes it again.
    """
    return read_json(Path(folder) / "report.json", check)


def check(report):
    """Raise ValueError where a report lacks something that its stage has, or has it wrongly.

    A results folder may be a stranger's: what is read there is not trusted.
    """
    _check_shape(report, {"identity": dict}, "")
    stage = report["identity"].get("stage")
    if stage in STAGES:
        _check_shape(report, COMMON | STAGES[stage], "")
        for name in ("dataset", "model", "config", "variant"):
            value = report["identity"][name]
            if value is not None and not NAME.fullmatch(value):
                raise ValueError(f"identity.{name} {value!r} is no name")


def _check_shape(value, shape, prefix):
    check_dict(value, prefix.rstrip(".") or "the file")
    for name, kind in shape.items():
        if name not in value:
            raise ValueError(f"{prefix}{name} is not there")
        if isinstance(kind, dict):
            _check_shape(value[name], kind, f"{prefix}{name}.")
        elif not isinstance(value[name], kind):
            raise ValueError(f"{prefix}{name} is {value[name]!r}")


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
        for name, there, here in _differences(report["identity"], asked, "")
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
    advice = ". It is not marked done; the same command does it again"
    with told(f"{folder} could not be written", OSError, advice=advice), new_folder(folder) as new:
        for name, save in (files or {}).items():
            save(new / name)
        text = json.dumps(report | provenance(), indent=1)
        (new / "report.json").write_text(text + "\n", encoding="utf-8")
