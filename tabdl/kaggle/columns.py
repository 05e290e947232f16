"""What kind each column of a competition is: numbers, truth values, dates or text."""

import re
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types
from pandas.util import hash_pandas_object

from tabdl.kaggle.errors import CompetitionError

_ISO_DATE = re.compile(
    r"\d{4}([-/])\d{2}\1\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?"
)
_ZONE = re.compile(r":\d.*(Z|[+-]\d{2}:?\d{2})")
_YEARS = (1700, 2200)
_NO_END = 9999  # the year that databases write for "no end"


def plain(values: pd.Series, where: str) -> pd.Series:
    """Return a column as numbers, truth values, dates or text, whatever container had it.

    Parameters
    ----------
    values : Series of shape (N,)
    where : str
        Names file and column, for messages.

    Raises
    ------
    CompetitionError
        When the column holds lists, bytes or other things that are no single values.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        return as_text(values.astype(object))
    if isinstance(values.dtype, pd.PeriodDtype):
        return values.dt.to_timestamp()
    kind = types.infer_dtype(values, skipna=True)
    if kind in ("integer", "floating", "mixed-integer-float", "decimal", "empty"):
        return _numbers(values)
    if kind == "boolean":
        return as_text(values) if values.isna().any() else values.astype(bool)
    if kind in ("datetime64", "datetime", "date"):
        return pd.to_datetime(values)
    if kind in ("timedelta64", "timedelta"):
        return pd.to_timedelta(values) / pd.Timedelta(days=1)
    if kind == "time":
        return pd.to_timedelta(values.map(str, na_action="ignore")) / pd.Timedelta(days=1)
    if kind == "string":
        return values
    example = next(iter(values.dropna()))
    raise CompetitionError(
        f"{where} holds {type(example).__name__} values, such as {str(example)[:40]}; numbers, "
        f"dates, truth values or text are allowed. Split or leave out the column."
    )


def _numbers(values):
    is_whole = types.is_integer_dtype(values.dtype) and not values.isna().any()
    if is_whole and values.dtype.kind in "iu" and isinstance(values.dtype, np.dtype):
        return values
    return values.astype(np.int64 if is_whole else np.float64)


def as_text(values: pd.Series) -> pd.Series:
    """Return each value as text, missing where it is; whole numbers have no decimal point."""
    present = values.notna()
    if types.is_float_dtype(values.dtype):
        numbers = values.dropna().to_numpy(np.float64)
        if np.all(numbers % 1 == 0) and np.all(np.abs(numbers) < 2**53):
            values = values.astype("Int64")
    return values.astype(object).where(present, None).map(str, na_action="ignore")


def kind_of(values: pd.Series) -> str | None:
    """Return "number", "bool", "date" or "text" of a plain column; None where all is missing."""
    if values.isna().all():
        return None
    if types.is_bool_dtype(values.dtype):
        return "bool"
    if types.is_numeric_dtype(values.dtype):
        return "number"
    return "date" if types.is_datetime64_any_dtype(values.dtype) else "text"


def one_kind(name: str, train, test) -> tuple[pd.Series, pd.Series]:
    """Return a column of the training and of the test file, of one kind.

    Parameters
    ----------
    name : str
    train, test : TableFile

    Raises
    ------
    CompetitionError
        When a column cannot be used, or only one file has a time zone.
    """
    pair = train.table[name], test.table[name]
    if all(values.dtype in (np.float64, np.int64) for values in pair):
        return pair  # most columns of most tables
    first = plain(train.table[name], f"{train.path}: column {name!r}")
    second = plain(test.table[name], f"{test.path}: column {name!r}")
    kinds = [kind_of(first), kind_of(second)]
    known = set(kinds) - {None}
    if known <= {"number"}:
        return _numbers(first), _numbers(second)
    if known == {"bool", "number"}:
        return first.astype(float), second.astype(float)
    if None not in kinds and len(known) == 1:
        _refuse_half_a_zone(name, first, second)
        return first, second
    if known == {"date"}:
        dtype = (first if kinds[0] else second).dtype
        return first.astype(dtype), second.astype(dtype)
    return train.text(name), test.text(name)


def _refuse_half_a_zone(name, *pair):
    zones = [isinstance(values.dtype, pd.DatetimeTZDtype) for values in pair]
    if any(zones) and not all(zones):
        raise CompetitionError(
            f"The column {name!r} has a time zone in one of the files only; write it in both, or "
            f"in none."
        )


def refuse_infinity(table: pd.DataFrame, path) -> None:
    """Check that the numbers of a table are finite, or missing.

    Raises
    ------
    CompetitionError
        Names file, column and row.
    """
    for name in table.select_dtypes("number").columns:
        is_infinite = np.isinf(table[name].to_numpy())
        if is_infinite.any():
            raise CompetitionError(
                f"{path}: column {name!r} holds infinity in row {int(is_infinite.argmax())}, "
                f"counted from 0; write a finite number, or nothing where it is missing."
            )


def with_dates(X: pd.DataFrame, X_test: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables with dates as days since 1970, year, month and day of the week.

    A column of text becomes dates where all values of both tables are dates in ISO's format.
    """
    for name in X.select_dtypes(exclude=["number", "bool"]).columns:
        moments = _moments(name, pd.concat([X[name], X_test[name]], ignore_index=True))
        if moments is None:
            continue
        parts = _parts(name, moments, X.columns)
        X = X.drop(columns=name).assign(
            **{part: values[: len(X)].to_numpy() for part, values in parts.items()}
        )
        X_test = X_test.drop(columns=name).assign(
            **{part: values[len(X) :].to_numpy() for part, values in parts.items()}
        )
    return X, X_test


def _moments(name, values):
    """Return the moments of a column of dates; None for a column of text."""
    if kind_of(values) == "date":
        return pd.to_datetime(values, utc=True)
    texts: Any = pd.Series(values.dropna().unique(), dtype=object)
    looks = texts.map(lambda text: _ISO_DATE.fullmatch(text) is not None)
    if len(texts) == 0 or looks.mean() < 0.5:
        return None
    moments = pd.to_datetime(
        texts.where(looks, None).str.replace("/", "-"), format="ISO8601", errors="coerce", utc=True
    )
    years = moments.dt.year
    is_date = years.between(*_YEARS) | (years == _NO_END)
    if not is_date.all():
        wrong = texts[~is_date]
        print(
            f"{name!r} looks like dates, but {len(wrong)} of {len(texts)} different values are "
            f"none (such as {wrong.iloc[0]!r}): the column stays text.",
            flush=True,
        )
        return None
    zones = texts.map(lambda text: _ZONE.search(text) is not None)
    if zones.any() and not zones.all():
        raise CompetitionError(
            f"The column {name!r} has times with a time zone, such as {texts[zones].iloc[0]!r}, "
            f"and without, such as {texts[~zones].iloc[0]!r}; write it in all, or in none."
        )
    return values.map(dict(zip(texts, moments, strict=True))).astype(moments.dtype)


def _parts(name, moments, taken):
    parts = {
        "days": (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1),
        "year": moments.dt.year,
        "month": moments.dt.month,
        "day_of_week": moments.dt.day_of_week,
    }
    return {_free(f"{name}.{part}", taken): v.astype(float) for part, v in parts.items()}


def _free(name, taken):
    while name in taken:
        name += "_"
    return name


def row_hashes(X: pd.DataFrame) -> np.ndarray:
    """Return a number for each row, the same for equal rows, uint64 (N,)."""
    hash_rows: Any = hash_pandas_object
    return hash_rows(X, index=False).to_numpy()
