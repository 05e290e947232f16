"""The stage evaluate: one configuration, one seed, one directory with its report and its
predictions."""

import time
from dataclasses import dataclass

import numpy as np

from benchmarks.tables.datasets import load
from benchmarks.files import locked, tell_damaged
from benchmarks.runs.metrics import metrics, predictions
from benchmarks.models.registry import MODELS
from benchmarks.runs.peak_memory import peak_memory
from benchmarks.runs.results import done, write
from benchmarks.tables.splits import PARTS


@dataclass(frozen=True)
class Share:
    """A fit's share of the time that the fits of a command have together.

    Attributes
    ----------
    end : float
        When that is over, as ``time.time`` counts.
    part : float
        Of what is left when the fit begins; predictions and scores are a part of it.
    """

    end: float
    part: float

    def seconds(self):
        """Return the seconds that training has, if it begins now."""
        return max(1.0, 0.9 * self.part * (self.end - time.time()))


def folder_of(experiment, seed):
    """Return the directory of a run."""
    return experiment.folder / "evaluation" / str(seed)


def evaluate(experiment, seed, share=None):
    """Return the report of one fit; executes it if it is not there.

    Parameters
    ----------
    experiment : Experiment
    seed : int
    share : Share, optional
        Its time limit, instead of the experiment's.

    Raises
    ------
    HarnessError
        When the directory holds another run or cannot be written, or the dataset cannot be had.
    """
    folder = folder_of(experiment, seed)
    return evaluate_as(experiment, seed, experiment.parameters(), folder, share)


def evaluate_as(experiment, seed, parameters, folder, share=None):
    """Return the same with other parameters than the experiment's, in a directory of their own."""
    own = {"stage": "evaluation", "seed": seed, "parameters": parameters}
    identity = experiment.identity() | own
    with locked(folder):
        report = done(folder, identity)
        if report is not None and read_predictions(folder) is not None:
            return report | {"was_there": True}
        begun = time.perf_counter()
        time_limit = experiment.time_limit if share is None else share.seconds()
        report, arrays = _fit(experiment, seed, parameters, time_limit)
        report = {"identity": identity} | report
        report["seconds"]["harness"] = time.perf_counter() - begun - sum_of_work(report["seconds"])
        write(folder, report, {"predictions.npz": lambda path: np.savez_compressed(path, **arrays)})
    return report | {"was_there": False}


def sum_of_work(seconds):
    """Return the seconds of a fit and its predictions, which are not the harness's."""
    return sum(seconds[name] for name in ("fit", "predict", "predict_others"))


def _fit(experiment, seed, parameters, time_limit):
    """Return the report of a fit, and the predictions to keep."""
    dataset = load(experiment.source)
    fit, predicted, measured = _measured(experiment, seed, parameters, dataset, time_limit)
    found = {
        part: metrics(getattr(dataset, part)[1], predicted[part], fit.classes)
        for part in PARTS
    }
    names = ("n_parameters", "n_iter", "best_iter", "device")
    report = {"metrics": found} | measured | {name: getattr(fit, name) for name in names}
    report |= {"hit_time_limit": bool(fit.hit_time_limit), "time_limit": time_limit}
    report["history"] = columns_of(fit.history)
    if fit.members:
        members = fit.members.items()
        report["members"] = {name: _member(member, dataset.test) for name, member in members}
    arrays = {"val": predicted["val"], "test": predicted["test"]}
    if fit.classes is not None:
        arrays["classes"] = np.array(fit.classes.tolist())  # texts as numpy's, not as objects
    return report, arrays


def _member(fit, test):
    """Return the metrics of a member of an ensemble on test rows, and the seconds that it took."""
    begun = time.perf_counter()
    predicted = predictions(fit, test[0])
    seconds = time.perf_counter() - begun
    return metrics(test[1], predicted, fit.classes) | {"predict_seconds": seconds}


def _measured(experiment, seed, parameters, dataset, time_limit):
    """Return a fit, its predictions by part of the table, and its seconds and peak of memory."""
    model, data = MODELS[experiment.model], dataset.search_data
    parameters = model.parameters(data, experiment.config, experiment.protocol) | parameters
    device = model.evaluation_device or experiment.device
    with peak_memory(device) as peaks:
        start, cpu_start = time.perf_counter(), time.process_time()
        fit = model.fit(data, parameters, seed, device, time_limit)
        fitted, cpu_fitted = time.perf_counter(), time.process_time()
        found = {"test": predictions(fit, dataset.test[0])}
        predicted = time.perf_counter()
        found["val"] = predictions(fit, dataset.val[0])
    found["train"] = predictions(fit, dataset.train[0])
    seconds = {
        "fit": fitted - start,
        "cpu": cpu_fitted - cpu_start,
        "predict": predicted - fitted,
        "predict_others": time.perf_counter() - predicted,
    }
    return fit, found, {"seconds": seconds, "peak_memory": peaks}


def columns_of(history):
    """Return records as a dict of lists, one a name; a record without it gives None."""
    names = dict.fromkeys(name for record in history for name in record)
    return {name: [record.get(name) for record in history] for name in names}


def read_predictions(folder):
    """Return ``val``, ``test`` and, for classification, ``classes`` of an evaluation.

    None where the file is missing or damaged, of which a line on stderr tells.
    """
    path = folder / "predictions.npz"
    try:
        with np.load(path) as arrays:
            return {"val": arrays["val"], "test": arrays["test"]} | dict(arrays)
    except Exception as error:  # zipfile's, zlib's, numpy's and the system's
        tell_damaged(path, error)
        return None
