"""Tables of every make give the same columns; what cannot be read says why."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import make, people

from tabdl.data.columns import read_columns

DAY = datetime.datetime(2021, 3, 4, 5, 6)
VALUES = {
    "int": [1, None, 3],
    "float": [0.5, None, 2.0],
    "text": ["a", None, "b"],
    "flag": [True, None, False],
    "day": [DAY, None, DAY + datetime.timedelta(40)],
    "span": [datetime.timedelta(seconds=5), None, datetime.timedelta(days=1)],
    "nothing": [None, None, None],
}
KINDS = ["number", "number", "category", "category", "datetime", "number", "empty", "category"]


def pandas_frame():
    frame = pd.DataFrame(VALUES).convert_dtypes()
    frame["nothing"] = np.array([None] * 3, dtype=object)
    frame["label"] = pd.Categorical(["x", None, "y"])
    return frame


def pandas_objects():
    frame = pd.DataFrame({name: np.array(values, dtype=object) for name, values in VALUES.items()})
    frame["label"] = pd.Categorical(["x", None, "y"])
    return frame


def polars_frame():
    return pl.DataFrame(VALUES).with_columns(
        pl.Series("label", ["x", None, "y"], dtype=pl.Enum(["x", "y"]))
    )


def arrow_table():
    label = pa.array(["x", None, "y"]).dictionary_encode()
    return pa.table({**{name: pa.array(values) for name, values in VALUES.items()}, "label": label})


@pytest.mark.parametrize("table", [pandas_frame, pandas_objects, polars_frame, arrow_table])
def test_every_library_gives_the_same_columns(table):
    columns = read_columns(table(), estimator_name="Test")
    assert [column.name for column in columns] == [*VALUES, "label"]
    assert [column.kind for column in columns] == KINDS
    by_name = {column.name: column.values for column in columns}
    np.testing.assert_array_equal(by_name["int"], [1, np.nan, 3])
    np.testing.assert_array_equal(by_name["float"], [0.5, np.nan, 2])
    assert by_name["text"].tolist() == ["a", None, "b"] and by_name["label"].tolist() == [
        "x",
        None,
        "y",
    ]
    np.testing.assert_array_equal(by_name["flag"], [1, np.nan, 0])
    moments = np.array([DAY, "NaT", DAY + datetime.timedelta(40)], dtype="datetime64[us]")
    np.testing.assert_array_equal(by_name["day"], moments)
    np.testing.assert_array_equal(by_name["span"], [5, np.nan, 86400])
    assert np.isnan(by_name["nothing"]).all()
    again = read_columns(table(), estimator_name="Test", kinds=KINDS)
    assert [column.values.tolist().__repr__() for column in again] == [
        column.values.tolist().__repr__() for column in columns
    ]


@pytest.mark.parametrize("convert", [pl.from_pandas, pa.Table.from_pandas])
def test_a_model_takes_its_table_from_another_library(convert, architecture):
    X, y = people()
    X = X.drop(columns=["mixed", "since"])
    model = make(architecture, "Regressor").fit(X, y)
    other = make(architecture, "Regressor").fit(convert(X), convert(pd.DataFrame({"y": y}))["y"])
    np.testing.assert_array_equal(model.predict(convert(X)), model.predict(X))
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_numpy_columns_find_their_own_type():
    X = np.array([[1, "a", None], [2.5, None, True]], dtype=object)
    assert [c.kind for c in read_columns(X, estimator_name="Test")] == [
        "number",
        "category",
        "category",
    ]


@pytest.mark.parametrize(
    "listed", [["b"], [1], [-1], [False, True], np.array([False, True]), pd.Index(["b"])]
)
def test_categorical_features_by_name_index_or_mask(listed):
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    assert [c.kind for c in read_columns(frame, estimator_name="Test", categorical=listed)] == [
        "number",
        "category",
    ]


def test_number_categories_survive_a_missing_value_at_predict():
    """Integers become floats when a value is missing; the category stays the same."""
    frame = pd.DataFrame({"code": [10, 20, 30, 10, 20, 30] * 10})
    y = frame["code"].map({10: 0.0, 20: 5.0, 30: -5.0})
    model = make("TabMLP", "Regressor", categorical_features=["code"], max_epochs=50).fit(frame, y)
    later = pd.DataFrame({"code": [10, None, 30]})
    np.testing.assert_array_equal(model.predict(later)[[0, 2]], model.predict(frame)[[0, 2]])


def test_time_zones_become_utc():
    naive = pd.Series(pd.to_datetime(["2021-01-01 12:00", "2021-06-01 12:00"]))
    columns = [
        read_columns(s.to_frame("t"), estimator_name="Test")[0]
        for s in (naive, naive.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    ]
    np.testing.assert_array_equal(columns[0].values, columns[1].values)


@pytest.mark.parametrize(
    "frame, kinds, categorical, message",
    [
        (
            pd.DataFrame({"a": ["x", "y"]}),
            ["number"],
            "from_dtype",
            "Test: column 'a' held numbers at fit and holds string values",
        ),
        (
            pd.DataFrame({"a": [1, 2]}),
            ["datetime"],
            "from_dtype",
            "Test: column 'a' held dates at fit and holds .* now, for example",
        ),
        (
            pd.DataFrame({"a": ["2020-01-01"]}),
            ["datetime"],
            "from_dtype",
            "parse it, for example with pandas.to_datetime",
        ),
        (
            pd.DataFrame({"a": [1.0, np.inf]}),
            None,
            "from_dtype",
            "Test: column 'a' contains infinity in row 1",
        ),
        (pd.DataFrame({"a": [1]}), None, ["b"], r"not in the table: \['b'\]"),
        (pd.DataFrame({"a": [1]}), None, [3], r"not in the table: \[3\]"),
        (
            pd.DataFrame({"a": [1]}),
            None,
            [True, False],
            "Test: categorical_features must be 'from_dtype' or a list of column names",
        ),
        (
            pd.DataFrame({"a": ["x"], "b": [1]}),
            None,
            ["b"],
            "column 'a' holds categories and is not listed",
        ),
    ],
)
def test_what_cannot_be_read(frame, kinds, categorical, message):
    with pytest.raises(ValueError, match=message):
        read_columns(frame, estimator_name="Test", kinds=kinds, categorical=categorical)


@pytest.mark.parametrize(
    "frame, held",
    [
        (pl.DataFrame({"a": [[1], [2]]}), "List"),
        (pl.DataFrame({"a": [b"1", b"2"]}), "Binary"),
        (pa.table({"a": [{"b": 1}]}), "Struct"),
        (pd.DataFrame({"a": [1j]}), "complex numbers"),
    ],
)
def test_columns_that_are_refused(frame, held):
    with pytest.raises(TypeError, match=f"Test: column 'a' holds {held}"):
        read_columns(frame, estimator_name="Test")


def test_names_that_stand_twice():
    X, y = pd.DataFrame(np.ones((4, 2)), columns=["a", "a"]), np.arange(4)
    with pytest.raises(ValueError, match="TabMLPRegressor: the column names of X must be unique"):
        make("TabMLP", "Regressor").fit(X, y)
