"""A hyper-parameter in one line: its default, its legal values and its meaning; and the check that
``fit`` makes.

The fields that :func:`param` declares are read three times: by the generated ``__init__``, by
:func:`check_params`, and by :func:`describe_params`, which writes the *Parameters* section of an
estimator's docstring.
"""

import dataclasses
import inspect
import math
import textwrap
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Protocol

REQUIRED = dataclasses.MISSING
_DOC_WIDTH = 88


class Rule(Protocol):
    """What a parameter may be; its text names the legal values."""

    def accepts(self, value: Any) -> bool:
        """Return whether ``value`` is legal."""
        ...


class Int:
    """Integers in ``[low, high]``; booleans are not integers here."""

    def __init__(self, low, high=math.inf):
        self.low, self.high = low, high

    def accepts(self, value):
        return (
            isinstance(value, Integral)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        )

    def __str__(self):
        return (
            f"an int >= {self.low}"
            if self.high == math.inf
            else f"an int in [{self.low}, {self.high}]"
        )


class Float:
    """Finite real numbers in an interval, e.g. ``Float("[0, 1)")``."""

    def __init__(self, interval):
        self.interval = interval
        self.low, self.high = (float(bound) for bound in interval[1:-1].split(","))

    def accepts(self, value):
        if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
            return False
        above = value > self.low if self.interval[0] == "(" else value >= self.low
        below = value < self.high if self.interval[-1] == ")" else value <= self.high
        return above and below

    def __str__(self):
        return f"a float in {self.interval}"


class OneOf:
    """A few named values."""

    def __init__(self, *values):
        self.values = values

    def accepts(self, value):
        # Types first: 0 == False and array == "auto" must not pass for a listed value.
        return any(isinstance(value, type(v)) and value == v for v in self.values)

    def __str__(self):
        return ", ".join(repr(v) for v in self.values)


class Predicate:
    """Objects that a test accepts, with words for them."""

    def __init__(self, words, test):
        self.words, self.accepts = words, test

    def __str__(self):
        return self.words


class ListOf:
    """Non-empty sequences (not strings) whose items all obey one rule."""

    def __init__(self, item):
        self.item = item

    def accepts(self, value):
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        return is_list and len(value) > 0 and all(self.item.accepts(v) for v in value)

    def __str__(self):
        return f"a list with {self.item} for each item"


def param(*allowed: Rule, default: Any = REQUIRED, doc: str) -> Any:
    """Return the dataclass field of a hyper-parameter.

    Parameters
    ----------
    *allowed : Int, Float, OneOf, Predicate or ListOf
        A value is legal when any of them accepts it.
    default : object, optional
        The default value; immutable. Without one the parameter is required.
    doc : str
        What the parameter means, with its unit.
    """
    return dataclasses.field(default=default, metadata={"allowed": allowed, "doc": doc})


def _fields(cls):
    return [field for field in dataclasses.fields(cls) if "allowed" in field.metadata]


def _words(field):
    return " or ".join(str(rule) for rule in field.metadata["allowed"])


def check_params(estimator):
    """Raise ValueError for the first parameter of ``estimator`` that holds an illegal value.

    The message names the estimator, the parameter, what is allowed and what was given.
    """
    for field in _fields(type(estimator)):
        value = getattr(estimator, field.name)
        if not any(rule.accepts(value) for rule in field.metadata["allowed"]):
            raise ValueError(
                f"{type(estimator).__name__}: {field.name} must be {_words(field)}, got "
                f"{value!r} of type {type(value).__name__}."
            )


def describe_params(cls, shared):
    """Return the numpydoc *Parameters* section of ``cls``; the fields of the class ``shared`` come
    last.

    Both are dataclasses whose fields were made by :func:`param`.
    """
    last = inspect.get_annotations(shared).keys()
    fields = sorted(_fields(cls), key=lambda field: field.name in last and field.name != "lr")
    return "Parameters\n----------\n" + "\n".join(map(_entry, fields))


def _entry(field):
    default = "" if field.default is REQUIRED else f", default={field.default!r}"
    text = textwrap.fill(
        field.metadata["doc"],
        _DOC_WIDTH,
        initial_indent="    ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"{field.name} : {_words(field)}{default}\n{text}"
