"""The graph of an estimator, in onnxruntime, predicts what the estimator predicts."""

import datetime

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from conftest import ARCHITECTURES, make, numbers, people, target
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tabdl
from benchmarks.tables.datasets import adult, california_housing
from tabdl.data.columns import read_columns
from tabdl.data.encoding import NUMERIC_TRANSFORMS, FeatureEncoder
from tabdl.persistence.onnx import MISSING_TEXT
from tabdl.persistence.onnx_graph import Graph, Value, encoded


def small(task, **kwargs):
    """Return an estimator whose network is exported in little time."""
    given = {"n_blocks": 1, "d_block": 8, "max_epochs": 2, "numeric_embedding": None}
    return make("TabMLP", task, **{**given, **kwargs})


def later_people():
    """Return rows of people with categories that no training row has, and more missing values."""
    X, _ = people(40, seed=1)
    X["city"] = X["city"].astype(object)
    X.loc[2:5, "city"] = "Zug"
    X["plan"] = X["plan"].cat.add_categories("free")
    X.loc[3:6, "plan"] = "free"
    X.loc[4:9, ["age", "joined", "active"]] = None
    X.loc[0, "age"] = 1e9
    return X


def session_of(model, X, path):
    tabdl.to_onnx(model, path, X[:5])
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def assert_same(model, X, path):
    """Assert that the graph gives the outputs of the model, for all rows and for one."""
    session = session_of(model, X, path)
    feed = tabdl.onnx_inputs(model, X)
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))
    expected = {"predict": model.predict(X)}
    if hasattr(model, "classes_"):
        expected["predict_proba"] = model.predict_proba(X)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape
        if array.dtype.kind in "OUT":
            np.testing.assert_array_equal(found[name], array)
        else:
            scale = 1 + np.abs(array).max()
            np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5 * scale)
    for i in (0, 3):
        alone = session.run(None, {name: column[i : i + 1] for name, column in feed.items()})
        np.testing.assert_allclose(alone[-1], found[list(found)[-1]][i : i + 1], rtol=1e-5)
    return session


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_architectures(architecture, tmp_path):
    task = ("Classifier", "Regressor")[ARCHITECTURES.index(architecture) % 2]
    X, y = people()
    kwargs = {"prune": True} if architecture == "TabM" else {}
    model = make(architecture, task, max_epochs=2, **kwargs).fit(X, target(y - 2, task))
    assert_same(model, later_people(), tmp_path / "model.onnx")


def several_outputs(y, seed=0):
    return np.column_stack([y, np.random.default_rng(seed).normal(size=len(y))])


def folds_that_lack_a_class(words):
    return [(np.flatnonzero(words != "tall"), np.arange(120)), (np.arange(120), np.arange(120))]


def fit_task(name):
    """Return a model of one kind of target, fitted on people."""
    X, y = people()
    words = np.array(["low", "middle", "tall"])[np.digitize(y, [1.5, 3])]
    two = several_outputs(y)
    if name == "classes":
        return small("Classifier", calibrate=True).fit(X, words)
    if name == "labels":
        return small("Classifier", calibrate=True, n_members=2).fit(X, (two > 0.5).astype(int))
    if name == "two classes":
        return small("Classifier", calibrate=True, n_members=2).fit(X, words == "low")
    if name == "outputs":
        settings = {"numeric_transform": "robust", "numeric_missing": "indicator"}
        settings["categorical_features"] = ["city", "plan", "active", "children"]
        return small("Regressor", **settings).fit(X, two)
    if name == "float64":
        return small("Regressor", precision="float64", numeric_transform="none").fit(X, y)
    if name == "folds":
        folds = folds_that_lack_a_class(words)
        with pytest.warns(UserWarning, match="lack the class"):
            return tabdl.CrossValEnsembleClassifier(small("Classifier"), cv=folds).fit(X, words)
    members = [("a", small("Regressor", numeric_transform="standard"))]
    return tabdl.GreedyEnsembleRegressor(members, cv=2, random_state=0).fit(X, y)


@pytest.mark.parametrize(
    "name", ["classes", "labels", "two classes", "outputs", "float64", "folds", "blend"]
)
def test_tasks(name, tmp_path):
    session = assert_same(fit_task(name), later_people(), tmp_path / "model.onnx")
    types = {value.name: value.type for value in session.get_inputs()}
    assert types["city"] == "tensor(string)" and types["joined"] == "tensor(int64)"
    assert types["age"] == types["active"] == "tensor(double)"


def test_adult(tmp_path):
    (X, y), _, (X_test, _) = adult().train_val_test
    model = small("Classifier", batch_size=256).fit(X[:2000], y[:2000])
    X_test = X_test.iloc[:500].reset_index(drop=True)
    X_test["occupation"] = X_test["occupation"].astype(object)
    X_test.loc[:3, "occupation"] = [None, "Astronaut", "", np.nan]
    assert_same(model, X_test, tmp_path / "adult.onnx")


def test_california_housing(tmp_path):
    (X, y), _, (X_test, _) = california_housing().train_val_test
    model = small("Regressor", batch_size=256).fit(X[:2000], y[:2000])
    X_test = X_test[:500].copy()
    X_test.iloc[3, 2] = np.nan
    assert_same(model, X_test, tmp_path / "california.onnx")


# --- the encoder alone, which takes no exporter


