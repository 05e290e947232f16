"""What a stage may see of a table: training and validation rows for a search, test rows as well for
an evaluation."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

PARTS = ("train", "val", "test")
SMALL_TEST = 3000
"""The most test rows of a drawn part of a table."""


@dataclass(frozen=True)
class SearchData:
    """Training and validation rows of a table; a search gets no others.

    Attributes
    ----------
    name : str
    task : {"regression", "binary", "multiclass"}
    train, val : tuple of (DataFrame, Series)
        X and y of each part.
    numeric_transform : {"quantile", "standard", "none"}
        What the paper does to this table's numbers before a net sees them.
    """

    name: str
    task: str
    train: tuple[pd.DataFrame, pd.Series]
    val: tuple[pd.DataFrame, pd.Series]
    numeric_transform: str = field(default="quantile", kw_only=True)

    @property
    def is_regression(self):
        """Whether the target is a number."""
        return self.task == "regression"

    @property
    def scoring(self):
        """The paper's metric, as a scikit-learn scorer: accuracy, or minus the root mean squared
        error."""
        return "neg_root_mean_squared_error" if self.is_regression else "accuracy"

    @property
    def has_categories(self):
        """Whether any column is not a number."""
        return self.train[0].shape[1] > self.train[0].select_dtypes("number").shape[1]

    @property
    def is_large(self):
        """Whether the table is one of the paper's largest (Epsilon, Year, Covertype, Yahoo,
        Microsoft), or as long as these."""
        return len(self.train[0]) >= 200_000


@dataclass(frozen=True)
class Dataset(SearchData):
    """A table with its split into training, validation and test rows.

    Attributes
    ----------
    test : tuple of (DataFrame, Series)
        X and y of the rows that only an evaluation sees.
    """

    test: tuple[pd.DataFrame, pd.Series]

    @property
    def search_data(self):
        """The same without the test rows."""
        return SearchData(
            self.name, self.task, self.train, self.val, numeric_transform=self.numeric_transform
        )

    @property
    def train_val_test(self):
        """The three parts, each a tuple (X, y)."""
        return self.train, self.val, self.test

    @cached_property
    def checksums(self):
        """``data``: sha256 of the rows, whatever their order; ``split``: of which of them stand
        where in which part."""
        hashes = [_row_hashes(*part) for part in self.train_val_test]
        split = hashlib.sha256()
        for part in hashes:
            split.update(f"{len(part)}:".encode() + part.tobytes())
        return {"data": _sorted_checksum(np.concatenate(hashes)), "split": split.hexdigest()}


def rows_checksum(X, y):
    """Return the sha256 of rows, whatever their order."""
    return _sorted_checksum(_row_hashes(X, y))


def _sorted_checksum(hashes):
    return hashlib.sha256(np.sort(hashes).tobytes()).hexdigest()


def _row_hashes(X, y):
    """Return a number a row, (N,) uint64; a column at a time, so that a large table is not
    copied."""
    hashes = pd.util.hash_pandas_object(y, index=False).to_numpy(np.uint64, copy=True)
    for name in X.columns:
        hashes *= np.uint64(1_099_511_628_211)  # the FNV prime: the order of the columns matters
        hashes ^= pd.util.hash_pandas_object(X[name], index=False).to_numpy(np.uint64)
    return hashes


def parts_of(X, y, rows):
    """Return (X, y) of each of ``rows``, the numbers of the rows of a part; counted anew from 0."""
    return [tuple(a.iloc[part].reset_index(drop=True) for a in (X, y)) for part in rows]


def split_rows(y, task, seed=0, n_rows=None, val_seed=None):
    """Return the numbers of the training, validation and test rows: a fifth for test, a fifth of
    the rest for validation.

    With seed 0 this gives the paper's own split of California Housing and of ALOI, and the paper's
    sizes of its other tables. Classes are stratified unless one has a single row.

    Parameters
    ----------
    y : array-like of shape (N,)
    task : {"regression", "binary", "multiclass"}
    seed : int
    val_seed : int, optional
        Parts validation from training rows; that of the test rows by default.
    n_rows : int, optional
        Training and validation rows together, at most four fifths of the table; the test rows are
        then at most 3,000 of the others.
    """
    test_size = 0.2
    kept = None
    if n_rows is not None:
        kept = min(n_rows, len(y) * 4 // 5)
        test_size = min(len(y) - kept, SMALL_TEST)
    train, test = _split(np.arange(len(y)), y, task, seed, test_size, kept)
    train, val = _split(train, y, task, seed if val_seed is None else val_seed)
    return train, val, test


def split_train(y, task, seed=0):
    """Return the numbers of the training and validation rows, where the test rows are given."""
    return _split(np.arange(len(y)), y, task, seed)


def _split(rows, y, task, seed, test_size=0.2, train_size=None):
    from sklearn.model_selection import train_test_split

    labels = None
    if task != "regression":
        # In the order of the values: train_test_split draws class by class, so that classes 0, 1,
        # 10, 100 (sorted as text) would give other rows than the paper's.
        _, labels = np.unique(np.asarray(y)[rows], return_inverse=True)
        counts = np.bincount(labels)
        if counts.min() < 2 or len(counts) > 0.2 * len(rows):
            labels = None
    return train_test_split(
        rows, test_size=test_size, train_size=train_size, random_state=seed, stratify=labels
    )
