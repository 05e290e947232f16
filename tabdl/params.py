"""Hyper-parameters: the default, the legal values and the meaning of each, in one declaration.

The fields that :func:`param` declares are read three times: by the generated ``__init__``, by
:func:`check_params`, and by :func:`describe_params`, which writes the *Parameters* section of an
docstring of an estimator.
"""

import dataclasses
import inspect
import math
import textwrap
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Protocol

REQUIRED = dataclasses.MISSING
_DOC_WIDTH = 88


class Rule(Protocol):
    """The legal values of a parameter; ``str`` of a rule names them."""

    def accepts(self, value: Any, /) -> bool:
        """Return whether ``value`` is legal."""
        ...


class Int:
    """Integers in ``[low, high]``; booleans are not integers here."""

    def __init__(self, low: float, high: float = math.inf) -> None:
        self.low = low
        self.high = high

    def accepts(self, value: Any, /) -> bool:
        """Return whether ``value`` is legal."""
        if not isinstance(value, Integral) or isinstance(value, bool):
            return False
        return self.low <= int(value) <= self.high

    def __str__(self) -> str:
        return (
            f"an int >= {self.low}"
            if self.high == math.inf
            else f"an int in [{self.low}, {self.high}]"
        )


class Float:
    """Finite real numbers in an interval, e.g. ``Float("[0, 1)")``."""

    def __init__(self, interval: str) -> None:
        low, high = interval[1:-1].split(",")
        self.interval = interval
        self.low = float(low)
        self.high = float(high)

    def accepts(self, value: Any, /) -> bool:
        """Return whether ``value`` is legal."""
        if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
            return False
        number = float(value)
        above = number > self.low if self.interval[0] == "(" else number >= self.low
        below = number < self.high if self.interval[-1] == ")" else number <= self.high
        return above and below

    def __str__(self) -> str:
        return f"a float in {self.interval}"


class OneOf:
    """A few named values."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def accepts(self, value: Any, /) -> bool:
        """Return whether ``value`` is legal."""
        # Types first: 0 == False and array == "auto" must not pass for a listed value.
        return any(isinstance(value, type(v)) and value == v for v in self.values)

    def __str__(self) -> str:
        return ", ".join(repr(v) for v in self.values)


class Predicate:
    """Objects for which ``test`` returns True; ``words`` name them in messages."""

    def __init__(self, words: str, test: Callable[[Any], bool]) -> None:
        self.words = words
        self.test = test

    def accepts(self, value: Any, /) -> bool:
        """Return whether ``value`` is legal."""
        return self.test(value)

    def __str__(self) -> str:
        return self.words


class ListOf:
    """Non-empty sequences (not strings) whose items all obey one rule."""

    def __init__(self, item: Rule) -> None:
        self.item = item

    def accepts(self, value: Any, /) -> bool:
        """Return whether ``value`` is legal."""
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        return is_list and len(value) > 0 and all(self.item.accepts(v) for v in value)

    def __str__(self) -> str:
        return f"a list with {self.item} for each item"


def param(*allowed: Rule, default: Any = REQUIRED, doc: str) -> Any:
    """Return the dataclass field of a hyper-parameter.

    Parameters
    ----------
    *allowed : Int, Float, OneOf, Predicate or ListOf
        A value is legal when any of these rules accepts the value.
    default : object, optional
        The default value; immutable. Without one the parameter is required.
    doc : str
        The meaning of the parameter, with its unit.
    """
    return dataclasses.field(default=default, metadata={"allowed": allowed, "doc": doc})


def _fields(cls: type) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(cls) if "allowed" in field.metadata]


def _words(field: dataclasses.Field) -> str:
    return " or ".join(str(rule) for rule in field.metadata["allowed"])


def check_params(estimator: Any) -> None:
    """Check all parameters of an estimator.

    Raises
    ------
    ValueError
        For the first parameter with an illegal value. The message names the estimator, the
        parameter, what is allowed and what was given.
    """
    for field in _fields(type(estimator)):
        value = getattr(estimator, field.name)
        if not any(rule.accepts(value) for rule in field.metadata["allowed"]):
            raise ValueError(
                f"{type(estimator).__name__}: {field.name} must be {_words(field)}, got "
                f"{value!r} of type {type(value).__name__}."
            )


def describe_params(cls: type, shared: type) -> str:
    """Return the numpydoc *Parameters* section of the docstring of ``cls``.

    Parameters
    ----------
    cls : type
        A dataclass whose fields were made by :func:`param`.
    shared : type
        A base class of ``cls``, whose fields come last.
    """
    last = inspect.get_annotations(shared).keys()
    fields = sorted(_fields(cls), key=lambda field: field.name in last and field.name != "lr")
    return "Parameters\n----------\n" + "\n".join(map(_entry, fields))


def _entry(field: dataclasses.Field) -> str:
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
