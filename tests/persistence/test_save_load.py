"""``tabdl.save`` and ``tabdl.load``: the same estimator comes back, or is refused by name."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch
from conftest import make, numbers, people
from fitted_models import (
    NAMES,
    OwnClassifier,
    X,
    Y,
    fitted,
    predictions,
    target_of,
    unfitted,
)
from hostile import packed, parts_of, saved
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from xgboost import XGBClassifier

import tabdl
from tabdl.embeddings import PiecewiseLinear
from tabdl.exceptions import tabdl_version

FILES = Path(__file__).parent / "files"


def loaded(data, **kwargs):
    return tabdl.load(io.BytesIO(data), **kwargs)


@pytest.mark.parametrize("name", NAMES)
def test_every_estimator(name):
    model = fitted(name)
    again = loaded(saved(model))
    np.testing.assert_array_equal(predictions(again), predictions(model))
    assert type(again) is type(model) and set(vars(again)) == set(vars(model))
    assert repr(again) == repr(model)
    for attribute in ("history_", "best_epoch_", "stop_reason_", "n_parameters_", "scores_"):
        assert getattr(again, attribute, 0) == getattr(model, attribute, 0)
    assert saved(again) == saved(model)


@pytest.mark.parametrize("name", NAMES)
def test_unfitted(name):
    model = unfitted(name)
    again = loaded(saved(model))
    assert repr(again) == repr(model) and not again.__sklearn_is_fitted__()


def test_released_formats():
    """A file of each released format; ``python tests/persistence/test_save_load.py`` writes one."""
    for number in (1, 2):
        model = tabdl.load(FILES / f"format-{number}.tabdl", foreign=number == 2)
        expected = json.loads((FILES / f"format-{number}.json").read_text())
        rows = rows_of(number, 8)
        np.testing.assert_allclose(model.predict_proba(rows), expected, atol=1e-6)


def rows_of(number, n_rows):
    """Return the rows for the file of a format."""
    return people(n_rows)[0] if number == 1 else people(n_rows)[0][["age"]].astype(float)


def test_what_the_file_is(tmp_path):
    tabdl.save(fitted("TabMClassifier"), tmp_path / "model.tabdl")
    assert [path.name for path in tmp_path.iterdir()] == ["model.tabdl"]
    with zipfile.ZipFile(tmp_path / "model.tabdl") as archive:
        manifest = json.loads(archive.read("manifest.json"))
        tensors = safetensors.numpy.load(archive.read("tensors.safetensors"))
    assert manifest["format"] == 1 and manifest["tabdl"] == tabdl_version()
    assert {"torch", "numpy", "scikit-learn", "pandas", "python"} <= set(manifest)
    head = "fitted.networks.0.tensors.head.weight"
    net = fitted("TabMClassifier").module_.nets[0]
    np.testing.assert_array_equal(tensors[head], net.head.weight.detach().numpy())


def test_a_newer_format_says_what_to_do():
    parts = parts_of(saved(unfitted("TabMLPRegressor")))
    parts["manifest.json"] = json.dumps({"format": 3, "tabdl": "9.0"}).encode()
    with pytest.raises(ValueError, match=r"format 3, written by tabdl '9.0'.*pip install -U tabdl"):
        loaded(packed(parts.items()))


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.tabdl"
    path.write_bytes(b"old")
    with pytest.raises(TypeError, match="TabMLPRegressor.scoring is a builtins.function"):
        tabdl.save(make("TabMLP", "Regressor", scoring=lambda model, X, y: 0.0), path)
    assert path.read_bytes() == b"old" and len([*tmp_path.iterdir()]) == 1
    with pytest.raises(FileNotFoundError):
        tabdl.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (make("TabMLP", "Regressor", random_state=np.random.RandomState(0)), "random_state"),
        (tabdl.CrossValEnsembleRegressor(Ridge()), "CrossValEnsembleRegressor.estimator is a"),
        (tabdl.CrossValEnsembleRegressor(make("TabMLP", "Regressor"), cv=KFold(3)), r"\.cv is a"),
        (tabdl.GreedyEnsembleRegressor([("a", Ridge())]), "estimators.0.1 is a sklearn.linear"),
        (make_pipeline(make("TabMLP", "Regressor")), "save: estimator must be an estimator"),
    ],
)
def test_what_is_refused_by_name(model, named):
    with pytest.raises(TypeError, match=named):
        saved(model)


def test_foreign_members_and_attributes_are_refused_by_name():
    rows, y = numbers(30)
    few = {"max_epochs": 1, "d_block": 4}
    members = [("net", make("TabMLP", "Regressor", **few)), ("ridge", Ridge())]
    blend = tabdl.GreedyEnsembleRegressor(members, cv=2, random_state=0).fit(rows, y)
    with pytest.raises(TypeError, match="GreedyEnsembleRegressor.estimators.1.1 is a .*Ridge"):
        saved(blend)
    model = unfitted("TabMLPRegressor")
    model.note = "mine"
    with pytest.raises(TypeError, match="cannot hold the attribute 'note'"):
        saved(model)


def test_callbacks_are_left_out_with_a_warning():
    model = make("TabMLP", "Regressor", max_epochs=1, callbacks=[lambda record: None]).fit(X, Y)
    with pytest.warns(UserWarning, match="TabMLPRegressor.callbacks is left out"):
        data = saved(model)
    again = loaded(data)
    assert again.callbacks is None
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_classes_of_the_user():
    model = OwnClassifier(max_epochs=1).fit(X, target_of("TabMClassifier"))
    data = saved(model)
    with pytest.raises(ValueError, match=r"a 'OwnClassifier'.*pass it.*classes=\[…\]"):
        loaded(data)
    again = loaded(data, classes=[OwnClassifier])
    np.testing.assert_array_equal(predictions(again), predictions(model))
    with pytest.raises(TypeError, match="classes must be classes of estimators"):
        loaded(data, classes=[Ridge])


class Impostor(OwnClassifier):
    """A class of the user that has the name of one of tabdl's."""


