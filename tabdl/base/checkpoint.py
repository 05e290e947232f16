"""The checkpoint that the parameters of an estimator ask for."""

from numbers import Integral
from typing import Any

from tabdl.training.checkpoint import Checkpoint, identity_of_runs, versions
from tabdl.training.run import TrainingRun

# A training is the same whatever these are.
_NOT_OF_TRAINING = {"checkpoint", "verbose", "callbacks", "n_jobs"}


def checkpoint_of(estimator: Any, runs: list[TrainingRun], n_fits: int) -> Checkpoint | None:
    """Return the checkpoint of a training, or None where its estimator asks for none.

    Parameters
    ----------
    estimator : TabularEstimator
    runs : list of TrainingRun
    n_fits : int
        How many fits share the training.

    Raises
    ------
    ValueError
        Where training cannot go on from a file, or the file is that of another training.
    """
    if estimator.checkpoint is None:
        return None
    name = type(estimator).__name__
    needs = {
        "a fit alone, without other folds in the same training": n_fits == 1,
        "time_limit=None": estimator.time_limit is None,
        "an int as random_state": isinstance(estimator.random_state, Integral),
    }
    for need, is_met in needs.items():
        if not is_met:
            raise ValueError(f"{name}: checkpoint={str(estimator.checkpoint)!r} needs {need}.")
    params = estimator.get_params(deep=False).items()
    identity = {key: _words(value) for key, value in params if key not in _NOT_OF_TRAINING}
    identity |= versions() | identity_of_runs(runs)
    return Checkpoint(estimator.checkpoint, identity, name)


def _words(value: Any) -> str:
    """Return a text of a parameter that is the same in another process."""
    return getattr(value, "__qualname__", repr(value)) if callable(value) else repr(value)
