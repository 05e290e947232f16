"""Features of two columns, and which are proposed for a table."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from tabdl.preprocessing.columns import Categories, Numbers, finite

OPERATIONS = ("ratio", "difference", "product", "cross")
_SIGNS = {"ratio": "/", "difference": "-", "product": "*", "cross": "&"}
_OF_NUMBERS = {"ratio": np.divide, "difference": np.subtract, "product": np.multiply}


@dataclass(frozen=True)
class Interaction:
    """A feature of two columns.

    Attributes
    ----------
    operation : {"ratio", "difference", "product", "cross"}
    left, right : int
        Positions of the columns.
    """

    operation: str
    left: int
    right: int

    def name(self, names: Sequence[str]) -> str:
        """Return the name of the feature, such as ``"a / b"``, from those of all columns."""
        return f"{names[self.left]} {_SIGNS[self.operation]} {names[self.right]}"

    def of(self, columns: Mapping[int, Any]) -> Numbers | Categories:
        """Return the feature, from Numbers or Categories by their position.

        A number is NaN where a number is missing, the divisor is 0 or the result is no float64. A
        cross is missing where a category is.
        """
        left, right = columns[self.left], columns[self.right]
        if self.operation == "cross":
            return _crossed(left, right)
        with np.errstate(all="ignore"):
            return Numbers(finite(_OF_NUMBERS[self.operation](left.values, right.values)))


def _crossed(left: Categories, right: Categories) -> Categories:
    is_missing = (left.codes < 0) | (right.codes < 0)
    pairs = left.codes.astype(np.int64) * max(1, len(right.labels)) + right.codes
    distinct, places = np.unique(pairs[~is_missing], return_inverse=True)
    codes = np.full(len(pairs), -1)
    codes[~is_missing] = places
    first, second = np.divmod(distinct, max(1, len(right.labels)))
    labels = [f"{a}, {b}" for a, b in zip(left.labels[first], right.labels[second], strict=True)]
    return Categories(codes, np.array(labels, dtype=object))


def propose(
    columns: Mapping[int, Numbers | Categories],
    operations: Collection[str],
    chosen: Collection[int],
) -> Iterable[Interaction]:
    """Yield the interactions of two chosen columns.

    A ratio is proposed once: the divisor is the column with fewer zeros. Its inverse has the same
    order within each sign.

    Parameters
    ----------
    columns : dict from int to Numbers or Categories
        By the position in the table.
    operations : collection of str
    chosen : collection of int
        Positions.
    """
    numbers = [j for j in sorted(chosen) if isinstance(columns[j], Numbers)]
    categories = [j for j in sorted(chosen) if isinstance(columns[j], Categories)]
    for left, right in combinations(numbers, 2):
        for operation in _OF_NUMBERS:
            if operation in operations:
                swapped = operation == "ratio" and _n_zeros(columns[right]) > _n_zeros(
                    columns[left]
                )
                yield Interaction(operation, *((right, left) if swapped else (left, right)))
    if "cross" in operations:
        for left, right in combinations(categories, 2):
            yield Interaction("cross", left, right)


def _n_zeros(column: Any) -> int:
    return int(np.count_nonzero(column.values == 0))
