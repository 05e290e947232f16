"""The models of the comparison: one table, one entry a model.

The harness, its reports and figures, the speed benchmark and the studies find their models here.
To add an architecture, add an entry; its name is also the name of its folder of results.
"""

import importlib.util
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tabdl
from benchmarks.errors import HarnessError, unknown
from benchmarks.models import blend, foreign, networks, peers, spaces, trees
from benchmarks.runs.fits import Fit
from benchmarks.tables.splits import SearchData


def no_parameters(dataset: SearchData) -> dict[str, Any]:
    """Return no parameters: the estimator's own defaults."""
    return {}


def no_protocol(dataset: SearchData, config: str) -> dict[str, Any]:
    """Return no parameters: the paper's protocol says nothing about the model."""
    return {}


def nothing() -> None:
    """Return that a model lacks nothing."""
    return


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
    own : callable
        From a :class:`benchmarks.tables.splits.SearchData` to the parameters of every
        configuration that are not the library's own: the number of trees.
    paper : callable
        From the same to what makes the model the paper's; a search needs it too, and the default
        configuration under the paper's protocol.
    protocol : callable
        From the same and the kind of configuration to how the paper trains it.
    space : callable or None
        The search space: from an Optuna trial and the data to parameters that JSON can hold; None
        where it cannot be searched.
    n_trials : callable
        From the data to the number of trials of a search.
    train : callable
        From the constructor, dataset, parameters, seed, device, time limit and pruning to a
        :class:`benchmarks.runs.fits.Fit`; see :func:`benchmarks.models.networks.train`.
    units : tuple of (str, str)
        What its size and its length are counted in.
    presets : tuple of str
        The presets of ``python -m benchmarks.run`` that include it.
    library : str
        The module that it needs.
    evaluation_device : str or None
        Where it is evaluated, whatever device the command names.
    lacks : callable
        Returns what it needs besides ``library`` and how to get it, or None.
    checksum : str or None
        sha256 of the model file that it comes from; a part of a run's identity.
    """

    classifier: Callable[..., Any] | None
    regressor: Callable[..., Any] | None
    label: str
    colour: str
    own: Callable[[SearchData], dict[str, Any]] = no_parameters
    paper: Callable[[SearchData], dict[str, Any]] = no_parameters
    protocol: Callable[[SearchData, str], dict[str, Any]] = no_protocol
    space: Callable[[Any, SearchData], dict[str, Any]] | None = None
    n_trials: Callable[[SearchData], int] = hundred_trials
    train: Callable[..., Fit] = networks.train
    units: tuple[str, str] = ("parameters", "epochs")
    presets: tuple[str, ...] = ()
    library: str = "tabdl"
    evaluation_device: str | None = None
    lacks: Callable[[], str | None] = nothing
    checksum: str | None = None

    def estimator(self, is_regression: bool) -> Callable[..., Any]:
        """Return the constructor for a task.

        Raises
        ------
        HarnessError
            When the model has none.
        """
        make = self.regressor if is_regression else self.classifier
        if make is None:
            kind = "regressor" if is_regression else "classifier"
            raise HarnessError(f"{self.label} has no {kind}")
        return make

    def missing(self) -> str | None:
        """Return what has to be installed, and the command for it; None where all is there."""
        if importlib.util.find_spec(self.library) is None:
            return f"it needs {self.library}: pip install 'tabdl[bench]'"
        return self.lacks()

    def parameters(self, dataset: SearchData, config: str, protocol: str) -> dict[str, Any]:
        """Return what a kind of configuration is trained with, before its own parameters."""
        found = self.own(dataset)
        if protocol == "paper" or config != "default":
            found |= self.paper(dataset)
        if protocol == "paper":
            found |= self.protocol(dataset, config)
        return found

    def parameter_names(self) -> set[str]:
        """Return the parameters that a variant may have; none where only the library knows."""
        make = self.classifier or self.regressor
        if isinstance(make, foreign.Copies):
            return set(make.estimator.get_params())
        cls = make.load() if isinstance(make, trees.Lazy) else make
        if not isinstance(cls, type):
            return set()
        names = {name for base in cls.__mro__ for name in _names_of(base)}
        of_harness = {"n_labelled"} if self.train is networks.train else set()
        return names | self.own(None).keys() | {"scoring"} | of_harness

    def check_parameters(self, variant: Any) -> None:
        """Raise HarnessError where a variant has a parameter that the model has not."""
        names = self.parameter_names()
        for name in variant.parameters:
            if names and name not in names:
                what = f"variant {variant.name} of {self.label}: the parameter"
                raise HarnessError(unknown(what, name, sorted(names)))

    def fit(
        self,
        dataset: SearchData,
        parameters: dict[str, Any],
        seed: int,
        device: str,
        time_limit: float | None = None,
        should_prune: Callable[[int, float], bool] | None = None,
    ) -> Fit:
        """Return a fit.

        Parameters
        ----------
        dataset : SearchData
            Has no test rows.
        parameters : dict
            All of the configuration.
        seed : int
        device : str
        time_limit : float, optional
            Seconds.
        should_prune : callable, optional
            From an epoch and its validation score to whether to give up a trial.
        """
        make = self.estimator(dataset.is_regression)
        return self.train(make, dataset, parameters, seed, device, time_limit, should_prune)


def _names_of(cls):
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(cls).parameters.values() if cls is not object else ()
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def network(name: str, **facts: Any) -> Model:
    """Return the entry of one of tabdl's networks."""
    pair = [getattr(tabdl, f"{name}{task}") for task in ("Classifier", "Regressor")]
    return Model(*pair, **{"protocol": networks.protocol} | facts)


