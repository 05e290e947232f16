"""Numerical embeddings: the authors' package's outputs with its weights, its bins, odd columns, and
every architecture."""

import numpy as np
import pandas as pd
import pytest
import rtdl_num_embeddings as reference
import torch
from conftest import make, people, target
from sklearn.base import clone

from tabdl.data.table import Schema, Table
from tabdl.embeddings import PBLD, Linear, Periodic, PiecewiseLinear, numeric_embedding
from tabdl.network.bins import quantile_edges, tree_edges
from tabdl.network.contract import init_weights
from tabdl.network.embeddings import FlatEmbedding

pytestmark = pytest.mark.filterwarnings("ignore:The .-th feature has just two bin edges")
NAMES = ["linear", "periodic", "periodic_lite", "pbld", "piecewise", "piecewise_tree"]


def numbers(n_rows=500, seed=0):
    """Numbers of all kinds: normal, skewed, of 5 and of 2 values."""
    rng = np.random.default_rng(seed)
    columns = [
        rng.normal(size=n_rows),
        rng.exponential(size=n_rows),
        rng.integers(0, 5, n_rows),
        rng.integers(0, 2, n_rows),
    ]
    return torch.tensor(np.column_stack(columns))


def table(x_num, y=None):
    return Table(x_num, torch.empty(len(x_num), 0, dtype=torch.uint8), y)


def built(settings, train_table, d_block=None):
    estimator = make("TabMLP", "Regressor", numeric_embedding=settings)
    module = numeric_embedding(estimator, train_table, d_block).double()
    init_weights(module, torch.Generator().manual_seed(0))
    return module


def agree(ours, theirs, x, last=None):
    """Compare outputs and the gradients of the pairs of parameters, after giving ours the
    reference's weights."""
    pairs = list(zip(ours.parameters(), theirs.parameters(), strict=True))

    def moved(tensor):
        return last(tensor) if last is not None and tensor.ndim == 3 else tensor

    for mine, other in pairs:
        mine.data.copy_(moved(other.data))
    outputs, expected = ours(x), theirs(x)
    torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-10)
    direction = torch.randn(
        expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    (outputs * direction).sum().backward()
    (expected * direction).sum().backward()
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, moved(other.grad), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("lite", [False, True])
@pytest.mark.parametrize("activation", [False, True])
def test_periodic_is_the_reference(lite, activation):
    if lite and not activation:
        pytest.skip("the package has no lite version without an activation")
    x = numbers()
    settings = Periodic(
        d_embedding=6, n_frequencies=5, frequency_scale=0.3, lite=lite, activation=activation
    )
    theirs = reference.PeriodicEmbeddings(
        4, 6, n_frequencies=5, frequency_init_scale=0.3, activation=activation, lite=lite
    ).double()
    agree(built(settings, table(x)), theirs, x)


def test_linear_relu_is_the_reference():
    x = numbers()
    agree(
        built(Linear(d_embedding=6, activation=True), table(x)),
        reference.LinearReLUEmbeddings(4, 6).double(),
        x,
    )


@pytest.mark.parametrize("version", ["A", "B"])
@pytest.mark.parametrize("activation", [False, True])
@pytest.mark.parametrize("n_bins", [2, 7, 48])
def test_piecewise_is_the_reference(version, activation, n_bins):
    x = numbers()
    bins = reference.compute_bins(x, n_bins)
    torch.set_default_dtype(torch.float64)  # the reference's constants would be float32's
    try:
        theirs = reference.PiecewiseLinearEmbeddings(
            bins, 6, activation=activation, version=version
        )
    finally:
        torch.set_default_dtype(torch.float32)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(2))
    ours = built(
        PiecewiseLinear(d_embedding=6, n_bins=n_bins, version=version, activation=activation),
        table(x),
    )

    def last(weight):
        """Move each feature's last bin, which the reference keeps at the end, behind the feature's
        other bins."""
        moved = torch.zeros_like(weight)
        for i, edges in enumerate(bins):
            n = len(edges) - 1
            moved[i, : n - 1], moved[i, n - 1] = weight[i, : n - 1], weight[i, -1]
        return moved

    far = torch.cat([x, x.min(0).values[None] - 1, x.max(0).values[None] + 1])
    agree(ours, theirs, far, last)


