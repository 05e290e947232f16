"""The rows that the user gave, checked, and a choice of some of them."""

from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.utils import _safe_indexing

from tabdl.data.columns import Column, is_frame


@dataclass(frozen=True)
class Dataset:
    """N rows.

    Attributes
    ----------
    X : 2-d array, sparse matrix or data frame
        As the user gave it.
    y : ndarray of shape (N,) or (N, C)
    sample_weight : float64 ndarray of shape (N,) or None
    groups : array-like of shape (N,) or None
    columns : tuple of Column, N values each
        What was read of X; empty where only other estimators need it.
    """

    X: Any
    y: np.ndarray
    sample_weight: np.ndarray | None = None
    groups: Any = None
    columns: tuple[Column, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    @property
    def used(self) -> "Subset":
        """The rows of positive weight."""
        if self.sample_weight is None:
            return Subset(self, np.arange(len(self)))
        return Subset(self, np.flatnonzero(self.sample_weight))


@dataclass(frozen=True)
class Subset:
    """n rows of a data set; all that it gives has n rows.

    Attributes
    ----------
    dataset : Dataset
    indices : int ndarray of shape (n,)
    """

    dataset: Dataset
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def X(self) -> Any:
        """The rows in the form that the user gave them."""
        return take_rows(self.dataset.X, self.indices)

    @property
    def y(self) -> np.ndarray:
        """The targets."""
        return self.dataset.y[self.indices]

    @property
    def sample_weight(self) -> np.ndarray | None:
        """The weights, or None where the user gave none."""
        weight = self.dataset.sample_weight
        return None if weight is None else weight[self.indices]

    @property
    def weight(self) -> np.ndarray:
        """The weights; ones where the user gave none."""
        given = self.sample_weight
        return np.ones(len(self)) if given is None else given

    def among(self, indices: np.ndarray) -> "Subset":
        """Return those rows that are among ``indices``, in ascending order, as a Subset."""
        return Subset(self.dataset, np.intersect1d(indices, self.indices))


def take_rows(X: Any, indices: np.ndarray) -> Any:
    """Return the rows ``indices`` of a table, in whatever form it has."""
    if is_frame(X):
        return nw.from_native(X, eager_only=True)[indices.tolist(), :].to_native()
    return _safe_indexing(X, indices)


def slice_rows(X: Any, start: int, stop: int) -> Any:
    """Return rows that follow each other, of an array or a data frame."""
    if is_frame(X):
        return nw.from_native(X, eager_only=True)[start:stop].to_native()
    return X[start:stop]


def concat_rows(X: Any, more: Any) -> Any:
    """Return the rows of one table and then those of another, which has the same form."""
    if is_frame(X):
        frames = [nw.from_native(table, eager_only=True) for table in (X, more)]
        return nw.concat(frames, how="vertical").to_native()
    return np.concatenate([X.toarray() if hasattr(X, "toarray") else X, more])
