"""What the values of one column are: the form of each value, whatever holds the values.

A form is one of "number", "boolean", "string", "date", "zoned date", "duration", "time", "period"
and "interval". A "date" is a day or a moment, a "zoned date" is a moment with a time zone, and a
"time" is a time of day. Nothing else can be read.
"""

import datetime
import decimal
import numbers
import re
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pandas as pd

FORMS = (
    "number",
    "boolean",
    "string",
    "date",
    "zoned date",
    "duration",
    "time",
    "period",
    "interval",
)
ALLOWED = (
    "real numbers, booleans, strings, dates, durations, times of day, periods and intervals are "
    "allowed"
)
_FORM_OF_DTYPE = {"b": "boolean", "m": "duration", "M": "date"} | dict.fromkeys("iuf", "number")
# The first that fits: numpy calls a timedelta64 an integer, Python calls a bool one.
_FORM_OF_TYPE = (
    ((bool, np.bool_), "boolean"),
    ((datetime.timedelta, np.timedelta64), "duration"),
    ((numbers.Real, decimal.Decimal), "number"),
    ((str,), "string"),
    ((datetime.date, np.datetime64), "date"),
    ((datetime.time,), "time"),
    ((pd.Period,), "period"),
    ((pd.Interval,), "interval"),
)
# A code such as 12E4 is no number: an exponent needs a sign or a decimal point.
_NUMBER = re.compile(
    r"\s*[+-]?(?:\d+\.?|(?:\d*\.\d+|\d+\.)(?:[eE][+-]?\d+)?|\d+[eE][+-]\d+|inf|infinity)\s*",
    re.IGNORECASE | re.ASCII,
)
_INFINITE = (float, np.float16, np.float32, np.float64, str)  # what may hold an infinity
_NO_NUMBER = {"nan", "none", "null", "<na>", ""}
_EPOCH = np.datetime64(0, "us")
_STRINGS_AT_ONCE = 10_000
# So few rows are looked at one by one, or all columns at once: what is quick for many rows has
# costs of its own.
FEW_ROWS = 16


@dataclass(frozen=True)
class Held:
    """The values of one column as they came, and their forms.

    Attributes
    ----------
    where : str
        The estimator and the column, for messages.
    values : ndarray of shape (N,)
        Of a numeric dtype, or of objects.
    present : bool ndarray of shape (N,) or None
        False where a value is missing; None for a numeric dtype, whose NaN and NaT say so.
    forms : frozenset of str
        The forms of the values that are present. A float array has "number" even if all are NaN.
    """

    where: str
    values: np.ndarray
    present: np.ndarray | None
    forms: frozenset[str]

    @property
    def some(self) -> np.ndarray:
        """The values that are present, in order."""
        return self.values[self.mask]

    @property
    def mask(self) -> np.ndarray:
        """Where a value is present, bool of shape (N,)."""
        return ~pd.isna(self.values) if self.present is None else self.present

    def row(self, test) -> int:
        """Return the first row whose value is present and passes ``test``."""
        return next(int(i) for i in np.flatnonzero(self.mask) if test(self.values[i]))

    def example(self, forms: set[str]) -> str:
        """Return a value of one of the forms, and its row, in words."""
        row = self.row(lambda value: form_of(value) in forms)
        return f"{shown(self.values[row])} in row {row}"


