"""The steps of a fit after the training of its network, in order; they need validation rows."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tabdl.data.table import Table, TableView
from tabdl.training.devices import Precision
from tabdl.training.epoch import weighted_mean
from tabdl.training.inference import net_outputs


@dataclass(frozen=True)
class PostTrainingStep:
    """A step that a parameter of the estimator asks for.

    Attributes
    ----------
    parameter : str
        Name of the parameter; the step is taken where it is True.
    apply : callable
        ``(net, target, val_table, precision)``; changes the network or the target in place.
    """

    parameter: str
    apply: Callable[[Any, Any, Table | TableView, Precision], None]


def prune(net: Any, target: Any, val: Table | TableView, precision: Precision) -> None:
    """Keep the predictions whose mean is best on the validation rows (2410.24210, section 5.3)."""
    outputs = net_outputs(net, val, precision)
    assert val.y is not None  # validation rows have targets
    net.keep(choose_predictions(outputs, val.y, val.weight, target.val_loss))


def calibrate(net: Any, target: Any, val: Table | TableView, precision: Precision) -> None:
    """Fit the temperature of the target to the validation rows (1706.04599, section 4.2)."""
    target.calibrate(net_outputs(net, val, precision), val.y, val.weight)


# Calibration comes last: it belongs to the predictions that pruning leaves.
POST_TRAINING_STEPS = [PostTrainingStep("prune", prune), PostTrainingStep("calibrate", calibrate)]


def wanted_steps(estimator: Any) -> list[PostTrainingStep]:
    """Return the steps that an estimator asks for, in their order."""
    return [step for step in POST_TRAINING_STEPS if getattr(estimator, step.parameter, False)]


def choose_predictions(
    outputs: Tensor,
    y: Tensor,
    weight: Tensor | None,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> list[int]:
    """Choose those of K predictions whose mean has a small loss, by greedy steps.

    The best prediction comes first, then each time the one that lowers the loss of the mean most,
    until none does (2410.24210, section 5.3).

    Parameters
    ----------
    outputs : Tensor of shape (N, K, C)
    y : Tensor
        Encoded targets of the N rows.
    weight : Tensor of shape (N,) or None
    loss : callable
        ``(outputs (N, any, C), y) -> (N,)`` of the mean of the predictions.

    Returns
    -------
    list of int
        Numbers of the predictions; all K where a choice is not better than all.
    """
    everything = list(range(outputs.shape[1]))
    rest = list(everything)
    chosen: list[int] = []
    lowest = math.inf
    while rest:
        losses = [weighted_mean(loss(outputs[:, [*chosen, i]], y), weight).item() for i in rest]
        best = min(range(len(rest)), key=losses.__getitem__)
        if losses[best] >= lowest:
            break
        lowest = losses[best]
        chosen.append(rest.pop(best))
    loss_of_all = weighted_mean(loss(outputs, y), weight).item()
    return sorted(chosen) if lowest < loss_of_all else everything
