"""What a fit does with the validation rows once the network is trained, in this order."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from tabdl.training.epoch import weighted_mean
from tabdl.training.inference import net_outputs


@dataclass(frozen=True)
class PostTrainingStep:
    """A step that an estimator's parameter asks for.

    Attributes
    ----------
    parameter : str
        Name of the parameter; the step is taken where it is True.
    apply : callable
        ``(net, target, val_table, precision)``; changes the network or the target in place.
    """

    parameter: str
    apply: Callable


def prune(net, target, val, precision):
    """Keep the predictions whose mean is best on the validation rows (2410.24210, section 5.3)."""
    outputs = net_outputs(net, val, precision)
    net.keep(choose_predictions(outputs, val.y, val.weight, target.val_loss))


def calibrate(net, target, val, precision):
    """Fit the target's temperature to the validation rows (1706.04599, section 4.2)."""
    target.calibrate(net_outputs(net, val, precision), val.y, val.weight)


# Calibration comes last: it belongs to the predictions that are left.
POST_TRAINING_STEPS = [PostTrainingStep("prune", prune), PostTrainingStep("calibrate", calibrate)]


def wanted_steps(estimator):
    """Return the steps that an estimator asks for, in their order."""
    return [step for step in POST_TRAINING_STEPS if getattr(estimator, step.parameter, False)]


def choose_predictions(outputs, y, weight, loss):
    """Return the numbers of the predictions, of K, whose mean has the smallest loss, as far as
    greedy steps find them.

    The best one first, then each time the one that lowers the loss of the mean most, until none
    does (2410.24210, section 5.3); all K where that is not better than all.

    Parameters
    ----------
    outputs : Tensor of shape (N, K, C)
    y : Tensor
        What the loss takes, of the N rows.
    weight : Tensor of shape (N,) or None
    loss : callable
        ``(outputs (N, any, C), y) -> (N,)`` of the mean of the predictions.
    """
    chosen, lowest, rest = [], math.inf, list(range(outputs.shape[1]))
    everything = list(rest)
    while rest:
        losses = [weighted_mean(loss(outputs[:, [*chosen, i]], y), weight).item() for i in rest]
        best = min(range(len(rest)), key=losses.__getitem__)
        if losses[best] >= lowest:
            break
        lowest = losses[best]
        chosen.append(rest.pop(best))
    loss_of_all = weighted_mean(loss(outputs, y), weight).item()
    return sorted(chosen) if lowest < loss_of_all else everything
