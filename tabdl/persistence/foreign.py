"""Boosted trees of other libraries in a saved ensemble: each library's own format, as bytes.

The parsers of these formats are the libraries' own, in C++. They are made for files that somebody
trusts: one that was made to do harm may crash the process, or do worse. So a reader parses them
only where its caller says so. The digest of the bytes stands in the tree, and bytes that were
damaged by accident are refused before a parser sees them.
"""

import hashlib
import importlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

_CLASSES = {
    "xgboost": ("XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"),
    "lightgbm": ("LGBMClassifier", "LGBMRegressor"),
    "catboost": ("CatBoostClassifier", "CatBoostRegressor"),
}


@dataclass(frozen=True)
class ForeignState:
    """A fitted estimator of another library.

    Attributes
    ----------
    model : ndarray of uint8
        The trees in the library's own format.
    attributes : dict
        What the estimator holds beside them, by name; only LightGBM keeps the classes there.
    """

    model: np.ndarray
    attributes: dict[str, Any]


def foreign_name(estimator: Any) -> str | None:
    """Return such as "xgboost.XGBRegressor"; None for an estimator of no class of the three."""
    kind = type(estimator)
    library = kind.__module__.partition(".")[0]
    is_known = kind.__name__ in _CLASSES.get(library, ())
    return f"{library}.{kind.__name__}" if is_known else None


def foreign_version(name: str) -> str:
    """Return the version of the library of a :func:`foreign_name`."""
    return version(name.partition(".")[0])


def digest_of(model: np.ndarray) -> str:
    """Return the SHA-256 of the bytes of a model."""
    return hashlib.sha256(model.tobytes()).hexdigest()


def foreign_state(estimator: Any) -> ForeignState | None:
    """Return the state of a fitted estimator; None for one that is not fitted."""
    library = str(foreign_name(estimator)).partition(".")[0]
    own_test: Callable[[], bool] = getattr(
        estimator, "is_fitted" if library == "catboost" else "__sklearn_is_fitted__"
    )
    if not own_test():
        return None
    data, attributes = _WRITE[library](estimator)
    return ForeignState(np.frombuffer(data, np.uint8), attributes)


def read_foreign(name: str, params: dict[str, Any], state: ForeignState | None) -> Any:
    """Return the estimator of a :func:`foreign_name`.

    Raises
    ------
    ValueError
        For another class, a library that is not installed, and what the library refuses.
    """
    library, _, kind = str(name).partition(".")
    if kind not in _CLASSES.get(library, ()):
        raise ValueError(f"it holds a {str(name)[:60]!r}, which is no estimator of boosted trees")
    try:
        module = importlib.import_module(library)
    except ImportError as error:
        raise ValueError(f"it holds a {name}, and {library} is not installed") from error
    try:
        estimator = getattr(module, kind)(**params)
        if state is not None:
            _READ[library](module, estimator, state)
    except Exception as error:  # each library raises exceptions of its own
        raise ValueError(
            f"{library} {version(library)} cannot read the {name}: {type(error).__name__}: "
            f"{str(error)[:200]}"
        ) from error
    return estimator


def _write_xgboost(estimator):
    return bytes(estimator.get_booster().save_raw("ubj")), {}


def _read_xgboost(module, estimator, state):
    params = estimator.get_params(deep=False)
    estimator.load_model(bytearray(state.model))
    estimator.set_params(**params)  # some of which loading has filled in


def _write_catboost(estimator):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.cbm"
        estimator.save_model(str(path), format="cbm")
        return path.read_bytes(), {}


def _read_catboost(module, estimator, state):
    estimator.load_model(blob=state.model.tobytes())


def _write_lightgbm(estimator):
    """Return the text of the trees, and the estimator's other attributes as plain values.

    LightGBM has no way from its own format to an estimator, only to the trees. So the rest of the
    estimator is what its pickle would hold.
    """
    from sklearn.preprocessing import LabelEncoder

    params = estimator.get_params(deep=False)
    own = {key: v for key, v in estimator.__getstate__().items() if key not in params}
    trees = [key for key, value in own.items() if value is estimator.booster_]
    labels = {key: v.classes_ for key, v in own.items() if isinstance(v, LabelEncoder)}
    plain = {key: v for key, v in own.items() if key not in trees and key not in labels}
    attributes = {"trees": trees, "labels": labels, "plain": plain}
    return estimator.booster_.model_to_string().encode(), attributes


def _read_lightgbm(module, estimator, state):
    from sklearn.preprocessing import LabelEncoder

    attributes = dict(state.attributes["plain"])
    booster = module.Booster(model_str=state.model.tobytes().decode())
    attributes |= dict.fromkeys(state.attributes["trees"], booster)
    for name, classes in state.attributes["labels"].items():
        attributes[name] = LabelEncoder()
        attributes[name].classes_ = classes
    if any(hasattr(type(estimator), name) for name in attributes):
        raise ValueError("an attribute has the name of a method")
    vars(estimator).update(attributes)


_WRITE: dict[str, Any] = {
    "xgboost": _write_xgboost,
    "lightgbm": _write_lightgbm,
    "catboost": _write_catboost,
}
_READ: dict[str, Any] = {
    "xgboost": _read_xgboost,
    "lightgbm": _read_lightgbm,
    "catboost": _read_catboost,
}
