"""Where the pieces of a piecewise-linear embedding meet.

Gorishniy, Rubachev, Babenko: "On Embeddings for Numerical Features in Tabular Deep Learning"
(NeurIPS 2022, 2203.05556).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def quantile_edges(x_num: Tensor, weight: Tensor | None, n_bins: int) -> list[Tensor]:
    """Return the distinct quantiles of each number (2203.05556, section 3.2.1).

    Parameters
    ----------
    x_num : Tensor of shape (N, Fn)
    weight : Tensor of shape (N,) or None
        A weight of 2 is the same as a row that stands twice.
    n_bins : int
        Bins of a number at most.

    Returns
    -------
    list of Tensor, length Fn
        Increasing edges, at least two each.
    """
    levels = torch.linspace(0, 1, n_bins + 1).to(x_num)
    return [_usable(_quantile(column, levels, weight)) for column in x_num.unbind(1)]


def _quantile(column, levels, weight):
    if weight is not None:
        return _weighted_quantile(column, levels, weight)
    # torch.quantile takes at most 16 million numbers.
    if len(column) <= 2**24:
        return column.quantile(levels)
    return torch.from_numpy(np.quantile(column.numpy(), levels.numpy())).to(column)


def _weighted_quantile(column, levels, weight):
    """Return the quantiles of the rows as if each stood as often as its weight says."""
    values, order = column[weight > 0].sort()
    weight = weight[weight > 0].double()[order]
    # Behind the last copy of each row, which stands once at least.
    last = (weight / weight.min().clamp(max=1)).cumsum(0)
    place = levels.double() * (last[-1] - 1)

    def at(where):
        return values[torch.searchsorted(last, where, right=True).clamp(max=len(last) - 1)]

    low = at(place.floor())
    high = at(place.ceil())
    return low + (high - low) * place.frac().to(column)


def tree_edges(
    x_num: Tensor,
    y: Tensor,
    weight: Tensor | None,
    n_bins: int,
    is_classification: bool,
    options: dict[str, Any],
) -> list[Tensor]:
    """Return where a decision tree of the target splits each number (2203.05556, section 3.2.2).

    Parameters
    ----------
    x_num : Tensor of shape (N, Fn)
    y : Tensor of shape (N,) or (N, C)
    weight : Tensor of shape (N,) or None
    n_bins : int
        Leaves of a tree at most.
    is_classification : bool
    options : dict
        Further parameters of the tree of scikit-learn.

    Returns
    -------
    list of Tensor, length Fn
        Increasing edges, at least two each.
    """
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeClassifier if is_classification else DecisionTreeRegressor
    tree = kind(max_leaf_nodes=n_bins, random_state=0, **options)
    target = y.numpy() if y.ndim == 1 or y.shape[1] > 1 else y[:, 0].numpy()
    weights = None if weight is None else weight.numpy()
    edges = []
    for column in x_num.unbind(1):
        fitted: Any = tree.fit(column.numpy()[:, None], target, weights).tree_
        thresholds = torch.from_numpy(fitted.threshold[fitted.feature >= 0]).to(column)
        edges.append(_usable(torch.cat([column.min()[None], column.max()[None], thresholds])))
    return edges


def _usable(edges):
    """Return the distinct edges in order; one unit wide where a number is nearly constant.

    A bin of no width would turn any later value into an enormous one.
    """
    edges = edges.unique()
    span = edges[-1] - edges[0]
    if span <= 1e-6:
        return torch.stack([edges[0], edges[0] + 1])
    is_apart = torch.cat([torch.ones(1, dtype=torch.bool), edges.diff() > 1e-7 * span])
    kept = edges[is_apart]
    return kept if kept[-1] == edges[-1] else torch.cat([kept[:-1], edges[-1:]])
