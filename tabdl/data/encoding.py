"""From columns to what a network sees: numbers near a standard normal, categories as codes.

Everything is fitted on training rows only.
"""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch

from tabdl.data.categories import CategoryEncoder
from tabdl.data.columns import COLUMN_KINDS, Column
from tabdl.data.forms import FEW_ROWS, FORMS
from tabdl.data.scales import (
    LARGEST,
    NoisyQuantileNormal,
    QuantileNormal,
    RobustClip,
    Standard,
    Unscaled,
    normal_quantile,
)
from tabdl.data.state import State
from tabdl.data.statistics import (
    CATEGORICAL_STATISTICS,
    CategoryStatistics,
    learn_statistics,
    statistic_names,
)
from tabdl.data.table import Schema

NUMERIC_TRANSFORMS = ("quantile", "standard", "robust", "none", "quantile_noise")

_DATE_PARTS = ("days", "year", "month", "day", "day_of_week", "hour", "minute")
_BLOCK_ROWS = 32_768  # whose float64 numbers stay in a processor's caches
# Columns whose largest number lies outside these are rescaled, so that no difference or quotient of
# theirs leaves float64.
_USUAL = 2.0**-900, 2.0**1000


class FeatureEncoder:
    """Turn columns into numeric features and category codes.

    Parameters
    ----------
    numeric_transform : {"quantile", "standard", "robust", "none", "quantile_noise"}
    estimator_name : str
        The estimator's name, for messages.
    numeric_missing : {"impute", "indicator"}
        "indicator": a column with missing numbers in the training rows has one more feature, 1
        where its number is missing.
    categorical_statistics : {"none", "count", "target", "both"}
        Statistics of columns with many categories, see ``data/statistics.py``.

    Attributes
    ----------
    schema : Schema
        The features; set by :meth:`fit_transform`. Statistics follow the other numbers.
    kinds, column_names : list of str
        The kind and the name of each column of the input.
    statistics : dict from int to CategoryStatistics
        By the position of their column.
    """

    def __init__(
        self,
        numeric_transform: str,
        estimator_name: str,
        numeric_missing: str = "impute",
        categorical_statistics: str = "none",
    ):
        self.numeric_transform = numeric_transform
        self.estimator_name = estimator_name
        self.numeric_missing = numeric_missing
        self.categorical_statistics = categorical_statistics

    def fit(
        self,
        columns: Sequence[Column],
        rows: np.ndarray,
        weight: np.ndarray,
        y: np.ndarray | None = None,
        seed: int = 0,
    ) -> Self:
        """Learn quantiles, categories, date parts and statistics, as :meth:`fit_transform` does."""
        self._fit(columns, rows, weight, y, seed)
        return self

    def fit_transform(
        self,
        columns: Sequence[Column],
        rows: np.ndarray,
        weight: np.ndarray,
        y: np.ndarray | None = None,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Learn from the training rows, and return their features.

        Statistics of a training row do not know its own target. So these features are others than
        :meth:`transform` returns for the same rows, where that is asked for statistics.

        Parameters
        ----------
        columns : list of Column with N values each
        rows : int ndarray of shape (n,)
            The training rows among the N.
        weight : float ndarray of shape (n,)
            Non-negative weights; a weight of 2 is the same as a row that stands twice.
        y : float64 ndarray of shape (n, C), optional
            The targets of the training rows; only needed for statistics of the target.
        seed : int
            Of the order of the training rows in which statistics of the target are taken.
        dtype : numpy dtype
            Of ``x_num``.

        Returns
        -------
        x_num : ndarray of shape (n, Fn)
        x_cat : int ndarray of shape (n, Fc)
        """
        training = self._fit(columns, rows, weight, y, seed)
        x_num, x_cat = self.transform(columns, rows, dtype)
        if training:
            x_num[:, -sum(features.shape[1] for features in training) :] = np.hstack(training)
        return x_num, x_cat

    def _fit(self, columns, rows, weight, y, seed):
        """Learn all, and return the statistics of the training rows of each column, (n, S)."""
        self.kinds = [column.kind for column in columns]
        self.column_names = [column.name for column in columns]
        self.forms = [column.form for column in columns]
        self.encoders: list[NumberEncoder | DatetimeEncoder | CategoryEncoder] = _for_each(
            lambda column: self._encoder(column.name, column.kind).fit(column.values[rows], weight),
            columns,
            len(rows),
        )
        learned = self._learned_statistics(columns, rows, weight, y, seed)
        self.statistics = {j: statistics for j, (statistics, _) in learned.items()}
        self._settle()
        return [of_rows for _, of_rows in learned.values()]

    def _learned_statistics(self, columns, rows, weight, y, seed):
        """Return, by column, its statistics and those of the training rows, (n, S)."""
        which = self.categorical_statistics
        n_outputs = 0 if y is None else y.shape[1]
        learned = {}
        for j, encoder in enumerate(self.encoders):
            if not isinstance(encoder, CategoryEncoder):
                continue
            n_values = encoder.cardinality - 1
            names = statistic_names(encoder.names[0], which, n_values, n_outputs)
            if names:
                codes = encoder.transform(columns[j].values[rows])[0]
                # Each column has an order of its own, so that no row is early in all of them.
                order = np.random.default_rng([seed, j]).permutation(len(codes))
                by_code, of_rows = learn_statistics(
                    which, codes, encoder.cardinality, weight, y, order
                )
                scales = [
                    NumberEncoder(name, self.numeric_transform).fit(numbers, weight)
                    for name, numbers in zip(names, of_rows.T, strict=True)
                ]
                statistics = CategoryStatistics(names, _scaled(by_code, scales))
                learned[j] = statistics, _scaled(of_rows, scales)
        return learned

    def _settle(self) -> None:
        """Set what follows from the fitted encoders, once for all calls of :meth:`transform`."""
        self.schema = self._schema()
        ends = {"num": 0, "cat": 0}
        self._starts: list[int] = []  # where the features of each column begin
        for encoder in self.encoders:
            self._starts.append(ends[encoder.output])
            ends[encoder.output] += len(encoder.names)
        self._n_of_columns = ends["num"]  # numbers before those of statistics
        largest = max(self.schema.cardinalities, default=1) - 1
        self._code_type = next(
            t for t in (np.uint8, np.int16, np.int32) if largest <= np.iinfo(t).max
        )
        self._quantiles = _Quantiles.of(self.encoders, self._starts)

    def _schema(self) -> Schema:
        names = {"num": [], "cat": []}
        for encoder in self.encoders:
            names[encoder.output] += encoder.names
        for own in self.statistics.values():
            names["num"] += own.names
        cardinalities = tuple(encoder.cardinality for encoder in self._of_categories)
        return Schema(tuple(names["num"]), tuple(names["cat"]), cardinalities)

    def state(self) -> dict[str, Any]:
        """Return the fitted state as plain values, see ``data/state.py``."""
        own = {
            "numeric_transform": self.numeric_transform,
            "numeric_missing": self.numeric_missing,
            "column_names": list(self.column_names),
            "kinds": list(self.kinds),
            "forms": list(self.forms),
            "encoders": [encoder.state() for encoder in self.encoders],
        }
        if not self.statistics:  # the state of versions without statistics
            return own
        found = [self.statistics.get(j) for j in range(len(self.encoders))]
        return {
            **own,
            "categorical_statistics": self.categorical_statistics,
            "statistics": [statistics and statistics.state() for statistics in found],
        }

    @classmethod
    def from_state(cls, state: Any, estimator_name: str) -> Self:
        """Return the encoder of a state.

        Raises
        ------
        ValueError
            For a state that no fit leaves behind.
        """
        names = ("numeric_transform", "numeric_missing", "column_names", "kinds", "forms")
        newer = {"categorical_statistics", "statistics"} if "statistics" in state else set()
        fields = State(state, {*names, "encoders", *newer}, f"{estimator_name}: encoder")
        encoder = cls(
            fields.text("numeric_transform", *NUMERIC_TRANSFORMS),
            estimator_name,
            fields.text("numeric_missing", "impute", "indicator"),
        )
        encoder.column_names = fields.items("column_names", str)
        n_columns = len(encoder.column_names)
        encoder.kinds = fields.items("kinds", str, n_columns)
        encoder.forms = fields.items("forms", str, n_columns)
        if n_columns == 0 or not {*encoder.kinds} <= {*COLUMN_KINDS}:
            fields.refuse("kinds", f"one of {COLUMN_KINDS} for each column, and one at least")
        if not {*encoder.forms} <= {"", *FORMS}:
            fields.refuse("forms", f"one of {FORMS} or ''")
        states = zip(
            encoder.column_names,
            encoder.kinds,
            fields.items("encoders", dict, n_columns),
            strict=True,
        )
        encoder.encoders = [
            encoder._encoder(name, kind).restore(own, f"{estimator_name}: column {name!r}")
            for name, kind, own in states
        ]
        encoder.statistics = {}
        if newer:
            encoder._restore_statistics(fields)
        encoder._settle()
        return encoder

    def _restore_statistics(self, fields: State) -> None:
        """Set the statistics of a state."""
        self.categorical_statistics = fields.text("categorical_statistics", *CATEGORICAL_STATISTICS)
        for j, own in enumerate(fields.items("statistics", object, len(self.encoders))):
            if own is not None:
                encoder, where = (
                    self.encoders[j],
                    f"{fields.where}: column {self.column_names[j]!r}",
                )
                if not isinstance(encoder, CategoryEncoder):
                    fields.refuse("statistics", "None for a column without categories")
                self.statistics[j] = CategoryStatistics.from_state(own, encoder.cardinality, where)

    def columns_of_features(self) -> list[int]:
        """Return the position of the column of each feature, in the order of the schema."""
        owners = {
            output: [
                j
                for j, encoder in enumerate(self.encoders)
                if encoder.output == output
                for _ in encoder.names
            ]
            for output in ("num", "cat")
        }
        of_statistics = [j for j, own in self.statistics.items() for _ in own.names]
        return owners["num"] + of_statistics + owners["cat"]

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

    def _encoder(self, name, kind):
        if kind == "category":
            return CategoryEncoder(name, self.estimator_name)
        encoder = DatetimeEncoder if kind == "datetime" else NumberEncoder
        return encoder(name, self.numeric_transform, self.numeric_missing == "indicator")

    def transform(
        self,
        columns: Sequence[Column],
        rows: np.ndarray | slice = slice(None),
        dtype: Any = np.float32,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ``x_num`` (n, Fn) of ``dtype`` and ``x_cat`` (n, Fc) of the chosen rows.

        Codes have the smallest type that holds them all: uint8, int16 or int32. Statistics of the
        target are those of all training rows; for a row that trained see :meth:`fit_transform`.

        Raises
        ------
        ValueError
            For a column whose values have another form than at fit: durations and numbers, say, or
            moments with a time zone and without.
        """
        for column, form in zip(columns, self.forms, strict=True):
            if column.form not in ("", form):
                _check_form(column, form, self.estimator_name)
        chosen = _as_range(rows, len(columns[0]))
        n = len(chosen)
        x_num = np.empty((n, self.schema.n_num), dtype=dtype)
        x_cat = np.empty((n, len(self.schema.cat_names)), dtype=self._code_type)
        parts = [slice(start, start + _BLOCK_ROWS) for start in range(0, n, _BLOCK_ROWS)]
        blocks = [(part, _as_slice(chosen[part])) for part in parts]

        def write(at):
            column, encoder, first = at
            target = x_num if encoder.output == "num" else x_cat
            for part, block in blocks:
                for i, feature in enumerate(encoder.transform(column.values[block]), first):
                    target[part, i] = feature

        todo = list(zip(columns, self.encoders, self._starts, strict=True))
        if n <= FEW_ROWS and self._quantiles is not None:
            block = _as_slice(chosen)
            values = [columns[j].values[block] for j in self._quantiles.columns]
            x_num[:, self._quantiles.features] = self._quantiles.transform(values)
            todo = [todo[j] for j in self._quantiles.others]
        _for_each(write, todo, n)
        self._add_statistics(x_num, x_cat)
        self._narrow(x_cat)
        return x_num, x_cat

    def hidden_row(self, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
        """Return a row of which nothing is known: ``x_num`` (Fn,) and ``x_cat`` (Fc,).

        Numbers and moments are missing, and categories are ones that no training row has.
        """
        x_num = np.empty((1, self.schema.n_num), dtype=dtype)
        x_cat = np.array([self.schema.cardinalities], dtype=np.int64) - 1
        for encoder, start in zip(self.encoders, self._starts, strict=True):
            if not isinstance(encoder, CategoryEncoder):
                is_date = isinstance(encoder, DatetimeEncoder)
                missing = np.array(["NaT"], "datetime64[us]") if is_date else np.array([np.nan])
                features = encoder.transform(missing)
                x_num[:, start : start + len(features)] = np.stack(features, 1)
        self._add_statistics(x_num, x_cat)
        return x_num[0], x_cat[0]

    def _add_statistics(self, x_num, x_cat):
        """Set the features of statistics, which follow the other numbers."""
        start = self._n_of_columns
        for j, statistics in self.statistics.items():
            stop = start + len(statistics.names)
            x_num[:, start:stop] = statistics.features[x_cat[:, self._starts[j]]]
            start = stop

    def _narrow(self, x_cat):
        """Give unknown categories the last code."""
        for i, encoder in enumerate(self._of_categories):
            if encoder.known is not None:
                x_cat[:, i] = encoder.known[x_cat[:, i]]


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
            "quantile_noise": NoisyQuantileNormal,
        }[numeric_transform]()

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        present = ~np.isnan(values)
        if self.indicator and not present.all():
            self._add_indicator()
        values, weight = values[present].astype(np.float64), weight[present]
        # A constant says nothing; left alone, a later other value would meet a weight that was
        # never trained.
        self.constant = len(values) == 0 or bool(values.min() == values.max())
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
        return [_clip(scaled, -LARGEST, LARGEST), *indicators]

    @property
    def is_plain_quantile(self) -> bool:
        """Whether its one feature is the quantile of a number."""
        is_alone = len(self.names) == 1 and not self.constant
        return is_alone and isinstance(self.scale, QuantileNormal)

    def _add_indicator(self):
        self.names.append(f"{self.names[0]}.missing")

    def state(self) -> dict[str, Any]:
        """Return the fitted state, see ``data/state.py``."""
        return {
            "has_indicator": len(self.names) > 1,
            "unit": float(self.unit),
            "scale": None if self.constant else self.scale.state(),
        }

    def restore(self, state: Any, where: str) -> Self:
        """Set the fitted state."""
        fields = State(state, ("has_indicator", "unit", "scale"), where)
        if fields.flag("has_indicator"):
            if not self.indicator:
                fields.refuse("has_indicator", "False with numeric_missing='impute'")
            self._add_indicator()
        self.unit = fields.number("unit", above=0)
        self.constant = state["scale"] is None
        if not self.constant:
            self.scale.restore(state["scale"], where)
        return self


class _Quantiles(NamedTuple):
    """What scales few numbers of all columns of plain quantiles in one go.

    Attributes
    ----------
    columns : list of int
        The positions of these columns.
    features : slice or list of int
        The positions of their features; a slice, which numpy writes to at once, where it is one.
    others : list of int
        The positions of the other columns.
    encoders : list of NumberEncoder
    units : float64 ndarray of shape (columns, 1), or None where all are 1
    """

    columns: list[int]
    features: slice | list[int]
    others: list[int]
    encoders: list[NumberEncoder]
    units: np.ndarray | None

    @classmethod
    def of(cls, encoders: Sequence[Any], starts: Sequence[int]) -> "_Quantiles | None":
        """Return what is plain of all encoders, whose features begin at ``starts``."""
        columns = [j for j, encoder in enumerate(encoders) if encoder.is_plain_quantile]
        if not columns:
            return None
        others = [j for j, encoder in enumerate(encoders) if not encoder.is_plain_quantile]
        plain = [encoders[j] for j in columns]
        units = np.array([[encoder.unit] for encoder in plain])
        places = [starts[j] for j in columns]
        whole = range(places[0], places[-1] + 1)
        features = slice(whole.start, whole.stop) if places == [*whole] else places
        return cls(columns, features, others, plain, None if (units == 1).all() else units)

    def transform(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Return the features, (n, columns), of n numbers of each column."""
        numbers = np.array(values, dtype=np.float64)
        missing = np.isnan(numbers)
        if self.units is not None:
            with np.errstate(over="ignore"):
                numbers /= self.units
        levels = [e.scale.levels_of(own) for e, own in zip(self.encoders, numbers, strict=True)]
        scaled = normal_quantile(np.array(levels))
        scaled[missing] = QuantileNormal.middle
        return scaled.T


class DatetimeEncoder:
    """A moment as numbers: days since 1970, and its parts that vary in training.

    The parts are year, month, day, day_of_week, hour and minute.
    """

    output = "num"
    is_plain_quantile = False

    def __init__(self, name: str, numeric_transform: str, indicator: bool = False):
        self.name = name
        self.numeric_transform = numeric_transform
        self.indicator = indicator

    @staticmethod
    def _parts(moments):
        index = pd.DatetimeIndex(moments)
        parts = {"days": (moments - np.datetime64(0, "us")) / np.timedelta64(1, "D")}
        for part in _DATE_PARTS[1:]:
            parts[part] = getattr(index, part).to_numpy(dtype=np.float64)
        return parts

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        encoders = {
            part: self._encoder(part).fit(numbers, weight)
            for part, numbers in self._parts(values).items()
        }
        self._keep(
            {
                part: encoder
                for part, encoder in encoders.items()
                if part == "days" or not encoder.constant
            }
        )
        return self

    def _encoder(self, part):
        return NumberEncoder(
            f"{self.name}.{part}", self.numeric_transform, self.indicator and part == "days"
        )

    def _keep(self, encoders: dict[str, NumberEncoder]) -> None:
        self.encoders = encoders
        self.names = [name for encoder in encoders.values() for name in encoder.names]

    def state(self) -> dict[str, Any]:
        """Return the fitted state of each part, see ``data/state.py``."""
        return {part: encoder.state() for part, encoder in self.encoders.items()}

    def restore(self, state: Any, where: str) -> Self:
        """Set the fitted state."""
        parts = [part for part in _DATE_PARTS if part in state]
        fields = State(state, {"days", *parts}, where).fields
        self._keep({part: self._encoder(part).restore(fields[part], where) for part in parts})
        return self

    def transform(self, values: np.ndarray) -> list[np.ndarray]:
        parts = self._parts(values)
        return [
            feature
            for part, encoder in self.encoders.items()
            for feature in encoder.transform(parts[part])
        ]


def _scaled(numbers, scales):
    """Return the columns of ``numbers`` as features, each by an encoder of its own."""
    pairs = zip(numbers.T, scales, strict=True)
    return np.column_stack([scale.transform(column)[0] for column, scale in pairs])


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


def _for_each(function, items, n_rows):
    """Return ``function`` of each item, on torch's number of threads where columns are long."""
    n_threads = min(torch.get_num_threads(), len(items))
    if n_threads == 1 or n_rows * len(items) < 50_000:
        return [function(item) for item in items]
    with ThreadPoolExecutor(n_threads) as pool:  # numpy's and torch's loops leave Python's lock
        return list(pool.map(function, items))
