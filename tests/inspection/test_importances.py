"""Importances: against the definitions, and per column of the user's table."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make, numbers, people, target
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression
from torch import nn

import tabdl
from tabdl.inspection import attention_importances, gradient_importances, importances
from tabdl.inspection.networks import sum_by_column
from tabdl.network.contract import TabularNet

EXACT = {"precision": "float64", "numeric_missing": "indicator", "max_epochs": 3}


@pytest.fixture(scope="module")
def table():
    return people(90)


@pytest.fixture(scope="module")
def classes(table):
    return np.digitize(table[1], [1.5, 2.5])


@pytest.fixture(scope="module")
def transformer(table):
    X, y = table
    return make("FTTransformer", "Regressor", n_members=2, **EXACT).fit(X, y)


@pytest.fixture(scope="module")
def smooth(table, classes):
    """A network without kinks, where a few points integrate exactly."""
    return make("RealMLP", "Classifier", activation="mish", **EXACT).fit(table[0], classes)


# --- attention


def test_attention_is_the_first_row_of_the_maps(transformer, table):
    """Queries and keys of all tokens, as the paper writes them."""
    X = table[0]
    found = attention_importances(transformer, X)
    by_member = []
    x_num, x_cat = transformer.encoder_.transform(transformer_columns(transformer, X), dtype=float)
    for net in transformer.module_.nets:
        tokens = net.embedding(torch.from_numpy(x_num), torch.from_numpy(x_cat))
        rows = []
        for block in net.backbone.blocks:
            q, k, _ = block.attention.qkv(block.attention_norm(tokens)).chunk(3, -1)
            q, k = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in (q, k))
            rows.append(torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1)[:, :, 0])
            tokens = block(tokens)
        by_member.append(torch.stack(rows).mean((0, 2)))
    expected = torch.stack(by_member).mean(0)[:, 1:].detach().numpy()
    assert len(transformer.encoder_.schema.num_names) > 5 + 3  # a date and indicators
    assert found.names == tuple(X.columns) and found.by_row.shape == (90, 8)
    np.testing.assert_allclose(found.by_row.sum(1), expected.sum(1), rtol=1e-12)
    city = transformer.encoder_.schema.cat_names.index("city") + len(x_num.T)
    np.testing.assert_allclose(found.by_row[:, 2], expected[:, city], rtol=1e-12)
    age = [j for j, name in enumerate(transformer.encoder_.schema.num_names) if "age" in name]
    assert len(age) == 2
    np.testing.assert_allclose(found.by_row[:, 0], expected[:, age].sum(1), rtol=1e-12)
    np.testing.assert_allclose(found.values, found.by_row.mean(0))


def transformer_columns(model, X):
    from tabdl.data.validation import read_X

    encoder = model.encoder_
    return read_X(model, X, kinds=encoder.kinds, column_names=encoder.column_names)


def test_attention_needs_attention(smooth, table):
    message = "RealMLPClassifier: attention_importances needs .* use gradient_importances"
    with pytest.raises(TypeError, match=message):
        attention_importances(smooth, table[0])


# --- gradients: the shares of a row sum to the difference to the baseline


def centred(log_probabilities):
    return log_probabilities - log_probabilities.mean(1, keepdims=True)


def test_shares_sum_to_the_difference_of_the_logits(smooth, table):
    X = table[0]
    found = gradient_importances(smooth, X, baseline=X[:1])
    logits = centred(smooth.predict_log_proba(X))
    assert found.by_row.shape == (90, 8, 3) and found.by_output.shape == (8, 3)
    np.testing.assert_allclose(found.by_row.sum(1), logits - logits[:1], atol=1e-7)
    assert np.abs(found.by_row[0]).max() < 1e-12
    np.testing.assert_allclose(found.values, np.abs(found.by_row).mean((0, 2)))


def test_shares_sum_to_the_difference_of_the_losses(smooth, table, classes):
    X = table[0]
    found = gradient_importances(smooth, X, classes, baseline=X[:1])
    log_probabilities = smooth.predict_log_proba(X)
    rows = np.arange(len(X))
    losses, first = -log_probabilities[rows, classes], -log_probabilities[0, classes]
    np.testing.assert_allclose(found.by_row.sum(1), first - losses, atol=1e-7)
    assert found.by_row.shape == (90, 8)
    np.testing.assert_allclose(found.values.sum(), (first - losses).mean(), atol=1e-7)


@pytest.mark.parametrize("architecture", ["FTTransformer", "TabM", "TabResNet", "GMLP"])
def test_several_targets_predictions_and_members(architecture, table):
    X, y = table
    Y = np.column_stack([y, -(y**2)])
    model = make(architecture, "Regressor", n_members=2, **EXACT).fit(X, Y)
    X = X[:30]
    found = gradient_importances(model, X, baseline=X[:1], n_steps=16)
    difference = (model.predict(X) - model.predict(X[:1])) / model.target_.std
    assert found.by_row.shape == (30, 8, 2)
    error = np.abs(found.by_row.sum(1) - difference).max() / np.abs(difference).max()
    assert error < 0.05


def test_losses_of_k_predictions_and_labels(table):
    X, y = table
    Y = np.column_stack([y > 2, y > 1]).astype(int)
    model = make("TabM", "Classifier", **EXACT).fit(X, Y)
    assert gradient_importances(model, X[:20]).by_row.shape == (20, 8, 2)
    found = gradient_importances(model, X, Y, baseline=X[:1], n_steps=24)
    p = model.predict_proba(X)
    loss = -np.where(Y == 1, np.log(p), np.log(1 - p)).mean(1)
    first = -np.where(Y == 1, np.log(p[0]), np.log(1 - p[0])).mean(1)
    assert np.abs(found.by_row.sum(1) - (first - loss)).max() < 0.05 * np.abs(first - loss).max()


def test_captum_finds_the_same(transformer, table):
    IntegratedGradients = pytest.importorskip("captum.attr").IntegratedGradients
    X = table[0][:10]
    columns = transformer_columns(transformer, X)
    x_num, x_cat = map(torch.from_numpy, transformer.encoder_.transform(columns, dtype=float))
    theirs = []
    for net in transformer.module_.nets:
        tokens = net.embedding(x_num, x_cat).detach()
        start = tokens.mean(0, keepdim=True)
        method = IntegratedGradients(lambda x, net=net: net.from_embedding(x)[:, 0, 0])
        shares = method.attribute(tokens, start, n_steps=12, method="gausslegendre")
        theirs.append(net.embedding.by_feature(shares))
    ours = gradient_importances(transformer, X, n_steps=12).by_row[:, :, 0]
    expected = sum_by_column(transformer, torch.stack(theirs).mean(0))
    assert np.abs(ours).max() > 1e-3
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-9)


def test_gradient_times_input_is_the_slope_at_the_row(smooth, table):
    X = table[0][:30]
    found = gradient_importances(smooth, X, method="gradient_times_input")
    columns = transformer_columns(smooth, X)
    x_num, x_cat = map(torch.from_numpy, smooth.encoder_.transform(columns, dtype=float))
    net = smooth.module_
    with torch.no_grad():
        x = net.embedding(x_num, x_cat)
        ahead, behind = (
            net.from_embedding(x + step * (x - x.mean(0)))[:, 0] for step in (1e-6, -1e-6)
        )
    slope = centred(((ahead - behind) / 2e-6).numpy())
    np.testing.assert_allclose(found.by_row.sum(1), slope, atol=1e-6)


def test_importances_find_what_matters():
    X, y = numbers(200)
    X = np.column_stack([X, np.ones(200)])
    model = make("TabMLP", "Regressor", max_epochs=30).fit(X, y)
    for found in (gradient_importances(model, X), gradient_importances(model, X, y)):
        assert set(np.argsort(-found.values)[:2]) == {0, 1}
        assert found.values[4] == 0 and found.names[4] == "x4"
        assert model.module_.training is False
    assert all(parameter.grad is None for parameter in model.module_.parameters())


def test_one_hot_and_embedded_categories_go_to_their_columns():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "wide": rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 150),
            "number": rng.normal(size=150),
            "narrow": rng.choice(["a", "b", "c"], 150),
        }
    )
    y = (X["narrow"] == "a") * 3.0
    model = make("RealMLP", "Regressor", max_epochs=20).fit(X, y)
    found = gradient_importances(model, X)
    assert found.names == ("wide", "number", "narrow") and found.values.argmax() == 2


# --- ensembles, permutation, errors


def test_folds_and_greedy_ensembles(table):
    X, y = numbers(90)
    folds = tabdl.CrossValEnsembleRegressor(make("FTTransformer", "Regressor"), cv=2).fit(X, y)
    of_each = [attention_importances(fold, X).by_row for fold in folds.estimators_]
    np.testing.assert_allclose(attention_importances(folds, X).by_row, np.mean(of_each, 0))
    of_each = [gradient_importances(fold, X).by_row for fold in folds.estimators_]
    np.testing.assert_allclose(gradient_importances(folds, X).by_row, np.mean(of_each, 0))
    blend = tabdl.GreedyEnsembleRegressor([("net", folds), ("line", LinearRegression())], cv=2)
    blend.fit(X, y).weights_ = {"net": 1.0, "line": 0.0}
    assert gradient_importances(blend, X).values.shape == (4,)
    blend.weights_ = {"net": 0.5, "line": 0.5}
    message = "GreedyEnsembleRegressor: .* need a network of tabdl, got LinearRegression"
    with pytest.raises(TypeError, match=message):
        gradient_importances(blend, X)


def test_folds_with_other_classes():
    X, _ = numbers(60)
    y = np.repeat([0, 1, 2], [28, 30, 2])
    model = tabdl.CrossValEnsembleClassifier(
        make("TabMLP", "Classifier", max_epochs=1), cv=[(np.arange(58), [58, 59]), (range(60), [0])]
    )
    with pytest.warns(UserWarning):
        model.fit(X, y)
    with pytest.raises(ValueError, match="some folds lack classes .* one by one"):
        gradient_importances(model, X)


@pytest.mark.two_networks
def test_permutation_takes_every_estimator(architecture, task):
    X, y = numbers(60)
    y = target(y, task)
    model = make(architecture, task, max_epochs=1).fit(X, y)
    scoring = "neg_log_loss" if task == "Classifier" else None
    found = permutation_importance(model, X, y, n_repeats=1, random_state=0, scoring=scoring)
    assert found.importances_mean.shape == (4,) and np.ptp(found.importances_mean) > 0


def test_one_function_for_all_methods(transformer, table):
    X, y = table[0][:20], table[1][:20]
    named = X[["age", "city"]]
    small = make("TabMLP", "Regressor", max_epochs=1).fit(named, y)
    assert importances(transformer, X, method="attention").method == "attention"
    assert importances(transformer, X[:9], y[:9]).method == "integrated_gradients"
    by_permutation = importances(small, named, y, method="permutation")
    assert by_permutation.names == ("age", "city") and by_permutation.by_row is None
    assert by_permutation.by_output.shape == (2, 1)
    with pytest.raises(ValueError, match="method='permutation' compares scores, which need y"):
        importances(transformer, X, method="permutation")
    with pytest.raises(ValueError, match="'attention' or 'permutation', got 'shap'"):
        importances(transformer, X, method="shap")


def test_errors(smooth, table, classes):
    X = table[0]
    with pytest.raises(NotFittedError):
        gradient_importances(make("TabMLP", "Regressor"), X)
    with pytest.raises(ValueError, match="method must be one of .* got 'saliency'"):
        gradient_importances(smooth, X, method="saliency")
    with pytest.raises(ValueError, match=r"y must have 90 rows .* unknown classes \[7\]"):
        gradient_importances(smooth, X, np.where(classes == 0, 7, classes))
    with pytest.raises(ValueError, match=r"y must have 90 rows as X has, .* got shape \(89,\)"):
        gradient_importances(smooth, X, classes[1:])
    with pytest.raises(TypeError, match="need a network of tabdl, got LinearRegression"):
        gradient_importances(LinearRegression().fit([[1.0]], [1.0]), [[1.0]])


class Sum(nn.Module):
    """An embedding of somebody who has not heard of importances."""

    def forward(self, x_num, x_cat):
        return x_num.sum(1, keepdim=True)


def test_an_embedding_without_features():
    class Plain(tabdl.TabMLPRegressor):
        def _build_net(self, schema, n_outputs, train_table):
            return TabularNet(Sum(), nn.Identity(), nn.Linear(1, n_outputs))

    X, y = numbers(60)
    model = Plain(max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match="Plain: gradient_importances needs .* by_feature .* Sum"):
        gradient_importances(model, X)
