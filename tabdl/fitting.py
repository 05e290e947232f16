"""One estimator on the rows of one fold: what it gets as y, and the rows that it stops by."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabdl.early_stopping import fit_estimator, last_step, library, way_of_stopping
from tabdl.splitting import inner_split, take_rows


@dataclass(frozen=True)
class Rows:
    """What the fit of an ensemble got, of all rows.

    Attributes
    ----------
    X : 2-d array, sparse matrix or data frame
    y : ndarray of shape (N,) or (N, C)
    weight : ndarray of shape (N,) or None
    groups : array-like of shape (N,) or None
    has_classes : bool
    forward : bool
        Whether folds follow time: rows to stop by then come after those that train, too.
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    groups: Any
    has_classes: bool
    forward: bool = False

    @property
    def has_own_inner_split(self):
        """Whether an estimator that holds rows out itself would not hold out the right ones."""
        return self.forward or self.groups is not None

    def part(self, rows, encode):
        """Return X, y and weights of some rows, y as ``encode`` makes it."""
        return take_rows(self.X, rows), encode(self.y[rows]), None if self.weight is None else self.weight[rows]

    def known(self, rows, train_rows):
        """Return those of ``rows`` whose class ``train_rows`` have."""
        return rows[np.isin(self.y[rows], self.y[train_rows])] if self.has_classes else rows

    def encoder(self, estimator, train_rows):
        """Return what turns y into what an estimator takes: codes of the classes of ``train_rows`` for boosted trees, else y.

        XGBoost refuses other labels; the others refuse those of the rows to stop by unless they are numbers.
        """
        if not self._is_coded(estimator):
            return lambda labels: labels
        classes = np.unique(self.y[train_rows])
        return lambda labels: np.searchsorted(classes, labels)

    def labels(self, estimator, train_rows):
        """Return the classes that the columns of a fitted estimator's probabilities stand for; None without classes."""
        if not self.has_classes:
            return None
        is_told = hasattr(estimator, "classes_") and not self._is_coded(last_step(estimator)[1])
        return np.asarray(estimator.classes_) if is_told else np.unique(self.y[train_rows])

    def _is_coded(self, estimator):
        name = library(estimator)
        return self.has_classes and (name == "xgboost" or (name is not None and self.y.dtype.kind not in "iuf"))


def fit_fold(estimator, rows, train_rows, test_rows, *, stop_by, inner_fraction, seed, callback):
    """Return the estimator, fitted on the training rows of a fold.

    Parameters
    ----------
    estimator : estimator
    rows : Rows
    train_rows, test_rows : int ndarray
    stop_by : {"inner", "fold"}
        The rows to stop by, where the estimator stops early: a part of the training rows, or the test rows.
    inner_fraction : float
    seed : int
        Of the inner part.
    callback : callable or None
        Gets the record of each epoch of a network of tabdl's.
    """
    prefix, last = last_step(estimator)
    way, stop_rows = way_of_stopping(last), None
    if way is not None and way.is_on(last):
        if stop_by == "fold":
            stop_rows = test_rows
        elif rows.has_own_inner_split or not way.holds_out_itself:
            train_rows, stop_rows = inner_split(
                train_rows,
                rows.y,
                rows.groups,
                inner_fraction,
                has_classes=rows.has_classes,
                forward=rows.forward,
                seed=seed % 2**32,
            )
    encode = rows.encoder(last, train_rows)
    to_stop_by = None if stop_rows is None else rows.part(rows.known(stop_rows, train_rows), encode)
    if callback is None or not hasattr(last, "n_members"):
        return fit_estimator(estimator, *rows.part(train_rows, encode), to_stop_by)
    own = last.callbacks
    estimator.set_params(**{f"{prefix}callbacks": [*(own or ()), callback]})
    return fit_estimator(estimator, *rows.part(train_rows, encode), to_stop_by).set_params(**{f"{prefix}callbacks": own})


def was_interrupted(estimator):
    """Return whether Ctrl-C ended the training of a fitted network of tabdl's, or of one that ends a Pipeline."""
    reason = getattr(last_step(estimator)[1], "stop_reason_", "")
    return "interrupted" in ([reason] if isinstance(reason, str) else reason)
