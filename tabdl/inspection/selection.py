"""Importances for scikit-learn's SelectFromModel, RFE and RFECV."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from tabdl.data.dataset import take_rows
from tabdl.inspection.importances import importances


class ImportanceGetter:
    """An ``importance_getter`` for SelectFromModel: the importances of a fitted estimator.

    It costs what :func:`tabdl.inspection.importances` costs on ``max_rows`` rows: by gradients 32
    forward and backward passes for each output, or the loss, by attention one prediction, by
    permutation 5 F + 1 predictions.

    RFE and RFECV fit reduced tables without saying which columns are left. There, give them the
    estimator in :class:`WithImportances`.

    Parameters
    ----------
    X : {array-like, data frame} of shape (N, F)
        The rows to look at: the training rows, or others.
    y : array-like of shape (N,) or (N, C), optional
        With it, gradients are those of the loss.
    method : {"gradient", "attention", "permutation"}
        As for :func:`importances`.
    max_rows : int or None, default=1000
        So many rows are looked at, drawn at random; None: all.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.feature_selection import SelectFromModel
    >>> from tabdl import TabMLPClassifier
    >>> from tabdl.inspection import ImportanceGetter
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = TabMLPClassifier(d_block=32, max_epochs=5, random_state=0)
    >>> getter = ImportanceGetter(X)
    >>> selector = SelectFromModel(model, importance_getter=getter, max_features=2)
    >>> selector.fit(X, y).transform(X).shape
    (150, 2)
    """

    def __init__(
        self, X: Any, y: Any = None, *, method: str = "gradient", max_rows: int | None = 1000
    ) -> None:
        self.method = method
        self.X, self.y = _sample(X, y, max_rows)

    def __sklearn_clone__(self) -> Self:
        """Return the getter itself: it changes in nothing, and its rows need no copy."""
        return self

    def __call__(self, estimator: Any) -> np.ndarray:
        """Return the importances, (F,); a negative one, of a column that misleads, is 0.

        Raises
        ------
        ValueError
            For an estimator that was fitted on other columns than X has.
        """
        n_columns = np.shape(self.X)[1]
        if estimator.n_features_in_ != n_columns:
            raise ValueError(
                f"ImportanceGetter: X has {n_columns} columns, and {type(estimator).__name__} was "
                f"fitted on {estimator.n_features_in_}. RFE and RFECV do not say which columns "
                "they have left; give them WithImportances(estimator), without importance_getter."
            )
        return importances(estimator, self.X, self.y, method=self.method).values.clip(min=0)


def _is_there(name):
    return available_if(lambda self: hasattr(self.estimator, name))


class WithImportances(MetaEstimatorMixin, BaseEstimator):
    """An estimator that has ``feature_importances_`` after each fit, from its own training rows.

    RFE, RFECV and SelectFromModel find them. Each fit costs what :class:`ImportanceGetter` costs
    besides. RFE takes tables of numbers only.

    Parameters
    ----------
    estimator : estimator
        Is cloned and fitted.
    method : {"gradient", "attention", "permutation"}
        As for :func:`tabdl.inspection.importances`.
    max_rows : int or None, default=1000
        So many training rows are looked at, drawn at random; None: all.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    feature_importances_ : ndarray of shape (F,)
        Not negative.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.feature_selection import RFE
    >>> from tabdl import TabMLPClassifier
    >>> from tabdl.inspection import WithImportances
    >>> X, y = load_iris(return_X_y=True)
    >>> model = TabMLPClassifier(d_block=32, max_epochs=5, random_state=0)
    >>> RFE(WithImportances(model), n_features_to_select=2).fit(X, y).support_.sum()
    np.int64(2)
    """

    def __init__(
        self, estimator: Any, *, method: str = "gradient", max_rows: int | None = 1000
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.max_rows = max_rows

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
        """Fit the estimator, and take the importances.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        y : array-like of shape (N,) or (N, C)
            The target.
        **fit_params : object
            Go to the estimator's ``fit``.

        Returns
        -------
        self
        """
        unfitted: Any = clone(self.estimator)
        self.estimator_ = unfitted.fit(X, y, **fit_params)
        # Shares of the loss may cancel out; those of the outputs rank the columns better.
        given = y if self.method == "permutation" else None
        getter = ImportanceGetter(X, given, method=self.method, max_rows=self.max_rows)
        self.feature_importances_ = getter(self.estimator_)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return what the fitted estimator predicts.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)

        Returns
        -------
        ndarray of shape (N,) or (N, C)
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @_is_there("predict_proba")
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the fitted estimator.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)

        Returns
        -------
        ndarray of shape (N, C)
            In the order of ``classes_``.
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the score of the fitted estimator.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
        y : array-like of shape (N,) or (N, C)
            The target.
        sample_weight : array-like of shape (N,), optional
            Weights of the rows.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        return self.estimator_.score(X, y, sample_weight)

    @property
    def classes_(self) -> np.ndarray:
        """The class labels; regressors have none."""
        check_is_fitted(self, "estimator_")
        return self.estimator_.classes_

    @property
    def n_features_in_(self) -> int:
        """Number of columns at fit."""
        check_is_fitted(self, "estimator_")
        return self.estimator_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the columns at fit, where they have names."""
        check_is_fitted(self, "estimator_")
        return self.estimator_.feature_names_in_

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.estimator)


def _sample(X, y, max_rows):
    """Return at most ``max_rows`` rows of X and y, always the same ones."""
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if max_rows is None or n_rows <= max_rows:
        return X, y
    chosen = np.sort(np.random.default_rng(0).choice(n_rows, max_rows, replace=False))
    return take_rows(X, chosen), None if y is None else take_rows(np.asarray(y), chosen)
