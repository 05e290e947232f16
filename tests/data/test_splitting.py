"""Held-out rows: what scikit-learn makes of ordinary classes, and no class lost among rare ones."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from tabdl.data.dataset import Dataset
from tabdl.data.splitting import inner_split, make_folds, train_val_split


def split(y, fraction=0.2, seed=0):
    rows = Dataset(np.zeros((len(y), 1)), np.asarray(y)).used
    return train_val_split(rows, fraction, seed, "Owner", stratify=True)


def test_ordinary_classes_are_split_as_in_scikit_learn():
    y = np.arange(100) % 3
    expected = train_test_split(np.arange(100), test_size=20, random_state=7, stratify=y)
    for found, wanted in zip(split(y, seed=7), expected, strict=True):
        np.testing.assert_array_equal(found.indices, wanted)


@pytest.mark.parametrize(
    "y, fraction",
    [
        (np.arange(300) // 2, 0.2),  # room for 60 of 150 classes
        (np.arange(300) // 2, 0.6),
        (np.arange(300) < 2, 0.2),
        (np.r_[np.zeros(50), 1, 2, 3, 3, 4, 4, 4], 0.2),
        (np.repeat([0, 1], [50, 2]), 0.9),
        (np.arange(20) // 2, 0.05),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_rare_classes(y, fraction, seed):
    train, val = split(y, fraction, seed)
    labels, counts = np.unique(y, return_counts=True)
    n_val = int(np.ceil(fraction * len(y)))
    assert sorted([*train.indices, *val.indices]) == list(range(len(y)))
    assert set(train.y) == set(labels)
    shared = set(val.y) & set(labels[counts > 1])
    assert len(shared) == min((counts > 1).sum(), n_val)
    assert min(n_val, len(y) - len(labels)) - 1 <= len(val) <= n_val


def test_both_splits_are_one():
    rows = Dataset(np.zeros((60, 1)), np.arange(60) // 2).used
    options = {"has_classes": True, "forward": False, "seed": 3, "estimator_name": "Owner"}
    pairs = zip(inner_split(rows, 0.2, **options), split(rows.y, seed=3), strict=True)
    assert all((first.indices == second.indices).all() for first, second in pairs)


@pytest.mark.parametrize("has_classes, most", [(True, 2), (False, 6)])
def test_more_folds_than_rows(has_classes, most):
    rows = Dataset(np.zeros((6, 1)), np.arange(6) // 2)
    options = {"has_classes": has_classes, "seed": 0, "estimator_name": "Owner"}
    assert len(make_folds(most, 2, rows, **options)) == 2 * most
    with pytest.raises(ValueError, match=f"Owner: cv must be at most .*, {most}, got {most + 1}"):
        make_folds(most + 1, 1, rows, **options)
