"""An estimator as a tree of JSON values, and back; arrays stand beside the tree.

JSON has no tuples, arrays, infinities and dicts of other keys than text. A dict with one name that
begins with ``$`` stands for each of them, and for objects of a short list of classes: the
estimators, the settings of embeddings and boosted trees of other libraries (``foreign.py``). A tree
names no other class and no function.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NoReturn

import numpy as np
import torch

from tabdl.base.estimator import TabularEstimator
from tabdl.base.pretrained import Pretrained
from tabdl.embeddings import PBLD, Linear, Periodic, PiecewiseLinear
from tabdl.ensemble.base import BaseEnsemble
from tabdl.params import check_params
from tabdl.persistence.foreign import (
    ForeignState,
    digest_of,
    foreign_name,
    foreign_state,
    foreign_version,
    read_foreign,
)
from tabdl.persistence.tensors import has_name

_SETTINGS: dict[str, Any] = {cls.__name__: cls for cls in (Linear, Periodic, PBLD, PiecewiseLinear)}
_INFINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
# Labels in an array of text may have room for so many letters, or for the longest of them.
_WIDEST = 256
_MOST_THREADS = 1024


class TreeWriter:
    """Writes estimators as trees.

    Parameters
    ----------
    own_classes : dict from name to class
        The estimators of tabdl.

    Attributes
    ----------
    arrays : dict from name to ndarray
        The arrays of what was written, by their place in the tree.
    has_foreign : bool
        Whether boosted trees of other libraries were written.
    """

    def __init__(self, own_classes: Mapping[str, type]) -> None:
        self.own_classes = own_classes
        self.arrays: dict[str, np.ndarray] = {}
        self.has_foreign = False

    def write(self, value: Any, place: str = "") -> Any:
        """Return the JSON values of ``value``, whose place in the tree is for messages.

        Raises
        ------
        TypeError
            For what a file cannot hold; the message names its place.
        """
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, str | bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"$float": str(value)}
        if isinstance(value, list):
            return self._items(value, place)
        if isinstance(value, tuple):
            return {"$tuple": self._items(value, place)}
        if isinstance(value, dict):
            return self._dict(value, place)
        if isinstance(value, np.ndarray):
            return self._array(value, place)
        if type(value) in _SETTINGS.values():
            own = {field.name: getattr(value, field.name) for field in fields(value)}
            return {"$embedding": type(value).__name__, "params": self._dict(own, place)}
        if isinstance(value, TabularEstimator | BaseEnsemble):
            return self._estimator(value, place)
        if foreign_name(value) is not None:
            return self._foreign(value, place)
        _refuse(place, value)

    def _items(self, items, place):
        return [self.write(item, _join(place, str(i))) for i, item in enumerate(items)]

    def _dict(self, value, place):
        if all(isinstance(key, str) and key[:1] != "$" for key in value):
            return {key: self.write(item, _join(place, key)) for key, item in value.items()}
        pairs = [list(pair) for pair in value.items()]
        return {"$dict": self._items(pairs, place)}

    def _array(self, array, place):
        if has_name(array.dtype):
            while place in self.arrays:  # names with dots can meet
                place += "'"
            self.arrays[place] = array
            return {"$array": place}
        if array.ndim != 1 or array.dtype.kind not in "OU":
            _refuse(place, array)
        items = array.tolist()
        if array.dtype.kind == "U":
            longest = max(map(len, items), default=1)
            width = array.dtype.itemsize // 4
            return {"$text": items, "width": width if width <= _WIDEST else max(longest, 1)}
        if not all(isinstance(item, str | bool | int | float) for item in items):
            _refuse(place, array)
        return {"$objects": self._items(items, place)}

    def _estimator(self, estimator, place):
        state = dict(estimator.__getstate__())
        del state["_tabdl_version"]
        fitted = state.pop("fitted", None)
        params = {name: state.pop(name) for name in estimator.get_params(deep=False)}
        name = type(estimator).__name__
        if state:
            raise TypeError(
                f"{name}: a file cannot hold the attribute {sorted(state)[0]!r}, which is none of "
                "tabdl's; delete it first."
            )
        where = f"{place}.{name}" if place else name
        return {
            "$estimator": name,
            "is_own": type(estimator) is self.own_classes.get(name),
            "params": {key: self._param(key, value, where) for key, value in params.items()},
            "fitted": self.write(fitted, _join(place, "fitted")),
        }

    def _foreign(self, estimator, place):
        self.has_foreign = True
        name = str(foreign_name(estimator))
        params = estimator.get_params(deep=False).items()
        where = _join(place, name)
        state = foreign_state(estimator)
        fitted = None
        if state is not None:
            fitted = {
                "sha256": digest_of(state.model),
                "model": self.write(state.model, _join(place, "model")),
                "attributes": self.write(state.attributes, _join(place, "attributes")),
            }
        return {
            "$foreign": name,
            "version": foreign_version(name),
            "params": {key: self._param(key, value, where) for key, value in params},
            "fitted": fitted,
        }

    def _param(self, name: str, value: Any, where: str) -> Any:
        place = f"{where}.{name}"
        if name == "callbacks" and value is not None:
            warnings.warn(f"{place} is left out: a file holds no functions.", stacklevel=2)
            return None
        if isinstance(value, Pretrained):
            warnings.warn(
                f"{place} is left out: a file holds no pretraining; its place has None.",
                stacklevel=2,
            )
            return None
        if name == "categorical_features" and value is not None and not isinstance(value, str):
            value = value.tolist() if hasattr(value, "tolist") else list(value)
        return self.write(value, place)


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _refuse(place: str, value: Any) -> NoReturn:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(
        f"{place} is a {kind}, which a file of tabdl cannot hold: it holds estimators of tabdl, "
        "numbers, text, lists and arrays. If it is a parameter, set it to one of these or to None "
        "before, for example with set_params; for members of other libraries than XGBoost, "
        "LightGBM and CatBoost use pickle or skops."
    )


class TreeReader:
    """Reads estimators from trees, of which nothing is trusted.

    Parameters
    ----------
    arrays : dict from name to ndarray
        Each must be named once; an array that was read is taken out.
    own_classes, other_classes : dict from name to class
        The estimators of tabdl, and those that the caller passes.
    foreign : bool
        Whether boosted trees are given to the parsers of their libraries; else they are refused.
    """

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        own_classes: Mapping[str, type],
        other_classes: Mapping[str, type],
        foreign: bool,
    ) -> None:
        self.foreign = foreign
        self.arrays = arrays
        self.own_classes = own_classes
        self.other_classes = other_classes

    def read(self, node: Any) -> Any:
        """Return what JSON values stand for.

        Raises
        ------
        ValueError
            For what no :class:`TreeWriter` writes.
        """
        if isinstance(node, list):
            return [self.read(item) for item in node]
        if not isinstance(node, dict):
            return node
        tags = [name for name in node if name[:1] == "$"]
        if not tags:
            return {name: self.read(item) for name, item in node.items()}
        names, read = _TAGS.get(tags[0], (None, None))
        if read is None or set(node) != names:
            raise ValueError(f"it has {tags[0]!r} with the names {sorted(node)[:10]}")
        return read(self, *node.values())

    def _array(self, name):
        if not isinstance(name, str) or name not in self.arrays:
            raise ValueError(f"it has no tensor {name!r}, or names it twice")
        return self.arrays.pop(name).copy()

    def _float(self, text):
        if text not in _INFINITE:
            raise ValueError(f"{text!r} is no number")
        return _INFINITE[text]

    def _tuple(self, items):
        return tuple(_list(self.read(items)))

    def _dict(self, pairs):
        found = dict(map(_pair, _list(self.read(pairs))))
        if len(found) != len(pairs):
            raise ValueError("a key stands twice in one dict")
        return found

    def _text(self, items, width):
        is_text = all(isinstance(item, str) for item in _list(items))
        longest = max(map(len, items), default=1) if is_text else 0
        if not is_text or type(width) is not int or not longest <= width <= max(_WIDEST, longest):
            raise ValueError("an array of text must have text and the width of its letters")
        return np.array(items, dtype=f"<U{max(width, 1)}")

    def _objects(self, items):
        items = self.read(_list(items))
        if not all(isinstance(item, str | bool | int | float) for item in items):
            raise ValueError("an array of objects must have text and numbers")
        array = np.empty(len(items), dtype=object)
        array[:] = items
        return array

    def _settings(self, name, params):
        if name not in _SETTINGS or not isinstance(params, dict):
            raise ValueError(f"{name!r} is no setting of an embedding of tabdl")
        return _SETTINGS[name](**self.read(params))

    def _estimator(self, name, is_own, params, fitted):
        cls = self._class(name, is_own)
        if not isinstance(params, dict):
            raise ValueError(f"the parameters of {name} are no dict")
        estimator = cls(**self.read(params))
        check_params(estimator)
        if isinstance(estimator, TabularEstimator) and (estimator.n_jobs or 0) > _MOST_THREADS:
            raise ValueError(f"{name}: n_jobs must be at most {_MOST_THREADS}")
        if fitted is not None:
            estimator.__setstate__({"fitted": self.read(fitted)})
            check_weights(estimator)
        return estimator

    def _foreign(self, name, version, params, fitted):
        if not self.foreign:
            raise ValueError(
                f"it holds a {str(name)[:60]!r} of {str(version)[:20]!r}, which the parser of that "
                "library reads; if you trust where the file comes from, allow it: "
                "tabdl.load(path, foreign=True)"
            )
        if not isinstance(params, dict):
            raise ValueError(f"the parameters of {str(name)[:60]!r} are no dict")
        return read_foreign(name, self.read(params), self._foreign_state(name, fitted))

    def _foreign_state(self, name, fitted):
        if fitted is None:
            return None
        if not isinstance(fitted, dict) or set(fitted) != {"sha256", "model", "attributes"}:
            raise ValueError(f"the state of {name} has other names")
        model, attributes = self.read(fitted["model"]), self.read(fitted["attributes"])
        if not isinstance(model, np.ndarray) or digest_of(model) != fitted["sha256"]:
            raise ValueError(f"the bytes of {name} are not those that were saved")
        return ForeignState(model, attributes)

    def _class(self, name, is_own):
        classes = self.own_classes if is_own is True else self.other_classes
        if not isinstance(name, str) or name not in classes:
            raise ValueError(
                f"it holds a {str(name)[:60]!r}, which is no estimator of this tabdl; if it is a "
                "class of yours, pass it: tabdl.load(path, classes=[…])"
            )
        return classes[name]


_TAGS: dict[str, tuple[set[str], Any]] = {
    "$array": ({"$array"}, TreeReader._array),
    "$float": ({"$float"}, TreeReader._float),
    "$tuple": ({"$tuple"}, TreeReader._tuple),
    "$dict": ({"$dict"}, TreeReader._dict),
    "$text": ({"$text", "width"}, TreeReader._text),
    "$objects": ({"$objects"}, TreeReader._objects),
    "$embedding": ({"$embedding", "params"}, TreeReader._settings),
    "$estimator": ({"$estimator", "is_own", "params", "fitted"}, TreeReader._estimator),
    "$foreign": ({"$foreign", "version", "params", "fitted"}, TreeReader._foreign),
}


def check_weights(estimator: Any) -> None:
    """Raise ValueError for a network whose weights are not finite."""
    if not isinstance(estimator, TabularEstimator):
        return
    for name, parameter in estimator.module_.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(f"{type(estimator).__name__}: {name} of the network is not finite.")


def _list(items: Any) -> list[Any]:
    if not isinstance(items, list):
        raise ValueError("a list is something else")
    return items


def _pair(item: Any) -> tuple[Any, Any]:
    key, value = _list(item)
    return key, value
