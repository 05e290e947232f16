"""The checks of what the user gives: X as columns, y as an array, weights."""

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

from tabdl.data.columns import is_frame, read_columns
from tabdl.data.dataset import Dataset


def read_dataset(estimator, X, y, sample_weight, *, check_y, names, kinds=None):
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
    kinds : list of str, optional
        The kind of each column, where training rows have settled it.
    """
    estimator_name = type(estimator).__name__
    columns = read_X(estimator, X, kinds=kinds, name=names[0])
    if y is None:
        raise ValueError(f"{estimator_name} requires y to be passed, but the target y is None.")
    y = check_y(y, names[1])
    check_consistent_length(X, y)
    weight = check_weight(sample_weight, len(y), estimator_name, names[2])
    return Dataset(X, y, weight, columns=tuple(columns))


def read_X(estimator, X, *, kinds, name="X"):
    """Check X as scikit-learn does and return its columns; see :func:`read_dataset`."""
    estimator_name = type(estimator).__name__
    if is_frame(X):
        try:
            validate_data(estimator, X, reset=kinds is None, skip_check_array=True)
        except DuplicateError as error:
            raise ValueError(
                f"{estimator_name}: the column names of {name} must be unique. {error}"
            ) from None
        if 0 in (shape := tuple(X.shape)):
            raise ValueError(
                f"{estimator_name}: {name} has {shape[0]} sample(s) and {shape[1]} feature(s) "
                f"(shape={shape}) while a minimum of 1 is required."
            )
    else:
        if not hasattr(X, "__array__") and not hasattr(X, "tocsr"):
            X = np.asarray(X, dtype=object)  # a list of rows: each column finds its own type
        X = validate_data(estimator, X, reset=kinds is None, dtype=None, ensure_all_finite=False)
    return read_columns(
        X, estimator_name=estimator_name, kinds=kinds, categorical=estimator.categorical_features
    )


def check_weight(weight, n_rows, estimator_name, name):
    """Return sample weights as float64 of shape (N,), or None.

    Raises
    ------
    ValueError
        For another shape, a negative, missing or infinite weight, or when no weight is positive.
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


def class_labels(y, estimator_name, name):
    """Return labels (N,) of any type, or an indicator array (N, C) of several labels a row."""
    y = _target_array(y, estimator_name, name)
    if y.dtype.kind == "f":
        assert_all_finite(y, estimator_name=estimator_name, input_name=name)
    check_classification_targets(y)
    if type_of_target(y, input_name=name) == "multilabel-indicator":
        return y.astype(np.int64)
    return column_or_1d(y, warn=True)


def numeric_target(y, estimator_name, name):
    """Return targets as float64, (N,) or (N, C)."""
    return check_array(
        _target_array(y, estimator_name, name),
        dtype=np.float64,
        ensure_2d=False,
        allow_nd=False,
        input_name=name,
        estimator=estimator_name,
    )
