"""``categorical_statistics`` of estimators: every kind of target, weights, folds, files, graphs."""

import io
import pickle

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from conftest import make
from sklearn.model_selection import KFold

import tabdl
from tabdl.inspection import estimate_memory, gradient_importances

QUICK = {"numeric_embedding": None, "max_epochs": 3, "categorical_statistics": "both"}


@pytest.fixture(scope="module")
def table():
    """A frame whose column of 30 shops decides the target, and the target."""
    rng = np.random.default_rng(0)
    shop = rng.integers(0, 30, 300)
    X = pd.DataFrame({"shop": [f"s{i}" for i in shop], "size": rng.normal(size=300)})
    X.loc[::9, "shop"] = None
    return X, np.sin(shop) + rng.normal(size=300) / 4


def small(task, **options):
    return make("TabMLP", task, **{**QUICK, **options})


@pytest.fixture(scope="module")
def fitted(table):
    return small("Regressor", n_members=2).fit(*table)


def test_every_architecture(architecture, task, table):
    X, y = table
    y = y if task == "Regressor" else y > 0
    model = make(architecture, task, categorical_statistics="both", max_epochs=1).fit(X, y)
    assert model.encoder_.schema.num_names == ("size", "shop.log_count", "shop.target")
    assert np.isfinite(model.predict(X[:5].assign(shop="unseen")).astype(float)).all()


@pytest.mark.parametrize("kind", ["classes", "labels", "outputs"])
def test_a_mean_for_each_class_label_or_output(kind, table):
    X, y = table
    y = {
        "classes": np.digitize(y, [-0.5, 0.5]),
        "labels": np.column_stack([y > 0, y > 1, X["size"] > 0]).astype(int),
        "outputs": np.column_stack([y, -y, X["size"]]),
    }[kind]
    model = small("Regressor" if kind == "outputs" else "Classifier", early_stopping=False)
    model = model.set_params(numeric_transform="none").fit(X, y)
    names = [f"shop.target_{i}" for i in range(3)]
    assert model.encoder_.schema.num_names[2:] == tuple(names)
    means = model.encoder_.statistics[0].features[:-1, 1:]
    expected = np.eye(3)[y] if kind == "classes" else y
    if kind == "outputs":
        expected = (y - y.mean(0)) / y.std(0)
    by_shop = pd.DataFrame(expected).groupby(X["shop"].fillna("zz")).mean().to_numpy()
    for output in range(2):
        assert np.corrcoef(means[:, output], by_shop[:, output])[0, 1] > 0.9
    if kind == "classes":
        np.testing.assert_allclose(means.sum(1), 1, atol=0.1)


def test_means_help_where_a_category_decides(table):
    """With few epochs the vectors of 30 shops have learned little; the means are there at once."""
    X, y = table
    with_means, without = (
        small("Regressor", categorical_statistics=which, max_epochs=15).fit(X, y)
        for which in ("target", "none")
    )
    losses = [
        min(record["val_loss"] for record in model.history_) for model in (with_means, without)
    ]
    assert losses[0] < 0.6 * losses[1]


def test_a_row_of_weight_zero_is_absent(table):
    X, y = table
    wrong = np.where(np.arange(300) < 100, 50.0, y)
    weight = np.where(np.arange(300) < 100, 0.0, 1.0)
    val = {"X_val": X[:100], "y_val": y[:100]}
    model = small("Regressor").fit(X, wrong, sample_weight=weight, **val)
    expected = small("Regressor").fit(X[100:], y[100:], **val)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


def test_folds_do_not_know_the_targets_of_their_test_rows(table):
    X, y = table
    folds = {"cv": KFold(2), "random_state": 0, "together": True}
    model, other = (
        tabdl.CrossValEnsembleRegressor(small("Regressor"), **folds).fit(X, target)
        for target in (y, np.r_[y[:150], -y[150:]])
    )
    np.testing.assert_array_equal(model.estimators_[1].predict(X), other.estimators_[1].predict(X))
    assert (model.estimators_[0].predict(X) != other.estimators_[0].predict(X)).any()


def test_folds_that_only_count_share_a_training(table):
    X, y = table
    X = X.assign(shop=X["shop"].where(X.index >= 10, "only in the first fold"))
    counting = small("Regressor", categorical_statistics="count", max_epochs=1)
    model = tabdl.CrossValEnsembleRegressor(counting, cv=3, together=True, random_state=0)
    first, second, _ = model.fit(X, y).estimators_
    np.testing.assert_array_equal(
        first.encoder_.statistics[0].features, second.encoder_.statistics[0].features
    )
    buffer = io.BytesIO()
    tabdl.save(model, buffer)
    buffer.seek(0)
    np.testing.assert_array_equal(tabdl.load(buffer).predict(X), model.predict(X))


def test_files_and_pickles(fitted, table):
    X, _ = table
    buffer = io.BytesIO()
    tabdl.save(fitted, buffer)
    buffer.seek(0)
    for again in (tabdl.load(buffer), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
        assert again.encoder_.schema == fitted.encoder_.schema


@pytest.mark.parametrize("columns", [["shop"], ["shop", "size"]])
def test_onnx(columns, table, tmp_path):
    X, y = table
    X = X[columns]
    model = small("Classifier", n_members=1, d_block=8, n_blocks=1)
    model.fit(X, np.digitize(y, [-0.5, 0.5]))
    later = X[:40].copy()
    later.loc[:3, "shop"] = "unseen"
    path = tmp_path / "model.onnx"
    tabdl.to_onnx(model, path, X[:5])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(["predict_proba"], tabdl.onnx_inputs(model, later))[0]
    np.testing.assert_allclose(found, model.predict_proba(later), atol=1e-5)


def test_importances_are_those_of_the_users_columns(fitted, table):
    found = gradient_importances(fitted, table[0], n_steps=4)
    assert found.names == ("shop", "size") and found.values.shape == (2,)
    assert found.values[0] > found.values[1]


def test_memory_counts_statistics():
    def size(which, n_values):
        model = small("Classifier", categorical_statistics=which)
        return estimate_memory(model, 100_000, 2, 5, n_values=n_values, n_outputs=4)

    assert size("both", 20) == size("none", 20)
    assert size("none", 21) < size("count", 21) < size("both", 21)


def test_wrong_values():
    with pytest.raises(ValueError, match="categorical_statistics must be"):
        small("Regressor", categorical_statistics="auto").fit(np.eye(30), np.arange(30))
