"""Columns of the user's table as numpy arrays, whatever library the table is of.

:func:`read_columns` is the one place that decides the kind of a column. What one value is stands in
``forms.py``, and when two categories are the same in ``categories.py``.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, TypeGuard

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from narwhals.stable.v2.typing import IntoDataFrame

from tabdl.data.categories import category_values
from tabdl.data.forms import (
    ALLOWED,
    FEW_ROWS,
    Held,
    form_of,
    has_leading_zeros,
    hold,
    moments_of,
    number_in,
    numbers_of,
    shown,
)

COLUMN_KINDS = ("number", "datetime", "category", "empty")
# The types of numpy that need no closer look: integers, float32 and float64.
_PLAIN = frozenset(np.typecodes["AllInteger"]) - frozenset("mM") | frozenset("fd")
_LARGEST_EXACT = 2**53  # beyond, float64 does not hold every integer
# Where integers are text, up to so many of them are as good as categories.
_FEW_INTEGERS = 10
# A text column of at least so many rows, with such a share of distinct values, gets a warning.
_MANY_ROWS = 200
_NEARLY_ALL = 0.9
_latest_labels: tuple[Any, list[Any]] = (None, [])  # see labels_of
_SAMPLE = 200  # rows that say whether a closer look at a column of text is worth its time


@dataclass(slots=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
    kind : {"number", "datetime", "category", "empty"}
    values : ndarray of shape (N,)
        Numbers: float32 where X has that, else float64, NaN where missing. Empty: NaN, whatever
        comes at predict. Moments: datetime64[us], NaT where missing. Categories: float64 with NaN
        where float64 holds all of them exactly, else an object array with None.
    form : str
        What numbers and moments were in the table: "number", "string", "duration", "time",
        "period", "date" or "zoned date"; "" where no value is present, and for categories.
    """

    name: str
    kind: str
    values: np.ndarray
    form: str = ""

    def __len__(self) -> int:
        return len(self.values)


class _Array(NamedTuple):
    """One column as a numpy array, and what its dtype says beside."""

    label: Any
    values: np.ndarray
    is_declared: bool = False
    form: str = ""


def is_frame(X: Any) -> TypeGuard[IntoDataFrame]:
    """Return whether ``X`` is a table with named columns that narwhals reads."""
    return nw.dependencies.is_into_dataframe(X)


def read_columns(
    X: Any,
    *,
    estimator_name: str,
    kinds: Sequence[str] | None = None,
    column_names: Sequence[str] | None = None,
    categorical: Any = "from_dtype",
) -> list[Column]:
    """Return the columns of ``X``.

    Parameters
    ----------
    X : 2-d ndarray or data frame
    estimator_name : str
        The estimator's name, for messages.
    kinds : list of str, optional
        The kind of each column where it is known already (at predict); else the values decide.
    column_names : list of str, optional
        The name of each column at fit. A table that has these names in another order is read by
        name.
    categorical : "from_dtype", or column names, indices or booleans
        Which columns are categories; ``"from_dtype"``: text, booleans and the categorical dtypes.

    Raises
    ------
    ValueError
        For infinite numbers, unknown categorical columns, or values that do not fit the given kind.
    TypeError
        For a column of lists, structures, bytes, complex numbers or other objects.

    Warns
    -----
    UserWarning
        At fit, for text that is nearly all numbers or nearly all different, and for numbers or
        dates among values of another form.
    """
    arrays = _in_order(_arrays(X, estimator_name), column_names)
    names = [str(array.label) for array in arrays]
    plain = {} if kinds is None else _plain(arrays, kinds, names)
    held = {
        j: hold(array.values, f"{estimator_name}: column {names[j]!r}", array.form)
        for j, array in enumerate(arrays)
        if j not in plain
    }
    if kinds is None:
        listed = _listed(categorical, [array.label for array in arrays], estimator_name)
        kinds = [
            "category"
            if array.is_declared or (listed is not None and j in listed)
            else _natural_kind(held[j])
            for j, array in enumerate(arrays)
        ]
        if listed is not None:
            _check_listed(kinds, listed, names, estimator_name)
    return [
        plain[j] if j in plain else _read(names[j], kinds[j], held[j]) for j in range(len(names))
    ]


