"""A table as columns of numbers and of categories; dates and all else are left alone."""

from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Numbers:
    """A column of numbers.

    Attributes
    ----------
    values : float64 ndarray of shape (N,)
        NaN where missing or infinite.
    """

    values: np.ndarray

    def take(self, rows: np.ndarray) -> "Numbers":
        """Return some rows."""
        return Numbers(self.values[rows])

    @property
    def varies(self) -> bool:
        """Whether two present values differ."""
        present = self.values[~np.isnan(self.values)]
        return len(present) > 0 and bool(present.min() < present.max())


@dataclass(frozen=True)
class Categories:
    """A column of categories.

    Attributes
    ----------
    codes : int ndarray of shape (N,)
        Places in ``labels``; -1 where missing.
    labels : object ndarray of str
        The different values as text.
    """

    codes: np.ndarray
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> "Categories":
        """Return some rows."""
        return Categories(self.codes[rows], self.labels)

    @property
    def varies(self) -> bool:
        """Whether two present values differ."""
        return len(np.unique(self.codes[self.codes >= 0])) > 1

    @property
    def values(self) -> np.ndarray:
        """The values as text, None where missing, (N,) object."""
        nothing: Any = None
        return np.append(self.labels, nothing)[self.codes]


def as_frame(X: Any) -> Any:
    """Return a table as a data frame of narwhals; an array becomes one of pandas first."""
    if not isinstance(X, np.ndarray):
        return nw.from_native(X, eager_only=True)
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
    return nw.from_native(frame.infer_objects(), eager_only=True)


def read_columns(frame: Any) -> list[Numbers | Categories | None]:
    """Return each column of a data frame of narwhals; None for what is no number or category."""
    return [_read(series) for series in frame.iter_columns()]


def _read(series: Any) -> Numbers | Categories | None:
    dtype = series.dtype
    if dtype.is_numeric():
        return Numbers(finite(np.asarray(series.cast(nw.Float64).to_numpy(), dtype=np.float64)))
    if dtype in (nw.String, nw.Categorical, nw.Enum, nw.Boolean, nw.Object):
        values = np.array(series.to_list(), dtype=object)
        codes, distinct = pd.factorize(values)
        return Categories(codes, np.array([str(value) for value in distinct], dtype=object))
    return None


def finite(values: np.ndarray) -> np.ndarray:
    """Return numbers with NaN in the place of infinite ones."""
    return np.where(np.isfinite(values), values, np.nan)