def hold(values: np.ndarray, where: str, dtype_form: str = "") -> Held:
    """Return the values and their forms.

    Parameters
    ----------
    values : ndarray of shape (N,)
    where : str
        The estimator and the column, for messages.
    dtype_form : {"", "string", "zoned date"}
        What the table's dtype says, where the array's does not: valid text, or a time zone.

    Raises
    ------
    TypeError
        For a value that has none of the forms.
    ValueError
        For a signalling NaN, or for text that is no valid Unicode.
    """
    form = _FORM_OF_DTYPE.get(values.dtype.kind)
    if form is not None:
        return Held(where, values, None, frozenset({dtype_form or form}))
    if values.dtype.kind not in "OUT":
        what = "complex numbers" if values.dtype.kind == "c" else values.dtype
        raise TypeError(f"{where} holds {what}; {ALLOWED}.")
    values = values.astype(object, copy=False)
    if len(values) <= FEW_ROWS and all(type(value) is str for value in values):
        present = np.ones(len(values), bool)
        _check_text(values, present, values, True, where)
        return Held(where, values, present, frozenset({"string"}))
    present = _present(values, where)
    if dtype_form == "string":
        return Held(where, values, present, frozenset({"string"} if present.any() else ()))
    some = values[present]
    types = set(map(type, some.tolist()))
    forms: set[str] = set()
    for kind in types:
        form = _form_of_type(kind)
        if form is None:
            _refuse(values, present, kind, where)
        forms.add(form)
    if "date" in forms:
        of_dates = {str(form_of(value)) for value in some if _is_date(value)}
        forms = forms - {"date"} | of_dates
    if "string" in forms:
        if any(issubclass(kind, str) and kind is not str for kind in types):
            values = values.copy()
            values[present] = [str.__str__(v) if isinstance(v, str) else v for v in some]
        _check_text(values, present, some, forms == {"string"}, where)
    return Held(where, values, present, frozenset(forms))


def form_of(value: Any) -> str | None:
    """Return the form of one value that is not missing; None for what cannot be read."""
    form = _form_of_type(type(value))
    if form == "date" and getattr(value, "tzinfo", None) is not None:
        return "zoned date"
    return form


def shown(value: Any) -> str:
    """Return a short text of a value, for messages."""
    try:
        text = ascii(value)
    except ValueError:  # Python does not print integers of more than 4300 digits
        text = f"an integer of {value.bit_length()} bits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def number_in(text: str) -> float | None:
    """Return the number that a text spells; NaN for a missing one, None for any other text."""
    if _NUMBER.fullmatch(text):
        return float(text)
    return float("nan") if text.strip().lower() in _NO_NUMBER else None


def has_leading_zeros(text: str) -> bool:
    """Return whether a text of digits begins with a zero that a number would lose."""
    text = text.strip()
    return len(text) > 1 and text[0] == "0" and text.isdigit()


def numbers_of(held: Held) -> np.ndarray:
    """Return float values of shape (N,), NaN where missing; a float array stays what it is.

    Durations are seconds, times of day are seconds since midnight, and periods are days from 1970
    to their beginning.

    Raises
    ------
    ValueError
        For a number that is infinite or that float64 cannot hold.
    """
    values = held.values
    if values.dtype in (np.float32, np.float64):
        numbers = values  # the caller's memory, which nothing writes to
    elif values.dtype.kind == "m":
        return seconds(values, held.where)
    elif held.present is None:
        with np.errstate(over="ignore"):  # of a long double
            numbers = values.astype(np.float64)
    else:
        numbers = np.full(len(values), np.nan)
        numbers[held.present] = _floats(held)
    if numbers is not values and values.dtype.kind in "biu":
        return numbers
    if np.isinf(numbers).any():
        _refuse_infinity(held, int(np.flatnonzero(np.isinf(numbers))[0]))
    return numbers


def seconds(durations: np.ndarray, where: str) -> np.ndarray:
    """Return timedelta64 values as float64 seconds, read to the microsecond."""
    return _in_microseconds(durations, "timedelta64", where) / np.timedelta64(1, "s")


def duration_of(value: Any) -> np.ndarray:
    """Return one duration as an array of shape (1,)."""
    is_numpy = isinstance(value, np.timedelta64)
    return np.array([value if is_numpy else np.timedelta64(value, "us")])


def moments_of(held: Held) -> np.ndarray:
    """Return datetime64[us] values of shape (N,), NaT where missing; with a time zone, in UTC."""
    if held.values.dtype.kind == "M":
        return _in_microseconds(held.values, "datetime64", held.where)
    moments = np.full(len(held.values), np.datetime64("NaT", "us"))
    if held.present is not None:
        moments[held.present] = [naive_moment(value, held.where) for value in held.some]
    return moments


def naive_moment(value: Any, where: str) -> np.datetime64:
    """Return one date as datetime64[us]; with a time zone, in UTC."""
    if isinstance(value, np.datetime64):
        return _in_microseconds(np.array([value]), "datetime64", where)[0]
    if getattr(value, "tzinfo", None) is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    if isinstance(value, pd.Timestamp):
        value = value.asm8
    return np.datetime64(value, "us")


