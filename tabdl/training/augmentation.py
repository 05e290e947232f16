"""Noise of training rows: swapped cells, hidden columns, and the shares of mixed rows.

A batch gets it on its way to the network, whatever the network is. Each network draws from its own
generator, so that it learns beside others what it would learn alone. Predictions see none of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tabdl.data.table import Table
from tabdl.training.swap_noise import swapped, swapped_with_neighbours


@dataclass(frozen=True)
class FeatureDropout:
    """Hides whole columns of a batch, each with one probability.

    Attributes
    ----------
    rate : float
        The probability that a column is hidden in a step.
    x_num : Tensor of shape (Fn,)
        What stands for hidden numbers.
    x_cat : Tensor of shape (Fc,)
        The codes that stand for hidden categories.
    columns : int64 Tensor of shape (Fn + Fc,)
        The number of the column that each feature comes from; its features are hidden together.
    n_columns : int
    """

    rate: float
    x_num: Tensor
    x_cat: Tensor
    columns: Tensor
    n_columns: int

    def to(self, device: torch.device) -> "FeatureDropout":
        """Return the same on a device."""
        names = ("x_num", "x_cat", "columns")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def hide(self, batch: Table, n_streams: int, generators: Sequence[torch.Generator]) -> Table:
        """Return a batch without some of its columns.

        Parameters
        ----------
        batch : Table of (M, B, ...)
        n_streams : int
            The rows of a batch are so many batches in turn, each with hidden columns of its own.
        generators : list of torch.Generator, length M
        """
        n_rows = batch.x_num.shape[1]
        stream = torch.arange(n_rows, device=self.columns.device) % n_streams
        hidden = torch.stack([self._drawn(n_streams, own)[stream] for own in generators])
        of_num, of_cat = hidden.split([len(self.x_num), len(self.x_cat)], 2)
        return replace(
            batch,
            x_num=torch.where(of_num, self.x_num, batch.x_num),
            x_cat=torch.where(of_cat, self.x_cat, batch.x_cat),
        )

    def _drawn(self, n_streams: int, generator: torch.Generator) -> Tensor:
        """Return which features each stream of a network does not see, (streams, Fn + Fc)."""
        options = {"generator": generator, "device": self.columns.device}
        drawn = torch.rand(n_streams, self.n_columns, **options) < self.rate
        return drawn.index_select(1, self.columns)


def augmented(
    batch: Table,
    swap_noise: float,
    feature_dropout: FeatureDropout | None,
    n_streams: int,
    generators: Sequence[torch.Generator],
    donors: Table | None = None,
) -> Table:
    """Return a batch of (M, B, ...) with swapped cells and hidden columns, and its own targets."""
    if donors is not None:
        batch = swapped_with_neighbours(batch, swap_noise, generators, donors)
    elif swap_noise:
        batch = swapped(batch, swap_noise, generators)
    if feature_dropout is not None:
        batch = feature_dropout.hide(batch, n_streams, generators)
    return batch


def mixup_shares(alpha: float, like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Return what each row keeps of itself, (M, B), with the distribution Beta(alpha, alpha).

    Devroye: "Random variate generation in one line of code" (1996), symmetric beta: two uniform
    numbers and no rejection, so that a step can be recorded.

    Parameters
    ----------
    alpha : float
        Positive.
    like : Tensor of shape (M, B, ...)
        Its dtype and device are those of the shares.
    generators : list of torch.Generator, length M
    """
    options = {"dtype": like.dtype, "device": like.device}
    drawn = [torch.rand(2, like.shape[1], generator=own, **options) for own in generators]
    level, angle = torch.stack(drawn, 1)
    cosine = (2 * torch.pi * angle).cos()
    squared = torch.expm1(-level.log() / alpha) * cosine.square()
    # The inverse stays a number where the square overflows.
    return (1 + cosine.sign() * (1 + squared.reciprocal()).rsqrt()) / 2