# --- from any library to arrays


def _arrays(X, estimator_name):
    if isinstance(X, pd.DataFrame):
        return _from_pandas(X, estimator_name)
    if not is_frame(X):
        return [_Array(f"x{j}", values) for j, values in enumerate(X.T)]
    frame = nw.from_native(X, eager_only=True)
    return [_from_series(series, estimator_name) for series in frame.iter_columns()]


def _from_pandas(frame, estimator_name):
    """Return the columns of a data frame of pandas.

    narwhals, and a Series a column, would take most of the time of predicting one row.
    """
    found = []
    for j, (label, values) in enumerate(
        zip(labels_of(frame), frame._iter_column_arrays(), strict=True)
    ):
        dtype = values.dtype
        if isinstance(dtype, np.dtype) and (dtype.kind in "biuO" or dtype.char in "fd"):
            found.append(_Array(label, np.asarray(values)))
        elif isinstance(dtype, pd.StringDtype):
            form = "string" if dtype.storage == "pyarrow" else ""
            found.append(_Array(label, _texts(values), form=form))
        elif isinstance(dtype, pd.CategoricalDtype):
            categories = np.asarray(values.categories)
            found.append(_Array(label, _spread(categories, values.codes), is_declared=True))
        else:
            series = nw.from_native(frame.iloc[:, j], series_only=True)
            found.append(_from_series(series, estimator_name))
    return found


def labels_of(frame: pd.DataFrame) -> list[Any]:
    """Return the labels of the columns of a data frame of pandas.

    One prediction asks twice, and the next one often has the same index. Of an index of strings
    pandas makes a list in the time of a small product of matrices.
    """
    global _latest_labels
    index, labels = _latest_labels
    if frame.columns is not index:
        index, labels = frame.columns, frame.columns.tolist()
        _latest_labels = index, labels
    return labels


def _texts(values):
    """Return an array of strings of pandas as one of objects."""
    if len(values) <= FEW_ROWS and values.dtype.storage == "pyarrow":
        return np.array(values.__arrow_array__().to_pylist(), dtype=object)
    return values.to_numpy(dtype=object)


def _from_series(series, estimator_name):
    dtype = series.dtype
    if dtype.is_nested() or dtype == nw.Binary:
        where = f"{estimator_name}: column {str(series.name)!r}"
        raise TypeError(f"{where} holds {dtype}; {ALLOWED}.")
    if dtype.is_float():
        return _Array(series.name, series.to_numpy())
    is_declared = dtype in (nw.Categorical, nw.Enum)
    values = _to_numpy(series, dtype, is_declared)
    return _Array(series.name, values, is_declared, _form_of_dtype(series, dtype))


def _form_of_dtype(series, dtype) -> str:
    """Return what the dtype says and numpy's does not: a time zone, or text in valid Unicode."""
    if dtype == nw.Datetime and dtype.time_zone is not None:
        return "zoned date"
    native = getattr(series.to_native(), "dtype", None)
    is_arrow = isinstance(native, pd.ArrowDtype) or getattr(native, "storage", "") == "pyarrow"
    is_valid = is_arrow or not series.implementation.is_pandas_like()
    return "string" if dtype == nw.String and is_valid else ""


def _to_numpy(series, dtype, is_declared):
    """Return the values; integers of 64 bits stay exact beside missing ones."""
    native = series.to_native()
    if isinstance(getattr(native, "dtype", None), pd.CategoricalDtype):
        return _spread(np.asarray(native.cat.categories), native.cat.codes.to_numpy())
    if is_declared and series.implementation.is_pyarrow():
        # A dictionary of pyarrow loses its nulls on the straight way to numpy.
        native = native.cast(native.type.value_type)
        series = nw.from_native(native, series_only=True)
        dtype = series.dtype
    if dtype == nw.Unknown and series.is_null().all():
        return np.full(len(series), None, dtype=object)
    if dtype in (nw.Int128, nw.UInt128):
        return np.array(series.to_list(), dtype=object)
    if dtype in (nw.Int64, nw.UInt64) and series.null_count():
        missing = series.is_null().to_numpy()
        return _with_missing(series.fill_null(0).to_numpy(), missing)
    return series.to_numpy()