def test_own_classes_are_not_replaced():
    Impostor.__name__ = "TabMLPClassifier"
    again = loaded(saved(unfitted("TabMLPClassifier")), classes=[Impostor])
    assert type(again) is tabdl.TabMLPClassifier
    data = saved(Impostor())
    assert type(loaded(data, classes=[Impostor])) is Impostor
    with pytest.raises(ValueError, match="pass it"):
        loaded(data)


def test_parameters_that_changed_after_the_fit():
    model = make("TabM", "Regressor", max_epochs=1).fit(X, Y)
    expected = model.predict(X)
    model.set_params(k=7, d_block=5, n_members=2, numeric_embedding=None)
    again = loaded(saved(model))
    np.testing.assert_array_equal(again.predict(X), expected)
    assert again.k == 7 and again.n_members == 2


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (np.array([3, 5, 9]), np.int64),
        (np.array([True, False]), np.bool_),
        (np.array(["a", "bb", "ü"], dtype="<U9"), "<U9"),
        (np.array(["a", "bb", "ü"], dtype=object), object),
        (np.array([1.0, 2.0]), np.float64),
        (np.array([1, 2], dtype=np.uint8), np.uint8),
    ],
)
def test_labels_of_every_type(labels, kind):
    y = labels[np.arange(len(X)) % len(labels)]
    model = make("TabMLP", "Classifier", max_epochs=1, d_block=4).fit(X[["age"]], y)
    again = loaded(saved(model))
    assert again.classes_.dtype == model.classes_.dtype == kind
    np.testing.assert_array_equal(again.predict(X[["age"]]), model.predict(X[["age"]]))


def test_several_labels_a_row():
    y = np.column_stack([Y > 2, Y > 3]).astype(int)
    model = make("TabMLP", "Classifier", max_epochs=1, d_block=4, calibrate=True).fit(X, y)
    again = loaded(saved(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(again.temperature_, model.temperature_)


@pytest.mark.parametrize(
    "columns", [["age"], np.array(["age"]), pd.Index(["age"]), (0,), {"age"}, [True]]
)
def test_categorical_features(columns):
    model = make("TabMLP", "Regressor", max_epochs=1, d_block=4, categorical_features=columns)
    model.fit(X[["age"]], Y)
    again = loaded(saved(model))
    assert isinstance(again.categorical_features, list)
    np.testing.assert_array_equal(again.predict(X[["age"]]), model.predict(X[["age"]]))


def test_devices_and_missing_column_names():
    rows, y = numbers(30)
    model = make("TabMLP", "Regressor", max_epochs=1, d_block=4, device=torch.device("cpu"))
    again = loaded(saved(model.fit(rows, y)))
    assert again.device == "cpu" and not hasattr(again, "feature_names_in_")
    assert again.to("cpu") is again
    for device, message in (("cuda:99", "this machine has none"), ("tpu", "device must be")):
        with pytest.raises(ValueError, match=f"TabMLPRegressor: .*{message}"):
            again.to(device)
    with pytest.raises(ValueError, match="not fitted"):
        make("TabMLP", "Regressor").to("cpu")
    ensemble = fitted("CrossValEnsembleRegressor")
    assert ensemble.to(torch.device("cpu")) is ensemble
    assert {str(member.device) for member in ensemble.estimators_} == {"cpu"}


def write_format(number):
    """Write the file of a format: 1 has networks alone, 2 has trees of XGBoost."""
    few = {"max_epochs": 3, "n_blocks": 1, "d_block": 4, "k": 2}
    bins = PiecewiseLinear(n_bins=3, bins="tree", min_samples_leaf=5)
    member = make("TabM", "Classifier", calibrate=True, numeric_embedding=bins, **few)
    if number == 2:
        member = XGBClassifier(n_estimators=3, n_jobs=1, enable_categorical=True)
    ensemble = tabdl.CrossValEnsembleClassifier(member, cv=2, random_state=0)
    ensemble.fit(rows_of(number, 60), target_of("TabMClassifier"))
    tabdl.save(ensemble, FILES / f"format-{number}.tabdl")
    expected = ensemble.predict_proba(rows_of(number, 8)).tolist()
    (FILES / f"format-{number}.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    write_format(2)
