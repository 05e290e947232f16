"""The user's rows, checked: X as columns, y as an array, weights; and the choice of rows that are held out."""

from dataclasses import dataclass, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from narwhals.exceptions import DuplicateError
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import assert_all_finite, check_array, check_consistent_length, column_or_1d, validate_data

from tabdl.columns import Column, is_frame, read_columns


@dataclass(frozen=True)
class Part:
    """Some rows of a table.

    Attributes
    ----------
    X : the table as the user gave it, N rows
    columns : list of Column, N values each
    y : ndarray of shape (N,) or (N, C)
    weight : float64 ndarray of shape (N,) or None
    rows : int ndarray
        Which of the N rows belong to this part.
    """

    X: Any
    columns: list[Column]
    y: np.ndarray
    weight: np.ndarray | None
    rows: np.ndarray

    @property
    def targets(self):
        """``y`` of the part's rows."""
        return self.y[self.rows]

    @property
    def weights(self):
        """Weights of the part's rows; ones where the user gave none."""
        return np.ones(len(self.rows)) if self.weight is None else self.weight[self.rows]

    def table(self):
        """Return the user's X with the part's rows only."""
        if is_frame(self.X):
            return nw.from_native(self.X, eager_only=True)[self.rows.tolist(), :].to_native()
        return np.asarray(self.X)[self.rows]


def read_part(estimator, X, y, weight, *, names, kinds=None):
    """Check X, y and weights and return the rows with positive weight as a :class:`Part`.

    Parameters
    ----------
    estimator : TabularEstimator
        Its ``_check_y`` checks y; its ``n_features_in_`` and ``feature_names_in_`` are set, or compared when ``kinds`` is given.
    names : tuple of three str
        What to call X, y and the weights in messages.
    kinds : list of str, optional
        The kind of each column, where training rows have settled it.
    """
    owner = type(estimator).__name__
    columns = read_X(estimator, X, kinds=kinds, name=names[0])
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None.")
    y = estimator._check_y(y, names[1])
    check_consistent_length(X, y)
    weight = check_weight(weight, len(y), owner, names[2])
    return Part(X, columns, y, weight, np.arange(len(y)) if weight is None else np.flatnonzero(weight))


def read_X(estimator, X, *, kinds, name="X"):
    """Check X as scikit-learn does and return its columns; see :func:`read_part`."""
    owner = type(estimator).__name__
    if is_frame(X):
        try:
            validate_data(estimator, X, reset=kinds is None, skip_check_array=True)
        except DuplicateError as error:
            raise ValueError(f"{owner}: the column names of {name} must be unique. {error}") from None
        if 0 in (shape := tuple(X.shape)):
            raise ValueError(
                f"{owner}: {name} has {shape[0]} sample(s) and {shape[1]} feature(s) (shape={shape}) while a minimum of 1 "
                "is required."
            )
    else:
        if not hasattr(X, "__array__") and not hasattr(X, "tocsr"):
            X = np.asarray(X, dtype=object)  # a list of rows: each column finds its own type
        X = validate_data(estimator, X, reset=kinds is None, dtype=None, ensure_all_finite=False)
    return read_columns(X, owner=owner, kinds=kinds, categorical=estimator.categorical_features)


def check_weight(weight, n_rows, owner, name):
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
        raise ValueError(f"{owner}: {name} must have shape ({n_rows},), one weight a row, got shape {weight.shape}.")
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError(f"{owner}: {name} must be finite and not negative, got {weight[~(weight >= 0) | np.isinf(weight)][0]}.")
    if not weight.any():
        raise ValueError(f"{owner}: {name} must have a weight that is not zero; all weights are zero.")
    return weight


def _target_array(y, owner, name):
    if nw.dependencies.is_into_series(y):
        y = nw.from_native(y, series_only=True).to_numpy()
    y = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
    if y.dtype == object and pd.isna(y).any():
        raise ValueError(f"{owner}: Input {name} contains NaN: missing targets cannot be learned; drop those rows.")
    return y


def class_labels(y, owner, name):
    """Return labels (N,) of any type, or an indicator array (N, C) of several labels a row."""
    y = _target_array(y, owner, name)
    if y.dtype.kind == "f":
        assert_all_finite(y, estimator_name=owner, input_name=name)
    check_classification_targets(y)
    if type_of_target(y, input_name=name) == "multilabel-indicator":
        return y.astype(np.int64)
    return column_or_1d(y, warn=True)


def numeric_target(y, owner, name):
    """Return targets as float64, (N,) or (N, C)."""
    return check_array(
        _target_array(y, owner, name), dtype=np.float64, ensure_2d=False, allow_nd=False, input_name=name, estimator=owner
    )


def held_out(part, fraction, seed, owner, stratify):
    """Return the part's training rows and its held-out rows, as two parts.

    Parameters
    ----------
    stratify : bool
        Keep the shares of the classes, where every class has two rows and both sides have room for all of them.

    Raises
    ------
    ValueError
        When ``fraction`` leaves no row to train on.
    """
    from sklearn.model_selection import train_test_split

    n_rows = len(part.rows)
    n_held_out = int(np.ceil(fraction * n_rows))
    if n_held_out >= n_rows:
        raise ValueError(
            f"{owner}: validation_fraction={fraction} of n_samples={n_rows} rows leaves none to train on; give more rows, a "
            "smaller fraction, X_val and y_val, or early_stopping=False."
        )
    labels = None
    if stratify:
        labels, counts = np.unique(part.targets, return_inverse=True, return_counts=True)[1:]
        if counts.min() < 2 or len(counts) > min(n_held_out, n_rows - n_held_out):
            labels = None
    train, val = train_test_split(part.rows, test_size=n_held_out, random_state=seed, stratify=labels)
    return replace(part, rows=train), replace(part, rows=val)
