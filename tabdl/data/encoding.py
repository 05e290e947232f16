"""From columns to what a network sees: numbers near a standard normal, categories as codes.

Everything is fitted on training rows only.
"""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import pandas as pd
import torch

from tabdl.data.categories import CategoryEncoder
from tabdl.data.columns import Column
from tabdl.data.table import Schema

NUMERIC_TRANSFORMS = ("quantile", "standard", "robust", "none")

# The tie-breaking noise of the quantile transform, in standard deviations of the column (the
# authors' code: 1e-3).
_TIE_NOISE = 1e-3
# Probabilities are kept this far from 0 and 1, so that no number leaves +-5.2 (as scikit-learn's
# QuantileTransformer does).
_TAIL = 1e-7
_BLOCK_ROWS = 32_768  # whose float64 numbers stay in a processor's caches
# Beyond, squares and products of the network leave float32.
_LARGEST = 1e12
# Columns whose largest number lies outside these are rescaled, so that no difference or quotient of
# theirs leaves float64.
_USUAL = 2.0**-900, 2.0**1000


class FeatureEncoder:
    """Turn columns into numeric features and category codes.

    Parameters
    ----------
    numeric_transform : {"quantile", "standard", "robust", "none"}
    estimator_name : str
        The estimator's name, for messages.
    numeric_missing : {"impute", "indicator"}
        "indicator": a column with missing numbers in the training rows has one more feature, 1
        where its number is missing.

    Attributes
    ----------
    schema : Schema
        The features; set by :meth:`fit`.
    kinds, column_names : list of str
        The kind and the name of each column of the input.
    """

    def __init__(
        self, numeric_transform: str, estimator_name: str, numeric_missing: str = "impute"
    ):
        self.numeric_transform = numeric_transform
        self.estimator_name = estimator_name
        self.numeric_missing = numeric_missing

    def fit(self, columns: Sequence[Column], rows: np.ndarray, weight: np.ndarray) -> Self:
        """Learn quantiles, categories and date parts.

        Parameters
        ----------
        columns : list of Column with N values each
        rows : int ndarray
            The training rows among the N.
        weight : float ndarray, as long as ``rows``
            Non-negative weights; a weight of 2 is the same as a row that stands twice.
        """
        self.kinds = [column.kind for column in columns]
        self.column_names = [column.name for column in columns]
        self.forms = [column.form for column in columns]
        self.encoders: list[NumberEncoder | DatetimeEncoder | CategoryEncoder] = _for_each(
            lambda column: self._encoder(column).fit(column.values[rows], weight),
            columns,
            len(rows),
        )
        names = {"num": [], "cat": []}
        for encoder in self.encoders:
            names[encoder.output] += encoder.names
        cardinalities = tuple(encoder.cardinality for encoder in self._of_categories)
        self.schema = Schema(tuple(names["num"]), tuple(names["cat"]), cardinalities)
        return self

    @property
    def _of_categories(self):
        return [encoder for encoder in self.encoders if isinstance(encoder, CategoryEncoder)]

    def narrowed(self, x_cat: np.ndarray) -> "FeatureEncoder":
        """Return an encoder that does not know the categories that ``x_cat`` lacks.

        Parameters
        ----------
        x_cat : int ndarray of shape (N, Fc)
            This encoder's codes of some of its training rows: those that train one network of
            several.
        """
        other = copy.copy(self)
        features = iter(x_cat.T)
        other.encoders = [
            encoder.narrowed(next(features)) if isinstance(encoder, CategoryEncoder) else encoder
            for encoder in self.encoders
        ]
        return other

    def known_codes(self) -> list[np.ndarray]:
        """Return, for each categorical feature, this encoder's codes of the codes before narrowing.

        Without narrowing every code stays what it is.
        """
        return [
            np.arange(encoder.cardinality) if encoder.known is None else encoder.known
            for encoder in self._of_categories
        ]

    def _encoder(self, column):
        if column.kind == "category":
            return CategoryEncoder(column.name, self.estimator_name)
        kind = DatetimeEncoder if column.kind == "datetime" else NumberEncoder
        return kind(column.name, self.numeric_transform, self.numeric_missing == "indicator")

    def transform(
        self,
        columns: Sequence[Column],
        rows: np.ndarray | slice = slice(None),
        dtype: Any = np.float32,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ``x_num`` (n, Fn) of ``dtype`` and ``x_cat`` (n, Fc) of the chosen rows.

        Codes have the smallest type that holds them all: uint8, int16 or int32.

        Raises
        ------
        ValueError
            For a column whose values have another form than at fit: durations and numbers, say, or
            moments with a time zone and without.
        """
        for column, form in zip(columns, self.forms, strict=True):
            _check_form(column, form, self.estimator_name)
        chosen = _as_range(rows, len(columns[0]))
        n = len(chosen)
        x_num = np.empty((n, self.schema.n_num), dtype=dtype)
        largest = max(self.schema.cardinalities, default=1) - 1
        code_type = next(t for t in (np.uint8, np.int16, np.int32) if largest <= np.iinfo(t).max)
        x_cat = np.empty((n, len(self.schema.cat_names)), dtype=code_type)
        # Where the features of each column begin.
        starts, ends = [], {"num": 0, "cat": 0}
        for encoder in self.encoders:
            starts.append(ends[encoder.output])
            ends[encoder.output] += len(encoder.names)

        def write(at):
            column, encoder, first = at
            target = x_num if encoder.output == "num" else x_cat
            for start in range(0, n, _BLOCK_ROWS):
                block = slice(start, start + _BLOCK_ROWS)
                values = column.values[_as_slice(chosen[block])]
                for i, feature in enumerate(encoder.transform(values), first):
                    target[block, i] = feature

        _for_each(write, list(zip(columns, self.encoders, starts, strict=True)), n)
        return x_num, x_cat


class NumberEncoder:
    """One number a row, scaled.

    A missing number becomes the middle of the training values, and has an indicator if asked for.
    """

    output = "num"

    def __init__(self, name: str, numeric_transform: str, indicator: bool = False):
        self.names = [name]
        self.indicator = indicator
        self.scale = {
            "quantile": QuantileNormal,
            "standard": Standard,
            "robust": RobustClip,
            "none": Unscaled,
        }[numeric_transform]()

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        present = ~np.isnan(values)
        if self.indicator and not present.all():
            self.names.append(f"{self.names[0]}.missing")
        values, weight = values[present].astype(np.float64), weight[present]
        # A constant says nothing; left alone, a later other value would meet a weight that was
        # never trained.
        self.constant = len(values) == 0 or values.min() == values.max()
        self.unit = 1.0
        if not self.constant:
            if not isinstance(self.scale, Unscaled):
                self.unit = _unit(values)
            self.scale.fit(values if self.unit == 1 else values / self.unit, weight)
        return self

    def transform(self, values: np.ndarray) -> list[np.ndarray]:
        missing = np.isnan(values)
        indicators = [missing.astype(np.float64)] if len(self.names) > 1 else []
        if self.constant:
            return [np.zeros(len(values)), *indicators]
        values = values.astype(np.float64)
        with np.errstate(over="ignore"):  # numbers far beyond those of fit become infinite
            scaled = self.scale.transform(values if self.unit == 1 else values / self.unit)
        if missing.any():
            scaled = np.where(missing, self.scale.middle, scaled)
        return [_clip(scaled, -_LARGEST, _LARGEST), *indicators]


class QuantileNormal:
    """The quantile of a number among the training values, as a standard normal's (the paper's).

    The authors add random noise to the training values before they take quantiles, which parts
    equal values. Here the quantiles of that noise are computed: where a value holds a share of the
    rows, the share is spread over the normal distribution around it. So nothing is random, and a
    weight of 2 is the same as a row that stands twice.
    """

    middle = 0.0

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        # DIFF: quantiles of the noise, not random noise. The number of quantiles is the authors',
        # where a weight of 2 counts as two rows (and weights that sum to less than the rows do not
        # make the quantiles fewer).
        n_rows = int(max(len(values), weight.sum()))
        levels = np.linspace(0, 1, max(min(n_rows // 30, 1000), 10))
        unique, share = _shares(values, weight)
        upper = np.cumsum(share)
        at = np.searchsorted(upper, levels * (1 - 1e-12)).clip(max=len(unique) - 1)
        inside = (levels - (upper - share)[at]) / share[at]
        noise = _TIE_NOISE * _mean_std(unique, share)[1]
        # Beyond 0.01 the normal's tails would pass the neighbours.
        quantiles = np.maximum.accumulate(
            unique[at] + noise * _normal_quantile(inside.clip(0.01, 0.99))
        )
        self.quantiles, self.levels = _with_middles(quantiles, levels)
        return self

    def transform(self, values: np.ndarray) -> np.ndarray:
        levels = np.interp(values, self.quantiles, self.levels)
        return _normal_quantile(_clip(levels, _TAIL, 1 - _TAIL))


def _with_middles(quantiles, levels):
    """Return points that interpolate to the middle level where several quantiles are one number.

    There the levels jump: from the lowest just below that number, over the middle, to the highest
    just above it.
    """
    starts = np.flatnonzero(np.diff(quantiles, prepend=-np.inf) > 0)
    ends = np.append(starts[1:], len(quantiles)) - 1
    number, low, high = quantiles[starts], levels[starts], levels[ends]
    points = np.column_stack([np.nextafter(number, -np.inf), number, np.nextafter(number, np.inf)])
    needed = np.column_stack([low < high, np.ones(len(starts), bool), low < high])
    # Neighbouring floats have nothing between them.
    return np.maximum.accumulate(points[needed]), np.column_stack([low, (low + high) / 2, high])[
        needed
    ]


class Standard:
    """Mean 0, standard deviation 1."""

    middle = 0.0

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        self.mean, self.std = _mean_std(values, weight)
        if self.std == 0:  # the weight of all values but one is nothing beside that one's
            self.std = (values.max() - values.min()) / 2
        return self

    def transform(self, values: np.ndarray) -> np.ndarray:
        return (values - self.mean) / self.std


class RobustClip:
    """Median 0, interquartile range 1, then smoothly clipped to +-3: ``z / sqrt(1 + (z / 3)^2)``.

    Holzmüller, Grinsztajn, Steinwart: "Better by Default" (RealMLP, 2407.04491), section 3. A range
    of zero falls back to half the distance of the extremes.
    """

    middle = 0.0

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        unique, share = _shares(values, weight)
        low, self.median, high = unique[
            np.searchsorted(np.cumsum(share), [0.25, 0.5, 0.75]).clip(max=len(unique) - 1)
        ]
        self.range = high - low if high > low else (unique[-1] - unique[0]) / 2
        return self

    def transform(self, values: np.ndarray) -> np.ndarray:
        z = ((values - self.median) / self.range).clip(-_LARGEST, _LARGEST)
        return z / np.sqrt(1 + (z / 3) ** 2)


class Unscaled:
    """Numbers as they are; a missing one becomes the training median."""

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        unique, share = _shares(values, weight)
        self.middle = unique[np.searchsorted(np.cumsum(share), 0.5).clip(max=len(unique) - 1)]
        return self

    def transform(self, values: np.ndarray) -> np.ndarray:
        return values


class DatetimeEncoder:
    """A moment as numbers: days since 1970, and its parts that vary in training.

    The parts are year, month, day, day_of_week, hour and minute.
    """

    output = "num"

    def __init__(self, name: str, numeric_transform: str, indicator: bool = False):
        self.name = name
        self.numeric_transform = numeric_transform
        self.indicator = indicator

    @staticmethod
    def _parts(moments):
        index = pd.DatetimeIndex(moments)
        parts = {"days": (moments - np.datetime64(0, "us")) / np.timedelta64(1, "D")}
        for part in ("year", "month", "day", "day_of_week", "hour", "minute"):
            parts[part] = getattr(index, part).to_numpy(dtype=np.float64)
        return parts

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        encoders = {
            part: NumberEncoder(
                f"{self.name}.{part}", self.numeric_transform, self.indicator and part == "days"
            ).fit(numbers, weight)
            for part, numbers in self._parts(values).items()
        }
        self.encoders = {
            part: encoder
            for part, encoder in encoders.items()
            if part == "days" or not encoder.constant
        }
        self.names = [name for encoder in self.encoders.values() for name in encoder.names]
        return self

    def transform(self, values: np.ndarray) -> list[np.ndarray]:
        parts = self._parts(values)
        return [
            feature
            for part, encoder in self.encoders.items()
            for feature in encoder.transform(parts[part])
        ]


def _check_form(column, form, estimator_name):
    """Raise ValueError for a column of another form than at fit."""
    now = column.form
    if now in ("", form) or form == "" or (form, now) == ("string", "number"):
        return
    if (form, now) == ("duration", "number") and not np.nan_to_num(column.values).any():
        return  # no time at all has no unit
    where = f"{estimator_name}: column {column.name!r}"
    if column.kind == "datetime":
        had, has = ("a", "none") if form == "zoned date" else ("no", "one")
        way = "dt.tz_localize" if form == "zoned date" else "dt.tz_localize(None)"
        raise ValueError(
            f"{where} had {had} time zone at fit and has {has} now; give it what it had, for "
            f"example with pandas' {way}."
        )
    if np.isnan(column.values).all():
        return  # text that spells missing values alone
    row = int(np.flatnonzero(~np.isnan(column.values))[0])
    raise ValueError(
        f"{where} held {form}s at fit and holds {now} values now, for example in row {row}; "
        "convert it to what it was, or declare it in categorical_features at fit."
    )


def _unit(values):
    """Return a power of two to divide by; 1 but for columns at the end of the range of float64."""
    largest = np.abs(values).max()
    if largest > _USUAL[1]:
        return 4.0  # differences stay below the largest float64, and small numbers keep digits
    return 1.0 if largest >= _USUAL[0] else float(2.0 ** np.frexp(largest)[1])


def _clip(numbers, low, high):
    """Return what ``np.clip`` returns, in half its time where numbers are few."""
    return np.minimum(np.maximum(numbers, low), high)


def _as_range(rows, n_rows):
    """Return the numbers of the chosen rows, as a range where they are a slice."""
    return range(n_rows)[rows] if isinstance(rows, slice) else np.arange(n_rows)[rows]


def _as_slice(rows):
    """Return what chooses rows of an array: views where they follow each other."""
    if not isinstance(rows, range):
        return rows
    stop = rows.stop if rows.stop >= 0 else None  # a range that goes down to the first row
    return slice(rows.start, stop, rows.step)


def _normal_quantile(probability):
    return torch.special.ndtri(torch.from_numpy(np.ascontiguousarray(probability))).numpy()


def _mean_std(values, weight):
    """Return the weighted mean and standard deviation, without overflow of squares."""
    largest = np.abs(values).max()
    scaled = values / largest
    mean = np.average(scaled, weights=weight)
    return largest * mean, largest * np.sqrt(np.average((scaled - mean) ** 2, weights=weight))


def _shares(values, weight):
    """Return the distinct values in order, and each one's share of the weight."""
    if weight.min() == weight.max():  # three times as fast
        unique, mass = np.unique(values, return_counts=True)
    else:
        unique, inverse = np.unique(values, return_inverse=True)
        mass = np.bincount(inverse, weights=weight)
    return unique, mass / mass.sum()


def _for_each(function, items, n_rows):
    """Return ``function`` of each item, on torch's number of threads where columns are long."""
    n_threads = min(torch.get_num_threads(), len(items))
    if n_threads == 1 or n_rows * len(items) < 50_000:
        return [function(item) for item in items]
    with ThreadPoolExecutor(n_threads) as pool:  # numpy's and torch's loops leave Python's lock
        return list(pool.map(function, items))
