"""The stage ensemble: means of saved predictions; nothing is trained."""

import hashlib
from dataclasses import replace

import numpy as np

from benchmarks.tables.datasets import load
from benchmarks.errors import HarnessError
from benchmarks.runs.evaluate import folder_of, read_predictions
from benchmarks.files import locked
from benchmarks.runs.metrics import metrics
from benchmarks.runs.results import done, read, write
from tabdl import greedy_weights

SIZE = 5
GREEDY = "greedy"
N_STEPS = 50


def groups(seeds):
    """Return the disjoint groups of five seeds; what is left over belongs to none."""
    return [tuple(seeds[i : i + SIZE]) for i in range(0, len(seeds) - SIZE + 1, SIZE)]


def average(experiment, i, seeds):
    """Return the report of ensemble ``i`` of a model: the mean of the predictions of ``seeds``, as
    in the paper's section 4.5."""
    members = [(experiment, seed) for seed in seeds]
    return _ensemble(
        experiment, i, members, lambda val, y, classes: np.full(len(members), 1 / len(members))
    )


def greedy(experiments, i, seeds):
    """Return the report of the ``i``-th greedy ensemble of all models of a dataset, nets and trees.

    Every fit of ``seeds`` may be taken, several times (Caruana et al. 2004): in each of 50 steps
    the one that improves the mean's validation loss (squared error, log loss) most; the weights
    after the best step are kept.
    """
    every = [(experiment, seed) for experiment in experiments for seed in seeds]
    members = [run for run in every if read(folder_of(*run)) is not None]
    if not members:
        raise HarnessError(
            f"{experiments[0].source.name}: no evaluation to make an ensemble of: run the "
            f"stage evaluate first"
        )
    first = experiments[0]
    own = replace(first, model=GREEDY, variant=None)
    return _ensemble(own, i, members, _chosen)


def _chosen(val, y, classes):
    """Return the greedy weight of each member, (M,), by its validation predictions, (M, N) or (M,
    N, C)."""

    def score(y, predicted):
        if classes is None:
            return -float(np.mean((y - predicted) ** 2))
        return -metrics(y, predicted, classes)["log_loss"]

    return greedy_weights(list(val), np.asarray(y), score, n_rounds=N_STEPS)


def _ensemble(experiment, i, members, weigh):
    """Make or find an ensemble; ``weigh`` is from the members' validation predictions, y and
    classes to their weights."""
    folder = experiment.folder / "ensemble" / str(i)
    files = [folder_of(*member) for member in members]
    reports = {file: read(file) for file in files}
    arrays = {file: read_predictions(file) for file in files if reports[file] is not None}
    missing = [str(file) for file in files if arrays.get(file) is None]
    if missing:
        raise HarnessError(f"{folder} needs {', '.join(missing)}: run the stage evaluate first")
    sums = {file: hashlib.sha256((file / "predictions.npz").read_bytes()) for file in files}
    names = {str(file.relative_to(experiment.out)): sums[file].hexdigest() for file in files}
    identity = experiment.identity() | {"stage": "ensemble", "members": names}
    with locked(folder):
        report = done(folder, identity)
        if report is not None:
            return report | {"was_there": True}
        made, mean = _mean(load(experiment.source), list(arrays.values()), weigh)
        seconds = [reports[file]["seconds"]["fit"] for file in files]
        report = {
            "identity": identity,
            "weights": dict(zip(identity["members"], made["weights"], strict=True)),
            "metrics": made["metrics"],
            # Members without a weight are not needed.
            "seconds": {"fit": sum(s for w, s in zip(made["weights"], seconds, strict=True) if w)},
        }
        write(folder, report, {"predictions.npz": lambda path: np.savez_compressed(path, **mean)})
    return report | {"was_there": False}


def _mean(dataset, arrays, weigh):
    """Return the weights and metrics of an ensemble, and its predictions."""
    classes = arrays[0].get("classes")
    weights = weigh(np.stack([a["val"] for a in arrays]), dataset.val[1], classes)
    mean = {
        part: np.tensordot(weights, np.stack([a[part] for a in arrays]), 1)
        for part in ("val", "test")
    }
    scores = {part: metrics(getattr(dataset, part)[1], mean[part], classes) for part in mean}
    kept = mean if classes is None else mean | {"classes": classes}
    return {"weights": weights.tolist(), "metrics": scores}, kept

