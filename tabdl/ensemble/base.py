"""What the ensembles share: the checks of what fit gets, their tags, and predict."""

from dataclasses import dataclass
from typing import Any, dataclass_transform

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
from tabdl.params import describe_params, param

# Squares of a regression target neither overflow nor vanish within these bounds.
_LARGEST_TARGET = 1e150
_SMALLEST_TARGET = 1e-150


@dataclass_transform(field_specifiers=(param,))
class BaseEnsemble(BaseEstimator):
    """An estimator whose prediction is a weighted mean of the predictions of other estimators."""

    _attributes = ""
    _has_classes = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(eq=False, repr=False)(cls)
        if cls.__doc__:
            cls.__doc__ = cls.__doc__.replace(
                "{attributes}", cls._attributes.replace("\n", "\n    ")
            )
            parameters = describe_params(cls, BaseEnsemble).replace("\n", "\n    ")
            cls.__doc__ = cls.__doc__.replace("{parameters}", parameters)

    # --- what a task and a kind of ensemble add

    def _read_y(self, y: Any) -> np.ndarray:
        """Return the checked target, (N,) or (N, C); of classes set ``classes_``."""
        raise NotImplementedError(f"{self._name} has no task")

    def _prediction(self, X: Any) -> np.ndarray:
        """Return probabilities (N, C), or values (N,) or (N, C), for a checked X."""
        raise NotImplementedError(f"{self._name} has no members")

    def _parts(self) -> list[Any]:
        """Return the estimators whose tags the ensemble takes over."""
        raise NotImplementedError(f"{self._name} has no members")

    # --- what all ensembles do

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def _classes(self) -> Any:
        """The class labels, or None for regressors."""
        return getattr(self, "classes_", None)

    def _read(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> Dataset:
        """Check what fit gets, set ``classes_``, and return it as a Dataset.

        An X that is no data frame becomes an array.
        """
        if y is None:
            raise ValueError(f"{self._name} requires y to be passed, but the target y is None.")
        X = self._read_X(X, reset=True)
        check_consistent_length(X, y)
        y = self._read_y(y)
        if groups is not None and np.shape(groups) != (len(y),):
            raise ValueError(
                f"{self._name}: groups must have shape ({len(y)},), one group for each row of X, "
                f"got shape {np.shape(groups)}."
            )
        weight = check_weight(sample_weight, len(y), self._name, "sample_weight")
        return Dataset(X, y, weight, groups)

    def _read_X(self, X: Any, reset: bool = False) -> Any:
        if not reset:
            check_is_fitted(self)
        return check_X(self, X, reset=reset, accept_sparse=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        parts = [get_tags(part) for part in self._parts()]
        for name in ("allow_nan", "sparse", "string", "categorical"):
            is_common = bool(parts) and all(getattr(part.input_tags, name) for part in parts)
            setattr(tags.input_tags, name, is_common)
        tags.target_tags.multi_output = not self._has_classes and all(
            part.target_tags.multi_output for part in parts
        )
        return tags


class EnsembleClassifierMixin(ClassifierMixin, BaseEnsemble):
    """What an ensemble of classifiers predicts."""

    _has_classes = True

    def _read_y(self, y: Any) -> np.ndarray:
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

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, the mean over the members.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)

        Returns
        -------
        float64 ndarray of shape (N, C), in the order of ``classes_``
        """
        return self._prediction(self._read_X(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of ``predict_proba``, (N, C); minus infinity for probability 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, (N,)."""
        codes = self.predict_proba(X).argmax(1)
        return self.classes_[codes]


class EnsembleRegressorMixin(RegressorMixin, BaseEnsemble):
    """What an ensemble of regressors predicts."""

    def _read_y(self, y: Any) -> np.ndarray:
        y = numeric_target(y, self._name, "y")
        sizes = np.abs(y).reshape(len(y), -1).max(0)
        if ((sizes > _LARGEST_TARGET) | ((sizes < _SMALLEST_TARGET) & (sizes > 0))).any():
            raise ValueError(
                f"{self._name}: the largest absolute value of y must lie between "
                f"{_SMALLEST_TARGET:g} and {_LARGEST_TARGET:g}, where its squares are numbers, got "
                f"{sizes.tolist()}; multiply y by a constant."
            )
        return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def predict(self, X: Any) -> np.ndarray:
        """Return the mean over the values of the members, (N,) or (N, C).

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        """
        return self._prediction(self._read_X(X))
