"""Numbers about a category: how many training rows have it, and the mean target of these rows.

The mean target of a category (Micci-Barreca, "A Preprocessing Scheme for High-Cardinality
Categorical Attributes", SIGKDD Explorations 3(1), 2001) is shrunk towards the mean of all rows.
A row that trains must not find its own target in its features. So training rows see *earlier* rows
only, in a random order (ordered target statistics, CatBoost, 1706.09516, section 3.2). All other
rows see all training rows.

Why an order and no folds: where the network knows the category, a mean over other folds gives away
the mean of the own fold. The sum over the category is the same for all of its rows. With as many
rows as folds that is leave-one-out, and says the target exactly. What stands before a row says
nothing of it.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tabdl.data.state import State

CATEGORICAL_STATISTICS = ("none", "count", "target", "both")
# Up to so many different values, a category's vector learns all that a mean could say.
MOST_PLAIN_VALUES = 20
# The prior weighs as one row at least, as in CatBoost.
_FEWEST_PRIOR_ROWS = 1.0


def needs_target(which: str) -> bool:
    """Return whether a value of ``categorical_statistics`` makes features from the target."""
    return which in ("target", "both")


def statistic_names(name: str, which: str, n_values: int, n_outputs: int) -> list[str]:
    """Return the names of the statistics of a column of categories.

    Parameters
    ----------
    name : str
        The column's.
    which : {"none", "count", "target", "both"}
    n_values : int
        Number of its different values in training, a missing one among them.
    n_outputs : int
        C.
    """
    if n_values <= MOST_PLAIN_VALUES:
        return []
    counts = [f"{name}.log_count"] if which in ("count", "both") else []
    if not needs_target(which):
        return counts
    if n_outputs == 1:
        return [*counts, f"{name}.target"]
    return counts + [f"{name}.target_{output}" for output in range(n_outputs)]


@dataclass
class CategoryStatistics:
    """Features of a column of categories that are looked up by code.

    Attributes
    ----------
    names : list of str, length S
    features : float64 ndarray of shape (codes, S)
        For each code of the column's encoder, before narrowing.
    """

    names: list[str]
    features: np.ndarray

    def state(self) -> dict[str, Any]:
        """Return the fitted state, see ``data/state.py``."""
        return {"names": list(self.names), "features": self.features}

    @classmethod
    def from_state(cls, state: Any, cardinality: int, where: str) -> Self:
        """Return the statistics of a state, for a column of ``cardinality`` codes."""
        fields = State(state, ("names", "features"), where)
        names = fields.items("names", str)
        if not names:
            fields.refuse("names", "one name at least")
        return cls(names, fields.array("features", "f", (cardinality, len(names))))


def learn_statistics(
    which: str,
    codes: np.ndarray,
    cardinality: int,
    weight: np.ndarray,
    y: np.ndarray | None,
    order: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the statistics of each code, (cardinality, S), and of each training row, (n, S).

    See :func:`log_counts` and :func:`target_means`.

    Parameters
    ----------
    which : {"count", "target", "both"}
    codes, cardinality, weight, y, order
        As for these; ``y`` is None with "count".
    """
    parts = []
    if which in ("count", "both"):
        by_code, of_rows = log_counts(codes, cardinality, weight)
        parts.append((by_code[:, None], of_rows[:, None]))
    if y is not None and needs_target(which):
        parts.append(target_means(codes, cardinality, weight, y, order))
    by_code, of_rows = (np.hstack(arrays) for arrays in zip(*parts, strict=True))
    return by_code, of_rows


