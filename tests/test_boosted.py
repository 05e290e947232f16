"""Boosted trees on tables as people have them."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("lightgbm")

from benchmarks.boosted import Categories, Texts, boosted_trees

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
    stop = {
        "catboost": "early_stopping_rounds",
        "xgboost": "early_stopping_rounds",
        "lightgbm": "early_stopping_round",
    }[name]
    model[-1].set_params(**{stop: None, {"catboost": "iterations"}.get(name, "n_estimators"): 5})
    assert np.isfinite(model.fit(X, y).predict(NEW)).all()
