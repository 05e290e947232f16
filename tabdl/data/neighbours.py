"""For each row of a table the most similar rows of the same label: donors of its cells.

The donors of a cell are those of nearest-neighbour hot deck imputation (Andridge and Little: "A
Review of Hot Deck Imputation for Survey Non-response", 2010).
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tabdl.data.table import Table

N_NEIGHBOURS = 10
# The cost is the number of rows times this, at most, times the number of features.
MOST_DONORS = 20_000
# A rare label keeps so many donors: its rows have all their neighbours.
_LEAST_DONORS = 10 * N_NEIGHBOURS
_N_BINS = 10
# Distances of so many pairs of rows are in memory at once: 2 MiB, which stay in the caches.
_N_PAIRS = 2**19


def labels_of(y: Tensor, has_classes: bool) -> Tensor:
    """Return the number of the label of each row, (N,) int64; several targets are one label.

    ``y``, (N,) or (N, C), has classes, or 0 and 1. Else the label of a number is its bin between
    quantiles: ten bins for one target, about as many combinations of bins for several.
    """
    columns = y.reshape(len(y), -1).numpy()
    if not has_classes:
        n_bins = max(2, round(_N_BINS ** (1 / columns.shape[1])))
        edges = np.quantile(columns, np.arange(1, n_bins) / n_bins, axis=0)
        pairs = zip(edges.T, columns.T, strict=True)
        columns = np.stack([np.searchsorted(*pair, side="right") for pair in pairs], 1)
    return torch.from_numpy(np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1))


def with_neighbours(
    table: Table,
    labels: Tensor,
    generator: torch.Generator,
    device: torch.device,
    most_donors: int = MOST_DONORS,
) -> tuple[Table, Table]:
    """Return a table whose rows know their nearest rows, and the donors: rows that may be these.

    The distance is Euclidean, of numbers in standard deviations and of one-hot categories. A row is
    not its own neighbour, unless it has a label for itself. With up to ``most_donors`` rows all are
    donors, else a random sample of about as many, with the shares of the labels.

    Parameters
    ----------
    table : Table
        On the CPU.
    labels : int64 Tensor of shape (N,)
    generator : torch.Generator
        It draws the sample.
    device : torch.device
        It computes the distances.
    most_donors : int
    """
    x_num = table.x_num - table.x_num.mean(0)
    std = x_num.square().mean(0).sqrt()
    rows = Table((x_num / torch.where(std > 0, std, 1)).float(), table.x_cat)
    neighbours = torch.empty(len(table), N_NEIGHBOURS, dtype=torch.int32)
    donors = torch.empty(0, dtype=torch.int64)
    for own in labels.argsort(stable=True).split(labels.bincount().tolist()):
        n_own = max(_LEAST_DONORS, round(len(own) * most_donors / len(table)))
        is_sample = n_own < len(own)
        among = own[torch.randperm(len(own), generator=generator)[:n_own]] if is_sample else own
        neighbours[own] = _nearest(rows, own, among, device) + len(donors)
        donors = torch.cat([donors, among])
    return replace(table, neighbours=neighbours), table.take(donors)


def _nearest(rows: Table, index: Tensor, donors: Tensor, device: torch.device) -> Tensor:
    """Return the numbers of the nearest donors, (n, K) int32; where these are few, repeated."""
    n_found = min(N_NEIGHBOURS + 1, len(donors))
    to = rows.take(donors).to(device)
    parts = []
    for part in index.split(max(1, _N_PAIRS // len(donors))):
        distances = _squared_distances(rows.take(part).to(device), to)
        parts.append(distances.topk(n_found, largest=False).indices.cpu())
    found = torch.cat(parts)
    # A row itself comes last, and is left out.
    order = (donors[found] == index.unsqueeze(1)).byte().argsort(dim=1, stable=True)
    numbers = torch.arange(N_NEIGHBOURS) % max(1, n_found - 1)
    return found.gather(1, order[:, numbers]).int()


def _squared_distances(rows: Table, to: Table) -> Tensor:
    """Return the squared distances of n rows to m others, (n, m), up to a constant of each row."""
    lengths = to.x_num.square().sum(1)
    distances = torch.addmm(lengths, rows.x_num, to.x_num.T, alpha=-2)
    for own, other in zip(rows.x_cat.unbind(1), to.x_cat.unbind(1), strict=True):
        distances.add_(own.unsqueeze(1) != other, alpha=2)
    return distances
