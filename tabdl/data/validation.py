"""The checks of what the user gives: X as columns, y as an array, weights."""

from collections.abc import Callable, Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from narwhals.exceptions import DuplicateError
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    assert_all_finite,
    check_array,
    check_consistent_length,
    column_or_1d,
    validate_data,
)

from tabdl.data.columns import Column, is_frame, labels_of, read_columns
from tabdl.data.dataset import Dataset

# A sparse X that would take more memory when dense is refused.
LARGEST_DENSE = 2**32  # bytes


def read_dataset(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    check_y: Callable[[Any, str], np.ndarray],
    names: tuple[str, str, str],
    kinds: Sequence[str] | None = None,
    column_names: Sequence[str] | None = None,
) -> Dataset:
    """Check X, y and weights, and return them as a :class:`Dataset`.

    Parameters
    ----------
    estimator : TabularEstimator
        Its ``n_features_in_`` and ``feature_names_in_`` are set, or compared when ``kinds`` is
        given; its ``categorical_features`` says which columns are categories.
    check_y : callable
        ``(y, name) -> ndarray``; raises for a target that cannot be used.
    names : tuple of three str
        What to call X, y and the weights in messages.
    kinds, column_names : list of str, optional
        The kind and the name of each column, where training rows have settled them.
    """
    estimator_name = type(estimator).__name__
    columns = read_X(estimator, X, kinds=kinds, column_names=column_names, name=names[0])
    if y is None:
        raise ValueError(f"{estimator_name} requires y to be passed, but the target y is None.")
    y = check_y(y, names[1])
    if len(columns[0]) != len(y):
        check_consistent_length(X, y)
    weight = check_weight(sample_weight, len(y), estimator_name, names[2])
    X = X.tocsr() if hasattr(X, "tocsr") else X  # whose rows can be chosen
    return Dataset(X, y, weight, columns=tuple(columns))


def read_X(
    estimator: Any,
    X: Any,
    *,
    kinds: Sequence[str] | None,
    column_names: Sequence[str] | None = None,
    name: str = "X",
) -> list[Column]:
    """Check X as scikit-learn does and return its columns; see :func:`read_dataset`."""
    X = check_X(estimator, X, reset=kinds is None, name=name)
    return read_columns(
        X,
        estimator_name=type(estimator).__name__,
        kinds=kinds,
        column_names=column_names,
        categorical=estimator.categorical_features,
    )


def check_X(
    estimator: Any, X: Any, *, reset: bool, name: str = "X", accept_sparse: bool = False
) -> Any:
    """Return X as a data frame or a 2-d array, checked as scikit-learn does.

    Parameters
    ----------
    estimator : BaseEstimator
    X : data frame, 2-d array, list of rows or sparse matrix
    reset : bool
        Whether ``n_features_in_`` and ``feature_names_in_`` are set; else they are compared.
    name : str
        What to call X in messages.
    accept_sparse : bool
        Whether a sparse X stays so, as csr; else it becomes dense.

    Raises
    ------
    TypeError
        For a table whose rows are not computed yet.
    ValueError
        For names that occur twice, no rows or columns, or a sparse X too large to be dense.
    """
    if not reset and _is_as_at_fit(estimator, X):
        return X
    estimator_name = type(estimator).__name__
    if is_frame(X):
        _check_frame(estimator, X, reset, name)
        return X
    X = _as_array(X, estimator_name, name, accept_sparse)
    return validate_data(
        estimator,
        X,
        reset=reset,
        dtype=None,
        ensure_all_finite=False,
        accept_sparse="csr" if accept_sparse else False,
    )


def _is_as_at_fit(estimator, X):
    """Return whether X is a usual table with the names of fit, so that every check would pass.

    scikit-learn's checks alone take half a millisecond.
    """
    names = getattr(estimator, "feature_names_in_", None)
    if isinstance(X, pd.DataFrame):
        return len(X) > 0 and names is not None and labels_of(X) == names.tolist()
    is_plain = type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind in "biuf"
    n_features = getattr(estimator, "n_features_in_", None)
    return is_plain and names is None and len(X) > 0 and X.shape[1] == n_features


def _check_frame(estimator, X, reset, name):
    estimator_name = type(estimator).__name__
    try:
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    except DuplicateError:
        labels = [str(label) for label in getattr(X, "column_names", X.columns)]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        raise ValueError(
            f"{estimator_name}: the column names of {name} must be unique; more than one column is "
            f"called {', '.join(map(repr, twice))}. Rename or drop the others."
        ) from None
    if 0 in (shape := tuple(X.shape)):
        raise ValueError(
            f"{estimator_name}: {name} has {shape[0]} sample(s) and {shape[1]} feature(s) "
            f"(shape={shape}) while a minimum of 1 is required."
        )


