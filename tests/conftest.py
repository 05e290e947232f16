"""Small estimators and tables that many tests share."""

import os
import re

import numpy as np
import pandas as pd
import pytest
import torch

import tabdl
from tabdl.base import TabularEstimator
from tabdl.data.table import Table

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # a worker a core; small networks gain nothing from threads

# Sizes that are small and quick, for the architectures that have such a parameter.
_SMALL = {
    "n_blocks": 2,
    "n_cross_layers": 2,
    "d_block": 16,
    "n_heads": 2,
    "k": 3,
    "d_attention": 4,
    "depth": 3,
    "d_embedding": 4,
    "lr": 3e-3,
    "max_epochs": 5,
    "random_state": 0,
}
_SMALL_OF = {
    "TabResNet": {"n_blocks": 1},
    "RealMLP": {
        "one_hot_max_size": 3,
        "lr": 0.03,
        "lr_schedule": "constant",
        "batch_size": "auto",
    },
    "TabM": {"one_hot_max_size": 3},
    # One network of the paper's kind, as the others are.
    "FTTransformer": {"n_members": 1, "lr_schedule": "constant", "numeric_embedding": "linear"},
    "SNN": {"d_block": 32},
    # In a few steps, running statistics hardly follow those of batches through many norms.
    "TabNet": {"n_blocks": 1, "momentum": 0.6, "lr_decay_rate": 1.0},
}


# The other networks of the paper go through the same code as those before them. By default they
# run scikit-learn's checks, the tests of their own and of files; with --all-networks everything,
# ONNX graphs too.
BASELINES = {"AutoInt", "DCNv2", "GrowNet", "NODE", "SNN", "TabNet"}
_FOR_ALL_NETWORKS = re.compile(
    r"tests/(models|docs)/|tests/persistence/test_(?!onnx)|test_golden|test_readme|test_gpu"
    r"|test_sklearn_contract.py::test_(check|tags)|test_signature|test_docstring"
)
# Tests of what all networks share run on tokens and on a flat row, on one prediction and on k.
_TWO_NETWORKS = {"FTTransformer", "TabM"}


def pytest_addoption(parser):
    help_text = "run every test of networks for each of the twelve"
    parser.addoption("--all-networks", action="store_true", help=help_text)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--all-networks"):
        return
    left_out = [item for item in items if is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    left_out = set(left_out)
    items[:] = [item for item in items if item not in left_out]


def is_left_out(item):
    """Return whether a test is one of a network that only --all-networks runs."""
    if item.get_closest_marker("all_networks"):
        return True
    found = _NETWORK.search(item.nodeid)
    if not found:
        return False
    if item.get_closest_marker("two_networks"):
        return found[1] not in _TWO_NETWORKS
    return found[1] in BASELINES and not _FOR_ALL_NETWORKS.search(item.nodeid)


def public(base):
    """Return the public estimators that inherit from ``base``, by name."""
    classes = {name: value for name, value in vars(tabdl).items() if isinstance(value, type)}
    return {name: cls for name, cls in classes.items() if issubclass(cls, base)}


NETWORKS = sorted(public(TabularEstimator))
ARCHITECTURES = sorted({re.sub("(Classifier|Regressor)$", "", name) for name in NETWORKS})
_NETWORK = re.compile(rf"\[.*?\b({'|'.join(ARCHITECTURES)})(?=Classifier|Regressor|\b)")


def make(architecture, task, **kwargs):
    """Return a small, quick estimator; ``task`` is "Classifier" or "Regressor"."""
    cls = getattr(tabdl, architecture + task)
    has = cls().get_params()
    small = {name: value for name, value in _SMALL.items() if name in has}
    return cls(**{**small, **_SMALL_OF.get(architecture, {}), **kwargs})


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture(params=["Classifier", "Regressor"])
def task(request):
    return request.param


def numbers(n_rows=120, n_features=4, seed=0):
    """Return X (N, F), and a target that depends on two of its columns."""
    X = np.random.default_rng(seed).normal(size=(n_rows, n_features))
    return X, X[:, 0] + np.sin(2 * X[:, 1])


def some_rows(schema, n_rows=30):
    """Return a Table of ``schema``, for the parts of a network that are made from training rows."""
    generator = torch.Generator().manual_seed(0)
    codes = [
        torch.randint(size - 1, (n_rows,), generator=generator) for size in schema.cardinalities
    ]
    x_cat = torch.stack(codes, 1) if codes else torch.empty(n_rows, 0)
    return Table(
        torch.randn(n_rows, schema.n_num, generator=generator),
        x_cat.to(torch.uint8),
        torch.arange(n_rows) % 2,
    )


def target(y, task):
    """Return ``y`` as it is, or as two classes."""
    return y if task == "Regressor" else (y > 0).astype(int)


def people(n_rows=120, seed=0):
    """Return a data frame with a column of every kind, each with missing values, and a numeric
    target."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, n_rows).astype(float)
    city = rng.choice(["Bern", "Oslo", "Rome"], n_rows)
    frame = pd.DataFrame(
        {
            "age": age,
            "children": pd.array(rng.integers(0, 4, n_rows), dtype="Int64"),
            "city": city,
            "plan": pd.Categorical(rng.choice(["basic", "gold"], n_rows)),
            "active": pd.array(rng.random(n_rows) < 0.5, dtype="boolean"),
            "joined": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(rng.integers(0, 1500, n_rows), unit="D"),
            "since": pd.to_timedelta(rng.integers(0, 1000, n_rows), unit="s"),
            "mixed": np.array([i if i % 2 else float(i) for i in range(n_rows)], dtype=object),
        }
    )
    y = age / 30 + (city == "Rome") * 2.0
    for j, name in enumerate(frame.columns):
        frame.loc[j :: 11 + j, name] = None
    return frame, y
