"""Gradients on the way from a baseline to a row, in the space of the embeddings.

Categories are codes, which have no gradient; their vectors have one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from torch import Tensor

from tabdl.base.estimator import TabularEstimator
from tabdl.data.table import Table
from tabdl.data.validation import class_labels, numeric_target
from tabdl.inspection.networks import encoded_rows, networks_of, sum_by_column

GRADIENT_METHODS = ("integrated_gradients", "gradient_times_input")

# ``(outputs (B, K, C), y or None) -> (B, C')``
_Explained = Callable[[Tensor, Any], Tensor]


def attributions(
    estimator: TabularEstimator, X: Any, y: Any, baseline: Any, n_steps: int | None
) -> np.ndarray:
    """Return the share of each column in the difference of each row to the baseline.

    Parameters
    ----------
    estimator : fitted TabularEstimator
    X : {array-like, data frame} of shape (N, F)
    y : array-like or None
        None: the difference of the outputs, (N, F, C); else that of the loss, (N, F).
    baseline : {array-like, data frame} or None
        The rows whose mean is the baseline; None: X.
    n_steps : int or None
        Points between baseline and row; None: the row alone.
    """
    nets = [net.eval() for net in networks_of(estimator)]
    if not all(hasattr(net.embedding, "by_feature") for net in nets):
        raise ValueError(
            f"{type(estimator).__name__}: gradient_importances needs a method by_feature of the "
            f"network's embedding, and {type(nets[0].embedding).__name__} has none; see "
            "tabdl.network.contract."
        )
    table = encoded_rows(estimator, X)
    others = table if baseline is None else encoded_rows(estimator, baseline)
    starts = [_mean_embedding(net, others) for net in nets]
    target = None if y is None else _encoded_target(estimator, y, table)
    explained = _outputs_explained(estimator) if y is None else _loss_explained(estimator)
    parts = []
    for first in range(0, len(table), nets[0].cpu_chunk_rows):
        rows = slice(first, first + nets[0].cpu_chunk_rows)
        own = None if target is None else target[rows]
        part = table.take(rows)
        parts.append(_on_the_way(nets, starts, part, lambda x, y=own: explained(x, y), n_steps))
    shares = sum_by_column(estimator, torch.cat(parts))
    return shares.transpose(0, 2, 1) if y is None else -shares[:, 0]


def _mean_embedding(net: Any, table: Table) -> Tensor:
    """Return the mean over rows of what the embedding returns, (1, ...), in float64."""
    total: Any = 0
    with torch.no_grad():
        for first in range(0, len(table), net.cpu_chunk_rows):
            rows = table.take(slice(first, first + net.cpu_chunk_rows))
            total = total + net.embedding(rows.x_num, rows.x_cat).double().sum(0, keepdim=True)
    return total / len(table)


def _on_the_way(
    nets: list[Any],
    starts: list[Tensor],
    rows: Table,
    explained: Callable[[Tensor], Tensor],
    n_steps: int | None,
) -> Tensor:
    """Return the shares of the features, (B, C', Fn + Fc): the networks' paths are one path."""
    with torch.no_grad():
        ends = [net.embedding(rows.x_num, rows.x_cat) for net in nets]
    steps = [end - start.to(end.dtype) for end, start in zip(ends, starts, strict=True)]
    total: Any = 0
    for position, weight in _points(n_steps):
        here = [
            (end - (1 - position) * step).requires_grad_()
            for end, step in zip(ends, steps, strict=True)
        ]
        outputs = [net.from_embedding(x) for net, x in zip(nets, here, strict=True)]
        values = explained(torch.cat(outputs, 1)).unbind(1)
        found = []
        for c, value in enumerate(values):
            is_last = c == len(values) - 1
            gradients = torch.autograd.grad(value.sum(), here, retain_graph=not is_last)
            parts = zip(nets, gradients, steps, strict=True)
            shares = [net.embedding.by_feature(gradient * step) for net, gradient, step in parts]
            found.append(torch.stack(shares).sum(0).double())
        total = total + weight * torch.stack(found)
    return total.transpose(0, 1)


def _points(n_steps: int | None) -> list[tuple[float, float]]:
    """Return positions between baseline, 0, and row, 1, with weights that sum to 1."""
    if n_steps is None:
        return [(1.0, 1.0)]
    positions, weights = np.polynomial.legendre.leggauss(n_steps)
    return list(zip(((positions + 1) / 2).tolist(), (weights / 2).tolist(), strict=True))


def _outputs_explained(estimator: TabularEstimator) -> _Explained:
    """Return the mean over the predictions; logits of several classes less their mean.

    A number that is added to the logits of all classes changes no probability.
    """
    has_many = estimator.target_.kind == "multiclass"

    def explained(outputs, y):
        mean = outputs.mean(1)
        return mean - mean.mean(1, keepdim=True) if has_many else mean

    return explained


def _loss_explained(estimator: TabularEstimator) -> _Explained:
    """Return the loss of each row, that of the mean prediction."""
    target = estimator.target_
    return lambda outputs, y: target.val_loss(outputs, y).unsqueeze(1)


def _encoded_target(estimator: TabularEstimator, y: Any, table: Table) -> Tensor:
    """Return y as the loss takes it; raise ValueError where it does not fit the estimator or X."""
    name = type(estimator).__name__
    y = (class_labels if is_classifier(estimator) else numeric_target)(y, name, "y")
    target = estimator.target_
    has_columns = y.ndim == 2 and is_classifier(estimator)
    unknown = [] if has_columns else _unknown_classes(estimator, y)
    n_columns = 1 if y.ndim == 1 else y.shape[1]
    n_expected = 1 if target.kind == "multiclass" else target.n_outputs
    if len(y) != len(table) or n_columns != n_expected or unknown:
        raise ValueError(
            f"{name}: y must have {len(table)} rows as X has, and {n_expected} target(s) a row of "
            f"the classes of fit; got shape {y.shape}"
            f"{f' and the unknown classes {unknown[:10]}' if unknown else ''}."
        )
    dtype = np.float64 if table.x_num.dtype == torch.float64 else np.float32
    return torch.from_numpy(target.encode(y, dtype)).to(table.x_num.device)


def _unknown_classes(estimator: Any, y: np.ndarray) -> list[Any]:
    known = getattr(estimator, "classes_", y)
    return np.setdiff1d(y, known).tolist() if is_classifier(estimator) else []
