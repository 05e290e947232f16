"""The models of the comparison: one table, one entry a model.

The harness, its reports and figures, the speed benchmark and the studies find their models here.
To add an architecture, add an entry; its name is also the name of its folder of results.
"""

import importlib.util
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import tabdl
from benchmarks.errors import HarnessError, unknown
from benchmarks.models import blend, foreign, networks, peers, spaces, trees
from benchmarks.runs.fits import Fit
from benchmarks.tables.splits import SearchData

Parameters = dict[str, Any] | Callable[[SearchData], dict[str, Any]]
"""Parameters, or a function from the data to them."""


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
    space : callable or None
        The search space: from an Optuna trial and the data to parameters that JSON can hold; None
        where it cannot be searched.
    own : dict or callable
        The parameters of every configuration that are not the library's own: the number of trees.
    paper : dict or callable
        What makes the model the paper's; a search needs it too, and the default configuration under
        the paper's protocol.
    protocol : callable or None
        From the data and the kind of configuration to how the paper trains it.
    n_trials : callable
        From the data to the number of trials of a search; the paper's 100 by default.
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
    weight : float
        Its share of the time that fits share, beside those of others.
    checksum : str or None
        sha256 of the model file that it comes from; a part of a run's identity.
    """

    classifier: Callable[..., Any] | None
    regressor: Callable[..., Any] | None
    label: str
    colour: str
    space: Callable[[Any, SearchData], dict[str, Any]] | None = None
    own: Parameters = field(default_factory=dict)
    paper: Parameters = field(default_factory=dict)
    protocol: Callable[[SearchData, str], dict[str, Any]] | None = None
    n_trials: Callable[[SearchData], int] = lambda data: 100
    train: Callable[..., Fit] = networks.train
    units: tuple[str, str] = ("parameters", "epochs")
    presets: tuple[str, ...] = ()
    library: str = "tabdl"
    evaluation_device: str | None = None
    weight: float = 1.0
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
            return f"it needs {self.library}: pip install {self.library}"
        return None

    def parameters(self, dataset: SearchData, config: str, protocol: str) -> dict[str, Any]:
        """Return what a kind of configuration is trained with, before its own parameters."""
        found = dict(_for_data(self.own, dataset))
        if protocol == "paper" or config != "default":
            found |= _for_data(self.paper, dataset)
        if protocol == "paper" and self.protocol is not None:
            found |= self.protocol(dataset, config)
        return found

    def check_parameters(self, variant: Any) -> None:
        """Raise HarnessError where a variant has a parameter that the model has not."""
        names = self._parameter_names()
        for name in variant.parameters:
            if names and name not in names:
                what = f"variant {variant.name} of {self.label}: the parameter"
                raise HarnessError(unknown(what, name, sorted(names)))

    def _parameter_names(self):
        """Return the parameters that a variant may have; none where only the library knows."""
        make = self.classifier or self.regressor
        if isinstance(make, foreign.Copies):
            return set(make.estimator.get_params())
        cls = make.load() if isinstance(make, trees.Lazy) else make
        if not isinstance(cls, type):
            return set()
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        signatures = (inspect.signature(base) for base in cls.__mro__ if base is not object)
        taken = (p for signature in signatures for p in signature.parameters.values())
        of_harness = {"n_labelled"} if self.train is networks.train else set()
        names = {parameter.name for parameter in taken if parameter.kind in kinds}
        return names | _for_data(self.own, None).keys() | {"scoring"} | of_harness

    def fit(
        self,
        dataset: SearchData,
        parameters: dict[str, Any],
        seed: int,
        device: str,
        time_limit: float | None = None,
        should_prune: Callable[[int, float], bool] | None = None,
    ) -> Fit:
        """Return a fit with all ``parameters`` of a configuration.

        ``time_limit`` is in seconds; ``should_prune`` is from an epoch and its validation score to
        whether to give up a trial.
        """
        make = self.estimator(dataset.is_regression)
        return self.train(make, dataset, parameters, seed, device, time_limit, should_prune)


def _for_data(parameters, dataset):
    return parameters(dataset) if callable(parameters) else parameters


def network(name: str, *facts: Any, **more: Any) -> Model:
    """Return the entry of one of tabdl's networks."""
    pair = [getattr(tabdl, f"{name}{task}") for task in ("Classifier", "Regressor")]
    return Model(*pair, *facts, **{"protocol": networks.protocol} | more)


