"""A batch in parts, whose gradients add up to those of the batch: for the caches of a processor,
and for several of its cores."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tabdl.data.table import Table
from tabdl.network.contract import TabularNet
from tabdl.network.functional import RandomBits
from tabdl.training.stacking import StackedNetworks
from tabdl.training.threads import Faster, Team

# Multiplications of a part, forward and backward: fewer are not worth the addition of gradients.
_PART_MACS = 200e6

# ``(networks, rows (M, B, ...)) -> losses (M, B)``
LossesOf = Callable[[Any, Table], Tensor]


def part_rows(net: TabularNet, batch_size: int, n_threads: int) -> int | None:
    """Return how many of the rows that a step takes go forward and backward at once on a CPU.

    A batch becomes one part for each thread, or more where its activations would leave the caches.
    The size does not depend on how busy the machine is, so a fit is the same, to the bit, each time
    that it has the same number of threads.

    Parameters
    ----------
    net : TabularNet
        Its ``cpu_step_rows`` is the largest size; None: all rows are one part.
    batch_size, n_threads : int
    """
    if net.cpu_step_rows is None:
        return None
    n_parts = max(1, min(n_threads, int(3 * net.n_macs * batch_size / _PART_MACS)))
    return min(net.cpu_step_rows, math.ceil(batch_size / n_parts) * net.n_batch_streams)


class StepParts:
    """The forward and backward passes of a step, part by part; open it as a context.

    With several threads the parts of one network run at once, each in a copy of the network with
    the same weights, or in turn where that is faster, beside other busy processes. Random numbers
    of dropout, and the order in which gradients are added, are the same: so are the sums, to the
    bit.

    Parameters
    ----------
    networks : StackedNetworks
        Open. For each row of a batch it draws equally many random numbers.
    block_rows : int or None
        Rows of a block, for which each layer draws its random numbers at once. None: all.
    part_rows : int or None
        Rows of a part of a block. None: all.
    n_batch : int
        Rows of a batch.
    at_once : bool
        False: one part after the other also with several threads, for losses that draw.
    scale : Tensor of shape (M,) or None
        What the gradients of each network are multiplied with.
    """

    def __init__(
        self,
        networks: StackedNetworks,
        block_rows: int | None,
        part_rows: int | None,
        n_batch: int,
        at_once: bool = True,
        scale: Tensor | None = None,
    ) -> None:
        self.networks = networks
        self.scale = scale
        self.block_rows = block_rows
        self.part_rows = part_rows
        # For each draw of a network, the numbers for a row.
        self.draws: list[int] | None = None
        n_parts = sum(map(len, self._blocks(n_batch)))
        splits = part_rows is not None and at_once and networks.can_be_copied
        # OpenMP's threads gain little in a part, and lose much beside another busy process.
        self.team = Team(n_parts, n_threads_each=1) if splits else Team(1)
        self.copies = networks.copies(n_parts) if self.team.n_workers > 1 else []
        self.faster = Faster()

    def __enter__(self) -> "StepParts":
        self.team.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.team.__exit__(*exception)

    def backward(self, losses_of: LossesOf, batch: Table, total: Tensor) -> None:
        """Add the gradients of the mean loss to those of the weights.

        Parameters
        ----------
        losses_of : callable
            ``(networks, part) -> losses (M, B)``, with the graph of the gradients.
        batch : Table of (M, B, ...)
        total : Tensor of shape (M,)
            The sums of the losses are added to it.
        """
        n_rows = batch.x_num.shape[1]
        blocks = self._blocks(n_rows)
        parts = [batch.columns(rows) for block in blocks for rows in block]
        has_whole_blocks = len(parts) == len(blocks)
        if len(parts) == 1 or (has_whole_blocks and not self.copies):
            for part in parts:
                self._part_backward(losses_of, part, n_rows, total)
            return
        bits = self._draw(blocks, parts[0])
        if not self.copies:
            self._in_turn(losses_of, parts, bits, n_rows, total)
            return
        # The sums are the same: the way is free.
        with self.faster.timed(n_rows) as is_at_once:
            way = self._at_once if is_at_once else self._in_turn
            way(losses_of, parts, bits, n_rows, total)

    def _in_turn(self, losses_of, parts, bits, n_rows, total):
        for part, own in zip(parts, bits, strict=True):
            with self.networks.drawing_from(own):
                self._part_backward(losses_of, part, n_rows, total)

    def _blocks(self, n_rows):
        """Return for each block of a batch the slices of its parts."""
        block_rows = self.block_rows or n_rows
        part_rows = self.part_rows or n_rows
        ends = [min(start + block_rows, n_rows) for start in range(0, n_rows, block_rows)]
        return [
            [
                slice(start, min(start + part_rows, end))
                for start in range(i * block_rows, end, part_rows)
            ]
            for i, end in enumerate(ends)
        ]

    def _draw(self, blocks, some_rows):
        """Return for each part the random numbers of each network."""
        if self.draws is None:
            self.draws = self._count(some_rows)
        parts = [[] for block in blocks for _ in block]
        for generator in self.networks.generators:
            drawn = RandomBits(generator)
            own = iter(parts)
            for block in blocks:
                sizes = [rows.stop - rows.start for rows in block]
                layers = [
                    drawn.take(n * sum(sizes)).split([n * size for size in sizes])
                    for n in self.draws
                ]
                for i in range(len(block)):
                    next(own).append(RandomBits([layer[i] for layer in layers]))
        return parts

    @torch.no_grad()
    def _count(self, part):
        """Return how many random numbers each draw of a network takes for a row."""
        counted = [RandomBits(torch.Generator()) for _ in self.networks.generators]
        with self.networks.drawing_from(counted):
            self.networks(part.x_num, part.x_cat)
        return [n // part.x_num.shape[1] for n in counted[0].sizes]

    def _part_backward(self, losses_of, part, n_rows, total):
        losses = losses_of(self.networks, part)
        self._mean(losses, n_rows).backward()
        total += losses.detach().sum(1)

    def _mean(self, losses, n_rows):
        """Return the sum over the networks of their mean losses, each with its factor."""
        scaled = losses if self.scale is None else losses * self.scale[:, None]
        return scaled.sum().div(n_rows)

    def _at_once(self, losses_of, parts, bits, n_rows, total):
        parameters = list(self.networks.parameters.values())

        def part_gradients(copy, part, bits):
            with copy.drawing_from(bits):
                losses = losses_of(copy, part)
            mean = self._mean(losses, n_rows)
            return losses.detach(), torch.autograd.grad(mean, parameters, allow_unused=True)

        copies = self.copies[: len(parts)]
        for losses, gradients in self.team.map(part_gradients, copies, parts, bits):
            total += losses.sum(1)
            _add(parameters, gradients)


def _add(parameters, gradients):
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is None:
            parameter.grad = gradient
        elif gradient is not None:
            # Not in place: two parameters may have got one and the same gradient.
            parameter.grad = parameter.grad + gradient
