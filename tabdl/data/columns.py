"""Columns of the user's table as numpy arrays: numpy, pandas, polars and pyarrow come in here, and
nothing after knows which.

Four kinds of column exist: numbers, moments in time, categories, and those that have no type and no
value at fit.
"""

from dataclasses import dataclass

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal"}
_MOMENTS = {"date", "datetime", "datetime64"}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
    kind : {"number", "datetime", "category", "empty"}
    values : ndarray of shape (N,)
        Numbers: float32 where X has that, else float64, NaN where missing. Empty: NaN, whatever
        comes at predict. Moments: datetime64[us], NaT where missing. Categories: float64 with NaN
        where they are numbers or booleans, else an object array of str with None.
    """

    name: str
    kind: str
    values: np.ndarray


def is_frame(X):
    """Return whether ``X`` is a table with named columns: pandas, polars, pyarrow or another that
    narwhals reads."""
    return nw.dependencies.is_into_dataframe(X)


def read_columns(X, *, estimator_name, kinds=None, categorical="from_dtype"):
    """Return the columns of ``X``.

    Parameters
    ----------
    X : 2-d ndarray or data frame
    estimator_name : str
        The estimator's name, for messages.
    kinds : list of str, optional
        The kind of each column where it is known already (at predict); else the dtypes decide.
    categorical : "from_dtype", or a list of column names, of indices or of booleans
        Which columns are categories; ``"from_dtype"``: strings, booleans and the categorical
        dtypes.

    Raises
    ------
    ValueError
        For infinite numbers, unknown categorical columns, or values that do not fit the given kind.
    TypeError
        For a column of lists, structures, bytes or complex numbers.
    """
    names, arrays, declared = _arrays(X, estimator_name)
    if kinds is None:
        kinds = [
            "category" if j in declared else _natural_kind(array) for j, array in enumerate(arrays)
        ]
        if not (isinstance(categorical, str) and categorical == "from_dtype"):
            kinds = _with_listed(kinds, categorical, names, estimator_name)
    return [
        Column(name, kind, _read(name, kind, a, estimator_name))
        for name, kind, a in zip(names, kinds, arrays, strict=True)
    ]


def _arrays(X, estimator_name):
    """Return names, numpy arrays and the indices of the columns whose dtype says that they are
    categories."""
    if not is_frame(X):
        return [f"x{j}" for j in range(X.shape[1])], list(X.T), set()
    frame = nw.from_native(X, eager_only=True)
    series = list(frame.iter_columns())
    declared = {j for j, s in enumerate(series) if _declares_categories(s)}
    return (
        [str(name) for name in frame.columns],
        [_series_to_numpy(s, estimator_name) for s in series],
        declared,
    )


def _declares_categories(series):
    # Of pandas' object columns the values decide: narwhals calls one that is all missing a column
    # of strings.
    is_object = str(getattr(series.to_native(), "dtype", None)) == "object"
    return not is_object and series.dtype in (nw.Categorical, nw.Enum, nw.String, nw.Boolean)


def _series_to_numpy(series, estimator_name):
    dtype = series.dtype
    if dtype == nw.Unknown and series.is_null().all():
        return np.full(len(series), None, dtype=object)
    is_complex = getattr(series.to_native(), "dtype", None) in (np.complex64, np.complex128)
    if dtype.is_nested() or dtype == nw.Binary or is_complex:
        held = "complex numbers" if is_complex else dtype
        raise TypeError(
            f"{estimator_name}: column {series.name!r} holds {held}; real numbers, strings, "
            "booleans and dates are allowed."
        )
    if dtype in (nw.Categorical, nw.Enum) and not series.implementation.is_pandas_like():
        # pyarrow's dictionaries lose their nulls on the straight way to numpy.
        series = series.cast(nw.String)
    return series.to_numpy()


def _natural_kind(values):
    if values.dtype.kind == "b":
        return "category"
    if values.dtype.kind in "iufm":
        return "number"
    if values.dtype.kind == "M":
        return "datetime"
    inferred = _inferred(values)
    if inferred == "empty":
        return "empty"
    if inferred in _NUMBERS or inferred == "timedelta":
        return "number"
    return "datetime" if inferred in _MOMENTS else "category"


def _with_listed(kinds, categorical, names, estimator_name):
    """Return the kinds where the user's list says which columns are categories."""
    listed = np.asarray(categorical)
    allowed = (
        f"'from_dtype' or a list of column names, of indices below {len(names)} or of "
        f"{len(names)} booleans"
    )
    if listed.ndim != 1 or (listed.dtype.kind == "b" and len(listed) != len(names)):
        raise ValueError(
            f"{estimator_name}: categorical_features must be {allowed}, got {categorical!r}."
        )
    items = np.flatnonzero(listed).tolist() if listed.dtype.kind == "b" else listed.tolist()
    unknown = [
        c
        for c in items
        if c not in names and not (isinstance(c, int) and -len(names) <= c < len(names))
    ]
    if unknown:
        raise ValueError(
            f"{estimator_name}: categorical_features must be {allowed}; not in the table: "
            f"{unknown}."
        )
    chosen = {c % len(names) if isinstance(c, int) else names.index(c) for c in items}
    for j, kind in enumerate(kinds):
        if kind == "category" and j not in chosen:
            raise ValueError(
                f"{estimator_name}: column {names[j]!r} holds categories and is not listed in "
                "categorical_features; list it, drop it or turn it into numbers."
            )
    return ["category" if j in chosen else kind for j, kind in enumerate(kinds)]


