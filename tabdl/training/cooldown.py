"""The cooldown of a network: its learning rate falls to zero once its score no longer improves.

Hägele et al.: "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations" (NeurIPS
2024, 2405.18392): a constant learning rate that falls at the end, over a fifth of all steps or
more, is as good as a cosine, whose length has to be known before.
"""

import math
from dataclasses import dataclass

# The length of a cooldown, as a share of the epochs up to the best one, and of the patience.
_SHARE_OF_BEST = 0.3
_SHARE_OF_PATIENCE = 0.5


@dataclass(frozen=True)
class Cooldown:
    """Where the learning rate of one network falls along a line.

    Attributes
    ----------
    start : int
        Number of steps before it.
    n_steps : int
    """

    start: int
    n_steps: int

    def factor(self, step: int) -> float:
        """Return what the learning rate of a step is multiplied with."""
        return max(0.0, 1 - (step - self.start) / self.n_steps)


def n_cooldown_epochs(best_epoch: int, patience: int, n_left: int) -> int:
    """Return how many epochs a cooldown takes.

    Parameters
    ----------
    best_epoch : int
        The epoch whose weights it begins with, from 1.
    patience : int
        Epochs without a better score that brought it about.
    n_left : int
        Epochs that are left of all.
    """
    n_epochs = max(round(_SHARE_OF_BEST * best_epoch), math.ceil(_SHARE_OF_PATIENCE * patience))
    return min(n_epochs, n_left)
