"""What a made feature adds to a table: gains on rows that did not fit it, by boosted trees."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import KFold

from tabdl.preprocessing.columns import Categories, Numbers

_N_FOLDS = 3
_N_BINS = 32
# A bin's mean is that of its rows and so many rows of no gain.
_PRIOR_ROWS = 10
_N_TREES = 60  # of all classes together, where these are many
_MOST_CATEGORIES = 250  # that a boosted tree of scikit-learn tells apart
_N_PERMUTATIONS = 3
_ALIKE = 0.98


@dataclass(frozen=True)
class Problem:
    """Rows and targets by which features are scored.

    Attributes
    ----------
    columns : list of Numbers or Categories
        The features that are there.
    y : ndarray of shape (n,)
        Numbers, or classes as codes from 0 on.
    n_classes : int
        0 for numbers.
    seed : int
    """

    columns: Sequence[Numbers | Categories]
    y: np.ndarray
    n_classes: int
    seed: int

    @cached_property
    def folds(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Training and held-out rows; the first ones serve where one split is enough."""
        return list(KFold(_N_FOLDS, shuffle=True, random_state=self.seed).split(self.y))

    @cached_property
    def outputs(self) -> np.ndarray:
        """The targets as numbers, (n, C): standardised, or one column a class."""
        if self.n_classes:
            return np.eye(self.n_classes)[self.y]
        return ((self.y - self.y.mean()) / self.y.std())[:, None]

    @cached_property
    def residuals(self) -> np.ndarray:
        """What additive trees of the other folds leave of the outputs of each row, (n, C).

        No tree of theirs has two columns, so that all that pairs of columns say is left.
        """
        residuals = self.outputs.copy()
        for train, held_out in self.folds:
            model = self._model(self.columns, train, is_additive=True)
            residuals[held_out] -= model.predict(_table(self.columns, held_out))
        return residuals

    def gain(self, feature: Numbers | Categories) -> float:
        """Return the sum of squares that a feature explains of what additive trees leave."""
        return self._explained(feature, self.residuals)

    def gain_alone(self, feature: Numbers | Categories) -> float:
        """Return the sum of squares that a feature explains of the outputs."""
        return self._explained(feature, self.outputs - self.outputs.mean(0))

    def _explained(self, feature: Numbers | Categories, outputs: np.ndarray) -> float:
        """Return the squares that a feature explains, of each row by rows of other folds.

        Each bin, or category, predicts the shrunk mean of its training rows.
        """
        bins = binned(feature, self.folds[0][0])
        n_bins = int(bins.max()) + 1
        gain = 0.0
        for train, held_out in self.folds:
            counts = np.bincount(bins[train], minlength=n_bins)[:, None]
            sums = [np.bincount(bins[train], column, n_bins) for column in outputs[train].T]
            explained = (np.column_stack(sums) / (counts + _PRIOR_ROWS))[bins[held_out]]
            gain += (explained * (2 * outputs[held_out] - explained)).sum()
        return float(gain)

    def importances(
        self, more: Sequence[Numbers | Categories] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the permutation importances of all columns and of more features beside them.

        It is the growth of the squared error of boosted trees on held-out rows, the mean over a few
        permutations, in units of the outputs' variance.

        Returns
        -------
        importances, errors : ndarray of shape (columns,)
            The growth, and its standard error over the rows.
        """
        columns = [*self.columns, *more]
        train, held_out = self.folds[0]
        model = self._model(columns, train)
        table = _table(columns, held_out)
        outputs, generator = self.outputs[held_out], np.random.default_rng(self.seed)
        errors = _squares(outputs - model.predict(table))
        growth = np.zeros((len(columns), len(table)))
        for j in range(len(columns)):
            for _ in range(_N_PERMUTATIONS):
                permuted = table.copy()
                permuted[:, j] = generator.permutation(table[:, j])
                growth[j] += (
                    _squares(outputs - model.predict(permuted)) - errors
                ) / _N_PERMUTATIONS
        growth /= self.outputs.var(0).sum()
        return growth.mean(1), growth.std(1) / np.sqrt(len(table))

    def errors(self, more: Sequence[Numbers | Categories]) -> np.ndarray:
        """Return the error of each row, by trees of other rows with more features, (n,).

        It is squared for classes. For numbers it is absolute, so that no few rows decide.
        """
        columns = [*self.columns, *more]
        errors = np.empty(len(self.y))
        for train, held_out in self.folds:
            predicted = self._model(columns, train).predict(_table(columns, held_out))
            errors[held_out] = _squares(self.outputs[held_out] - predicted)
        return errors if self.n_classes else np.sqrt(errors)

    def _model(
        self, columns: Sequence[Numbers | Categories], rows: np.ndarray, is_additive: bool = False
    ) -> "_Trees":
        model = _Trees(columns, self.n_classes, is_additive, self.seed)
        return model.fit(_table(columns, rows), self.y[rows], self.outputs[rows])


class _Trees:
    """Boosted trees that predict the outputs of a problem; additive ones have a column each."""

    def __init__(
        self, columns: Sequence[Any], n_classes: int, is_additive: bool, seed: int
    ) -> None:
        are_few = [isinstance(c, Categories) and len(c.labels) <= _MOST_CATEGORIES for c in columns]
        kind: Any = HistGradientBoostingClassifier if n_classes else HistGradientBoostingRegressor
        n_trees = _N_TREES * (1 + is_additive)
        self.model = kind(
            categorical_features=are_few,
            interaction_cst="no_interactions" if is_additive else None,
            learning_rate=0.2 if is_additive else 0.1,
            max_iter=max(6, n_trees // (n_classes if n_classes > 2 else 1)),
            early_stopping=False,
            random_state=seed,
        )
        self.n_classes = n_classes
        self.constant: np.ndarray | None = None

    def fit(self, table: np.ndarray, y: np.ndarray, outputs: np.ndarray) -> "_Trees":
        """Learn rows; trees of classes need two of them."""
        if np.ptp(y) == 0:
            self.constant = outputs[0]
        else:
            self.model.fit(table, y if self.n_classes else outputs[:, 0])
        return self

    def predict(self, table: np.ndarray) -> np.ndarray:
        """Return the outputs of rows, (n, C)."""
        if self.constant is not None:
            return np.tile(self.constant, (len(table), 1))
        if not self.n_classes:
            return self.model.predict(table)[:, None]
        outputs = np.zeros((len(table), self.n_classes))
        outputs[:, self.model.classes_] = self.model.predict_proba(table)
        return outputs


def binned(feature: Numbers | Categories, train: np.ndarray) -> np.ndarray:
    """Return the bin of each row, by quantiles of training rows; missing values have their own."""
    if isinstance(feature, Categories):
        return feature.codes + 1
    values = feature.values
    missing = np.isnan(values)
    some = values[train][~missing[train]]
    if len(some) == 0:
        return missing.astype(int)
    edges = np.unique(np.quantile(some, np.linspace(0, 1, _N_BINS + 1)[1:-1]))
    return np.where(missing, 0, np.searchsorted(edges, values, side="right") + 1)


def group_alike(features: Sequence[Numbers | Categories], train: np.ndarray) -> list[list[int]]:
    """Return the positions of features in groups, whose numbers say nearly what the first says.

    Ranks are compared, by bins of quantiles. A feature of categories is alone.
    """
    bins = [binned(feature, train) for feature in features]
    groups: list[list[int]] = []
    for place, feature in enumerate(features):
        same = []
        if isinstance(feature, Numbers):
            numbers = [group for group in groups if isinstance(features[group[0]], Numbers)]
            same = [group for group in numbers if _are_alike(bins[place], bins[group[0]])]
        if same:
            same[0].append(place)
        else:
            groups.append([place])
    return groups


def _are_alike(bins: np.ndarray, others: np.ndarray) -> bool:
    if np.ptp(bins) == 0 or np.ptp(others) == 0:
        return False
    return bool(abs(np.corrcoef(bins, others)[0, 1]) > _ALIKE)


def _table(columns: Sequence[Numbers | Categories], rows: np.ndarray) -> np.ndarray:
    """Return rows of all columns as numbers, (n, F), NaN where missing."""
    parts = [
        column.values[rows]
        if isinstance(column, Numbers)
        else np.where(column.codes[rows] < 0, np.nan, column.codes[rows])
        for column in columns
    ]
    return np.column_stack(parts)


def _squares(errors: np.ndarray) -> np.ndarray:
    return (errors**2).sum(1)
