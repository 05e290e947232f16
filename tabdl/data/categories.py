"""Categories: the one place that decides when two values are the same category, and their codes.

Values are compared by what they are, not by the library that holds them.

- Numbers are equal as numbers: 1, 1.0, True and Decimal(1) are one category, because a column of
  integers becomes one of floats when a value is missing. Integers of any size stay apart.
- Dates and moments are equal as moments, to the microsecond, whatever their unit. Those with a time
  zone are compared in UTC, and are not equal to those without.
- In a column that holds text and numbers at fit, a number is the text that spells it: 1 is "1".
  Such columns come from files, and other libraries hold them as text.
- Otherwise values of two forms are never equal: "1" is not 1.
"""

import copy
import datetime
from typing import Any, Self

import numpy as np
import pandas as pd

from tabdl.data.forms import (
    FEW_ROWS,
    FORMS,
    Held,
    duration_of,
    form_of,
    moments_of,
    naive_moment,
    shown,
)
from tabdl.data.state import State

_LARGEST_EXACT = 2**53  # beyond, float64 does not hold every integer
_YEARS = np.array(["0001-01-01", "9999-12-31T23:59:59.999999"], dtype="datetime64[us]")


def category_values(held: Held) -> np.ndarray:
    """Return one value for each row such that equal values are one category.

    Returns
    -------
    ndarray of shape (N,)
        float64 with NaN where all are numbers that float64 holds exactly; else an object array with
        None where missing.
    """
    values = held.values
    if values.dtype.kind in "bf":
        return values.astype(np.float64)
    if values.dtype.kind in "iu":
        is_exact = values.min() >= -_LARGEST_EXACT and values.max() <= _LARGEST_EXACT
        return values.astype(np.float64 if is_exact else object)
    if held.forms == {"string"}:
        nothing: Any = None
        return values if held.mask.all() else np.where(held.mask, values, nothing)
    if values.dtype.kind == "M":
        values = moments_of(held)
    present = held.mask
    codes, distinct = pd.factorize(values[present])
    keys = np.empty(len(distinct), dtype=object)
    keys[:] = [_key(value, held) for value in distinct]
    if all(type(key) is float for key in keys):
        numbers = np.full(len(values), np.nan)
        numbers[present] = keys.astype(np.float64)[codes]
        return numbers
    labels = np.full(len(values), None, dtype=object)
    labels[present] = keys[codes]
    return labels


