"""Boosted trees of other libraries in a saved ensemble: they come back where it is allowed."""

import hashlib
import io
import json
import pickle
from functools import cache

import numpy as np
import pandas as pd
import pytest
from catboost import CatBoostClassifier, CatBoostRegressor
from conftest import make, people
from hostile import (
    MANIFEST,
    TENSORS,
    TREE,
    mutated,
    outcome,
    packed,
    parts_of,
    saved,
    split_tensors,
)
from lightgbm import LGBMClassifier, LGBMRegressor
from xgboost import XGBClassifier, XGBRegressor

import tabdl

FRAME, Y = people(60)
X = FRAME[["age", "city"]].astype({"age": float, "city": "category"})
LABELS = {
    "text": np.array(["lo", "mid", "hi"])[np.digitize(Y, [1.5, 2.5])],
    "numbers": np.digitize(Y, [2]) * 5,
}
QUIET = {
    "xgboost": {"n_estimators": 3, "n_jobs": 1, "enable_categorical": True},
    "lightgbm": {"n_estimators": 3, "n_jobs": 1, "verbose": -1, "min_child_samples": 5},
    "catboost": {"iterations": 3, "thread_count": 1, "verbose": 0, "allow_writing_files": False},
}
CLASSES = {
    "xgboost": (XGBClassifier, XGBRegressor),
    "lightgbm": (LGBMClassifier, LGBMRegressor),
    "catboost": (CatBoostClassifier, CatBoostRegressor),
}


def member(library, is_regressor):
    more = {"cat_features": ["city"]} if library == "catboost" else {}
    return CLASSES[library][is_regressor](**QUIET[library], **more)


def rows_for(library):
    if library != "catboost":
        return X
    return X.assign(city=X["city"].astype(object).where(X["city"].notna(), "none"))


@cache
def fitted(library, labels=None):
    kind = "Regressor" if labels is None else "Classifier"
    cls = getattr(tabdl, f"CrossValEnsemble{kind}")
    model = cls(member(library, labels is None), cv=2, refit="all", random_state=0)
    return model.fit(rows_for(library), Y if labels is None else LABELS[labels])


def loaded(data, **options):
    return tabdl.load(io.BytesIO(data), **options)


def predictions(model, rows):
    return model.predict_proba(rows) if hasattr(model, "predict_proba") else model.predict(rows)


@pytest.mark.parametrize("labels", [None, "text", "numbers"])
@pytest.mark.parametrize("library", CLASSES)
def test_members_come_back(library, labels):
    model = fitted(library, labels)
    data = saved(model)
    assert json.loads(parts_of(data)[MANIFEST])["format"] == 2
    with pytest.raises(ValueError, match=rf"holds a '{library}\..*foreign=True"):
        loaded(data)
    again = loaded(data, foreign=True)
    rows = rows_for(library)
    np.testing.assert_array_equal(predictions(again, rows), predictions(model, rows))
    assert type(again.estimators_[0]) is type(model.estimators_[0])
    assert repr(again) == repr(model)
    assert repr(again.estimators_[0]) == repr(model.estimators_[0])
    np.testing.assert_array_equal(again.predict(rows[:5]), model.predict(rows[:5]))
    once_more = loaded(saved(again), foreign=True)
    np.testing.assert_array_equal(predictions(once_more, rows), predictions(model, rows))


@pytest.mark.parametrize("library", CLASSES)
def test_a_pickle_has_them_too(library):
    model = fitted(library)
    rows = rows_for(library)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(model)).predict(rows), model.predict(rows)
    )


def test_a_greedy_ensemble_of_all_libraries():
    rows = X[["age"]]
    trees = [(name, CLASSES[name][1](**QUIET[name])) for name in CLASSES]
    net = make("TabMLP", "Regressor", max_epochs=1, d_block=4)
    model = tabdl.GreedyEnsembleRegressor([("net", net), *trees], cv=2, random_state=0)
    unfitted = loaded(saved(model), foreign=True)
    assert [type(each).__name__ for _, each in unfitted.estimators][1:] == [
        "XGBRegressor",
        "LGBMRegressor",
        "CatBoostRegressor",
    ]
    model.fit(rows, Y)
    again = loaded(saved(model), foreign=True)
    np.testing.assert_array_equal(again.predict(rows), model.predict(rows))