def _spread(categories, codes):
    """Return the category of each row; code -1 is a missing one."""
    missing = codes < 0
    if not missing.any():
        return categories[codes]
    if not len(categories):
        return np.full(len(codes), None, dtype=object)
    return _with_missing(categories[np.where(missing, 0, codes)], missing)


def _with_missing(values, missing):
    """Return values of which some are missing, in the smallest dtype that keeps all others."""
    if values.dtype.kind in "iu" and _fits_float(values):
        values = values.astype(np.float64)
    if values.dtype.kind not in "fmM":
        values = values.astype(object)
    values[missing] = None
    return values


def _fits_float(integers):
    return integers.min() >= -_LARGEST_EXACT and integers.max() <= _LARGEST_EXACT


def _in_order(arrays, column_names):
    """Return the columns in the order that they had at fit, where their names are the same.

    scikit-learn has compared names of text already, and columns of arrays have no names.
    """
    if column_names is None or any(isinstance(array.label, str) for array in arrays):
        return arrays
    now = [str(array.label) for array in arrays]
    if sorted(now) != sorted(column_names):
        return arrays
    return [arrays[now.index(name)] for name in column_names]


# --- the kind of a column


def _natural_kind(held: Held) -> str:
    """Return the kind that the values say; warn where they might mean another."""
    forms = held.forms
    if not forms or _is_all_missing(held.values):
        return "empty"
    if forms == {"boolean"}:
        return "category"
    if forms <= {"number", "boolean"}:
        _warn_of_lost_digits(held)
        return "number"
    if forms in ({"duration"}, {"time"}, {"period"}):
        return "number"
    if forms == {"duration", "number"} and _has_only_zeros(held):
        return "number"
    if forms <= {"date", "zoned date"}:
        _check_zones(held)
        return "datetime"
    if "string" in forms and forms <= {"string", "number", "boolean"}:
        return _kind_of_text(held)
    if forms != {"interval"}:
        _warn(
            f"{held.where} mixes {_listing(forms)} and is read as categories; if it is meant to be "
            "one of these, convert the others or make them missing."
        )
    return "category"


