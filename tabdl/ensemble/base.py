"""What the ensembles share: the checks of what fit gets, their tags, and predict."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import get_tags
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from tabdl.data.dataset import Dataset
from tabdl.data.validation import check_weight, check_X, class_labels, numeric_target
from tabdl.params import describe_params


class BaseEnsemble(BaseEstimator):
    """An estimator whose prediction is a weighted mean of others'; subclasses have
    ``_prediction``."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        dataclass(eq=False, repr=False)(cls)
        if cls.__doc__:
            cls.__doc__ = cls.__doc__.replace(
                "{attributes}", cls._attributes.replace("\n", "\n    ")
            )
            parameters = describe_params(cls, BaseEnsemble).replace("\n", "\n    ")
            cls.__doc__ = cls.__doc__.replace("{parameters}", parameters)

    _attributes = ""

    @property
    def _name(self):
        return type(self).__name__

    def _read(self, X, y, sample_weight, groups):
        """Check what fit gets, set ``classes_``, and return it as a Dataset.

        What is no data frame becomes an array.
        """
        if y is None:
            raise ValueError(f"{self._name} requires y to be passed, but the target y is None.")
        X = self._read_X(X, reset=True)
        check_consistent_length(X, y, groups)
        y = self._read_y(y)
        weight = check_weight(sample_weight, len(y), self._name, "sample_weight")
        return Dataset(X, y, weight, groups)

    def _read_X(self, X, reset=False):
        if not reset:
            check_is_fitted(self)
        return check_X(self, X, reset=reset, accept_sparse=True)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        parts = [get_tags(part) for part in self._parts()]
        for name in ("allow_nan", "sparse", "string", "categorical"):
            is_common = bool(parts) and all(getattr(part.input_tags, name) for part in parts)
            setattr(tags.input_tags, name, is_common)
        tags.target_tags.multi_output = not self._has_classes and all(
            part.target_tags.multi_output for part in parts
        )
        return tags


class EnsembleClassifierMixin(ClassifierMixin):
    """What an ensemble of classifiers predicts."""

    _has_classes = True

    def _read_y(self, y):
        y = class_labels(y, self._name, "y")
        if y.ndim != 1:
            raise ValueError(
                f"{self._name}: y must have one label a row, got several labels a row, shape "
                f"{y.shape}."
            )
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{self._name}: y must have at least 2 classes, got 1 class: "
                f"{self.classes_.tolist()[0]!r}."
            )
        return y

    def predict_proba(self, X):
        """Return the probability of each class, the mean of the members'.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)

        Returns
        -------
        float64 ndarray of shape (N, C), in the order of ``classes_``
        """
        return self._prediction(self._read_X(X))

    def predict(self, X):
        """Return the most probable class of each row, (N,)."""
        codes = self.predict_proba(X).argmax(1)
        return self.classes_[codes]


class EnsembleRegressorMixin(RegressorMixin):
    """What an ensemble of regressors predicts."""

    _has_classes = False
    _classes = None

    def _read_y(self, y):
        y = numeric_target(y, self._name, "y")
        return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def predict(self, X):
        """Return the mean of the members' values, (N,) or (N, C).

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        """
        return self._prediction(self._read_X(X))