def _as_array(X, estimator_name, name, accept_sparse):
    """Return what is no data frame as an array; a list of rows as one of objects."""
    if hasattr(X, "tocsr"):
        return X if accept_sparse else _dense(X, estimator_name, name)
    if isinstance(X, np.ma.MaskedArray):
        is_number = X.dtype.kind in "biuf"
        missing = np.ma.getmaskarray(X)
        nothing: Any = np.nan if is_number else None
        return np.where(missing, nothing, np.ma.getdata(X))
    if _is_lazy(X):
        raise TypeError(
            f"{estimator_name}: {name} is a {_type_name(X)}, whose rows are not computed yet; pass "
            "a data frame: call .collect() of polars, .df() of duckdb, .compute() of dask, or "
            ".execute() of ibis."
        )
    return X if hasattr(X, "__array__") else np.asarray(X, dtype=object)


def _is_lazy(X):
    try:
        return isinstance(nw.from_native(X), nw.LazyFrame)
    except TypeError:
        return False


def _type_name(X):
    return f"{type(X).__module__.split('.')[0].lstrip('_')} {type(X).__name__}"


def _dense(X, estimator_name, name):
    """Return a sparse matrix as a dense array, where that has a bearable size."""
    n_bytes = X.shape[0] * X.shape[1] * X.dtype.itemsize
    if n_bytes > LARGEST_DENSE:
        raise ValueError(
            f"{estimator_name}: {name} is sparse with the shape {X.shape} and would take "
            f"{n_bytes / 1e9:.1f} GB as the dense table that networks need, more than "
            f"{LARGEST_DENSE / 1e9:.1f} GB; choose columns, or reduce them with "
            "sklearn.decomposition.TruncatedSVD."
        )
    return X.toarray()


def check_weight(weight: Any, n_rows: int, estimator_name: str, name: str) -> np.ndarray | None:
    """Return sample weights as float64 of shape (N,), or None.

    Raises
    ------
    ValueError
        For another shape, a negative, missing or infinite weight, when no weight is positive, or
        when their sum leaves float64.
    """
    if weight is None:
        return None
    weight = np.asarray(weight, dtype=np.float64)
    if weight.shape != (n_rows,):
        raise ValueError(
            f"{estimator_name}: {name} must have shape ({n_rows},), one weight a row, got shape "
            f"{weight.shape}."
        )
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError(
            f"{estimator_name}: {name} must be finite and not negative, got "
            f"{weight[~(weight >= 0) | np.isinf(weight)][0]}."
        )
    if not weight.any():
        raise ValueError(
            f"{estimator_name}: {name} must have a weight that is not zero; all weights are zero."
        )
    with np.errstate(over="ignore"):
        total = weight.sum()
    if np.isinf(total):
        raise ValueError(
            f"{estimator_name}: {name} must have a finite sum, got weights up to "
            f"{weight.max():g}; divide them by a constant."
        )
    return weight


def _target_array(y, estimator_name, name):
    if nw.dependencies.is_into_series(y):
        y = nw.from_native(y, series_only=True).to_numpy()
    y = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
    if y.dtype == object and pd.isna(y).any():
        raise ValueError(
            f"{estimator_name}: Input {name} contains NaN: missing targets cannot be learned; drop "
            f"those rows."
        )
    return y


def class_labels(y: Any, estimator_name: str, name: str) -> np.ndarray:
    """Return labels (N,) of any type, or an indicator array (N, C) of several labels a row."""
    y = _target_array(y, estimator_name, name)
    if y.dtype.kind == "f":
        assert_all_finite(y, estimator_name=estimator_name, input_name=name)
    check_classification_targets(y)
    if type_of_target(y, input_name=name) == "multilabel-indicator":
        return y.astype(np.int64)
    return column_or_1d(y, warn=True)


def numeric_target(y: Any, estimator_name: str, name: str) -> np.ndarray:
    """Return targets as float64, (N,) or (N, C)."""
    return check_array(
        _target_array(y, estimator_name, name),
        dtype=np.float64,  # pyright: ignore[reportArgumentType]  # its stub knows only text
        ensure_2d=False,
        allow_nd=False,
        input_name=name,
        estimator=estimator_name,
    )