def _kind_of_text(held):
    """Return "number" for text that spells only numbers, of which one is no integer."""
    step = max(1, len(held.values) // _SAMPLE)
    sample = held.values[::step][held.mask[::step]]
    spelled = sum(_number(value) is not None for value in sample)
    if spelled >= len(sample) / 2 and not any(map(_is_code, distinct := pd.unique(held.some))):
        numbers = {value: _number(value) for value in distinct}
        other = [value for value, number in numbers.items() if number is None]
        present = [n for n in numbers.values() if n is not None and not np.isnan(n)]
        if not other and not all(number.is_integer() for number in present):
            return "number"
        if len(present) > _FEW_INTEGERS and len(other) * 10 <= len(present):
            _warn_of_numbers(held, other, len(present))
            return "category"
    if held.mask.sum() >= _MANY_ROWS and len(pd.unique(sample)) >= _NEARLY_ALL * len(sample):
        _warn_of_different_texts(held)
    return "category"


def _warn_of_numbers(held, other, n_numbers):
    """Warn of text that looks like numbers and is read as categories."""
    why = f"is text that spells {n_numbers} different integers"
    if other:
        row = held.row(lambda value: isinstance(value, str) and value == other[0])
        why = (
            f"spells numbers but for {len(other)} of its values, such as {shown(other[0])} in row "
            f"{row}"
        )
    _warn(
        f"{held.where} {why}, and is read as categories; if it holds numbers, convert it, for "
        "example with pandas.to_numeric(column, errors='coerce'); if it holds categories, say so "
        "by the dtype category or in categorical_features."
    )


def _warn_of_different_texts(held):
    """Warn of a column of text whose values hardly ever occur twice."""
    some = held.some
    n_distinct = len(pd.unique(some))
    if n_distinct >= _NEARLY_ALL * len(some):
        _warn(
            f"{held.where} is text with {n_distinct} different values in {len(some)} rows, and is "
            "read as categories, of which few occur twice; drop it, turn it into numbers or dates, "
            "or keep it without this warning by the dtype category."
        )


def _number(value):
    """Return the number that a value is or spells, NaN where missing, None for other text."""
    if isinstance(value, str):
        return number_in(value)
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _is_code(value):
    return isinstance(value, str) and has_leading_zeros(value)


def _warn_of_lost_digits(held):
    """Warn of integers beyond 2^53 that become equal as floating numbers."""
    values = held.values
    if values.dtype == object:
        integers = [value for value in held.some if isinstance(value, int | np.integer)]
        beyond = {int(value) for value in integers if abs(int(value)) > _LARGEST_EXACT}
        n_distinct = len(beyond)
        n_kept = len({_number(value) for value in beyond})
    elif values.dtype in (np.int64, np.uint64) and not _fits_float(values):
        n_distinct = len(np.unique(values))
        n_kept = len(np.unique(values.astype(np.float64)))
    else:
        return
    if n_kept < n_distinct:
        _warn(
            f"{held.where} holds integers beyond 2^53, and is read as numbers, of which only "
            f"{n_kept} of {n_distinct} differ; if these are codes, list the column in "
            "categorical_features or give it the dtype category; else subtract an offset."
        )


def _has_only_zeros(held):
    return not any(form_of(value) == "number" and value for value in held.some)


def _check_zones(held):
    if len(held.forms) > 1:
        raise ValueError(
            f"{held.where} mixes dates with a time zone, for example "
            f"{held.example({'zoned date'})}, and without one, {held.example({'date'})}; give all "
            "of them one, or none."
        )


def _listing(forms):
    return " and ".join(f"{form}s" for form in sorted(forms))


def _warn(message):
    warnings.warn(message, UserWarning, stacklevel=2)


# --- categorical_features


def _listed(categorical, labels, estimator_name) -> set[int] | None:
    """Return the positions of the columns that the user lists as categories, or None."""
    if isinstance(categorical, str) and categorical == "from_dtype":
        return None
    try:
        items = _items(categorical, labels)
    except (TypeError, ValueError):
        _refuse_listing(categorical, len(labels), estimator_name)
    is_mask = [isinstance(item, bool | np.bool_) for item in items]
    if any(is_mask):
        if not all(is_mask) or len(items) != len(labels):
            _refuse_listing(categorical, len(labels), estimator_name)
        return {j for j, item in enumerate(items) if item}
    found = [_position(item, labels) for item in items]
    if None in found:
        unknown = [item for item, at in zip(items, found, strict=True) if at is None]
        raise ValueError(
            f"{estimator_name}: categorical_features must be {_listable(len(labels))}; not in the "
            f"table: {unknown}."
        )
    return {position for position in found if position is not None}


def _items(categorical: Iterable, labels) -> list:
    """Return the items of a list, a set, an array, an Index or a Series of any library."""
    if isinstance(categorical, pd.Series) and categorical.dtype == bool:
        index = categorical.index
        if index.is_unique and set(index) == set(labels):
            return categorical.loc[list(labels)].tolist()  # such as X.nunique() < 10
    convert: Callable = getattr(categorical, "tolist", None) or (lambda: list(categorical))
    items = convert()
    if not isinstance(items, list):
        raise TypeError("one item is no list")
    if any(isinstance(item, list | dict | set) for item in items):
        raise TypeError("an item is no name")
    return [item.as_py() if hasattr(item, "as_py") else item for item in items]


def _position(item, labels):
    """Return the position of a column that is given by label, by name or by index, or None."""
    if item in labels:
        return labels.index(item)
    names = [str(label) for label in labels]
    if item in names:
        return names.index(item)
    if isinstance(item, int | np.integer) and -len(labels) <= item < len(labels):
        return int(item) % len(labels)
    return None


def _listable(n_columns):
    return (
        f"'from_dtype' or a list of column names, of indices below {n_columns} or of {n_columns} "
        "booleans"
    )


def _refuse_listing(categorical, n_columns, estimator_name) -> NoReturn:
    raise ValueError(
        f"{estimator_name}: categorical_features must be {_listable(n_columns)}, got "
        f"{categorical!r}."
    )


def _check_listed(kinds, listed, names, estimator_name):
    for j, kind in enumerate(kinds):
        if kind == "category" and j not in listed:
            raise ValueError(
                f"{estimator_name}: column {names[j]!r} holds categories and is not listed in "
                "categorical_features; list it, drop it or turn it into numbers."
            )


def check_listed_kinds(
    categorical: Any, kinds: Sequence[str], column_names: Sequence[str], estimator_name: str
) -> None:
    """Raise ValueError where ``categorical`` lists other columns than those that are categories."""
    listed = _listed(categorical, list(column_names), estimator_name)
    if listed is None:
        return
    for j, kind in enumerate(kinds):
        if (kind == "category") != (j in listed):
            now = "is" if j in listed else "is not"
            raise ValueError(
                f"{estimator_name}: column {column_names[j]!r} had the kind {kind!r} at the first "
                f"fit, and {now} listed in categorical_features now; the kinds of columns are kept."
            )


# --- from arrays to columns of known kinds


def _plain(arrays, kinds, names) -> dict[int, Column]:
    """Return, by position, the columns of few rows that need no closer look.

    They hold floats or integers and no infinity, or categories that are ASCII text. Values are
    looked at in Python: calls of numpy take longer than the numbers of a row.
    """
    if len(arrays[0].values) > FEW_ROWS:
        return {}
    plain: dict[int, Column] = {}
    for j, (kind, array) in enumerate(zip(kinds, arrays, strict=True)):
        values = array.values
        if kind == "number" and _is_finite(values):
            plain[j] = Column(names[j], "number", _as_floats(values), "number")
        elif kind == "category" and _is_ascii(values):
            plain[j] = Column(names[j], "category", values)
    return plain


def _is_finite(values):
    """Return whether values are numbers of a usual dtype, and none is infinite."""
    return values.dtype.char in _PLAIN and not any(map(math.isinf, values.tolist()))


def _is_ascii(values):
    """Return whether values are strings of ASCII, and none is missing."""
    return values.dtype.char == "O" and all(
        type(value) is str and value.isascii() for value in values.tolist()
    )


def _as_floats(values):
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _read(name, kind, held):
    if kind == "empty":
        return Column(name, kind, np.full(len(held.values), np.nan))
    if kind == "category":
        return Column(name, kind, category_values(held))
    form = _form(held)
    if kind == "datetime":
        others = sorted(held.forms - {"date", "zoned date"})
        if form and others:
            hint = "parse it, for example with pandas.to_datetime"
            _refuse_form(held, "dates", others[0], hint)
        return Column(name, kind, moments_of(held), form)
    _check_numbers(held, form)
    return Column(name, kind, numbers_of(held), form)


def _form(held) -> str:
    """Return the one form of numbers or moments; of several, that which says most."""
    forms = held.forms
    if not forms or _is_all_missing(held.values):
        return ""
    if forms <= {"date", "zoned date"}:
        _check_zones(held)
    others = sorted(forms - {"number", "boolean"})
    return others[0] if others else "number"


def _is_all_missing(values):
    """Return whether an array of floats, moments or durations holds nothing else than NaN."""
    is_missing = np.isnan if values.dtype.kind == "f" else np.isnat
    return values.dtype.kind in "fmM" and bool(is_missing(values[0]) and is_missing(values).all())


def _check_numbers(held, form):
    """Raise ValueError for values that are no numbers and become none."""
    forms = held.forms
    hint = "convert it, or declare it in categorical_features at fit"
    if form == "string" and forms <= {"string", "number", "boolean"}:
        for text in pd.unique(held.some):
            if _number(text) is None:
                row = held.row(lambda value, text=text: value == text)
                _refuse_value(held, "numbers", form, f"{shown(text)} in row {row}", hint)
    elif forms - {"number", "boolean"} and len(forms) > 1:
        if forms == {"duration", "number"} and _has_only_zeros(held):
            return
        raise ValueError(f"{held.where} mixes {_listing(forms)}; {hint}.")
    elif form not in ("", "number", "string", "duration", "time", "period"):
        _refuse_form(held, "numbers", form, hint)


def _refuse_form(held, expected, form, hint):
    _refuse_value(held, expected, form, held.example({form}), hint)


def _refuse_value(held, expected, form, example, hint) -> NoReturn:
    raise ValueError(
        f"{held.where} held {expected} at fit and holds {form} values now, for example {example}; "
        f"{hint}."
    )