def run_encoder(encoder, X):
    """Return the features that the graph of an encoder gives."""
    columns = read_columns(
        X, estimator_name="Test", kinds=encoder.kinds, column_names=encoder.column_names
    )
    graph = Graph(onnx, "test/")
    dtypes = {"datetime": np.dtype(np.int64)}
    values = {
        column.name: Value(graph, column.name, dtypes.get(column.kind, np.dtype(np.float64)))
        for column in columns
    }
    outputs = encoded(values, encoder, np.float64)

    def described(value):
        kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        return onnx.helper.make_tensor_value_info(value.name, kind, None)

    proto = onnx.helper.make_graph(
        graph.nodes,
        "test",
        [described(value) for value in values.values()],
        [described(value) for value in outputs],
        initializer=graph.constants,
    )
    opset = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    model = onnx.helper.make_model(proto, opset_imports=opset, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feed = {
        column.name: column.values.view(np.int64 if column.kind == "datetime" else np.float64)
        if column.values.dtype != np.float32
        else column.values.astype(np.float64)
        for column in columns
    }
    found = session.run(None, {name: array[:, None] for name, array in feed.items()})
    return found, encoder.transform(columns, dtype=np.float64)


@pytest.mark.parametrize("missing", ["impute", "indicator"])
@pytest.mark.parametrize("transform", NUMERIC_TRANSFORMS)
def test_hard_columns(transform, missing):
    """Ties, tiny differences of large numbers, the ends of float64, constants, far dates."""
    rng = np.random.default_rng(0)
    n = 500
    moments = rng.integers(-(10**17), 10**16, n).astype("datetime64[us]")
    moments[:4] = np.array(["NaT", "2000-02-29", "1969-12-31T23:59:59.999999", "1900-03-01"])
    X = pd.DataFrame(
        {
            "ties": rng.integers(0, 4, n).astype(float),
            "offset": 1e9 + rng.random(n),
            "huge": rng.normal(size=n) * 1e307,
            "tiny": rng.normal(size=n) * 1e-300,
            "constant": np.ones(n),
            "empty": np.full(n, np.nan),
            "single": rng.normal(size=n).astype(np.float32),
            "moment": moments,
            "year": np.array(["2020-01-01", "2024-12-31"], "datetime64[us]")[rng.integers(0, 2, n)],
        }
    )
    X.loc[5:9, ["ties", "offset", "constant"]] = np.nan
    columns = read_columns(X, estimator_name="Test")
    encoder = FeatureEncoder(transform, "Test", missing).fit(columns, np.arange(n), np.ones(n))
    beyond = X.copy()
    beyond[["ties", "offset", "tiny"]] *= 3
    beyond["constant"] = 7.0
    beyond["empty"] = 7.0
    for rows in (X, beyond):
        found, expected = run_encoder(encoder, rows)
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.5, np.nan], [3.0, 1.0, 2.5, 3.0], [2.0] * 4])
def test_categories_that_are_numbers(values):
    X = pd.DataFrame({"a": values})
    columns = read_columns(X, estimator_name="Test", categorical=["a"])
    encoder = FeatureEncoder("none", "Test").fit(columns, np.arange(4), np.ones(4))
    later = pd.DataFrame({"a": [2.5, np.nan, 2.4999, 3.0, 1e300, -1.0, 2.0]})
    found, expected = run_encoder(encoder, later)
    np.testing.assert_array_equal(found[1], expected[1])


# --- what cannot be exported


def test_refusals(tmp_path):
    X, y = numbers(60)
    path = tmp_path / "model.onnx"
    with pytest.raises(NotFittedError):
        tabdl.to_onnx(small("Regressor"), path, X)
    with pytest.raises(TypeError, match="got a Ridge"):
        tabdl.to_onnx(Ridge().fit(X, y), path, X)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    folds = tabdl.CrossValEnsembleClassifier(pipeline, cv=2).fit(X, y > 0)
    with pytest.raises(TypeError, match="got a Pipeline"):
        tabdl.to_onnx(folds, path, X)
    blend = tabdl.GreedyEnsembleRegressor([], cv=2).fit(X, y, oof_predictions={"other": y})
    with pytest.raises(TypeError, match=r"predictions from elsewhere \['other'\]"):
        tabdl.to_onnx(blend, path, X)
    with pytest.raises(ValueError, match="feature names should match"):
        tabdl.to_onnx(fit_task("float64"), path, later_people()[["age", "city"]])
    assert not path.exists()


@pytest.mark.parametrize(
    "name, values, words",
    [
        ("a", [datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)], "datetime, for example"),
        ("a", [2**60 + 1, 2**60 + 3], "integers beyond 2"),
        ("a", ["x", MISSING_TEXT], "stands for a missing value"),
        ("predict", ["x", "y"], "the name of an output"),
    ],
)
def test_columns_that_are_refused(name, values, words, tmp_path):
    X = pd.DataFrame({name: values * 30, "b": np.arange(60.0)})
    model = small("Regressor", categorical_features=[name]).fit(X, np.arange(60.0))
    with pytest.raises(ValueError, match=f"TabMLPRegressor: column '{name}' .*{words}"):
        tabdl.to_onnx(model, tmp_path / "model.onnx", X)


def test_labels_that_are_refused(tmp_path):
    X, y = numbers(60)
    model = small("Classifier").fit(X, np.where(y > 0, np.uint64(2**63 + 1), np.uint64(7)))
    with pytest.raises(ValueError, match=r"TabMLPClassifier: .* got 9223372036854775809"):
        tabdl.to_onnx(model, tmp_path / "model.onnx", X)
