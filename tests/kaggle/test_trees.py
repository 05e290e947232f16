"""Boosted trees on tables as people have them."""

import math
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

pytest.importorskip("lightgbm")

from tabdl.kaggle.forest import extra_trees
from tabdl.kaggle.trees import Categories, Clock, Texts, boosted_trees, safe_names

TABLE = pd.DataFrame(
    {
        "number": [1.0, np.nan, 3.0],
        "text": ["x", None, "y"],
        "flag": [True, False, True],
        "day": pd.to_datetime(["2020-01-01", None, "2020-01-03"]),
        "kind": pd.Series(["u", "v", None], dtype="category"),
        "empty": [None] * 3,
    }
)
NEW = TABLE.assign(text=["z", "x", "y"], kind=["u", "w", None], empty=["q", None, "r"])
_ROUNDS = {
    "catboost": "early_stopping_rounds",
    "xgboost": "early_stopping_rounds",
    "lightgbm": "early_stopping_round",
}


def test_texts():
    found = Texts().fit(TABLE).transform(NEW)
    assert found["text"].tolist() == ["z", "x", "y"] and found["kind"].tolist() == [
        "u",
        "w",
        "missing",
    ]
    assert found["flag"].tolist() == ["True", "False", "True"]
    np.testing.assert_array_equal(found["day"], [18262, np.nan, 18264])


def test_categories():
    found = Categories().fit(TABLE).transform(NEW)
    codes = {name: found[name].cat.codes.tolist() for name in ("text", "flag", "kind", "empty")}
    assert codes == {
        "text": [-1, 0, 1],
        "flag": [1, 0, 1],
        "kind": [0, -1, -1],
        "empty": [-1, -1, -1],
    }


@pytest.mark.parametrize("name", ["catboost", "xgboost", "lightgbm"])
def test_trees_take_what_they_never_saw(name):
    X, y = pd.concat([TABLE] * 20, ignore_index=True), np.arange(60.0)
    model = boosted_trees(X, True, 1)[name]
    length = {"catboost": "iterations"}.get(name, "n_estimators")
    model[-1].set_params(**{_ROUNDS[name]: None, length: 5})
    assert np.isfinite(model.fit(X, y).predict(NEW)).all()


@pytest.mark.parametrize("name", ["catboost", "xgboost", "lightgbm"])
def test_trees_take_any_name(name):
    odd = ["size: cm", "size_ cm", "a[0]", "a<b", '"q"', "x,y", "{j}", "größe", "size__cm"]
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(60, len(odd))), columns=odd)
    X = X.assign(**{"c [:]": np.resize(["u", "v"], 60)})
    [model] = boosted_trees(X, True, 1, [name]).values()
    stop = {"catboost": "iterations"}.get(name, "n_estimators")
    model[-1].set_params(**{stop: 3, _ROUNDS[name]: None})
    assert np.isfinite(model.fit(X, np.arange(60.0)).predict(X)).all()
    assert boosted_trees(X, True, 1, []) == {}


def test_safe_names_stay_different():
    safe = safe_names(["a b", "a_b", "a:b", "plain"])
    assert safe["plain"] == "plain" and safe["a_b"] == "a_b"
    assert len(set(safe.values())) == 4 and all(name.isidentifier() for name in safe.values())


@pytest.mark.parametrize("seconds, is_cut", [(1.5, True), (math.inf, False)])
def test_catboost_asks_for_the_trees_that_there_is_time_for(seconds, is_cut):
    """So its own learning rate grows, and the training ends by itself."""
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(3000, 40)))
    y = X[0] + np.sin(3 * X[1])
    clock = Clock(time.monotonic() + seconds)
    [model] = boosted_trees(X, True, 1, ["catboost"], clock).values()
    model[-1].set_params(depth=10 if is_cut else 2, **({} if is_cut else {"iterations": 20}))
    model.fit(X, y, catboostregressor__eval_set=(X[:100], y[:100]))
    assert clock.was_needed == is_cut
    if is_cut:
        assert 8 <= model[-1].get_params()["iterations"] < 1000
        assert model[-1].get_all_params()["learning_rate"] > 0.1
    else:
        assert model[-1].get_params()["iterations"] == 20


@pytest.mark.parametrize("is_regression", [True, False])
def test_a_forest_takes_the_table_and_ends_with_the_clock(is_regression):
    table = pd.concat([TABLE] * 20, ignore_index=True)
    y = np.tile([0, 1, 0], 20)
    whole = extra_trees(table, is_regression, 1, Clock()).fit(table, y)
    assert len(whole[-1].estimators_) == 300 and whole.score(table, y) > 0.99
    unseen = TABLE.assign(kind="new", text=None)
    assert np.isfinite(whole.predict(unseen)).all()
    clock = Clock(time.monotonic())
    cut = clone(extra_trees(table, is_regression, 1, clock)).fit(table, y)
    assert len(cut[-1].estimators_) == 20 and clock.was_needed
    assert cut[-1].n_estimators == 300
