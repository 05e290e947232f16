"""The stage evaluate: one configuration, one seed, one directory with its report and its
predictions."""

import time

import numpy as np

from benchmarks.datasets import load
from benchmarks.metrics import metrics, predictions
from benchmarks.models.registry import MODELS
from benchmarks.peak_memory import peak_memory
from benchmarks.results import damaged, done, locked, write


def folder_of(experiment, seed):
    """Return the directory of a run."""
    return experiment.folder / "evaluation" / str(seed)


def evaluate(experiment, seed):
    """Return the report of one fit; executes it if it is not there.

    Raises
    ------
    HarnessError
        When the directory holds another run, is damaged or cannot be written, or the dataset cannot
        be had.
    """
    folder = folder_of(experiment, seed)
    identity = experiment.identity() | {
        "stage": "evaluation",
        "seed": seed,
        "parameters": experiment.parameters(),
    }
    with locked(folder):
        report = done(folder, identity)
        if report is not None:
            return report | {"was_there": True}
        report, arrays = _fit(experiment, seed, identity["parameters"])
        report = {"identity": identity} | report
        write(folder, report, {"predictions.npz": lambda path: np.savez_compressed(path, **arrays)})
    return report | {"was_there": False}


def _fit(experiment, seed, parameters):
    dataset = load(experiment.source)
    with peak_memory(experiment.device) as peaks:
        start = time.perf_counter()
        fit = MODELS[experiment.model](
            dataset.search_data, parameters, seed, experiment.device, experiment.time_limit
        )
        fitted = time.perf_counter()
        arrays = {"test": predictions(fit, dataset.test[0])}
        predicted = time.perf_counter()
        arrays["val"] = predictions(fit, dataset.val[0])
    parts = {"train": (dataset.train[1], predictions(fit, dataset.train[0]))}
    others = time.perf_counter() - predicted
    parts |= {part: (getattr(dataset, part)[1], array) for part, array in arrays.items()}
    report = {
        "metrics": {
            part: metrics(y, predicted, fit.classes) for part, (y, predicted) in parts.items()
        },
        "seconds": {"fit": fitted - start, "predict": predicted - fitted, "predict_others": others},
        "peak_memory": peaks,
        "n_parameters": fit.n_parameters,
        "n_iter": fit.n_iter,
        "best_iter": fit.best_iter,
        "hit_time_limit": bool(fit.hit_time_limit),
        "device": fit.device,
    }
    classes = (
        {} if fit.classes is None else {"classes": np.array(fit.classes.tolist())}
    )  # texts as numpy's, not as objects
    return report, arrays | classes


def read_predictions(folder):
    """Return ``val``, ``test`` and, for classification, ``classes`` of an evaluation.

    Raises
    ------
    HarnessError
        When the file is missing or damaged.
    """
    path = folder / "predictions.npz"
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except Exception as error:  # zipfile's, zlib's, numpy's and the system's
        raise damaged(path, error) from error
