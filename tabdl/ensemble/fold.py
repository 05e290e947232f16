"""One estimator on the rows of one fold: what it gets as y, and the rows to stop by."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from tabdl.data.dataset import Subset
from tabdl.data.splitting import inner_split
from tabdl.ensemble.boosting import adapter_for, last_step, library


@dataclass(frozen=True)
class FoldRules:
    """How the folds of an ensemble are trained.

    Attributes
    ----------
    estimator_name : str
        The name of the ensemble, for messages.
    has_classes : bool
    forward : bool
        Whether folds follow time: rows to stop by then come after those that train, too.
    stop_by : {"inner", "fold"}
        The rows to stop by, where an estimator stops early: a part of the training rows, or the
        test rows.
    inner_fraction : float in (0, 1)
        Share of the training rows to stop by with "inner".
    """

    estimator_name: str
    has_classes: bool
    forward: bool
    stop_by: str
    inner_fraction: float

    def needs_inner_split(self, groups: Any) -> bool:
        """Return whether an estimator that holds rows out itself would hold out the wrong ones."""
        return self.stop_by == "inner" and (self.forward or groups is not None)


def fit_fold(
    estimator: Any,
    train: Subset,
    test: Subset,
    rules: FoldRules,
    *,
    seed: int,
    callback: Callable[[dict], Any] | None,
) -> Any:
    """Return the estimator, fitted on the training rows of a fold.

    Parameters
    ----------
    estimator : estimator
    train, test : Subset
    rules : FoldRules
    seed : int
        Seed of the inner split.
    callback : callable or None
        Gets the record of each epoch, where the estimator is a network of tabdl.
    """
    prefix, last = last_step(estimator)
    train, stop = _rows_to_stop_by(last, train, test, rules, seed)
    encode = label_encoder(last, train, rules.has_classes)
    to_stop_by = None
    if stop is not None:
        to_stop_by = stop.X, encode(stop.y), stop.sample_weight
    data = train.X, encode(train.y), train.sample_weight, to_stop_by
    if callback is None or not hasattr(last, "n_members"):
        return fit_estimator(estimator, *data)
    own = last.callbacks
    estimator.set_params(**{f"{prefix}callbacks": [*(own or ()), callback]})
    return fit_estimator(estimator, *data).set_params(**{f"{prefix}callbacks": own})


def _rows_to_stop_by(
    estimator: Any, train: Subset, test: Subset, rules: FoldRules, seed: int
) -> tuple[Subset, Subset | None]:
    """Return the rows that train, and the rows to stop by or None where fit needs none."""
    adapter = adapter_for(estimator)
    if adapter is None or not adapter.enabled(estimator):
        return train, None
    if rules.stop_by == "fold":
        stop = test
    elif rules.needs_inner_split(train.dataset.groups) or not adapter.holds_out_itself:
        train, stop = inner_split(
            train,
            rules.inner_fraction,
            has_classes=rules.has_classes,
            forward=rules.forward,
            seed=seed % 2**32,
            estimator_name=rules.estimator_name,
        )
    else:
        return train, None
    if rules.has_classes:
        stop = Subset(stop.dataset, stop.indices[np.isin(stop.y, train.y)])
    if len(stop) == 0:
        raise ValueError(
            f"{rules.estimator_name}: none of the rows to stop by has a class of the training rows "
            "of the fold; use other folds, or an estimator that does not stop early."
        )
    return train, stop


def fit_estimator(
    estimator: Any,
    X: Any,
    y: Any,
    weight: np.ndarray | None,
    rows_to_stop_by: tuple[Any, Any, np.ndarray | None] | None,
) -> Any:
    """Fit an estimator, or a Pipeline, with weights and rows to stop by where there are some.

    Parameters
    ----------
    estimator : estimator
    X, y : the training rows
    weight : ndarray of shape (N,) or None
    rows_to_stop_by : tuple of (X, y, weight or None), or None
        For the last step of a Pipeline; the other steps transform X.
    """
    from sklearn import get_config
    from sklearn.pipeline import Pipeline

    prefix, last = last_step(estimator)
    if rows_to_stop_by is None:
        name = (
            "sample_weight" if get_config()["enable_metadata_routing"] else f"{prefix}sample_weight"
        )
        return estimator.fit(X, y, **({} if weight is None else {name: weight}))
    if isinstance(estimator, Pipeline):
        head = estimator[:-1]
        X_stop, y_stop, weight_stop = rows_to_stop_by
        if head.steps:
            X = head.fit_transform(X, y)
            X_stop = head.transform(X_stop)
        rows_to_stop_by = X_stop, y_stop, weight_stop
        estimator.steps = [
            *head.steps,
            (estimator.steps[-1][0], fit_estimator(estimator[-1], X, y, weight, rows_to_stop_by)),
        ]
        return estimator
    weights = {} if weight is None else {"sample_weight": weight}
    adapter = adapter_for(last)
    assert adapter is not None  # rows to stop by are chosen only where there is an adapter
    return last.fit(X, y, **weights, **adapter.fit_kwargs(last, *rows_to_stop_by))


def takes_weight(estimator: Any) -> bool:
    """Return whether the last step of an estimator takes ``sample_weight`` in ``fit``."""
    return has_fit_parameter(last_step(estimator)[1], "sample_weight")


def unfitted_copy(estimator: Any) -> Any:
    """Return an unfitted copy with the same parameters.

    CatBoost copies the lists among its parameters, which ``clone`` of scikit-learn refuses. Such an
    estimator is copied as it is.
    """
    try:
        return clone(estimator)
    except RuntimeError:
        return copy.deepcopy(estimator)


def label_encoder(
    estimator: Any, train: Subset, has_classes: bool
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from y to what an estimator takes as y.

    Boosted trees take codes of classes: XGBoost refuses all other labels, LightGBM and CatBoost
    refuse rows to stop by whose labels are no numbers. Other estimators take y as it is.
    """
    if not _takes_codes(estimator, train.dataset.y, has_classes):
        return lambda labels: labels
    classes = np.unique(train.y)
    return lambda labels: np.searchsorted(classes, labels)


def probability_classes(estimator: Any, train: Subset, has_classes: bool) -> np.ndarray | None:
    """Return the classes that the columns of the probabilities stand for.

    Parameters
    ----------
    estimator : fitted estimator
    train : Subset
        The rows that the estimator was trained on.
    has_classes : bool

    Returns
    -------
    ndarray, or None without classes
    """
    if not has_classes:
        return None
    takes_codes = _takes_codes(last_step(estimator)[1], train.dataset.y, has_classes)
    if hasattr(estimator, "classes_") and not takes_codes:
        return np.asarray(estimator.classes_)
    return np.unique(train.y)


def _takes_codes(estimator: Any, y: np.ndarray, has_classes: bool) -> bool:
    name = library(estimator)
    has_numbers = y.dtype.kind in "iuf"
    return has_classes and (name == "xgboost" or (name is not None and not has_numbers))


def was_interrupted(estimator: Any) -> bool:
    """Return whether Ctrl-C ended the fit of an estimator of tabdl, alone or in a Pipeline."""
    last = last_step(estimator)[1]
    return getattr(last, "stop_reason_", "") == "interrupted" or getattr(
        last, "interrupted_", False
    )