def _read(name, kind, values, estimator_name):
    if kind == "empty":
        return np.full(len(values), np.nan)
    if kind == "number":
        return _numbers(values, name, estimator_name)
    return _moments(values, name, estimator_name) if kind == "datetime" else _categories(values)


def _inferred(values):
    """Return what an array holds, in pandas' words, whatever its dtype."""
    return pd.api.types.infer_dtype(values, skipna=True)


def _mismatch(name, estimator_name, now, values, expected, hint):
    example = next((v for v in values if not pd.isna(v)), None)
    return ValueError(
        f"{estimator_name}: column {name!r} held {expected} at fit and holds {now} values now, for "
        f"example {example!r}; {hint}."
    )


def _numbers(values, name, estimator_name):
    if values.dtype.kind == "m":
        numbers = values / np.timedelta64(1, "s")
    elif values.dtype in (np.float32, np.float64):
        numbers = values  # the caller's memory, which nothing writes to
    elif values.dtype.kind in "biuf":
        numbers = values.astype(np.float64)
    else:
        now = _inferred(values)
        if now == "timedelta":
            return pd.to_timedelta(values).total_seconds().to_numpy()
        if now not in _NUMBERS | {"boolean", "empty"}:
            raise _mismatch(
                name,
                estimator_name,
                now,
                values,
                "numbers",
                "convert it, or declare it in categorical_features at fit",
            )
        numbers = np.full(len(values), np.nan)
        present = ~pd.isna(values)
        numbers[present] = values[present].astype(np.float64)
    if np.isinf(numbers).any():
        raise ValueError(
            f"{estimator_name}: column {name!r} contains infinity in row "
            f"{int(np.flatnonzero(np.isinf(numbers))[0])}; replace "
            "infinite numbers by NaN or by a large finite number."
        )
    return numbers


def _moments(values, name, estimator_name):
    if values.dtype.kind != "M" and (now := _inferred(values)) not in _MOMENTS | {"empty"}:
        raise _mismatch(
            name,
            estimator_name,
            now,
            values,
            "dates",
            "parse it, for example with pandas.to_datetime",
        )
    if values.dtype.kind == "f":  # a column of nothing but missing values
        return np.full(len(values), np.datetime64("NaT", "us"))
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]")
    # Moments with a time zone become UTC.
    return (
        pd.to_datetime(pd.Series(values), utc=True)
        .dt.tz_localize(None)
        .to_numpy()
        .astype("datetime64[us]")
    )


def _categories(values):
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    now = _inferred(values)
    present = ~pd.isna(values)
    if now in _NUMBERS | {"boolean", "empty"}:
        numbers = np.full(len(values), np.nan)
        numbers[present] = values[present].astype(np.float64)
        return numbers
    labels = np.full(len(values), None, dtype=object)
    labels[present] = values[present] if now == "string" else [str(v) for v in values[present]]
    return labels