class CategoryEncoder:
    """Codes of categories.

    Codes 0, 1, … are those of the training rows in ascending order. Then comes one for missing, if
    it occurs there, and one for all else.

    Parameters
    ----------
    name : str
        The column's name.
    estimator_name : str
        The estimator's name, for messages.

    Attributes
    ----------
    known : int ndarray of shape (codes,) or None
        The code that a network sees instead of each code, see :meth:`narrowed`. None: the same.
    """

    output = "cat"
    is_plain_quantile = False

    def __init__(self, name: str, estimator_name: str):
        self.names = [name]
        self.estimator_name = estimator_name
        self.known: np.ndarray | None = None

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        codes, distinct = pd.factorize(values)
        self.has_missing = bool((codes < 0).any())
        self.forms = _forms(distinct)
        keys = {self.label(value) for value in distinct.tolist()}
        ordered = sorted(keys, key=_order) if values.dtype == object else sorted(keys)
        self.codes = {key: code for code, key in enumerate(ordered)}
        return self

    @property
    def is_text(self) -> bool:
        """Whether a number is the text that spells it."""
        return {"number", "string"} <= self.forms

    @property
    def cardinality(self) -> int:
        """Number of codes."""
        return len(self.codes) + self.has_missing + 1

    def narrowed(self, codes: np.ndarray) -> "CategoryEncoder":
        """Return an encoder whose ``known`` gives the last code for all codes not given."""
        other = copy.copy(self)
        other.known = np.full(self.cardinality, self.cardinality - 1)
        other.known[codes] = codes
        return other

    def state(self) -> dict[str, Any]:
        """Return the fitted state, see ``data/state.py``; categories stand in order of codes."""
        return {
            "categories": [_key_state(key) for key in self.codes],
            "has_missing": self.has_missing,
            "forms": sorted(self.forms),
            "known": self.known,
        }

    def restore(self, state: Any, where: str) -> Self:
        """Set the fitted state."""
        fields = State(state, ("categories", "has_missing", "forms", "known"), where)
        self.has_missing = fields.flag("has_missing")
        self.forms = set(fields.items("forms", str))
        if not self.forms <= {*FORMS}:
            fields.refuse("forms", f"a list of {FORMS}")
        keys = [_key_of(item) for item in fields.items("categories")]
        self.codes = {key: code for code, key in enumerate(keys)}
        if None in self.codes or len(self.codes) != len(keys):
            fields.refuse("categories", "different text, numbers and moments")
        self.known = fields.optional_array("known", "i", (self.cardinality,))
        is_code = self.known is None or ((self.known >= 0) & (self.known < self.cardinality)).all()
        if not is_code:
            fields.refuse("known", f"codes below {self.cardinality}")
        return self

    def transform(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the code of each value before narrowing, in a list of one array.

        Raises
        ------
        ValueError
            For a value of a form that no training row had.
        """
        places, distinct = _factorize(values)
        unknown = self.cardinality - 1
        keys = map(self.label, distinct) if self.is_text else distinct
        found = [self.codes.get(key, unknown) for key in keys]
        if unknown in found and self.forms:
            self._check_forms(distinct)
        # The last one is that of missing values, whose code is -1.
        found.append(len(self.codes) if self.has_missing else unknown)
        if isinstance(places, list):  # few; to choose by a list takes numpy longer than a loop
            return [np.array([found[place] for place in places])]
        return [np.array(found)[places]]

    def label(self, value: Any) -> Any:
        """Return what stands for a value among the categories: text, where the column has it."""
        if not self.is_text or isinstance(value, str):
            return value
        if isinstance(value, float):
            return str(int(value)) if value.is_integer() else repr(value)
        return str(value) if isinstance(value, int) else value

    def _check_forms(self, distinct):
        for value in distinct:
            form = form_of(value)
            if form not in self.forms:
                held = " and ".join(f"{form}s" for form in sorted(self.forms))
                raise ValueError(
                    f"{self.estimator_name}: column {self.names[0]!r} held categories that are "
                    f"{held} at fit, and {form}s now, for example {shown(value)}; give it the type "
                    "that it had."
                )


def _factorize(values: np.ndarray) -> tuple[Any, list[Any]]:
    """Return where the value of each row stands in a list of values, -1 for a missing one."""
    if len(values) > FEW_ROWS:
        codes, distinct = pd.factorize(values)
        return codes, distinct.tolist()
    places: list[int] = []
    present: list[Any] = []
    for value in values.tolist():
        is_missing = value is None or value != value
        places.append(-1 if is_missing else len(present))
        if not is_missing:
            present.append(value)
    return places, present


def _key(value, held):
    """Return what stands for a value in comparisons."""
    form = form_of(value)
    if form in ("number", "boolean"):
        return _number(value)
    if form in ("date", "zoned date"):
        moment = naive_moment(value, held.where)
        if not _YEARS[0] <= moment <= _YEARS[1]:
            raise ValueError(
                f"{held.where} holds {shown(value)}; dates that are categories must lie in the "
                "years 1 to 9999."
            )
        instant: Any = moment.item()
        is_zoned = form == "zoned date" or held.forms == {"zoned date"}
        return instant.replace(tzinfo=datetime.UTC) if is_zoned else instant
    return duration_of(value).astype("timedelta64[us]")[0].item() if form == "duration" else value


def _number(value):
    """Return a float where that is exact, else an int where that is; else the nearest float."""
    try:
        number = float(value)
    except OverflowError:
        return int(value)
    return int(value) if number != value and int(value) == value else number


def _forms(distinct) -> set[str]:
    one_of_each_type = {type(value): value for value in distinct.tolist()}
    forms = {str(form_of(value)) for value in one_of_each_type.values()}
    if not forms & {"date", "zoned date"}:
        return forms
    return {str(form_of(value)) for value in distinct.tolist()}


def _order(key):
    form = form_of(key)
    return form, key if form in ("string", "number") else str(key)


# --- categories in a state: text and numbers as they are, others as a list [form, …]


def _key_state(key):
    if isinstance(key, str | int | float):
        return key
    form = str(form_of(key))
    if form in ("date", "zoned date", "time"):
        return [form, key.isoformat()]
    if form == "duration":
        return [form, key // datetime.timedelta(microseconds=1)]
    if form == "period":
        return [form, key.freqstr, int(key.ordinal)]
    return [form, key.closed, _end_state(key.left), _end_state(key.right)]


def _end_state(end):
    """Return what stands for an end of an interval."""
    if isinstance(end, pd.Timestamp):
        return ["moment", end.isoformat()]
    if isinstance(end, pd.Timedelta):
        return ["span", end.isoformat()]
    return end.item() if isinstance(end, np.generic) else end


def _key_of(item):
    """Return the category of an item of a state; None for what is none."""
    if isinstance(item, str | int | float):
        is_usual = not isinstance(item, bool) and item == item
        return item if is_usual else None
    if not isinstance(item, list) or not item:
        return None
    try:
        return _READ[item[0]](*item[1:])
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None


def _end_of(end):
    if isinstance(end, int | float):
        return end
    kind, text = end
    return {"moment": pd.Timestamp, "span": pd.Timedelta}[kind](text)


_READ: dict[str, Any] = {
    "date": datetime.datetime.fromisoformat,
    "zoned date": datetime.datetime.fromisoformat,
    "time": datetime.time.fromisoformat,
    "duration": lambda number: datetime.timedelta(microseconds=number),
    "period": lambda frequency, ordinal: pd.Period(ordinal=ordinal, freq=frequency),
    "interval": lambda closed, *ends: pd.Interval(*map(_end_of, ends), closed=closed),
}