def log_counts(
    codes: np.ndarray, cardinality: int, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``log(1 + n)``, where n training rows have the category.

    A training row does not count itself, as no other row does.

    Parameters
    ----------
    codes : int ndarray of shape (n,)
        Of the training rows.
    cardinality : int
    weight : float ndarray of shape (n,)
        A weight of 2 is a row that stands twice.

    Returns
    -------
    by_code : float64 ndarray of shape (cardinality,)
    of_rows : float64 ndarray of shape (n,)
        Of the training rows.
    """
    counts = np.bincount(codes, _rows_of(weight), cardinality)
    return np.log1p(counts), np.log1p(np.maximum(counts - 1, 0))[codes]


def target_means(
    codes: np.ndarray, cardinality: int, weight: np.ndarray, y: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean target of each category, shrunk towards the mean of all rows.

    A category of n rows with the sum s of targets has ``(s + m p) / (n + m)``, where p is the mean
    of all rows. The prior counts as m rows: the variance within categories over that between them
    (empirical Bayes; see :func:`prior_rows`). So the mean is the best guess from any number of
    rows, and means over few rows, as at the start of the order, and over many serve as one feature.

    Parameters
    ----------
    codes : int ndarray of shape (n,)
        Of the training rows.
    cardinality : int
    weight : float ndarray of shape (n,)
        A weight of 2 is a row that stands twice.
    y : float64 ndarray of shape (n, C)
    order : int ndarray of shape (n,)
        A permutation of the training rows.

    Returns
    -------
    by_code : float64 ndarray of shape (cardinality, C)
        From all training rows; a category without rows has p.
    of_rows : float64 ndarray of shape (n, C)
        Of each training row, from the rows that come before it in the order.
    """
    weight = _rows_of(weight)
    prior = np.average(y, axis=0, weights=weight)
    y = y - prior
    m = prior_rows(codes, cardinality, weight, y)
    rows = np.column_stack([weight, weight[:, None] * y])
    sums = np.column_stack([np.bincount(codes, column, cardinality) for column in rows.T])
    before = _sums_before(codes, rows, order)
    by_code, of_rows = (prior + s[:, 1:] / (s[:, :1] + m) for s in (sums, before))
    return by_code, of_rows


def prior_rows(
    codes: np.ndarray, cardinality: int, weight: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Return how many rows the prior counts as, for each output, (C,); at least 1.

    It is the variance within categories over the variance between their true means, both by the
    analysis of variance of unequal groups (Searle, Casella, McCulloch, "Variance Components", 1992,
    section 3.6). It is infinite where categories differ no more than by chance, or where no
    category has two rows: then all means are the prior.

    Parameters
    ----------
    codes, cardinality, weight
        As for :func:`target_means`.
    y : float64 ndarray of shape (n, C)
        With a weighted mean of 0.
    """
    counts = np.bincount(codes, weight, cardinality)
    total, n_groups = counts.sum(), np.count_nonzero(counts)
    sums = np.column_stack([np.bincount(codes, weight * column, cardinality) for column in y.T])
    between = (sums[counts > 0] ** 2 / counts[counts > 0, None]).sum(0)
    residual = np.maximum(weight @ y**2 - between, 0)
    if total <= n_groups or n_groups == 1:
        return np.full(y.shape[1], np.inf)
    within = residual / (total - n_groups)
    n_typical = (total - (counts**2).sum() / total) / (n_groups - 1)
    variance = (between / (n_groups - 1) - within) / n_typical
    with np.errstate(divide="ignore", invalid="ignore"):
        m = np.where(variance > 0, within / variance, np.inf)
    return np.maximum(m, _FEWEST_PRIOR_ROWS)


def _rows_of(weight):
    """Return weights that count as rows; those with a mean below 1 are scaled up to it."""
    return weight * max(1.0, len(weight) / weight.sum())


def _sums_before(codes, values, order):
    """Return, for each row, the sums of ``values`` over earlier rows of its category.

    A row's own values take no part, not even in what is rounded.
    """
    place = order[np.argsort(codes[order], kind="stable")]
    sums = np.cumsum(values[place], axis=0)
    sums = np.concatenate([np.zeros((1, values.shape[1])), sums[:-1]])
    starts = np.flatnonzero(np.diff(codes[place], prepend=-1))
    n_rows = np.diff(starts, append=len(codes))
    before = np.empty_like(sums)
    before[place] = sums - np.repeat(sums[starts], n_rows, axis=0)
    return before
