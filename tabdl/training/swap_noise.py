"""Rows with swapped cells, and the losses of finding out what was there.

Rubachev, Alekberov, Gorishniy, Babenko: "Revisiting Pretraining Objectives for Tabular Deep
Learning" (2022, 2207.03208), section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tabdl.data.table import Schema, Table

OBJECTIVES = ("reconstruction", "mask", "both")


def swapped(batch: Table, rate: float, generators: Sequence[torch.Generator]) -> Table:
    """Return a batch in which cells have the value of another row of the batch.

    A batch has random rows, so a swapped cell is a draw from its column's marginal.

    Parameters
    ----------
    batch : Table of (M, B, ...)
    rate : float
        The probability that a cell is swapped.
    generators : list of torch.Generator, length M
        One for each network.
    """
    n_num, n_cat = batch.x_num.shape[2], batch.x_cat.shape[2]
    shape = batch.x_num.shape[1], n_num + n_cat
    source = torch.stack([_sources(shape, rate, generator) for generator in generators])
    from_num, from_cat = source.split([n_num, n_cat], 2)
    return replace(
        batch, x_num=batch.x_num.gather(1, from_num), x_cat=batch.x_cat.gather(1, from_cat)
    )


def swap_cells(batch: Table, rate: float, generators: Sequence[torch.Generator]) -> Table:
    """Return a batch as :func:`swapped` does, whose ``y`` says what was there.

    Returns
    -------
    Table of (M, B, ...)
        Its ``y`` is what a :class:`PretrainingLoss` takes, (M, B, 2 Fn + 2 Fc): the clean numbers,
        the clean codes, and 1 for each cell whose value is another now.
    """
    noisy = swapped(batch, rate, generators)
    is_other = torch.cat([noisy.x_num != batch.x_num, noisy.x_cat != batch.x_cat], 2)
    parts = (batch.x_num, batch.x_cat, is_other)
    return replace(noisy, y=torch.cat([part.to(batch.x_num.dtype) for part in parts], 2))


def _sources(shape: tuple[int, int], rate: float, generator: torch.Generator) -> Tensor:
    """Return the row from which each cell of (B, F) takes its value; mostly its own."""
    n_rows = shape[0]
    device = generator.device
    own = torch.arange(n_rows, device=device).unsqueeze(1)
    is_swapped = torch.rand(shape, generator=generator, device=device) < rate
    # The only row of a batch of one stays as it is.
    step = torch.randint(1, max(n_rows, 2), shape, generator=generator, device=device)
    return torch.where(is_swapped, (own + step) % n_rows, own)


@dataclass(frozen=True)
class PretrainingLoss:
    """The loss of outputs that say what the clean cells were, or which cells were swapped.

    The reconstruction's is the mean over the features of the squared error of a number and the
    cross-entropy of a category. The mask's is the mean over the cells of the binary cross-entropy.
    "both" is their sum.

    Parameters
    ----------
    schema : Schema
    objective : {"reconstruction", "mask", "both"}
    """

    schema: Schema
    objective: str

    @property
    def n_outputs(self) -> int:
        """C: a number for each numeric feature, one for each code, one for each cell."""
        return sum(self._widths)

    @property
    def _widths(self) -> tuple[int, int, int]:
        """The outputs for numbers, for categories and for the mask."""
        n_num, sizes = self.schema.n_num, self.schema.cardinalities
        n_mask = 0 if self.objective == "reconstruction" else n_num + len(sizes)
        return (0, 0, n_mask) if self.objective == "mask" else (n_num, sum(sizes), n_mask)

    def __call__(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the losses, (B,), of outputs (B, K, C); ``y`` is that of :func:`swap_cells`."""
        n_num, n_cat = self.schema.n_num, len(self.schema.cardinalities)
        numbers, codes, is_other = y.unsqueeze(1).split([n_num, n_cat, n_num + n_cat], 2)
        # In training TabNet has one more, the entropy of its masks.
        outputs = outputs[:, :, : self.n_outputs]
        of_numbers, of_codes, of_mask = outputs.split(self._widths, 2)
        losses = torch.zeros_like(outputs[:, :, 0])
        if self.objective != "mask":
            errors = (of_numbers - numbers).square().sum(2)
            losses = losses + (errors + self._cross_entropy(of_codes, codes)) / (n_num + n_cat)
        if self.objective != "reconstruction":
            target = is_other.expand_as(of_mask)
            mask_losses = nn.functional.binary_cross_entropy_with_logits(
                of_mask, target, reduction="none"
            )
            losses = losses + mask_losses.mean(2)
        return losses.mean(1)

    def _cross_entropy(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return the sums over the features, (B, K), of logits (B, K, all codes)."""
        total = torch.zeros_like(logits[:, :, :1].sum(2))
        parts = logits.split(self.schema.cardinalities, 2) if self.schema.cardinalities else ()
        for own, code in zip(parts, codes.long().unbind(2), strict=True):
            log_shares = own.log_softmax(2)
            index = code.unsqueeze(2).expand(-1, own.shape[1], 1)
            total = total - log_shares.gather(2, index).squeeze(2)
        return total
