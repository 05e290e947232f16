"""Going on from an earlier fit: what is kept of it, and what may not be another now."""

import copy
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import nn

from tabdl.base.mixins import ClassifierTask, RegressorTask
from tabdl.base.params import NetworkParams
from tabdl.base.post_training import POST_TRAINING_STEPS, wanted_steps
from tabdl.data.columns import check_listed_kinds
from tabdl.data.encoding import FeatureEncoder
from tabdl.data.statistics import needs_target
from tabdl.network.contract import TabularNet
from tabdl.tasks.targets import Target
from tabdl.training.run import TrainingConfig
from tabdl.training.stacking import NetworkEnsemble


@dataclass(frozen=True)
class Kept:
    """What a fit that goes on takes from the one before.

    Attributes
    ----------
    encoder : FeatureEncoder
    target : BinaryTarget, MulticlassTarget, MultilabelTarget or RegressionTarget
    nets : list of TabularNet
        Copies: a fit that fails leaves the estimator as it was.
    optimizer_states : list
        For each network the state of its optimizer; empty: new optimizers.
    """

    encoder: FeatureEncoder
    target: Target
    nets: list[TabularNet]
    optimizer_states: list[Any]


def copied_nets(module: Any, n_members: int, estimator_name: str) -> list[TabularNet]:
    """Return copies of the networks of a fitted module.

    Raises
    ------
    ValueError
        Where pruning or an interrupt has left several members unequal.
    """
    nets = list(module.nets) if isinstance(module, NetworkEnsemble) else [module]
    shapes = {tuple(weight.shape for weight in net.parameters()) for net in nets}
    if len(nets) < n_members or len(shapes) > 1:
        raise ValueError(
            f"{estimator_name}: to go on takes n_members={n_members} networks of one shape, and "
            "prune=True or an interrupt has left other ones; fit anew with warm_start=False."
        )
    return [copy.deepcopy(net) for net in nets]


def check_unchanged(estimator: Any, at_fit: dict[str, Any], encoder: FeatureEncoder) -> None:
    """Raise ValueError, by name, for a parameter that shapes network or encoder and has changed.

    Parameters
    ----------
    estimator : TabularEstimator
    at_fit : dict
        Parameters of the architecture at the first fit, by name.
    encoder : FeatureEncoder
        That of the first fit.
    """
    name = type(estimator).__name__
    for parameter, now, before in changed_params(estimator, at_fit, encoder):
        raise ValueError(
            f"{name}: {parameter}={now!r} was {before!r} at the first fit, and a fit that goes "
            f"on needs the same network and encoder; set {parameter}={before!r}, or fit anew "
            "with warm_start=False."
        )
    check_listed_kinds(estimator.categorical_features, encoder.kinds, encoder.column_names, name)


def changed_params(
    estimator: Any, at_fit: dict[str, Any], encoder: FeatureEncoder
) -> list[tuple[str, Any, Any]]:
    """Return the parameters that shape network or encoder and have changed: name, now, before."""
    names = ("numeric_transform", "numeric_missing", "categorical_statistics")
    shape = {name: value for name, value in at_fit.items() if name not in _changeable()}
    before = shape | {name: getattr(encoder, name) for name in names}
    found = [(name, getattr(estimator, name), value) for name, value in before.items()]
    return [(name, now, then) for name, now, then in found if now != then]


def shape_params(estimator: Any) -> dict[str, Any]:
    """Return copies of the parameters that shape one network of an estimator."""
    names = {field.name for field in fields(type(estimator))} - _changeable() - {"n_members"}
    return copy.deepcopy({name: getattr(estimator, name) for name in sorted(names)})


def _changeable() -> set[str]:
    """Return the parameters of which the shape of a network does not depend."""
    common = {
        field.name
        for cls in (NetworkParams, ClassifierTask, RegressorTask)
        for field in fields(cls)
    }
    return (common | {step.parameter for step in POST_TRAINING_STEPS}) - {"n_members"}


def check_streamable(estimator: Any) -> None:
    """Raise ValueError, by name, for a parameter that ``partial_fit`` cannot heed."""
    needs = {
        "checkpoint": (estimator.checkpoint is None, "None"),
        "time_limit": (estimator.time_limit is None, "None"),
        "pretrain": (
            not isinstance(estimator.pretrain, str) or estimator.__sklearn_is_fitted__(),
            "None, or what tabdl.pretrain left, at the first call, whose rows may be few",
        ),
        "ema_decay": (estimator.ema_decay is None, "None: each call would begin a new average"),
        "categorical_statistics": (
            not needs_target(estimator.categorical_statistics),
            "'none' or 'count': statistics of the target would know that of rows that come again",
        ),
        "class_weight": (
            getattr(estimator, "class_weight", None) != "balanced",
            "a dict or None: the classes of all rows are not known",
        ),
    }
    needs |= {
        step.parameter: (False, "False: it needs validation rows")
        for step in wanted_steps(estimator)
    }
    for parameter, (is_met, needed) in needs.items():
        if not is_met:
            raise ValueError(
                f"{type(estimator).__name__}: partial_fit needs {parameter}={needed}; got "
                f"{getattr(estimator, parameter)!r}."
            )


def one_pass(config: TrainingConfig) -> TrainingConfig:
    """Return the config of one epoch over all rows, at one learning rate, that nothing stops."""
    return replace(
        config,
        max_epochs=1,
        patience=None,
        warmup_epochs=0.0,
        lr_schedule="constant",
        weight_decay_schedule="constant",
        dropout_schedule="constant",
        drop_last=False,
    )


def seeds_after(nets: Sequence[nn.Module], seeds: Sequence[int]) -> list[int]:
    """Return a seed for each network that follows from the given one and from the weights.

    So no two calls draw the same dropout and order of rows, and nothing has to be counted.
    """
    return [_digest(net) ^ seed for net, seed in zip(nets, seeds, strict=True)]


def _digest(net: nn.Module) -> int:
    digest = 0
    for weight in net.parameters():
        digest = zlib.crc32(weight.detach().cpu().numpy().tobytes(), digest)
    return digest