def _form_of_type(kind: type) -> str | None:
    return next((form for types, form in _FORM_OF_TYPE if issubclass(kind, types)), None)


def _is_date(value):
    return isinstance(value, datetime.date | np.datetime64)


def _present(values, where):
    try:
        return ~pd.isna(values)
    except decimal.InvalidOperation:
        row = next(i for i, value in enumerate(values) if _is_signalling(value))
        raise ValueError(
            f"{where} holds a signalling NaN in row {row}; replace it by None or NaN."
        ) from None


def _is_signalling(value):
    return isinstance(value, decimal.Decimal) and value.is_snan()


def _refuse(values, present, kind, where) -> NoReturn:
    row = next(i for i in np.flatnonzero(present) if type(values[i]) is kind)
    what = "complex numbers" if issubclass(kind, numbers.Complex) else f"a {kind.__name__}"
    raise TypeError(
        f"{where} holds {what} in row {row}, {shown(values[row])}; {ALLOWED}. Turn it into columns "
        "of these, or into text."
    )


def _check_text(values, present, some, is_only_text, where):
    """Raise ValueError for text with lone surrogates, which no other library takes."""
    for start in range(0, len(some), _STRINGS_AT_ONCE):
        chunk = some[start : start + _STRINGS_AT_ONCE].tolist()
        text = "".join(chunk if is_only_text else [v for v in chunk if isinstance(v, str)])
        if not text.isascii() and not _is_unicode(text):
            row = next(
                row
                for row in np.flatnonzero(present)
                if isinstance(values[row], str) and not _is_unicode(values[row])
            )
            raise ValueError(
                f"{where} holds text in row {row} that is no valid Unicode, {shown(values[row])}; "
                "read the file with its true encoding, or repair the text with "
                "text.encode('utf-8', 'replace').decode()."
            )


def _is_unicode(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _floats(held):
    """Return the values that are present in an object array as float64."""
    some = held.some
    if held.forms <= {"number", "boolean"}:
        try:
            return some.astype(np.float64)
        except OverflowError:
            _refuse_infinity(held, held.row(_is_beyond_float))
    codes, distinct = pd.factorize(some)
    return np.array([_float(value, held.where) for value in distinct], dtype=np.float64)[codes]


def _is_beyond_float(value):
    try:
        float(value)
    except OverflowError:
        return True
    return False


def _float(value, where):
    form = form_of(value)
    if form == "string":
        number = number_in(value)
        return np.nan if number is None else number
    if form == "duration":
        return seconds(duration_of(value), where)[0]
    if form == "time":
        since_hour = 60 * value.minute + value.second + value.microsecond / 1e6
        return 3600 * value.hour + since_hour
    if form == "period":
        return (naive_moment(value.start_time, where) - _EPOCH) / np.timedelta64(1, "D")
    return float(value)


def _refuse_infinity(held, row) -> NoReturn:
    value = held.values[row]
    if isinstance(value, decimal.Decimal):
        is_infinite = value.is_infinite()
    else:
        is_infinite = type(value) in _INFINITE
    if is_infinite:
        raise ValueError(
            f"{held.where} contains infinity in row {row}; replace "
            "infinite numbers by NaN or by a large finite number."
        )
    raise ValueError(
        f"{held.where} holds a number in row {row} that float64 cannot hold, {shown(value)}; "
        "replace it by NaN or by a number up to 1.7e308, or take its logarithm."
    )


def _in_microseconds(values, name, where):
    """Return ``values`` in microseconds; raise ValueError where these do not fit in 64 bits."""
    unit = f"{name}[us]"
    if values.dtype in (unit, f"{name}[ns]"):
        return values.astype(unit, copy=False)
    try:
        converted = values.astype(unit)
        is_lost = (converted.astype(values.dtype) != values) & ~np.isnat(values)
    except (OverflowError, TypeError):
        is_lost = ~np.isnat(values)
    if is_lost.any() and np.datetime_data(values.dtype)[0] not in ("ps", "fs", "as"):
        row = int(np.flatnonzero(is_lost)[0])
        raise ValueError(
            f"{where} holds {shown(values[row])} in row {row}, beyond what 64 bits of microseconds "
            "hold (some 290,000 years); replace it by a missing value."
        )
    return values.astype(unit)
