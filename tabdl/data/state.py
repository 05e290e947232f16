"""Fitted state as plain values: what pickles, skops and files of tabdl hold of a fitted object.

A state is a dict from names to numbers, text, booleans, None, arrays, and lists or dicts of these.
Nothing of a state is trusted: who reads one, reads it through :class:`State`.
"""

import math
from collections.abc import Collection
from typing import Any, NoReturn

import numpy as np


class State:
    """The fields of a state, checked as they are read.

    Parameters
    ----------
    fields : object
        What should be a dict with these names, and no others.
    names : collection of str
    where : str
        What the state belongs to, for messages.

    Raises
    ------
    ValueError
        From the constructor for other names, from each method for another value than it returns.
    """

    def __init__(self, fields: Any, names: Collection[str], where: str) -> None:
        self.where = where
        if not isinstance(fields, dict) or set(fields) != set(names):
            got = list(fields)[:20] if isinstance(fields, dict) else type(fields).__name__
            raise ValueError(
                f"{where}: a saved state must have {sorted(names)}, got {got}; the file is damaged "
                "or of another version of tabdl."
            )
        self.fields = fields

    def refuse(self, name: str, allowed: str) -> NoReturn:
        """Raise the ValueError of a field."""
        value = self.fields[name]
        shown = value.shape if isinstance(value, np.ndarray) else repr(value)[:80]
        raise ValueError(
            f"{self.where}: in a saved state, {name} must be {allowed}, got {shown} of type "
            f"{type(value).__name__}; the file is damaged or of another version of tabdl."
        )

    def text(self, name: str, *allowed: str) -> str:
        """Return a text, one of those allowed where some are given."""
        value = self.fields[name]
        if not isinstance(value, str) or (allowed and value not in allowed):
            self.refuse(name, f"one of {allowed}" if allowed else "a text")
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean."""
        value = self.fields[name]
        if not isinstance(value, bool | np.bool_):
            self.refuse(name, "True or False")
        return bool(value)

    def integer(self, name: str, low: float = -math.inf, high: float = math.inf) -> int:
        """Return an int in ``[low, high]``."""
        value = self.fields[name]
        is_int = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not is_int or not low <= value <= high:
            self.refuse(name, f"an int in [{low}, {high}]")
        return int(value)

    def number(self, name: str, above: float = -math.inf) -> float:
        """Return a finite float above ``above``."""
        value = self.fields[name]
        if not isinstance(value, float) or not math.isfinite(value) or not value > above:
            self.refuse(name, f"a finite float above {above}")
        return float(value)

    def items(self, name: str, kind: type = object, length: int | None = None) -> list[Any]:
        """Return a list of objects of one type, of ``length`` where it is given."""
        value = self.fields[name]
        is_list = isinstance(value, list) and all(isinstance(item, kind) for item in value)
        if not is_list or length not in (None, len(value)):
            how_many = "" if length is None else f"{length} "
            self.refuse(name, f"a list of {how_many}{kind.__name__}")
        return value

    def table(self, name: str) -> dict[str, Any]:
        """Return a dict whose keys are text."""
        value = self.fields[name]
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            self.refuse(name, "a dict from text")
        return value

    def array(
        self, name: str, kinds: str, shape: tuple[int | None, ...], finite: bool = True
    ) -> np.ndarray:
        """Return an array whose dtype has one of the ``kinds``.

        Parameters
        ----------
        name : str
        kinds : str
            Letters of numpy, such as "f".
        shape : tuple of int or None
            None: any length.
        finite : bool
            Whether floats must be finite.
        """
        value = self.fields[name]
        if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds:
            self.refuse(name, f"an array of kind {kinds!r}")
        sizes = zip(value.shape, shape, strict=False)
        if len(value.shape) != len(shape) or any(want not in (None, size) for size, want in sizes):
            self.refuse(name, f"an array of shape {shape}")
        if finite and value.dtype.kind == "f" and not np.isfinite(value).all():
            self.refuse(name, "finite numbers")
        return value

    def optional_array(
        self, name: str, kinds: str, shape: tuple[int | None, ...]
    ) -> np.ndarray | None:
        """Return an array as :meth:`array` does, or None."""
        return None if self.fields[name] is None else self.array(name, kinds, shape)
