"""Fitted estimators in the formats of others: pickle, skops, MLflow; and the state behind all."""

import datetime
import pickle

import numpy as np
import pandas as pd
import pytest
import skops.io
from conftest import NETWORKS, make, people
from fitted_models import NAMES, X, fitted, in_fresh_process, predictions, target_of, unfitted
from hostile import saved
from sklearn.pipeline import make_pipeline

import tabdl
from tabdl.data.columns import read_columns
from tabdl.data.encoding import NUMERIC_TRANSFORMS, FeatureEncoder
from tabdl.exceptions import InconsistentVersionWarning, tabdl_version


def test_in_a_fresh_process():
    """Pickles and files of tabdl, in one process of their own."""
    models = [fitted(name) for name in NAMES]
    script = (
        "import io, tabdl\n"
        "models = data['models'] + [tabdl.load(io.BytesIO(file)) for file in data['files']]\n"
        "answer = lambda m: getattr(m, 'predict_proba', None) or m.predict\n"
        "result = [answer(model)(data['X']) for model in models]"
    )
    results = in_fresh_process(script, X=X, models=models, files=[*map(saved, models)])
    for model, result in zip(models * 2, results, strict=True):
        np.testing.assert_array_equal(result, predictions(model))


@pytest.mark.parametrize("name", ["TabMLPClassifier", "GreedyEnsembleRegressor"])
def test_a_pickle_of_another_version_warns(name, monkeypatch):
    data = pickle.dumps(fitted(name))
    pickle.loads(data)
    monkeypatch.setattr(tabdl, "__version__", "99.0")
    with pytest.warns(InconsistentVersionWarning, match=r"pickled with tabdl 0\.") as caught:
        pickle.loads(data)
    assert caught[0].message.current_tabdl_version == tabdl_version() == "99.0"


@pytest.mark.parametrize("name", NAMES)
def test_skops(name):
    model = fitted(name)
    data = skops.io.dumps(model)
    types = skops.io.get_untrusted_types(data=data)
    assert all(kind.startswith("tabdl.") for kind in types)
    assert {kind.rpartition(".")[2] for kind in types} <= {*NAMES, "PiecewiseLinear"}
    again = skops.io.loads(data, trusted=types)
    np.testing.assert_array_equal(predictions(again), predictions(model))
    plain = unfitted(name)
    types = skops.io.get_untrusted_types(data=skops.io.dumps(plain))
    assert repr(skops.io.loads(skops.io.dumps(plain), trusted=types)) == repr(plain)


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("mlflow.sklearn")
    mlflow.set_tracking_uri(f"file:{tmp_path / 'runs'}")
    yield mlflow
    mlflow.sklearn.autolog(disable=True)


@pytest.mark.filterwarnings("ignore::Warning:mlflow.*", "ignore::FutureWarning")
@pytest.mark.parametrize("name", ["TabMClassifier", "CrossValEnsembleRegressor"])
def test_mlflow(name, mlflow):
    model = fitted(name)
    types = skops.io.get_untrusted_types(data=skops.io.dumps(model))
    with mlflow.start_run():
        # Given requirements, MLflow does not load the model in a process of its own to find them.
        info = mlflow.sklearn.log_model(
            model, name="model", skops_trusted_types=types, pip_requirements=["tabdl"]
        )
    assert info.flavors["sklearn"]["serialization_format"] == "skops"
    again = mlflow.sklearn.load_model(info.model_uri)
    np.testing.assert_array_equal(predictions(again), predictions(model))


@pytest.mark.filterwarnings("ignore::Warning:mlflow.*", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:Precision is ill-defined")
def test_mlflow_autolog(mlflow):
    """MLflow watches the classes of scikit-learn alone: the network stands in a Pipeline."""

    def log(record):
        losses = {name: record[name] for name in ("train_loss", "val_loss")}
        mlflow.log_metrics(losses, step=record["epoch"])

    mlflow.sklearn.autolog(log_models=False, log_datasets=False)
    net = make("TabMLP", "Classifier", max_epochs=2, d_block=4, callbacks=[log])
    with mlflow.start_run() as run:
        make_pipeline(net).fit(X, target_of("TabMLPClassifier"))
    data = mlflow.get_run(run.info.run_id).data
    assert data.params["tabmlpclassifier__d_block"] == "4"
    assert 0 <= data.metrics["training_score"] <= 1
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "val_loss")
    assert [metric.value for metric in history] == [r["val_loss"] for r in net.history_]


# --- the state


def is_plain(value):
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or type(value) in (str, int, float, bool, np.ndarray)


@pytest.mark.parametrize("name", [name for name in NAMES if name in NETWORKS])
def test_the_state_of_a_network_is_plain(name):
    fitted_state = fitted(name).__getstate__()["fitted"]
    params = fitted_state.pop("params")
    assert is_plain(fitted_state) and set(params) <= set(fitted(name).get_params())


def test_a_pickle_does_not_share_memory_with_the_model():
    model = fitted("TabMLPRegressor")
    copied = tabdl.TabMLPRegressor.__new__(tabdl.TabMLPRegressor)
    copied.__setstate__(model.__getstate__())
    before = model.predict(X)
    for parameter in copied.module_.parameters():
        parameter.data.zero_()
    np.testing.assert_array_equal(model.predict(X), before)


def every_kind_of_category():
    frame = people()[0]
    n = len(frame)
    rng = np.random.default_rng(0)
    months = pd.period_range("2020", "2021", freq="M")[rng.integers(0, 12, n)]
    some = {
        "month": months,
        "span": pd.cut(frame["age"], 4),
        "time_span": pd.cut(frame["joined"], 4),
        "hour": [datetime.time(hour) for hour in rng.integers(0, 5, n)],
        "day": [datetime.date(2020, 1, 1 + day) for day in rng.integers(0, 5, n)],
        "zoned": frame["joined"].dt.tz_localize("Europe/Berlin"),
        "since": frame["since"],
        "large": np.array([10**20 + i % 3 for i in range(n)], dtype=object),
        "moment": frame["joined"],
    }
    categories = {name: pd.Series(values, dtype="category") for name, values in some.items()}
    return frame.assign(**categories, text=["a", 1, 2.5, True] * (n // 4))


@pytest.mark.filterwarnings("ignore:.*mixes")
@pytest.mark.parametrize("missing", ["impute", "indicator"])
@pytest.mark.parametrize("transform", NUMERIC_TRANSFORMS)
def test_encoders(transform, missing):
    columns = read_columns(every_kind_of_category(), estimator_name="Net")
    n = len(columns[0])
    encoder = FeatureEncoder(transform, "Net", missing).fit(columns, np.arange(n), np.ones(n))
    encoder = encoder.narrowed(encoder.transform(columns)[1][:40])
    again = FeatureEncoder.from_state(encoder.state(), "Net")
    assert again.schema == encoder.schema and is_plain(encoder.state())
    for mine, other in zip(again.transform(columns), encoder.transform(columns), strict=True):
        np.testing.assert_array_equal(mine, other)
