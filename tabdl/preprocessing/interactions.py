"""Features of two columns that boosted trees find useful on held-out rows."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import assert_all_finite, check_random_state
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from tabdl.preprocessing.candidates import OPERATIONS, Interaction, propose
from tabdl.preprocessing.columns import Categories, Numbers, as_frame, read_columns
from tabdl.preprocessing.scoring import Problem, group_alike

_TASKS = ("auto", "classification", "regression")
_KINDS = (Numbers, Categories)
_FEWEST_ROWS = 6
_MOST_ROWS = 20_000  # by which features are scored
_MOST_CLASSES = 20  # that numbers as targets are taken for
_FEWEST_ERRORS = 2  # of an importance, in standard errors
_N_TRIED = 3  # features that are tried together for each one that is kept


class InteractionFeatures(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Add ratios, differences and products of two numbers, and crosses of two categories.

    All pairs of columns are candidates. Boosted trees of scikit-learn, of which none has two
    columns, predict each row from other rows: what they leave is what pairs may explain. Candidates
    are ranked by how much of it the means of their bins explain, again of other rows. Those in
    front are tried together beside the table, in trees of many columns, and ranked by permutation
    importance on held-out rows. As many of these stay as lower the error of such trees in three
    folds. Two stages before are those of OpenFE (2211.12507), which fits trees for each candidate.

    The columns of the table stay as they are, and new ones follow. No feature holds a target, so
    that features of training rows and of others are made in the same way.

    Parameters
    ----------
    n_features : int
        At most so many features are added. Those without a gain on held-out rows are not.
    operations : sequence of {"ratio", "difference", "product", "cross"}
        What is proposed.
    n_columns : int
        Pairs are made of so many columns of numbers, and so many of categories, at most: those of
        the largest permutation importance.
    task : {"auto", "classification", "regression"}
        What y is. "auto": numbers of more than 20 different values, or with fractions, are a
        regression; all else are classes.
    random_state : int, RandomState or None
        Of the held-out rows and the permutations; the same number gives the same features.

    Attributes
    ----------
    interactions_ : list of Interaction
        What is added, the most important first: ``operation``, and the positions ``left`` and
        ``right`` of two columns.
    importances_ : ndarray of shape (I,), one for each of ``interactions_``
        The growth of the squared error on held-out rows where the feature is permuted, over the
        variance of the target.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of str
        Only when the columns of X at fit have names of text.

    Notes
    -----
    At most 20,000 rows, drawn at random, score features. An importance must be twice its standard
    error. A ratio has a missing value where the
    divisor is 0, and every feature where one of its two columns is missing. Dates, and what is
    neither number nor category, take no part. A feature whose name the table has is left out.

    Examples
    --------
    >>> import numpy as np
    >>> from tabdl.preprocessing import InteractionFeatures
    >>> X = np.random.default_rng(0).uniform(1, 3, size=(500, 3))
    >>> made = InteractionFeatures(1, random_state=0).fit(X, X[:, 0] / X[:, 1])
    >>> made.get_feature_names_out().tolist()
    ['x0', 'x1', 'x2', 'x0 / x1']
    """

    def __init__(
        self,
        n_features: int = 10,
        *,
        operations: Sequence[str] = OPERATIONS,
        n_columns: int = 20,
        task: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_features = n_features
        self.operations = operations
        self.n_columns = n_columns
        self.task = task
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Choose features.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
            Missing values anywhere.
        y : array-like of shape (N,)
            Labels, or values.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For a parameter, a table or a target that cannot be used; the message names it.
        """
        self._check_params()
        columns = read_columns(as_frame(self._checked(X, reset=True)))
        y, n_classes = _targets(y, self.task)
        check_consistent_length(X, y)
        seed = int(check_random_state(self.random_state).randint(2**31))
        rows = np.sort(np.random.default_rng(seed).permutation(len(y))[:_MOST_ROWS])
        columns = [column and column.take(rows) for column in columns]
        varying = {j: column for j, column in enumerate(columns) if column and column.varies}
        self.interactions_: list[Interaction] = []
        self.importances_ = np.empty(0)
        if np.any(y[rows] != y[rows[0]]) and len(varying) > 1:
            problem = Problem(list(varying.values()), y[rows], n_classes, seed)
            self._choose(varying, problem)
        return self

    def _choose(self, columns: dict[int, Numbers | Categories], problem: Problem) -> None:
        """Set the features and their importances; ``columns`` are those of the problem."""
        tried = self._in_front(columns, problem)
        features = [own.of(columns) for own in tried]
        importances, errors = (array[len(columns) :] for array in problem.importances(features))
        best = np.argsort(-importances, kind="stable")[: self.n_features]
        best = best[importances[best] > _FEWEST_ERRORS * errors[best]]
        best = best[: _n_worth([features[place] for place in best], problem)]
        self.interactions_ = [tried[place] for place in best]
        self.importances_ = importances[best]

    def _in_front(self, columns: Any, problem: Problem) -> list[Interaction]:
        """Return the features of the largest gains; of those that say the same, one."""
        names = self._names()
        alone = {j: max(0.0, problem.gain(column)) for j, column in columns.items()}
        gains = {}
        for own in propose(columns, self.operations, self._pairable(columns, problem)):
            feature = own.of(columns)
            if own.name(names) not in names and feature.varies:
                gains[own] = problem.gain(feature) - max(alone[own.left], alone[own.right])
        n_tried = _N_TRIED * self.n_features
        best = sorted((own for own in gains if gains[own] > 0), key=lambda own: -gains[own])
        best = best[: 2 * n_tried]
        features = [*columns.values(), *(own.of(columns) for own in best)]
        groups = group_alike(features, problem.folds[0][0])
        # Groups that begin with a column of the table say nothing new.
        new = [group for group in groups if group[0] >= len(columns)][:n_tried]
        chosen = [
            max(group, key=lambda place: problem.gain_alone(features[place])) for group in new
        ]
        return [best[place - len(columns)] for place in chosen]

    def _pairable(self, columns: Any, problem: Problem) -> list[int]:
        """Return the columns that pairs are made of."""
        kinds = [[j for j in columns if isinstance(columns[j], kind)] for kind in _KINDS]
        if max(map(len, kinds)) <= self.n_columns:
            return list(columns)
        importance = dict(zip(columns, problem.importances()[0], strict=True))
        return [
            j
            for kind in kinds
            for j in sorted(kind, key=lambda j: -importance[j])[: self.n_columns]
        ]

    def transform(self, X: Any) -> Any:
        """Return the table with the features after its columns.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
            The columns of fit.

        Returns
        -------
        data frame of the same library, or ndarray, of shape (N, F + I), I of ``interactions_``
            Numbers are float64, crosses are text, None where missing.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For other columns than at fit, or a column that was of numbers and is of text.
        """
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        frame = as_frame(X)
        columns = dict(enumerate(read_columns(frame)))
        names = self._names()
        for own in self.interactions_:
            for j in (own.left, own.right):
                kind = Categories if own.operation == "cross" else Numbers
                columns[j] = _of_kind(columns[j], kind, names[j])
        values = [own.of(columns).values for own in self.interactions_]
        if isinstance(X, np.ndarray):
            return np.column_stack([X, *values]) if values else X
        made = [own.name(names) for own in self.interactions_]
        backend = frame.implementation
        added = [
            nw.new_series(name, own.tolist() if own.dtype == object else own, backend=backend)
            for name, own in zip(made, values, strict=True)
        ]
        return frame.with_columns(*added).to_native()

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns, and of the features after them.

        Parameters
        ----------
        input_features : array-like of str, optional
            The columns of fit; where these had no names, their names.

        Returns
        -------
        object ndarray of str
        """
        names: Any = super().get_feature_names_out(input_features)
        made = [own.name(names.tolist()) for own in self.interactions_]
        return np.array([*names, *made], dtype=object)

    def _names(self) -> list[str]:
        """Return the names of the columns; without names they are x0, x1, and so on."""
        names: Any = super().get_feature_names_out()
        return names.tolist()

    def _checked(self, X: Any, reset: bool) -> Any:
        """Return a data frame as it is, and all else as a 2-d array."""
        if nw.dependencies.is_into_dataframe(X):
            validate_data(self, X, skip_check_array=True, reset=reset)
            if reset and len(X) < _FEWEST_ROWS:
                raise ValueError(
                    f"InteractionFeatures: X must have at least {_FEWEST_ROWS} rows, got {len(X)}."
                )
            return X
        least = _FEWEST_ROWS if reset else 1
        return validate_data(
            self,
            X,
            reset=reset,
            dtype=None,
            ensure_all_finite="allow-nan",
            ensure_min_samples=least,
        )

    def _check_params(self) -> None:
        """Raise ValueError for a parameter that is not allowed."""
        for name, low in (("n_features", 1), ("n_columns", 2)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < low:
                raise ValueError(
                    f"InteractionFeatures: {name} must be an int >= {low}, got {value!r}."
                )
        if isinstance(self.operations, str) or not {*self.operations} <= {*OPERATIONS}:
            raise ValueError(
                f"InteractionFeatures: operations must be some of {OPERATIONS}, got "
                f"{self.operations!r}."
            )
        if self.task not in _TASKS:
            raise ValueError(
                f"InteractionFeatures: task must be one of {_TASKS}, got {self.task!r}."
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.target_tags.required = True
        return tags


def _n_worth(features: list[Numbers | Categories], problem: Problem) -> int:
    """Return how many features, from the first on, lower the error of rows of other folds.

    Numbers that double are tried. One wins where its gain exceeds a standard error.
    """
    n_worth, n = 0, 1
    least = problem.errors([]) if features else np.empty(0)
    while n < 2 * len(features):
        n_now = min(n, len(features))
        errors = problem.errors(features[:n_now])
        gain = least - errors
        if gain.mean() > gain.std() / np.sqrt(len(gain)):
            n_worth, least = n_now, errors
        n *= 2
    return n_worth


def _targets(y: Any, task: str) -> tuple[np.ndarray, int]:
    """Return numbers and 0, or classes as codes and their number."""
    y = column_or_1d(y, warn=True)
    if pd.isna(y).any():
        raise ValueError("InteractionFeatures: y must have no missing values, got NaN.")
    is_number = y.dtype.kind in "iuf"
    if is_number:
        assert_all_finite(y, input_name="y")
    distinct, codes = np.unique(y, return_inverse=True)
    if task == "auto":
        is_many = is_number and (len(distinct) > _MOST_CLASSES or (distinct % 1 != 0).any())
        task = "regression" if is_many else "classification"
    if task == "classification":
        return codes, len(distinct)
    return y.astype(np.float64), 0


def _of_kind(column: Any, kind: type, name: str) -> Any:
    """Return a column of the kind that it had at fit; without any value it is of every kind."""
    if isinstance(column, kind):
        return column
    if column is not None and not column.varies and pd.isna(column.values).all():
        n = len(column.values)
        is_text = kind is Categories
        return (
            Categories(np.full(n, -1), np.empty(0, object))
            if is_text
            else Numbers(np.full(n, np.nan))
        )
    had = "categories" if kind is Categories else "numbers"
    has = {Numbers: "numbers", Categories: "categories"}.get(type(column), "neither")
    raise ValueError(
        f"InteractionFeatures: column {name!r} held {had} at fit and holds {has} now; give it the "
        "type that it had."
    )
