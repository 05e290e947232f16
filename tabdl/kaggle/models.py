"""The models of a competition: networks, boosted trees, configurations of both, and estimators of
the user."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.pipeline import make_pipeline

import tabdl
from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.forest import FOREST, extra_trees
from tabdl.kaggle.metrics import load_module
from tabdl.kaggle.trees import TREES, Clock, boosted_trees, n_trees, with_length

NETWORKS = {
    "tabm": "TabM",
    "realmlp": "RealMLP",
    "resnet": "TabResNet",
    "mlp": "TabMLP",
    "gmlp": "GMLP",
    "ft_transformer": "FTTransformer",
}
MODELS = (*TREES, FOREST, *NETWORKS)
"""Names of models, those first that need less time."""
DEFAULT_MODELS = (*TREES, FOREST, "tabm", "realmlp", "resnet", "ft_transformer")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,60}")  # also the name of a folder


@dataclass(frozen=True)
class ModelSpec:
    """A model that is trained on every fold.

    Attributes
    ----------
    name : str
    base : str or None
        One of :data:`MODELS`; None for an estimator of the user.
    parameters : dict
        What differs from the defaults.
    n_seeds : int
        How many are trained on a fold, each with its own seed; their predictions are averaged.
    estimator : estimator or None
        Of the user.
    source : str
        What the estimator of the user was made from, as a hash.
    path : Path or None
        The file that the estimator of the user is from.
    """

    name: str
    base: str | None
    parameters: dict[str, Any] = field(default_factory=dict)
    n_seeds: int = 1
    estimator: Any = None
    source: str = ""
    path: Path | None = None

    @property
    def is_network(self) -> bool:
        """Whether it is a network of tabdl, which takes a time limit."""
        return self.base in NETWORKS

    @property
    def can_be_cut(self) -> bool:
        """Whether its training can end early."""
        return self.base is not None

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a fold to count as trained, as JSON holds it."""
        return {
            "base": self.base,
            "parameters": self.parameters,
            "n_seeds": self.n_seeds,
            "source": self.source,
        }

    def make(
        self,
        X: pd.DataFrame,
        is_regression: bool,
        device: str,
        n_jobs: int | None,
        clock: Clock,
        length: int | None = None,
    ) -> Any:
        """Return an unfitted estimator.

        Parameters
        ----------
        X : DataFrame
            The table, for the names of its categories.
        is_regression : bool
        device : str
        n_jobs : int or None
        clock : Clock
            Ends the training of boosted trees.
        length : int, optional
            Train so many epochs or trees, on all rows that ``fit`` gets.

        Raises
        ------
        CompetitionError
            When a parameter is unknown.
        """
        if self.base is None:
            return self.estimator
        try:
            if self.base in NETWORKS:
                task = "Regressor" if is_regression else "Classifier"
                cls = getattr(tabdl, NETWORKS[self.base] + task)
                fixed = {} if length is None else {"early_stopping": False, "max_epochs": length}
                return cls(**({"device": device, "n_jobs": n_jobs} | self.parameters | fixed))
            if self.base == FOREST:
                model = extra_trees(X, is_regression, n_jobs or -1, clock)
            else:
                model = boosted_trees(X, is_regression, n_jobs or -1, [self.base], clock)[self.base]
            trees = model[-1].set_params(**self.parameters)
            if length is not None:
                trees = with_length(self.base, trees, length)
            return make_pipeline(*model[:-1], trees)
        except (TypeError, ValueError) as error:
            raise CompetitionError(f"The model {self.name!r}: {error}") from error

    def length_of(self, fitted: Any) -> int | None:
        """Return how many epochs or trees a fitted estimator keeps; None where it has no length."""
        if self.is_network:
            return fitted.best_epoch_
        return n_trees(self.base, fitted[-1]) if self.base in TREES else None

    def estimator_of_file(self) -> Any:
        """Return the estimator of the user, from a new run of its file."""
        assert self.path is not None
        return load_module(self.path, "--model-file").MODELS[self.name]


def find_models(
    names: list[str] | None,
    model_file: Path | None = None,
    variants: Path | dict | None = None,
    n_seeds: int = 1,
) -> list[ModelSpec]:
    """Return the models to train, in the order of :data:`MODELS`, then those of files.

    Parameters
    ----------
    names : list of str or None
        Of :data:`MODELS`, or of the files; None: the default ones, and all of the files.
    model_file : Path, optional
        A Python file whose ``MODELS`` is a dict from name to estimator.
    variants : Path or dict, optional
        JSON: from name to ``{"model": one of MODELS, parameter: value, …}``.
    n_seeds : int

    Raises
    ------
    CompetitionError
        When a name is unknown, a library is not installed, or a file cannot be used.
    """
    specs = {name: ModelSpec(name, name, n_seeds=n_seeds) for name in MODELS}
    own = _variants(variants, n_seeds) | _models_of_file(model_file, n_seeds)
    if clash := [name for name in own if name in specs or not _NAME.fullmatch(name)]:
        raise CompetitionError(
            f"A model cannot be called {clash[0]!r}: give a name of letters and digits that is "
            f"none of {', '.join(MODELS)}."
        )
    specs |= own
    asked = names if names else [*DEFAULT_MODELS, *own]
    if unknown := [name for name in asked if name not in specs]:
        raise CompetitionError(
            f"--models: {', '.join(unknown)} is unknown; there are {', '.join(specs)}."
        )
    chosen = [spec for name, spec in specs.items() if name in asked]
    absent = {spec.base for spec in chosen if spec.base in TREES and find_spec(spec.base) is None}
    if absent and names:
        raise CompetitionError(
            f"--models: {', '.join(sorted(absent))} is not installed; pip install "
            f"{' '.join(sorted(absent))}."
        )
    for name in sorted(absent):
        print(f"{name} is not installed, and is left out.", flush=True)
    return [spec for spec in chosen if spec.base not in absent]


def _variants(source, n_seeds):
    if source is None:
        return {}
    where = "--variants" if isinstance(source, dict) else f"--variants {source}"
    if not isinstance(source, dict):
        try:
            source = json.loads(Path(source).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CompetitionError(f"{where} cannot be read as JSON: {error}") from error
    specs = {}
    for name, entry in source.items() if isinstance(source, dict) else [("", None)]:
        if not isinstance(entry, dict) or entry.get("model") not in MODELS:
            raise CompetitionError(
                f"{where}: {name!r} must be a dict with 'model', one of {', '.join(MODELS)}, and "
                f"the parameters that differ."
            )
        parameters = {key: value for key, value in entry.items() if key != "model"}
        specs[name] = ModelSpec(name, entry["model"], parameters, n_seeds)
    return specs


def _models_of_file(path, n_seeds):
    if path is None:
        return {}
    models = getattr(load_module(path, "--model-file"), "MODELS", None)
    if not isinstance(models, dict) or not models or not all(map(_is_estimator, models.values())):
        raise CompetitionError(
            f"--model-file {path} must define MODELS, a dict from name to unfitted estimator."
        )
    if wrong := [name for name in models if not isinstance(name, str)]:
        raise CompetitionError(f"--model-file {path}: the name {wrong[0]!r} in MODELS is no text.")
    source = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        name: ModelSpec(name, None, n_seeds=n_seeds, estimator=model, source=source, path=path)
        for name, model in models.items()
    }


def _is_estimator(value):
    return hasattr(value, "fit") and hasattr(value, "get_params") and not isinstance(value, type)
