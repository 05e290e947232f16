"""What the importances read of a fitted estimator: its networks, its rows, its columns."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from tabdl.base.estimator import TabularEstimator
from tabdl.data.table import Table
from tabdl.data.validation import read_X


def fitted_networks(estimator: Any) -> list[tuple[float, TabularEstimator]]:
    """Return the estimators with a network that an estimator predicts with, and their shares.

    Parameters
    ----------
    estimator : fitted estimator of tabdl
        One with a network, or an ensemble of such.

    Returns
    -------
    list of tuple of float and TabularEstimator
        The shares sum to 1.

    Raises
    ------
    NotFittedError
        Before ``fit``.
    TypeError
        For an estimator, or a member of an ensemble, without a network of tabdl.
    """
    check_is_fitted(estimator)
    found = list(_walk(estimator, 1.0))
    for _, network in found:
        if not isinstance(network, TabularEstimator):
            raise TypeError(
                f"{type(estimator).__name__}: attention and gradients need a network of tabdl, got "
                f"{type(network).__name__}; use the importances of that estimator's own, its last "
                "step where it is a Pipeline, or method='permutation', which any estimator has."
            )
    return found


def _walk(estimator: Any, share: float) -> Iterator[tuple[float, Any]]:
    if hasattr(estimator, "members_"):
        used = {name: weight for name, weight in estimator.weights_.items() if weight > 0}
        # A member from elsewhere is a name without an estimator.
        parts = [(weight, estimator.members_.get(name, name)) for name, weight in used.items()]
    elif getattr(estimator, "refit_estimator_", None) is not None:
        parts = [(1.0, estimator.refit_estimator_)]
    elif hasattr(estimator, "oof_prediction_"):
        n_folds = len(estimator.estimators_)
        parts = [(1 / n_folds, fold) for fold in estimator.estimators_]
    else:
        yield share, estimator
        return
    for weight, part in parts:
        yield from _walk(part, share * weight)


def networks_of(estimator: TabularEstimator) -> list[Any]:
    """Return the networks of a fitted estimator, one for each member."""
    return list(getattr(estimator.module_, "nets", [estimator.module_]))


def encoded_rows(estimator: TabularEstimator, X: Any) -> Table:
    """Return the rows of X as the network sees them, in its dtype and on its device.

    Raises
    ------
    ValueError
        For other columns than at fit; the message names the column.
    """
    encoder = estimator.encoder_
    columns = read_X(estimator, X, kinds=encoder.kinds, column_names=encoder.column_names)
    weights = next(estimator.module_.parameters())
    dtype = np.float64 if weights.dtype == torch.float64 else np.float32
    x_num, x_cat = encoder.transform(columns, dtype=dtype)
    return Table(torch.from_numpy(x_num), torch.from_numpy(x_cat)).to(weights.device)


def column_names(estimator: TabularEstimator) -> tuple[str, ...]:
    """Return the names of the columns of the user's table."""
    return tuple(map(str, estimator.encoder_.column_names))


def sum_by_column(estimator: TabularEstimator, x: Tensor) -> np.ndarray:
    """Return the sums over the features of each column of the user's table.

    A date, a number with an indicator of missing values, or a category with statistics has several
    features.

    Parameters
    ----------
    estimator : TabularEstimator
    x : Tensor of shape (..., Fn + Fc)
        Numbers of features, in the order of the schema: the numeric ones first.

    Returns
    -------
    float64 ndarray of shape (..., columns)
    """
    encoder = estimator.encoder_
    owner = torch.tensor(encoder.columns_of_features(), device=x.device)
    sums = x.new_zeros(*x.shape[:-1], len(encoder.column_names), dtype=torch.float64)
    return sums.index_add_(-1, owner, x.double()).cpu().numpy()