@pytest.mark.parametrize("n_bins", [2, 10, 48])
def test_bins_are_the_reference(n_bins):
    x = numbers()
    for mine, other in zip(
        quantile_edges(x, None, n_bins), reference.compute_bins(x, n_bins), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
    options = {"min_samples_leaf": 20, "min_impurity_decrease": 1e-4}
    for y, regression in ((x[:, 0] * x[:, 1], True), ((x[:, 0] > x[:, 1]).long(), False)):
        expected = reference.compute_bins(
            x, n_bins, tree_kwargs=options, y=y, regression=regression
        )
        for mine, other in zip(
            tree_edges(x, y, None, n_bins, not regression, options), expected, strict=True
        ):
            torch.testing.assert_close(mine, other.to(mine), rtol=1e-6, atol=1e-6)


def test_a_weight_of_two_is_a_row_that_stands_twice():
    x = numbers(200)
    times = torch.tensor(np.random.default_rng(0).integers(0, 4, 200))
    repeated = quantile_edges(x.repeat_interleave(times, 0), None, 10)
    for scale in (1.0, 0.001):
        weighted = quantile_edges(x, scale * times.double(), 10)
        for mine, other in zip(weighted, repeated, strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-12 if scale == 1 else 0.1)
    ones = quantile_edges(x, torch.ones(200), 10)
    for mine, other in zip(ones, quantile_edges(x, None, 10), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


def test_pbld_is_its_equation():
    x = numbers()
    module = built(PBLD(d_embedding=3, n_frequencies=5), table(x))
    linear = module.linear
    for j in range(4):
        hidden = torch.cos(2 * torch.pi * x[:, j, None] * module.frequencies[j] + module.phases[j])
        expected = torch.cat([x[:, j, None], hidden @ linear.weight[j] + linear.bias[j]], 1)
        torch.testing.assert_close(module(x)[:, j], expected)


def test_piecewise_begins_as_a_line():
    x = numbers()
    module = built("piecewise", table(x))
    torch.testing.assert_close(module(x), module.line(x), rtol=0, atol=0)


@pytest.mark.parametrize("bins", ["quantile", "tree"])
def test_constant_and_nearly_constant_numbers(bins):
    x = torch.zeros(100, 3, dtype=torch.float64)
    x[:, 1] = 1e-9 * torch.arange(100)
    x[0, 2] = 1.0  # one row apart
    module = built(PiecewiseLinear(bins=bins, min_samples_leaf=1), table(x, x[:, :1]))
    torch.nn.init.ones_(module.linear.weight)
    assert module(torch.tensor([[-1e12, 0.5, 1e12]], dtype=torch.float64)).isfinite().all()
    assert (module(x) - module(x + 1e-9)).abs().max() < 1e-6


def test_one_hot_has_a_column_for_each_known_code():
    schema = Schema(("a",), ("b", "c", "d"), (3, 40, 4))
    module = FlatEmbedding(schema, 5, one_hot_max_size=10)
    init_weights(module, torch.Generator().manual_seed(0))
    x_cat = torch.tensor(
        [[0, 3, 2], [2, 3, 3], [1, 39, 0]], dtype=torch.uint8
    )  # row 1: codes that no training row has
    rows = module(torch.zeros(3, 1), x_cat)
    assert rows.shape == (3, 1 + 2 + 3 + 5) == (3, module.d_out)
    expected = [[1, 0, 0, 0, 1], [0, 0, 0, 0, 0], [0, 1, 1, 0, 0]]
    assert rows[:, 1:6].tolist() == expected
    torch.testing.assert_close(rows[0, 6:], rows[1, 6:])


@pytest.mark.two_networks
@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_takes_every_embedding(architecture, task, name):
    X, y = people()
    model = make(architecture, task, numeric_embedding=name).fit(X, target(y - 3, task))
    assert np.isfinite(model.predict_proba(X) if task == "Classifier" else model.predict(X)).all()
    again = clone(model).fit(X, target(y - 3, task))
    np.testing.assert_array_equal(model.predict(X), again.predict(X))


def test_settings_are_checked_and_compared():
    assert PiecewiseLinear(n_bins=30) == PiecewiseLinear(n_bins=30) != PiecewiseLinear()
    assert (
        clone(
            make("TabMLP", "Regressor", numeric_embedding=Periodic(frequency_scale=2.0))
        ).numeric_embedding.frequency_scale
        == 2
    )
    with pytest.raises(ValueError, match="PiecewiseLinear: n_bins must be an int >= 2, got 1"):
        PiecewiseLinear(n_bins=1)
    X, y = people()
    with pytest.raises(
        ValueError, match="numeric_embedding must be .*'piecewise'.*, got 'quantile'"
    ):
        make("TabMLP", "Regressor", numeric_embedding="quantile").fit(X, y)
    with pytest.raises(
        ValueError, match="FTTransformerRegressor: numeric_embedding must have d_embedding=None or"
    ):
        make("FTTransformer", "Regressor", numeric_embedding=Periodic(d_embedding=8)).fit(X, y)


def test_more_bins_than_rows_and_a_rare_class():
    X, y = people(60)
    labels = np.where(np.arange(60) == 7, "rare", np.where(y > 3, "high", "low"))
    model = make(
        "TabMLP", "Classifier", numeric_embedding=PiecewiseLinear(n_bins=1000), early_stopping=False
    ).fit(X, labels)
    assert model.predict_proba(X).shape == (60, 3)


@pytest.mark.parametrize("name", NAMES)
def test_enormous_numbers_give_finite_predictions(name):
    X, y = np.random.default_rng(0).normal(size=(80, 3)), np.arange(80.0)
    model = make("TabMLP", "Regressor", numeric_embedding=name, numeric_transform="standard").fit(
        X, y
    )
    assert np.isfinite(model.predict(np.full((2, 3), 1e38))).all()


def test_unseen_categories_of_a_feature_behind_a_one_hot_one():
    """A new value of the embedded feature gets the mean vector of that feature's training rows, not
    another feature's."""
    X = pd.DataFrame(
        {"few": ["a", "b"] * 40, "many": [f"m{i % 20}" for i in range(80)], "x": np.arange(80.0)}
    )
    model = make("TabMLP", "Regressor", one_hot_max_size=5, early_stopping=False).fit(X, X["x"])
    vectors = model.module_.embedding.cat.weight.detach()
    torch.testing.assert_close(vectors[-1], vectors[:-1].mean(0))