def changed_tree(data, change):
    parts = parts_of(data)
    tree = json.loads(parts[TREE])
    change(tree)
    return packed({**parts, TREE: json.dumps(tree).encode()}.items())


@pytest.mark.parametrize("library", CLASSES)
def test_damaged_trees_are_refused_before_the_library_sees_them(library):
    data = saved(fitted(library))
    parts = parts_of(data)
    header, body = split_tensors(parts[TENSORS])
    name = next(name for name in header if name.endswith(".model"))
    place = len(parts[TENSORS]) - len(body) + header[name]["data_offsets"][0] + 40
    damaged = bytearray(parts[TENSORS])
    damaged[place] ^= 1
    with pytest.raises(ValueError, match=f"bytes of {library}.* not those that were saved"):
        loaded(packed({**parts, TENSORS: bytes(damaged)}.items()), foreign=True)
    for key, value in (("sha256", "0" * 64), ("sha256", None), ("model", [1, 2])):
        with pytest.raises(ValueError, match="load: "):
            loaded(
                changed_tree(
                    data,
                    lambda tree, key=key, value=value: tree["fitted"]["estimators_"][0][
                        "fitted"
                    ].update({key: value}),
                ),
                foreign=True,
            )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"$foreign": "os.system"}, "no estimator of boosted trees"),
        ({"$foreign": "xgboost.Booster"}, "no estimator of boosted trees"),
        ({"$foreign": ["xgboost.XGBRegressor"]}, "load: "),
        ({"$foreign": "catboost.CatBoostRegressor"}, "catboost .* cannot read the catboost"),
        ({"$foreign": "lightgbm.LGBMRegressor"}, "lightgbm .* cannot read the lightgbm"),
        ({"params": [1]}, "parameters of 'xgboost.XGBRegressor' are no dict"),
        ({"fitted": {"model": None}}, "has other names"),
        ({"more": 1}, "with the names"),
    ],
)
def test_other_classes_and_states_are_refused(change, message):
    data = changed_tree(
        saved(fitted("xgboost")), lambda tree: tree["fitted"]["estimators_"][0].update(change)
    )
    with pytest.raises(ValueError, match=message):
        loaded(data, foreign=True)


def test_attributes_of_lightgbm_are_no_methods():
    def change(tree):
        node = tree["fitted"]["estimators_"][0]["fitted"]["attributes"]
        node["plain"]["predict"] = 1

    with pytest.raises(ValueError, match="name of a method"):
        loaded(changed_tree(saved(fitted("lightgbm")), change), foreign=True)


def test_parameters_that_are_objects_are_refused_by_name():
    model = tabdl.CrossValEnsembleRegressor(XGBRegressor(objective=lambda y, p: (y, p)))
    with pytest.raises(TypeError, match=r"estimator\.xgboost\.XGBRegressor\.objective is a"):
        saved(model)


def test_changed_files_are_refused_without_the_libraries():
    data = saved(fitted("xgboost"))
    for seed in range(60):
        changed, _ = mutated(np.random.default_rng([2, seed]), data)
        assert outcome(changed, X) == "refused"


def test_the_digest_is_that_of_the_bytes():
    data = saved(fitted("catboost"))
    parts = parts_of(data)
    header, body = split_tensors(parts[TENSORS])
    node = json.loads(parts[TREE])["fitted"]["estimators_"][0]
    start, end = header[node["fitted"]["model"]["$array"]]["data_offsets"]
    assert hashlib.sha256(body[start:end]).hexdigest() == node["fitted"]["sha256"]
    model = CatBoostRegressor()
    model.load_model(blob=body[start:end])  # catboost alone reads them
    rows = rows_for("catboost")
    expected = fitted("catboost").estimators_[0].predict(pd.DataFrame(rows))
    np.testing.assert_array_equal(model.predict(rows), expected)