def boosted(library: str, prefix: str, *facts: Any, **more: Any) -> Model:
    """Return the entry of boosted trees; their library is imported when it is used."""
    pair = trees.lazy_pair(library, prefix)
    common = {"library": library, "protocol": trees.protocol, "units": ("leaves", "trees")}
    return Model(*pair, *facts, **{"own": trees.MANY} | common | more)


def peer(name: str, *facts: Any, **more: Any) -> Model:
    """Return the entry of a network of pytabkit."""
    pair = trees.lazy_pair("pytabkit", f"{name}_")
    return Model(*pair, *facts, train=peers.train, library="pytabkit", **more)


QUICK, PAPER, ALL = ("quick", "paper"), ("paper",), ("quick", "paper", "smoke")
TOKENS = {"space": spaces.ft_transformer, "n_trials": spaces.trials_of_tokens}
BLENDS = {"protocol": None, "library": "lightgbm"}

MODELS: dict[str, Model] = {
    "ft_transformer": network(
        *("FTTransformer", "FT-Transformer", "#0072b2"),
        **TOKENS,
        paper=networks.paper_ft_transformer,
        presets=QUICK,
        weight=2.0,
    ),
    "resnet": network(
        *("TabResNet", "ResNet", "#d55e00", spaces.resnet),
        paper=networks.PLAIN_NUMBERS,
        presets=QUICK,
    ),
    "mlp": network(
        *("TabMLP", "MLP", "#009e73", spaces.mlp), paper=networks.PLAIN_NUMBERS, presets=ALL
    ),
    "snn": network("SNN", "SNN", "#17becf", spaces.snn, presets=PAPER),
    "dcn_v2": network("DCNv2", "DCN V2", "#bcbd22", spaces.dcn_v2, presets=PAPER),
    "autoint": network(
        *("AutoInt", "AutoInt", "#9467bd", spaces.autoint),
        paper=networks.paper_autoint,
        n_trials=spaces.trials_of_tokens,
        presets=PAPER,
    ),
    "ft_transformer_no_bias": network(
        *("FTTransformer", "FT-Transformer without biases", "#6baed6"),
        **TOKENS,
        own=networks.NO_TOKEN_BIAS,
        paper=networks.paper_ft_transformer_no_bias,
    ),
    "tabm": network("TabM", "TabM", "#cc79a7", spaces.tabm, presets=("quick",), weight=2.0),
    "realmlp": network(
        *("RealMLP", "RealMLP", "#e69f00", spaces.realmlp), protocol=networks.protocol_of_realmlp
    ),
    "gmlp": network("GMLP", "gMLP", "#56b4e9", spaces.gmlp),
    "node": network(
        *("NODE", "NODE", "#117733", spaces.node),
        paper=networks.paper_node,
        n_trials=spaces.node_trials,
    ),
    "grownet": network(
        *("GrowNet", "GrowNet", "#882255", spaces.grownet),
        paper=networks.paper_grownet,
        protocol=networks.protocol_of_grownet,
    ),
    "tabnet": network("TabNet", "TabNet", "#999933", spaces.tabnet, paper=networks.paper_tabnet),
    "xgboost": boosted(
        *("xgboost", "XGB", "XGBoost", "#8c564b", spaces.xgboost),
        own=trees.MANY | {"enable_categorical": True},
        paper={"enable_categorical": False},  # as in the paper: a column a category
        train=trees.train_xgboost,
        presets=ALL,
        weight=0.5,
    ),
    "catboost": boosted(
        *("catboost", "CatBoost", "CatBoost", "#000000", spaces.catboost),
        train=trees.train_catboost,
        presets=QUICK,
        weight=1.2,
        evaluation_device="cpu",
    ),
    "lightgbm": boosted(
        *("lightgbm", "LGBM", "LightGBM", "#7f7f7f", spaces.lightgbm),
        train=trees.train_lightgbm,
        presets=PAPER,
    ),
    "blend": network(
        "GreedyEnsemble", "greedy blend", "#b2182b", **BLENDS, own=blend.BLEND, train=blend.train
    ),
    "student": network(
        *("Distilled", "MLP taught by a blend", "#f4a582"),
        **BLENDS,
        own=blend.STUDENT,
        train=blend.train_student,
    ),
    "pytabkit-realmlp": peer(
        "RealMLP_TD", "RealMLP (pytabkit)", "#fdae61", own=peers.log_loss_without_smoothing
    ),
    "pytabkit-tabm": peer("TabM_D", "TabM (pytabkit)", "#e7d4e8"),
    "pytabkit-ftt": peer("FTT_D", "FT-Transformer (pytabkit)", "#abd9e9", own=peers.log_loss),
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