def boosted(library: str, prefix: str, **facts: Any) -> Model:
    """Return the entry of boosted trees; their library is imported when it is used."""
    pair = [trees.Lazy(library, f"{prefix}{task}") for task in ("Classifier", "Regressor")]
    common = {"library": library, "protocol": trees.protocol, "units": ("leaves", "trees")}
    return Model(*pair, **{"own": trees.many_trees} | common | facts)


def peer(name: str, **facts: Any) -> Model:
    """Return the entry of a network of pytabkit."""
    return Model(*peers.named(name), train=peers.train, lacks=peers.missing, **facts)


MODELS: dict[str, Model] = {
    "ft_transformer": network(
        "FTTransformer",
        label="FT-Transformer",
        colour="#0072b2",
        paper=networks.paper_ft_transformer,
        space=spaces.ft_transformer,
        n_trials=spaces.trials_of_tokens,
        presets=("quick", "paper"),
    ),
    "resnet": network(
        "TabResNet",
        label="ResNet",
        colour="#d55e00",
        paper=networks.plain_numbers,
        space=spaces.resnet,
        presets=("quick", "paper"),
    ),
    "mlp": network(
        "TabMLP",
        label="MLP",
        colour="#009e73",
        paper=networks.plain_numbers,
        space=spaces.mlp,
        presets=("quick", "paper", "smoke"),
    ),
    "snn": network("SNN", label="SNN", colour="#17becf", space=spaces.snn, presets=("paper",)),
    "dcn_v2": network(
        "DCNv2", label="DCN V2", colour="#bcbd22", space=spaces.dcn_v2, presets=("paper",)
    ),
    "autoint": network(
        "AutoInt",
        label="AutoInt",
        colour="#9467bd",
        space=spaces.autoint,
        n_trials=spaces.trials_of_tokens,
        presets=("paper",),
    ),
    "ft_transformer_no_bias": network(
        "FTTransformer",
        label="FT-Transformer without biases",
        colour="#6baed6",
        own=networks.no_token_bias,
        paper=networks.paper_ft_transformer_no_bias,
        space=spaces.ft_transformer,
        n_trials=spaces.trials_of_tokens,
    ),
    "tabm": network("TabM", label="TabM", colour="#cc79a7", space=spaces.tabm, presets=("quick",)),
    "realmlp": network(
        "RealMLP",
        label="RealMLP",
        colour="#e69f00",
        protocol=networks.protocol_of_realmlp,
        space=spaces.realmlp,
    ),
    "gmlp": network("GMLP", label="gMLP", colour="#56b4e9", space=spaces.gmlp),
    "node": network(
        "NODE",
        label="NODE",
        colour="#117733",
        paper=networks.paper_node,
        space=spaces.node,
        n_trials=spaces.node_trials,
    ),
    "grownet": network(
        "GrowNet",
        label="GrowNet",
        colour="#882255",
        paper=networks.paper_grownet,
        protocol=networks.protocol_of_grownet,
        space=spaces.grownet,
    ),
    "tabnet": network(
        "TabNet",
        label="TabNet",
        colour="#999933",
        paper=networks.paper_tabnet,
        space=spaces.tabnet,
    ),
    "xgboost": boosted(
        *("xgboost", "XGB"),
        label="XGBoost",
        colour="#8c564b",
        own=trees.many_trees_of_categories,
        paper=trees.one_hot,
        space=spaces.xgboost,
        train=trees.train_xgboost,
        presets=("quick", "paper", "smoke"),
    ),
    "catboost": boosted(
        *("catboost", "CatBoost"),
        label="CatBoost",
        colour="#000000",
        space=spaces.catboost,
        train=trees.train_catboost,
        presets=("quick", "paper"),
        evaluation_device="cpu",
    ),
    "lightgbm": boosted(
        *("lightgbm", "LGBM"),
        label="LightGBM",
        colour="#7f7f7f",
        space=spaces.lightgbm,
        train=trees.train_lightgbm,
        presets=("paper",),
    ),
    "blend": network(
        "GreedyEnsemble",
        label="greedy blend",
        colour="#b2182b",
        own=blend.settings,
        protocol=no_protocol,
        train=blend.train,
        library="lightgbm",
    ),
    "student": network(
        "Distilled",
        label="MLP taught by a blend",
        colour="#f4a582",
        own=blend.student_settings,
        protocol=no_protocol,
        train=blend.train_student,
        library="lightgbm",
    ),
    "pytabkit-realmlp": peer(
        "RealMLP_TD",
        label="RealMLP (pytabkit)",
        colour="#fdae61",
        own=peers.log_loss_without_smoothing,
    ),
    "pytabkit-tabm": peer("TabM_D", label="TabM (pytabkit)", colour="#e7d4e8"),
    "pytabkit-ftt": peer(
        "FTT_D", label="FT-Transformer (pytabkit)", colour="#abd9e9", own=peers.log_loss
    ),
}
"""By the name that the command line takes; the order is that of the reports."""


def add_models_of(path: str) -> list[str]:
    """Add the models of a Python file, also in the processes that this one starts; return their
    names. See :func:`benchmarks.models.foreign.read_models`.
    """
    found = foreign.read_models(path, Model)
    for name in found:
        if name in MODELS and MODELS[name].checksum is None:
            raise HarnessError(f"--model-file {path}: {name} is a model already; call it otherwise")
    MODELS.update(found)
    os.environ[MODEL_FILE] = os.path.abspath(path)
    return list(found)


MODEL_FILE = "TABDL_MODEL_FILE"
if os.environ.get(MODEL_FILE):  # in a worker
    add_models_of(os.environ[MODEL_FILE])


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
