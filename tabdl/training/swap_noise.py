"""Rows with swapped cells, and the losses of finding out what was there.

Rubachev, Alekberov, Gorishniy, Babenko: "Revisiting Pretraining Objectives for Tabular Deep
Learning" (2022, 2207.03208), section 3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tabdl.data.table import Schema, Table

_SUPERVISED = "+supervised"
_PLAIN = ("reconstruction", "mask", "both")
OBJECTIVES = (*_PLAIN, *(name + _SUPERVISED for name in _PLAIN))


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


def swapped_with_neighbours(
    batch: Table, rate: float, generators: Sequence[torch.Generator], donors: Table
) -> Table:
    """Return a batch as :func:`swapped` does, whose cells come from neighbours of their rows.

    Each swapped cell draws a neighbour of its own. The ``neighbours`` of the batch, (M, B, K), are
    numbers of rows of ``donors``, which lies on the same device.
    """
    assert batch.neighbours is not None
    n_num, n_cat = batch.x_num.shape[2], batch.x_cat.shape[2]
    shape = batch.x_num.shape[1], n_num + n_cat
    is_swapped, choice = [], []
    for own in generators:
        options = {"generator": own, "device": own.device}
        is_swapped.append(torch.rand(shape, **options) < rate)
        choice.append(torch.randint(batch.neighbours.shape[2], shape, **options))
    source = batch.neighbours.long().gather(2, torch.stack(choice))
    from_num, from_cat = source.flatten(0, 1).split([n_num, n_cat], 1)
    of_num, of_cat = torch.stack(is_swapped).split([n_num, n_cat], 2)
    x_num = donors.x_num.gather(0, from_num).view_as(batch.x_num)
    x_cat = donors.x_cat.gather(0, from_cat).view_as(batch.x_cat)
    x_num = torch.where(of_num, x_num, batch.x_num)
    return replace(batch, x_num=x_num, x_cat=torch.where(of_cat, x_cat, batch.x_cat))


def swap_cells(batch: Table, rate: float, generators: Sequence[torch.Generator]) -> Table:
    """Return a batch as :func:`swapped` does, whose ``y`` says what was there.

    Returns
    -------
    Table of (M, B, ...)
        Its ``y`` is what a :class:`PretrainingLoss` takes, (M, B, 2 Fn + 2 Fc + T): the clean
        numbers, the clean codes, 1 for each cell whose value is another now, and the ``y`` of the
        batch, (M, B, T), where it has one.
    """
    noisy = swapped(batch, rate, generators)
    is_other = torch.cat([noisy.x_num != batch.x_num, noisy.x_cat != batch.x_cat], 2)
    parts = [batch.x_num, batch.x_cat, is_other]
    parts += [] if batch.y is None else [batch.y]
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


def is_supervised(objective: str) -> bool:
    """Return whether an objective of pretraining has the loss of the target beside its own."""
    return objective.endswith(_SUPERVISED)


def known_targets(y: Tensor, n_unlabelled: int) -> Tensor:
    """Return the targets that a :class:`SupervisedLoss` takes, (N + n_unlabelled, T).

    Parameters
    ----------
    y : Tensor of shape (N,) int64 or (N, C) floating
    n_unlabelled : int
        Number of rows below, which have no target.
    """
    y = y.unsqueeze(1) if y.ndim == 1 else y
    is_known = torch.ones(len(y), 1)
    known = torch.cat([y, is_known.to(y.dtype)], 1)
    return torch.cat([known, known.new_zeros(n_unlabelled, known.shape[1])])


@dataclass(frozen=True)
class SupervisedLoss:
    """The loss of the target, of rows that have one; 0 for others.

    Parameters
    ----------
    loss : callable
        ``(outputs (B, K, C), y) -> (B,)``.
    n_outputs : int
        C.
    has_classes : bool
        Whether y is a code of a class.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    n_outputs: int
    has_classes: bool

    def __call__(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the losses, (B,), of outputs (B, K, C); ``y`` is that of known_targets."""
        known, is_known = y[:, :-1], y[:, -1]
        return self.loss(outputs, known[:, 0].long() if self.has_classes else known) * is_known


@dataclass(frozen=True)
class PretrainingLoss:
    """The loss of outputs that say what the clean cells were, or which cells were swapped.

    The reconstruction's is the mean over the features of the squared error of a number and the
    cross-entropy of a category. The mask's is the mean over the cells of the binary cross-entropy.
    "both" is their sum. With "+supervised" the loss of the target is added.

    Parameters
    ----------
    schema : Schema
    objective : str
        One of ``OBJECTIVES``.
    supervised : SupervisedLoss or None
        The loss of the target, with which the objective is supervised.
    """

    schema: Schema
    objective: str
    supervised: SupervisedLoss | None = None

    @property
    def n_outputs(self) -> int:
        """C: a number for each numeric feature, code and cell, and the outputs of the target."""
        return sum(self._widths)

    @property
    def _plain(self) -> str:
        return self.objective.removesuffix(_SUPERVISED)

    @property
    def _widths(self) -> tuple[int, int, int, int]:
        """The outputs for numbers, for categories, for the mask and for the target."""
        n_num, sizes = self.schema.n_num, self.schema.cardinalities
        n_mask = 0 if self._plain == "reconstruction" else n_num + len(sizes)
        n_target = 0 if self.supervised is None else self.supervised.n_outputs
        n_numbers, n_codes = (0, 0) if self._plain == "mask" else (n_num, sum(sizes))
        return n_numbers, n_codes, n_mask, n_target

    def __call__(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the losses, (B,), of outputs (B, K, C); ``y`` is that of :func:`swap_cells`."""
        n_num, n_cat = self.schema.n_num, len(self.schema.cardinalities)
        n_cells = n_num + n_cat
        sizes = [n_num, n_cat, n_cells, y.shape[1] - 2 * n_cells]
        numbers, codes, is_other, known = y.unsqueeze(1).split(sizes, 2)
        # In training TabNet has one more, the entropy of its masks.
        outputs = outputs[:, :, : self.n_outputs]
        of_numbers, of_codes, of_mask, of_target = outputs.split(self._widths, 2)
        losses = torch.zeros_like(outputs[:, :, 0])
        if self._plain != "mask":
            errors = (of_numbers - numbers).square().sum(2)
            losses = losses + (errors + self._cross_entropy(of_codes, codes)) / n_cells
        if self._plain != "reconstruction":
            target = is_other.expand_as(of_mask)
            mask_losses = nn.functional.binary_cross_entropy_with_logits(
                of_mask, target, reduction="none"
            )
            losses = losses + mask_losses.mean(2)
        if self.supervised is None:
            return losses.mean(1)
        return losses.mean(1) + self.supervised(of_target, known[:, 0])

    def _cross_entropy(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return the sums over the features, (B, K), of logits (B, K, all codes)."""
        total = torch.zeros_like(logits[:, :, :1].sum(2))
        parts = logits.split(self.schema.cardinalities, 2) if self.schema.cardinalities else ()
        for own, code in zip(parts, codes.long().unbind(2), strict=True):
            log_shares = own.log_softmax(2)
            index = code.unsqueeze(2).expand(-1, own.shape[1], 1)
            total = total - log_shares.gather(2, index).squeeze(2)
        return total
