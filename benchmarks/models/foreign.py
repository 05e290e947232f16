"""Estimators of others: any of scikit-learn's interface, from a Python file."""

import hashlib
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from benchmarks.errors import HarnessError, told
from benchmarks.runs.fits import Fit, predictor


@dataclass(frozen=True)
class Copies:
    """The constructor of copies of an estimator, with parameters set."""

    estimator: Any

    def __call__(self, **parameters):
        return clone(self.estimator).set_params(**parameters)

    def load(self):
        """Return the class."""
        return type(self.estimator)


def train(make, dataset, parameters, seed, device, time_limit, should_prune=None):
    """Fit an estimator to the training rows; one whose ``fit`` takes ``X_val`` and ``y_val`` gets
    the validation rows too. Nothing but ``random_state`` is set, where there is one."""
    estimator = make(**{name: value for name, value in parameters.items() if name != "scoring"})
    seeds = [name for name in estimator.get_params() if name.split("__")[-1] == "random_state"]
    estimator.set_params(**dict.fromkeys(seeds, seed))
    takes_val = {"X_val", "y_val"} <= inspect.signature(estimator.fit).parameters.keys()
    val = dict(zip(("X_val", "y_val"), dataset.val, strict=True)) if takes_val else {}
    estimator.fit(*dataset.train, **val)
    n_iter = int(np.max(getattr(estimator, "n_iter_", 1)))
    return Fit(
        **predictor(estimator, dataset.is_regression),
        n_parameters=int(getattr(estimator, "n_parameters_", 0)),
        n_iter=n_iter,
        best_iter=n_iter,
    )


def read_models(path, make_model: Callable[..., Any]):
    """Return the models of a Python file, by name.

    Parameters
    ----------
    path : path
        Defines ``MODELS``: from a name to (classifier, regressor), estimators that are not fitted;
        None where there is none.
    make_model : callable
        From keywords to a model.

    Raises
    ------
    HarnessError
        When the file cannot be imported, or ``MODELS`` is not that.
    """
    path = Path(path)
    found = getattr(_module(path), "MODELS", None)
    if not isinstance(found, dict) or not all(map(_is_pair, found.values())) or not found:
        raise HarnessError(
            f'--model-file {path} has to define MODELS = {{"NAME": (classifier, regressor)}}, '
            "scikit-learn estimators that are not fitted; None where there is none"
        )
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        name: make_model(
            *[None if one is None else Copies(one) for one in pair],
            label=name,
            colour="#999999",
            train=train,
            checksum=checksum,
        )
        for name, pair in found.items()
    }


def _module(path):
    with told(f"--model-file {path} does not import", Exception):
        spec = importlib.util.spec_from_file_location("models_of_a_file", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def _is_pair(value):
    return (
        isinstance(value, tuple | list)
        and len(value) == 2
        and any(one is not None for one in value)
        and all(one is None or hasattr(one, "fit") for one in value)
    )
