"""What a network sees of a table: its schema, and its rows as tensors."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Schema:
    """The features of a fitted encoder.

    Attributes
    ----------
    num_names : tuple of str, length Fn
        Names of the numeric features, in the order of ``Table.x_num``.
    cat_names : tuple of str, length Fc
        Names of the categorical features, in the order of ``Table.x_cat``.
    cardinalities : tuple of int, length Fc
        Number of codes of each categorical feature. The last code stands for every value that no training row has.
    """

    num_names: tuple[str, ...]
    cat_names: tuple[str, ...]
    cardinalities: tuple[int, ...]

    @property
    def n_num(self):
        """Number of numeric features, Fn."""
        return len(self.num_names)


@dataclass(frozen=True)
class Table:
    """Rows as tensors, all on one device.

    Attributes
    ----------
    x_num : Tensor of shape (N, Fn), floating
    x_cat : Tensor of shape (N, Fc), int32
    y : Tensor of shape (N,) int64 (classes) or (N, C) floating (labels, values), or None
    weight : Tensor of shape (N,), floating, mean 1, or None
    """

    x_num: Tensor
    x_cat: Tensor
    y: Tensor | None = None
    weight: Tensor | None = None

    def __len__(self):
        return len(self.x_num)

    def _map(self, function):
        tensors = {name: value for name, value in vars(self).items() if value is not None}
        return replace(self, **{name: function(value) for name, value in tensors.items()})

    def to(self, device, dtype=None):
        """Return the table on ``device``; floating columns as ``dtype`` where one is given."""
        return self._map(lambda t: t.to(device, dtype if t.is_floating_point() else None))

    def rows(self, index):
        """Return the rows of ``index``: a slice (views), or an int64 tensor on the table's device (copies)."""
        return self._map(lambda t: t[index] if isinstance(index, slice) else t.index_select(0, index))

    def padded(self, n_rows):
        """Return the table with rows of zeros below, ``n_rows`` in all."""
        extra = n_rows - len(self)
        return self if extra <= 0 else self._map(lambda t: torch.cat([t, t.new_zeros(extra, *t.shape[1:])]))
