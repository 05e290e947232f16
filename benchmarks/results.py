"""One run: a fit, its test score and its times, as a directory with ``report.json``; a directory that has one is done."""

import json
import os
import platform
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

import tabdl
from benchmarks.datasets import DATASETS
from benchmarks.models import MODELS

PAPER = json.loads((Path(__file__).parent / "paper.json").read_text())


@dataclass(frozen=True)
class Run:
    """What to do; equal runs give equal reports.

    Attributes
    ----------
    dataset, model : str
        Names of :data:`benchmarks.datasets.DATASETS` and :data:`benchmarks.models.MODELS`.
    config : {"default", "tuned"}
        The model's defaults, or the paper's tuned configuration.
    seed : int
    device : str
    time_limit : float or None
        Seconds of training.
    """

    dataset: str
    model: str
    config: str
    seed: int
    device: str
    time_limit: float | None

    def parameters(self):
        """Return the parameters that differ from the model's defaults; None where the paper has no such configuration."""
        return {} if self.config == "default" else PAPER["tuned_configs"][self.dataset].get(self.model)

    def folder(self, out):
        """Return the directory of this run's report."""
        return Path(out) / self.dataset / self.model / self.config / str(self.seed)


def finished(run, out):
    """Return the report of ``run`` if it is there and was asked for with the same settings by the same version; else None."""
    path = run.folder(out) / "report.json"
    if not path.exists():
        return None
    report = json.loads(path.read_text())
    return report if report["run"] == asdict(run) and report["versions"]["tabdl"] == tabdl.__version__ else None


def execute(run, out):
    """Fit, predict the test rows, write the report and return it."""
    dataset = DATASETS[run.dataset]()
    start = time.perf_counter()
    fit = MODELS[run.model](dataset, run.parameters(), run.seed, run.device, run.time_limit)
    fit_time = time.perf_counter() - start
    X_test, y_test = dataset.test
    start = time.perf_counter()
    predictions = fit.predict(X_test)
    predict_time = time.perf_counter() - start
    report = {
        "run": asdict(run),
        "parameters": run.parameters(),
        "test_score": _score(dataset, y_test, predictions),
        "val_score": _score(dataset, dataset.val[1], fit.predict(dataset.val[0])),
        "fit_time_s": fit_time,
        "predict_time_s": predict_time,
        "n_parameters": fit.n_parameters,
        "n_iter": fit.n_iter,
        "best_iter": fit.best_iter,
        "was_cut": bool(fit.was_cut),
        "versions": {name: metadata.version(name) for name in ("torch", "scikit-learn", "xgboost", "catboost")}
        | {"tabdl": tabdl.__version__, "python": platform.python_version()},
        "machine": {"processor": _processor(), "cores": os.cpu_count()},
    }
    _write(report, run.folder(out))
    return report


def _score(dataset, y, predictions):
    """Return the paper's score: accuracy, or minus the root mean squared error in the target's units."""
    y, predictions = np.asarray(y), np.asarray(predictions).ravel()
    return -float(np.sqrt(np.mean((y - predictions) ** 2))) if dataset.is_regression else float(np.mean(y == predictions))


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _write(report, folder):
    """Write a directory beside its place, then move it there, so that a killed run leaves no half report."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    (new / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    if folder.exists():
        shutil.rmtree(folder)
    new.rename(folder)
