"""What changes in training: the learning rate, weight decay and dropout.

Each schedule is a factor by the share of training that is done.

Loshchilov, Hutter: "SGDR" (ICLR 2017, 1608.03983), for the cosine; Goyal et al.: "Accurate, Large
Minibatch SGD" (2017, 1706.02677), section 2.2, for the linear warm-up; Holzmüller, Grinsztajn,
Steinwart: "Better by Default" (RealMLP, NeurIPS 2024, 2407.04491), section 3, for coslog4 and the
flat cosine.
"""

import math
from collections.abc import Sequence

import torch

from tabdl.network.layers import Dropout


def constant(t: float) -> float:
    """1 throughout."""
    return 1.0


def cosine(t: float) -> float:
    """Half a cosine from 1 to 0."""
    return (1 + math.cos(math.pi * t)) / 2


def coslog4(t: float) -> float:
    """Four cycles from 0 up to 1 and back, each twice as long as the one before.

    ``(1 - cos(2 pi log2(1 + 15 t))) / 2``.
    """
    return (1 - math.cos(2 * math.pi * math.log2(1 + 15 * t))) / 2


def flat_cosine(t: float) -> float:
    """1 for the first half, then half a cosine to 0."""
    return 1.0 if t < 0.5 else cosine(2 * t - 1)


def cooldown(t: float) -> float:
    """1, and over the last quarter a line to 0."""
    return min(1.0, 4 * (1 - t))


SCHEDULES = {
    "constant": constant,
    "cosine": cosine,
    "coslog4": coslog4,
    "flat_cosine": flat_cosine,
    "cooldown": cooldown,
}
# Those that stay at 1 until early stopping or the clock says otherwise.
FLAT = {"constant", "cooldown"}


def learning_rate_factor(schedule: str, step: float, n_steps: int, n_warmup: float) -> float:
    """Return what the learning rate of a step is multiplied with.

    Parameters
    ----------
    schedule : str
        A key of ``SCHEDULES``.
    step : float
        Number of the step, from 0; between two numbers where the clock leads.
    n_steps : int
        How many there are.
    n_warmup : float
        Number of first steps in which the factor grows linearly to 1. The schedule begins after
        them.
    """
    if step < n_warmup:
        return min(1.0, (step + 1) / n_warmup)
    return SCHEDULES[schedule]((step - n_warmup) / max(n_steps - n_warmup, 1))


class DropoutSchedule:
    """The rates of dropout layers as numbers on the device, which a recorded step reads anew.

    Parameters
    ----------
    layers : list of Dropout
    device : torch.device
    """

    def __init__(self, layers: Sequence[Dropout], device: torch.device) -> None:
        self.layers = layers
        for layer in layers:
            layer.lend_rate(device)

    def set(self, factor: float) -> None:
        """Multiply the own rate of each layer with ``factor``."""
        for layer in self.layers:
            layer.set_rate(factor)

    def release(self) -> None:
        """Give the layers their own rates back."""
        for layer in self.layers:
            layer.return_rate()
