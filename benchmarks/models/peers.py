"""The networks of pytabkit, which lives in an environment of its own.

``TABDL_PYTABKIT`` names the Python of that environment. A fit and each prediction is a process of
it, which runs ``pytabkit_fit.py``.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.errors import HarnessError
from benchmarks.runs.fits import Fit

PYTHON = "TABDL_PYTABKIT"
SCRIPT = Path(__file__).with_name("pytabkit_fit.py")


def missing():
    """Return what these models lack, and the commands that get it; None where they lack nothing."""
    if os.environ.get(PYTHON):
        return None
    return (
        "it needs pytabkit: python3 -m venv peers && peers/bin/pip install -c constraints.txt "
        f"torch pytabkit pyarrow && export {PYTHON}=$PWD/peers/bin/python"
    )


def log_loss(dataset):
    """Return the score to stop by that ours has; TabM_D has accuracy: 1.7.3 takes its
    probabilities for logits in the cross entropy."""
    is_regression = dataset is None or dataset.is_regression
    return {} if is_regression else {"val_metric_name": "cross_entropy"}


def log_loss_without_smoothing(dataset):
    """Return the same for RealMLP_TD, whose labels are not smoothed then, as ours are not."""
    found = log_loss(dataset)
    return found | {"use_ls": False} if found else {}


def train(make, dataset, parameters, seed, device, time_limit, should_prune=None):
    """Fit ``make``, the name of an estimator of pytabkit without its task, in its environment.

    Missing numbers become the training rows' medians: not all of its networks take them.
    """
    folder = tempfile.TemporaryDirectory()  # lives as long as the fit
    task = {"estimator": make(), "parameters": parameters, "seed": seed, "device": str(device)}
    task |= {"is_regression": dataset.is_regression}
    task["threads"] = int(os.environ.get("OMP_NUM_THREADS", 1))
    path = Path(folder.name)
    (path / "task.json").write_text(json.dumps(task))
    medians = dataset.train[0].median(numeric_only=True)
    for name, (X, y) in zip(("train", "val"), (dataset.train, dataset.val), strict=True):
        X.fillna(medians).assign(target=y).to_parquet(path / f"{name}.parquet")
    _run(path, "fit")
    facts = json.loads((path / "facts.json").read_text())

    def predict_proba(X):
        assert folder is not None
        X.fillna(medians).to_parquet(path / "X.parquet")
        _run(path, "predict")
        return np.load(path / "predictions.npy")

    return Fit(
        predict_proba,
        n_parameters=0,
        n_iter=1,
        best_iter=1,
        predict_proba=None if dataset.is_regression else predict_proba,
        classes=None if dataset.is_regression else np.unique(dataset.train[1]),
        seconds=facts,
    )


def _run(folder, what):
    command = [os.environ[PYTHON], SCRIPT, folder, what]
    # It leaves files where it runs.
    done = subprocess.run(command, capture_output=True, cwd=folder, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise HarnessError(f"pytabkit in {os.environ[PYTHON]}: {last}")


def named(name):
    """Return the constructors of a classifier and a regressor: of names, here."""
    return lambda: f"{name}_Classifier", lambda: f"{name}_Regressor"
