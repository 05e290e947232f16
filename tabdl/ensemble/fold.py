"""One estimator on the rows of one fold: what it gets as y, and the rows that it stops by."""

from dataclasses import dataclass

import numpy as np

from tabdl.data.dataset import Subset
from tabdl.data.splitting import inner_split
from tabdl.ensemble.boosting import adapter_for, fit_estimator, last_step, library


@dataclass(frozen=True)
class FoldRules:
    """How the folds of an ensemble are trained.

    Attributes
    ----------
    has_classes : bool
    forward : bool
        Whether folds follow time: rows to stop by then come after those that train, too.
    stop_by : {"inner", "fold"}
        The rows to stop by, where an estimator stops early: a part of the training rows, or the
        test rows.
    inner_fraction : float in (0, 1)
        Share of the training rows to stop by with "inner".
    """

    has_classes: bool
    forward: bool
    stop_by: str
    inner_fraction: float

    def splits_itself(self, groups):
        """Return whether an estimator that holds rows out itself would hold out the wrong ones."""
        return self.stop_by == "inner" and (self.forward or groups is not None)


def fit_fold(estimator, train, test, rules, *, seed, callback):
    """Return the estimator, fitted on the training rows of a fold.

    Parameters
    ----------
    estimator : estimator
    train, test : Subset
    rules : FoldRules
    seed : int
        Of the inner part.
    callback : callable or None
        Gets the record of each epoch of a network of tabdl's.
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


def _rows_to_stop_by(estimator, train, test, rules, seed):
    """Return the rows that train, and the rows to stop by or None where it needs none from here."""
    adapter = adapter_for(estimator)
    if adapter is None or not adapter.enabled(estimator):
        return train, None
    if rules.stop_by == "fold":
        stop = test
    elif rules.splits_itself(train.dataset.groups) or not adapter.holds_out_itself:
        train, stop = inner_split(
            train,
            rules.inner_fraction,
            has_classes=rules.has_classes,
            forward=rules.forward,
            seed=seed % 2**32,
        )
    else:
        return train, None
    if rules.has_classes:
        stop = Subset(stop.dataset, stop.indices[np.isin(stop.y, train.y)])
    return train, stop


def label_encoder(estimator, train, has_classes):
    """Return what turns y into what an estimator takes: codes of classes for boosted trees, else y.

    XGBoost refuses other labels. The others refuse those of the rows to stop by unless they are
    numbers.
    """
    if not _takes_codes(estimator, train.dataset.y, has_classes):
        return lambda labels: labels
    classes = np.unique(train.y)
    return lambda labels: np.searchsorted(classes, labels)


def probability_classes(estimator, train, has_classes):
    """Return the classes that the columns of a fitted estimator's probabilities stand for.

    Parameters
    ----------
    estimator : fitted estimator
    train : Subset
        The rows that it was trained on.
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


def _takes_codes(estimator, y, has_classes):
    name = library(estimator)
    has_numbers = y.dtype.kind in "iuf"
    return has_classes and (name == "xgboost" or (name is not None and not has_numbers))


def was_interrupted(estimator):
    """Return whether Ctrl-C ended the training of a network of tabdl's, alone or in a Pipeline."""
    return getattr(last_step(estimator)[1], "stop_reason_", "") == "interrupted"
