"""The models of the comparison: one table, one entry a model.

The harness, its reports and figures, the speed benchmark and the studies find their models here.
To add an architecture, add an entry; its name is also the name of its folder of results.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tabdl
from benchmarks.fits import Fit
from benchmarks.models import networks, spaces, trees
from benchmarks.splits import SearchData


def no_parameters(dataset: SearchData) -> dict[str, Any]:
    """Return no parameters: the estimator's own defaults."""
    return {}


def hundred_trials(data: SearchData) -> int:
    """Return the paper's number of trials of a search."""
    return 100


@dataclass(frozen=True)
class Model:
    """All that the harness knows about a model.

    Attributes
    ----------
    classifier, regressor : callable
        The estimators' constructors.
    label : str
        What figures and reports call it.
    colour : str
        Of its points and lines, as matplotlib takes it.
    defaults : callable
        From a :class:`benchmarks.splits.SearchData` to the parameters of the configuration
        "default" that are not the estimator's own: the paper's, where it has some.
    space : callable or None
        The search space: from an Optuna trial and the data to parameters that JSON can hold; None
        where it cannot be searched.
    n_trials : callable
        From the data to the number of trials of a search.
    train : callable
        From the constructor, dataset, parameters, seed, device, time limit and pruning to a
        :class:`benchmarks.fits.Fit`; see :func:`benchmarks.models.networks.train`.
    units : tuple of (str, str)
        What its size and its length are counted in.
    presets : tuple of str
        The presets of ``python -m benchmarks.run`` that include it.
    library : str
        The module that it needs.
    """

    classifier: Callable[..., Any]
    regressor: Callable[..., Any]
    label: str
    colour: str
    defaults: Callable[[SearchData], dict[str, Any]] = no_parameters
    space: Callable[[Any, SearchData], dict[str, Any]] | None = None
    n_trials: Callable[[SearchData], int] = hundred_trials
    train: Callable[..., Fit] = networks.train
    units: tuple[str, str] = ("parameters", "epochs")
    presets: tuple[str, ...] = ()
    library: str = "tabdl"

    def estimator(self, is_regression: bool) -> Callable[..., Any]:
        """Return the constructor for a task."""
        return self.regressor if is_regression else self.classifier

    def __call__(
        self,
        dataset: SearchData,
        config: dict[str, Any],
        seed: int,
        device: str,
        time_limit: float | None,
        should_prune: Callable[[int, float], bool] | None = None,
    ) -> Fit:
        """Return a fit.

        Parameters
        ----------
        dataset : SearchData
            Has no test rows.
        config : dict
            The parameters that differ from ``defaults``.
        time_limit : float or None
            Seconds.
        should_prune : callable, optional
            From an epoch and its validation score to whether to give up a trial.
        """
        make = self.estimator(dataset.is_regression)
        parameters = self.defaults(dataset) | config
        return self.train(make, dataset, parameters, seed, device, time_limit, should_prune)


TREE_UNITS = ("leaves", "trees")

MODELS: dict[str, Model] = {
    "ft_transformer": Model(
        tabdl.FTTransformerClassifier,
        tabdl.FTTransformerRegressor,
        label="FT-Transformer",
        colour="#0072b2",
        defaults=networks.paper_ft_transformer,
        space=spaces.ft_transformer,
        n_trials=spaces.ft_transformer_trials,
        presets=("quick", "paper"),
    ),
    "resnet": Model(
        tabdl.TabResNetClassifier,
        tabdl.TabResNetRegressor,
        label="ResNet",
        colour="#d55e00",
        defaults=networks.plain_numbers,
        space=spaces.resnet,
        presets=("quick", "paper"),
    ),
    "mlp": Model(
        tabdl.TabMLPClassifier,
        tabdl.TabMLPRegressor,
        label="MLP",
        colour="#009e73",
        defaults=networks.plain_numbers,
        space=spaces.mlp,
        presets=("quick", "paper", "smoke"),
    ),
    "tabm": Model(
        tabdl.TabMClassifier,
        tabdl.TabMRegressor,
        label="TabM",
        colour="#cc79a7",
        space=spaces.tabm,
        presets=("quick",),
    ),
    "realmlp": Model(
        tabdl.RealMLPClassifier,
        tabdl.RealMLPRegressor,
        label="RealMLP",
        colour="#e69f00",
        defaults=networks.robust_numbers,
        space=spaces.realmlp,
    ),
    "gmlp": Model(
        tabdl.GMLPClassifier,
        tabdl.GMLPRegressor,
        label="gMLP",
        colour="#56b4e9",
        space=spaces.gmlp,
    ),
    "xgboost": Model(
        trees.lazily("xgboost", "XGBClassifier"),
        trees.lazily("xgboost", "XGBRegressor"),
        label="XGBoost",
        colour="#8c564b",
        defaults=trees.many_trees,
        space=spaces.xgboost,
        train=trees.train_xgboost,
        library="xgboost",
        units=TREE_UNITS,
        presets=("quick", "paper", "smoke"),
    ),
    "catboost": Model(
        trees.lazily("catboost", "CatBoostClassifier"),
        trees.lazily("catboost", "CatBoostRegressor"),
        label="CatBoost",
        colour="#000000",
        defaults=trees.many_trees,
        space=spaces.catboost,
        train=trees.train_catboost,
        library="catboost",
        units=TREE_UNITS,
        presets=("quick", "paper"),
    ),
    "lightgbm": Model(
        trees.lazily("lightgbm", "LGBMClassifier"),
        trees.lazily("lightgbm", "LGBMRegressor"),
        label="LightGBM",
        colour="#7f7f7f",
        defaults=trees.many_trees,
        space=spaces.lightgbm,
        train=trees.train_lightgbm,
        library="lightgbm",
        units=TREE_UNITS,
        presets=("paper",),
    ),
    "xgboost-native": Model(
        trees.lazily("xgboost", "XGBClassifier"),
        trees.lazily("xgboost", "XGBRegressor"),
        label="XGBoost, native categories",
        colour="#c49c94",
        defaults=trees.many_trees_of_categories,
        space=spaces.xgboost,
        train=trees.train_xgboost,
        library="xgboost",
        units=TREE_UNITS,
    ),
}
"""By the name that the command line takes; the order is that of the reports."""


def network_names(preset: str | None = None) -> tuple[str, ...]:
    """Return the names of tabdl's networks, all or those that a preset includes."""
    chosen = MODELS if preset is None else of_preset(preset)
    return tuple(name for name in chosen if MODELS[name].train is networks.train)


def of_preset(preset: str) -> tuple[str, ...]:
    """Return the names of the models that a preset of ``benchmarks.run`` includes."""
    return tuple(name for name, model in MODELS.items() if preset in model.presets)


def colour_of(name: str) -> str:
    """Return a model's colour; grey for one that has no entry, such as an ensemble of models."""
    return MODELS[name].colour if name in MODELS else "#b0b0b0"
