"""What the ensembles share: the checks of what fit gets, their tags, predict, and their state."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self, dataclass_transform

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import get_tags
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from tabdl.base.estimator import TabularEstimator
from tabdl.data.dataset import Dataset
from tabdl.data.state import State
from tabdl.data.validation import check_weight, check_X, class_labels, numeric_target
from tabdl.ensemble.boosting import last_step
from tabdl.exceptions import tabdl_version, warn_of_version
from tabdl.params import describe_params, param

# Squares of a regression target neither overflow nor vanish within these bounds.
_LARGEST_TARGET = 1e150
_SMALLEST_TARGET = 1e-150


@dataclass_transform(field_specifiers=(param,))
class BaseEnsemble(BaseEstimator):
    """An estimator whose prediction is a weighted mean of the predictions of other estimators."""

    _attributes = ""
    _has_classes = False
    _fitted_names: frozenset[str] = frozenset()

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

    def __sklearn_is_fitted__(self) -> bool:
        raise NotImplementedError(f"{self._name} has no members")

    def _parts(self) -> list[Any]:
        """Return the estimators whose tags the ensemble takes over."""
        raise NotImplementedError(f"{self._name} has no members")

    def _fitted_members(self) -> list[Any]:
        """Return the fitted estimators that predict."""
        raise NotImplementedError(f"{self._name} has no members")

    def _check_fitted(self, state: State) -> None:
        """Check the fitted attributes of a state; :meth:`_check_common` has checked the others."""
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

    def to(self, device: Any) -> Self:
        """Move the networks of tabdl inside to a device, where they then predict.

        Parameters
        ----------
        device : str or torch.device
            Such as "cpu" or "cuda:1".

        Returns
        -------
        self

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For what is no device, or a device that this machine lacks.
        """
        check_is_fitted(self)
        for member in self._fitted_members():
            last = last_step(member)[1]
            if isinstance(last, TabularEstimator | BaseEnsemble):
                last.to(device)
        return self

    # --- pickling

    def __getstate__(self) -> dict[str, Any]:
        """Return the state: the parameters by name, and the fitted attributes in ``fitted``."""
        own: Any = super().__getstate__()
        state: dict[str, Any] = {**own, "_tabdl_version": tabdl_version()}
        if self.__sklearn_is_fitted__():
            fitted = [name for name in state if name in self._fitted_names]
            state["fitted"] = {name: state.pop(name) for name in fitted}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        warn_of_version(self._name, state.pop("_tabdl_version", None))
        fitted = state.pop("fitted", None)
        super().__setstate__(state)
        if fitted is not None:
            self._restore(fitted)

    def _restore(self, fitted: Any) -> None:
        """Set the fitted attributes of a state, of which nothing is trusted."""
        optional = {"feature_names_in_", "_refit_classes"} - set(fitted)
        names = self._fitted_names - optional - (set() if self._has_classes else {"classes_"})
        state = State(fitted, names, self._name)
        self._check_common(state)
        self._check_fitted(state)
        vars(self).update(fitted)

    def _check_common(self, state: State) -> None:
        """Check the fitted attributes that all ensembles have."""
        state.flag("interrupted_")
        n_features = state.integer("n_features_in_", 1)
        if "feature_names_in_" in state.fields:
            names = state.array("feature_names_in_", "OU", (n_features,))
            if not all(isinstance(name, str) for name in names):
                state.refuse("feature_names_in_", "text")
        n_dims = np.ndim(state.fields["oof_prediction_"])
        shape: tuple[int | None, ...] = (None,) * (2 if n_dims == 2 else 1)
        if self._has_classes:
            classes = state.array("classes_", "biufOSU", (None,))
            if len(classes) < 2 or not _is_sorted(classes):
                state.refuse("classes_", "two labels or more in ascending order")
            shape = (None, len(classes))
        state.array("oof_prediction_", "f", shape, finite=False)

    def _check_member(self, state: State, name: str, member: Any, classes: Any) -> None:
        """Check that a fitted member predicts what the ensemble needs.

        Parameters
        ----------
        state : State
        name : str
            The attribute that has the member.
        member : object
        classes : ndarray or None
            The classes of the member.
        """
        if not hasattr(member, "predict_proba" if self._has_classes else "predict"):
            state.refuse(name, "fitted estimators")
        n_features = state.fields["n_features_in_"]
        # A model of CatBoost that was loaded says 0.
        if (getattr(member, "n_features_in_", None) or n_features) != n_features:
            state.refuse(name, f"estimators of {n_features} features")
        if self._has_classes:
            if len(getattr(member, "classes_", classes)) != len(classes):
                state.refuse(name, f"estimators of {len(classes)} classes")
            return
        n_outputs = math.prod(state.fields["oof_prediction_"].shape[1:])
        if getattr(member, "n_outputs_", n_outputs) != n_outputs:
            state.refuse(name, f"estimators of {n_outputs} targets")

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


def _is_sorted(labels: np.ndarray) -> bool:
    """Return whether labels are different and in ascending order."""
    try:
        return all(low < high for low, high in pairwise(labels.tolist()))
    except TypeError:
        return False


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
        """Return the probability of each class.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)

        Returns
        -------
        float64 ndarray of shape (N, C)
            In the order of ``classes_``.
        """
        return self._prediction(self._read_X(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of the probability of each class.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)

        Returns
        -------
        float64 ndarray of shape (N, C)
            In the order of ``classes_``; minus infinity for probability 0.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)

        Returns
        -------
        ndarray of shape (N,)
            Of the type of ``classes_``.
        """
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
        """Return the predicted values, in the units of y.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)

        Returns
        -------
        float64 ndarray of shape (N,) or (N, C)
            As y was at fit.
        """
        return self._prediction(self._read_X(X))
