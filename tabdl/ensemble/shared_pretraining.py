"""One pretraining that several fits begin from: seeds, label sets, folds, members."""

import time
from typing import Any, TypeVar

import numpy as np
from sklearn.base import clone

from tabdl.base.estimator import Fit, TabularEstimator, prepare, read_training_data
from tabdl.base.going_on import shape_params
from tabdl.base.isolation import isolated_torch
from tabdl.base.pretrained import Pretrained
from tabdl.base.pretraining import check_pretraining, pretrain_networks
from tabdl.base.seeds import MemberSeeds
from tabdl.data.statistics import needs_target
from tabdl.embeddings import uses_target
from tabdl.params import check_params
from tabdl.training.swap_noise import is_supervised

Estimator = TypeVar("Estimator", bound=TabularEstimator)


def pretrain(estimator: Estimator, X: Any, *, sample_weight: Any = None) -> Estimator:
    """Pretrain a network once, on rows without labels, and return an estimator that begins from it.

    The estimator is a copy whose parameter ``pretrain`` holds the encoder and the weights of
    embedding and backbone. Each ``fit`` of it, and of its clones, begins there, with a new head.
    Other targets are allowed, and a regressor's pretraining in a classifier. All of ``n_members``
    begin from the same weights.

    Parameters
    ----------
    estimator : estimator with a network
        Its parameters ``pretrain`` and ``pretrain_epochs`` say what is learned, and how long. It
        stays as it is.
    X : {array-like, data frame} of shape (N, F)
        At least two rows, of which scales, categories and bins are learned too.
    sample_weight : array-like of shape (N,), optional
        Non-negative weights of the rows in the loss of pretraining.

    Returns
    -------
    estimator
        Not fitted.

    Raises
    ------
    TypeError
        For what is no estimator with a network.
    ValueError
        For an estimator without an objective of pretraining, or one whose network needs labels.

    References
    ----------
    Rubachev et al.: "Revisiting Pretraining Objectives for Tabular Deep Learning" (2022,
    2207.03208), section 3.

    Examples
    --------
    >>> import tabdl
    >>> from sklearn.base import clone
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = tabdl.TabMLPRegressor(
    ...     pretrain="mask", pretrain_epochs=2, max_epochs=2, random_state=0
    ... )
    >>> model = tabdl.pretrain(model, X)
    >>> first, second = [
    ...     clone(model).set_params(random_state=i).fit(X, y) for i in range(2)
    ... ]
    """
    start = time.perf_counter()
    _check(estimator)
    begun: Any = clone(estimator)
    own: Any = clone(estimator)
    own.set_params(n_members=1)
    if "class_weight" in own.get_params(deep=False):
        own.set_params(class_weight=None)
    check_pretraining(own, None, False)
    with isolated_torch():
        seeds = MemberSeeds(own.random_state, 1)
        # Networks have outputs; pretraining leaves out what follows from these.
        y = np.arange(_n_rows(X, type(own).__name__)) % 2
        rows = read_training_data(own, X, y, sample_weight).used
        fit = Fit(own, prepare(own, rows, start, seeds.order), rows, None, seeds)
        pretrain_networks([fit])
        return begun.set_params(pretrain=_result(fit))


def _check(estimator: Any) -> None:
    """Raise TypeError or ValueError, by name, for an estimator that cannot be pretrained alone."""
    name = type(estimator).__name__
    if not isinstance(estimator, TabularEstimator):
        raise TypeError(f"pretrain: estimator must be a network of tabdl, got {name}.")
    check_params(estimator)
    if not isinstance(estimator.pretrain, str):
        raise ValueError(
            f"{name}: tabdl.pretrain needs an objective, pretrain='mask', 'reconstruction' or "
            f"'both'; got pretrain={estimator.pretrain!r}."
        )
    if is_supervised(estimator.pretrain):
        raise ValueError(
            f"{name}: pretrain={estimator.pretrain!r} needs labels, and tabdl.pretrain has none; "
            "leave out '+supervised'."
        )
    if needs_target(estimator.categorical_statistics):
        raise ValueError(
            f"{name}: categorical_statistics={estimator.categorical_statistics!r} needs labels, "
            "and tabdl.pretrain has none; use 'none' or 'count'."
        )
    if uses_target(estimator):
        embedding = estimator.get_params(deep=False)["numeric_embedding"]
        raise ValueError(
            f"{name}: numeric_embedding={embedding!r} makes its bins with labels, and "
            "tabdl.pretrain has none; use 'piecewise'."
        )


def _n_rows(X: Any, name: str) -> int:
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if n_rows < 2:
        raise ValueError(f"{name}: tabdl.pretrain needs two rows at least, got {n_rows}.")
    return n_rows


def _result(fit: Fit) -> Pretrained:
    """Return what a pretrained fit leaves for others."""
    params = shape_params(fit.estimator)
    net = fit.runs[0].net
    return Pretrained.of(fit.estimator, params, fit.encoder, net, fit.pretrain_history)
