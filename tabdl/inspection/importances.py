"""How much each column counts: by attention, by gradients, or by permutation.

Attention: Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data" (2106.11959),
section 5.3. Integrated gradients: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep
Networks" (1703.01365). Permutation is scikit-learn's ``permutation_importance``, which takes every
estimator of tabdl as it is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tabdl.base.isolation import isolated_torch
from tabdl.inspection.gradients import GRADIENT_METHODS, attributions
from tabdl.inspection.networks import (
    column_names,
    encoded_rows,
    fitted_networks,
    networks_of,
    sum_by_column,
)


@dataclass(frozen=True, eq=False)
class Importances:
    """How much each column of a table counts.

    Parameters
    ----------
    names : tuple of str, length F
        The columns of the user's table.
    values : ndarray of shape (F,)
        The importance of each column.
    method : str
        "attention", "integrated_gradients", "gradient_times_input" or "permutation".
    by_row : ndarray of shape (N, F) or (N, F, C), or None
        The importance in each row, with its sign; with gradients and without y, of each output.
        None for permutation.
    """

    names: tuple[str, ...]
    values: np.ndarray
    method: str
    by_row: np.ndarray | None = None

    @property
    def by_output(self) -> np.ndarray:
        """The mean absolute importance for each output, (F, C); C is 1 where there is one only."""
        if self.by_row is None:
            return self.values[:, None]
        return np.abs(self.by_row.reshape(*self.by_row.shape[:2], -1)).mean(0)


def attention_importances(estimator: Any, X: Any) -> Importances:
    """Return how much the [CLS] token of FT-Transformer attends to each column.

    It is the mean over rows, heads and blocks of the [CLS] row of the attention maps, without [CLS]
    itself (2106.11959, section 5.3). It costs one prediction of X.

    Parameters
    ----------
    estimator : fitted FTTransformerClassifier or FTTransformerRegressor
        Or an ensemble of these, whose mean is taken.
    X : {array-like, data frame} of shape (N, F)

    Returns
    -------
    Importances
        ``values`` sum to less than 1: the rest is what [CLS] pays to itself. ``by_row`` is (N, F).

    Raises
    ------
    TypeError
        For an estimator without attention.
    NotFittedError, ValueError
        As ``predict``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import FTTransformerClassifier
    >>> from tabdl.inspection import attention_importances
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = FTTransformerClassifier(
    ...     n_blocks=1, d_block=32, max_epochs=5, random_state=0
    ... )
    >>> found = attention_importances(model.fit(X, y), X)
    >>> found.names[0], found.values.shape, found.by_row.shape
    ('sepal length (cm)', (4,), (150, 4))
    """
    networks = fitted_networks(estimator)
    with isolated_torch():
        by_row = np.sum([share * _attention(network, X) for share, network in networks], axis=0)
    names = column_names(networks[0][1])
    return Importances(names, by_row.mean(0), "attention", by_row)


@torch.inference_mode()
def _attention(estimator, X):
    """Return the attention of each row to each column, (N, F), the mean over the members."""
    nets = networks_of(estimator)
    if not hasattr(nets[0], "attention_maps"):
        raise TypeError(
            f"{type(estimator).__name__}: attention_importances needs the attention of "
            "FT-Transformer, and this network has none; use gradient_importances."
        )
    table = encoded_rows(estimator, X)
    parts = []
    for start in range(0, len(table), nets[0].cpu_chunk_rows):
        rows = table.take(slice(start, start + nets[0].cpu_chunk_rows))
        maps = [net.eval().attention_maps(rows.x_num, rows.x_cat).mean((1, 2)) for net in nets]
        parts.append(torch.stack(maps).mean(0)[:, 1:])
    return sum_by_column(estimator, torch.cat(parts))


def gradient_importances(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    method: str = "integrated_gradients",
    baseline: Any = None,
    n_steps: int = 32,
) -> Importances:
    """Return how much each column moves the outputs of a network, or its loss, by gradients.

    A row is compared with a baseline: the mean over rows of what the embeddings make of them. The
    difference of the outputs is shared among the columns. The shares of a row sum to the
    difference, up to the error of the ``n_steps`` points of integration.

    Parameters
    ----------
    estimator : fitted estimator of tabdl with a network
        Or an ensemble of these, whose mean is taken.
    X : {array-like, data frame} of shape (N, F)
    y : array-like of shape (N,) or (N, C), optional
        Without it the outputs are shared out: standardised targets, or logits, those of several
        classes less their mean. With it the decrease of the loss from the baseline to the row is. A
        column that misleads then has a negative share, and so may one of two columns that go
        together, such as latitude and longitude. To rank columns, leave y out.
    method : {"integrated_gradients", "gradient_times_input"}
        The second takes the gradient at the row alone: ``n_steps`` times cheaper, and the shares
        do not sum to the difference.
    baseline : {array-like, data frame} of shape (M, F), optional
        The rows whose mean is the baseline, such as the training rows. None: X. A single row needs
        one, as it differs from itself in nothing.
    n_steps : int
        Points of the Gauss-Legendre quadrature between baseline and row. Each costs a forward pass,
        and a backward pass for each output.

    Returns
    -------
    Importances
        ``by_row`` is (N, F, C) without y and (N, F) with y. ``values`` is the mean of its absolute
        numbers over rows and outputs; with y the mean over rows, with its sign.

    Raises
    ------
    ValueError
        For an unknown method, a y that does not fit, or a network whose embedding lacks
        ``by_feature``.
    TypeError
        For an estimator without a network of tabdl.
    NotFittedError
        Before ``fit``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import TabMLPClassifier
    >>> from tabdl.inspection import gradient_importances
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = TabMLPClassifier(d_block=32, max_epochs=5, random_state=0).fit(X, y)
    >>> gradient_importances(model, X).by_output.shape
    (4, 3)
    >>> gradient_importances(model, X, y, n_steps=8).by_row.shape
    (150, 4)
    """
    if method not in GRADIENT_METHODS:
        raise ValueError(
            f"gradient_importances: method must be one of {GRADIENT_METHODS}, got {method!r}."
        )
    n_points = n_steps if method == "integrated_gradients" else None
    networks = fitted_networks(estimator)
    _check_classes(estimator, networks)
    with isolated_torch():
        parts = [
            share * attributions(network, X, y, baseline, n_points) for share, network in networks
        ]
    by_row = np.sum(parts, axis=0)
    values = np.abs(by_row).mean((0, 2)) if y is None else by_row.mean(0)
    return Importances(column_names(networks[0][1]), values, method, by_row)


def _check_classes(estimator, networks):
    """Raise ValueError where the folds of an ensemble have learned different classes."""
    classes = [getattr(network, "classes_", np.empty(0)).tolist() for _, network in networks]
    if any(own != classes[0] for own in classes):
        raise ValueError(
            f"{type(estimator).__name__}: the training rows of some folds lack classes that others "
            "have, so that outputs differ; give the estimators of estimators_ one by one."
        )


def importances(estimator: Any, X: Any, y: Any = None, *, method: str = "gradient") -> Importances:
    """Return how much each column counts, by the method that is asked for.

    Parameters
    ----------
    estimator : fitted estimator
    X : {array-like, data frame} of shape (N, F)
    y : array-like of shape (N,) or (N, C), optional
        Needed for "permutation"; "attention" does not look at it.
    method : {"gradient", "attention", "permutation"}
        :func:`gradient_importances`, :func:`attention_importances`, or ``permutation_importance``
        of scikit-learn with its defaults, which predicts 5 F + 1 times and takes any estimator.

    Returns
    -------
    Importances

    Raises
    ------
    ValueError
        For another method, or a permutation without y.
    """
    if method == "gradient":
        return gradient_importances(estimator, X, y)
    if method == "attention":
        return attention_importances(estimator, X)
    if method != "permutation":
        raise ValueError(
            f"importances: method must be 'gradient', 'attention' or 'permutation', got {method!r}."
        )
    if y is None:
        raise ValueError(
            "importances: method='permutation' compares scores, which need y; got None."
        )
    from sklearn.inspection import permutation_importance

    found: Any = permutation_importance(estimator, X, y, random_state=0)
    names = getattr(X, "columns", [f"x{j}" for j in range(len(found.importances_mean))])
    return Importances(tuple(map(str, names)), found.importances_mean, method)
