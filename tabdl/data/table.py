"""What a network sees of a table: its schema, and its rows as tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
        Number of codes of each categorical feature. The last code stands for every value that no
        training row has.
    """

    num_names: tuple[str, ...]
    cat_names: tuple[str, ...]
    cardinalities: tuple[int, ...]

    @property
    def n_num(self) -> int:
        """Number of numeric features, Fn."""
        return len(self.num_names)


@dataclass(frozen=True)
class Table:
    """Rows as tensors, all on one device.

    Attributes
    ----------
    x_num : Tensor of shape (N, Fn), floating
    x_cat : Tensor of shape (N, Fc), integer: the smallest type that holds the codes
    y : Tensor of shape (N,) int64 (classes) or (N, C) floating (labels, values), or None
    weight : Tensor of shape (N,), floating, mean 1, or None
    neighbours : int32 Tensor of shape (N, neighbours of a row), or None
        The numbers of similar rows in another table, see ``neighbours.py``.
    """

    x_num: Tensor
    x_cat: Tensor
    y: Tensor | None = None
    weight: Tensor | None = None
    neighbours: Tensor | None = None

    def __len__(self) -> int:
        return self.x_num.shape[0]  # torch's len takes as long as a small operation

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Table":
        tensors: list[Any] = [None if t is None else function(t) for t in vars(self).values()]
        return Table(*tensors)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Table":
        """Return the table on ``device``; floating columns as ``dtype`` where one is given."""
        return self._map(lambda t: t.to(device, dtype if t.is_floating_point() else None))

    def take(self, index: slice | Tensor) -> "Table":
        """Return the rows of ``index``.

        Parameters
        ----------
        index : slice, or int64 Tensor on the table's device
            A slice gives views, a tensor copies.
        """
        return self._map(
            lambda t: t[index] if isinstance(index, slice) else t.index_select(0, index)
        )

    def columns(self, index: slice) -> "Table":
        """Return a slice of the second dimension, where the first one is that of members."""
        return self._map(lambda t: t[:, index])

    def rolled(self, n_rows: int) -> "Table":
        """Return the table with its second dimension moved by ``n_rows``, the last rows first."""
        return self._map(lambda t: t.roll(n_rows, 1))

    def padded(self, n_rows: int) -> "Table":
        """Return the table with rows of zeros below, ``n_rows`` in all."""
        extra = n_rows - len(self)
        return (
            self
            if extra <= 0
            else self._map(lambda t: torch.cat([t, t.new_zeros(extra, *t.shape[1:])]))
        )

    @property
    def n_bytes(self) -> int:
        """Memory of the tensors."""
        return sum(tensor.nbytes for tensor in vars(self).values() if tensor is not None)

    def empty(self, n_rows: int, device: torch.device | str, pin_memory: bool = False) -> "Table":
        """Return a table of ``n_rows`` rows with the same columns, not filled."""
        return self._map(
            lambda t: torch.empty(
                n_rows, *t.shape[1:], dtype=t.dtype, device=device, pin_memory=pin_memory
            )
        )

    def take_into(self, index: Tensor, table: "Table") -> None:
        """Write the rows of ``index`` to the first rows of ``table``."""
        for name, tensor in vars(table).items():
            if tensor is not None:
                torch.index_select(getattr(self, name), 0, index, out=tensor[: len(index)])

    def copy_(self, table: "Table", n_rows: int) -> None:
        """Take the first ``n_rows`` rows of ``table``, from any device.

        Where the memory of ``table`` is pinned, nothing waits for the copy.
        """
        for name, tensor in vars(self).items():
            if tensor is not None:
                tensor[:n_rows].copy_(getattr(table, name)[:n_rows], non_blocking=True)


class TableView:
    """Rows of a table that several members share, as one of them sees them.

    The table stays where it is.

    Parameters
    ----------
    table : Table
        With ``y``.
    index : int64 Tensor of shape (N,)
        The rows, on the table's device.
    codes : list of int Tensor, length Fc
        For each categorical feature, from the table's codes to the member's.

    Attributes
    ----------
    x_num, y, weight : Tensor
        ``x_num`` of the table, of all its rows; ``y`` and ``weight`` of the rows, with a mean
        weight of 1.
    """

    def __init__(self, table: Table, index: Tensor, codes: Sequence[Tensor]):
        if table.y is None:
            raise ValueError("a view needs a table with y")
        self.table = table
        self.index = index
        self.codes = codes
        self.x_num = table.x_num
        self.y = table.y[index]
        self.weight = (
            None if table.weight is None else table.weight[index] / table.weight[index].mean()
        )

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device) -> "TableView | Table":
        """Return the rows of the table on ``device``."""
        return self if device == self.table.x_num.device else self.take(slice(None)).to(device)

    @property
    def n_bytes(self) -> int:
        """Memory of the rows, were they a table."""
        return self.table.n_bytes * len(self) // len(self.table)

    def take(self, index: slice) -> Table:
        """Return the rows of ``index``, a slice, as a Table."""
        part = self.table.take(self.index[index])
        x_cat = [
            codes[column.long()]
            for codes, column in zip(self.codes, part.x_cat.unbind(1), strict=True)
        ]
        return replace(
            part, x_cat=torch.stack(x_cat, 1).to(part.x_cat.dtype) if x_cat else part.x_cat
        )


def take_stacked(tables: Sequence[Table], index: Tensor) -> Table:
    """Return the rows of ``index``, (M, B), each of its own table, as one Table of (M, B, ...)."""
    if all(table is tables[0] for table in tables):
        return tables[0].take(index.flatten())._map(lambda t: t.unflatten(0, index.shape))
    parts = [vars(table.take(rows)) for table, rows in zip(tables, index, strict=True)]
    stacked: dict[str, Any] = {
        name: None if parts[0][name] is None else torch.stack([part[name] for part in parts])
        for name in parts[0]
    }
    return Table(**stacked)
