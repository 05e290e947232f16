"""Tables of every make give the same columns; what cannot be read says why."""

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import make, numbers, people
from scipy.sparse import coo_array, csr_array

from tabdl import CrossValEnsembleRegressor, TabMLPRegressor
from tabdl.data import validation
from tabdl.data.columns import labels_of, read_columns
from tabdl.data.encoding import FeatureEncoder

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


@pytest.mark.two_networks
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
    "listed",
    [
        ["b"],
        [1],
        [-1],
        [np.int64(1)],
        [False, True],
        np.array([False, True]),
        pd.Index(["b"]),
        pd.Series(["b"]),
        pd.Series({"b": True, "a": False}),
        pl.Series(["b"]),
        {"b"},
        ("b", 1),
    ],
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


def objects(*values):
    return pd.DataFrame({"a": pd.Series(values, dtype=object)})


def read(frame, **options):
    return read_columns(frame, estimator_name="Test", **options)[0]


def codes(first, later, **options):
    """Return the codes of ``later`` where the encoder was fitted on ``first``."""
    columns = read_columns(first, estimator_name="Test", **options)
    n_rows = len(columns[0])
    encoder = FeatureEncoder("none", "Test").fit(columns, np.arange(n_rows), np.ones(n_rows))
    columns = read_columns(
        later, estimator_name="Test", kinds=encoder.kinds, column_names=encoder.column_names
    )
    x_num, x_cat = encoder.transform(columns, dtype=np.float64)
    return np.hstack([x_num, x_cat]).T.tolist()


BIG = 10**18
IDS = [BIG, BIG + 1, None]


@pytest.mark.parametrize(
    "frame",
    [
        objects(*IDS),
        objects(*IDS).astype("category"),
        objects(*IDS).astype("Int64"),
        objects(*IDS).astype("int64[pyarrow]"),
        pl.DataFrame({"a": IDS}),
        pl.DataFrame({"a": IDS}, schema={"a": pl.Int128}),
        pa.table({"a": IDS}),
        pa.table({"a": pa.array(IDS).dictionary_encode()}),
    ],
)
def test_integer_categories_of_any_size_stay_apart(frame):
    for later in (frame, objects(*IDS)):
        assert codes(frame, later, categorical=["a"]) == [[0, 1, 2]]
    assert codes(frame, np.array([[BIG + 1]]), categorical=["a"]) == [[1]]


def test_unsigned_integers_of_64_bits_stay_apart():
    ids = np.array([[2**64 - 1], [2**64 - 2]], dtype=np.uint64)
    assert codes(ids, ids, categorical=[0]) == [[1, 0]]


def test_one_is_one_whatever_its_type():
    first = objects(1, 2, decimal.Decimal("2.5"))
    for later in (objects(True, 2.0, 2.5), np.array([[1.0], [2.0], [2.5]])):
        assert codes(first, later, categorical=["a"]) == [[0, 1, 2]]


@pytest.mark.parametrize("unit", ["D", "s", "ms", "us", "ns"])
def test_dates_are_one_category_in_every_unit(unit):
    days = np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[ns]")[:, None]
    assert codes(days, days.astype(f"datetime64[{unit}]"), categorical=[0]) == [[0, 1]]
    assert codes(days, objects(*days[::-1, 0].astype("M8[us]").tolist()), categorical=[0]) == [
        [1, 0]
    ]


def test_a_mixed_column_is_predicted_on_numbers_alone_and_on_text_alone():
    mixed = objects("x", 1, 2.5, "3")
    assert codes(mixed, mixed) == [[3, 0, 1, 2]]
    for later, expected in [
        (objects(1), 0),
        (pd.DataFrame({"a": [2.5]}), 1),
        (objects("x"), 3),
        (pl.DataFrame({"a": ["1"]}), 0),
        (objects(3), 2),
    ]:
        assert codes(mixed, later) == [[expected]]


def test_numbers_of_several_types_are_numbers():
    column = read(objects(decimal.Decimal("1.5"), 0, True, None, np.float32(2)))
    assert column.kind == "number"
    np.testing.assert_array_equal(column.values, [1.5, 0, 1, np.nan, 2])


@pytest.mark.parametrize(
    "frame, expected",
    [
        (objects(datetime.timedelta(hours=1), 0), [3600, 0]),
        (pl.DataFrame({"a": [datetime.time(1, 0, 0, 500_000), None]}), [3600.5, np.nan]),
        (objects(datetime.time(1), None), [3600, np.nan]),
        (objects(pd.Period("1970-02", "M"), pd.Period("1971", "Y")), [31, 365]),
        (pd.DataFrame({"a": pd.period_range("1970-01", periods=2, freq="M")}), [0, 31]),
    ],
)
def test_durations_times_and_periods_are_numbers(frame, expected):
    column = read(frame)
    assert column.kind == "number"
    np.testing.assert_array_equal(column.values, expected)


def test_text_that_spells_numbers():
    table = np.column_stack([[0.5, 1e-7, np.nan], ["a", "b", "c"]])
    first, second = read_columns(table, estimator_name="Test")
    assert (first.kind, second.kind) == ("number", "category")
    np.testing.assert_array_equal(first.values, [0.5, 1e-7, np.nan])
    assert codes(table, np.array([["2", "a"]], dtype=object)) == [[2.0], [0.0]]
    for values in (["1", "2"], ["0.5", "012"], ["12E4", "0.5"], ["1_0", "0.5"]):
        assert read(pd.DataFrame({"a": values})).kind == "category"


@pytest.mark.parametrize(
    "values, message",
    [
        ([str(i) for i in range(20)], "is text that spells 20 different integers"),
        ([*(str(i / 7) for i in range(20)), "n/a!"], "but for 1 of its values, such as 'n/a!' in"),
        ([f"id {i}" for i in range(200)], "text with 200 different values in 200 rows"),
        ([pd.Timestamp(2020, 1, 1), "unknown"], "mixes dates and strings"),
    ],
)
def test_a_guess_is_told(values, message):
    with pytest.warns(UserWarning, match=f"Test: column 'a' .*{message}") as warned:
        assert read(objects(*values)).kind == "category"
    assert len(warned) == 1
    for options in ({"kinds": ["category"]}, {"categorical": ["a"]}):
        assert read(objects(*values), **options).kind == "category"
    assert read(objects(*values).astype("category")).kind == "category"


def test_integers_that_become_equal_as_numbers():
    with pytest.warns(UserWarning, match="column 'a' .* only 1 of 3 differ; .*categorical_feat"):
        read(pd.DataFrame({"a": [BIG, BIG + 1, BIG + 2]}))


@pytest.mark.parametrize(
    "first, later, message",
    [
        ("UTC", None, "had a time zone at fit and has none now"),
        (None, "UTC", "had no time zone at fit and has one now"),
    ],
)
@pytest.mark.parametrize("categorical", ["from_dtype", ["a"]])
def test_a_time_zone_is_kept(first, later, message, categorical):
    first, later = (
        pd.DataFrame({"a": pd.date_range("2020", periods=3, tz=zone)}) for zone in (first, later)
    )
    message = message if categorical == "from_dtype" else "held categories that are .*dates at fit"
    with pytest.raises(ValueError, match=f"Test: column 'a' {message}"):
        codes(first, later, categorical=categorical)


def test_durations_are_no_plain_numbers():
    spans = pd.DataFrame({"a": pd.to_timedelta([1, 2], unit="s")})
    with pytest.raises(ValueError, match="held durations at fit and holds number values now"):
        codes(spans, pd.DataFrame({"a": [1, 2]}))
    assert codes(spans, pd.DataFrame({"a": [0, None]})) == [[0.0, 1.0]]


def test_text_among_dates_is_refused_at_predict():
    with pytest.raises(ValueError, match="held dates at fit and holds string values now.*'a' in"):
        codes(objects(DAY, DAY), objects(DAY, "a"))


def test_text_of_nothing_but_missing_values_is_missing_among_numbers():
    assert codes(objects(1, 2), objects("", None)) == codes(objects(1, 2), objects(None, None))


def test_columns_with_integer_names_are_read_by_name():
    frame = pd.DataFrame({0: [1.0, 2.0], 1: ["a", "b"]})
    assert codes(frame, frame[[1, 0]]) == codes(frame, frame)
    listed = pd.DataFrame({10: [1, 2], 1: [3, 4]})
    columns = read_columns(listed, estimator_name="Test", categorical=[10])
    assert [column.kind for column in columns] == ["category", "number"]


@pytest.mark.parametrize(
    "value, message",
    [
        (10**400, "holds a number in row 1 that float64 cannot hold"),
        (decimal.Decimal("1e400"), "holds a number in row 1 that float64 cannot hold"),
        (decimal.Decimal("sNaN"), "holds a signalling NaN in row 1"),
        (float("inf"), "contains infinity in row 1"),
        ("\udce9", "holds text in row 1 that is no valid Unicode"),
    ],
)
def test_values_that_nothing_holds(value, message):
    for options in ({}, {"kinds": ["number"]}):
        with pytest.raises(ValueError, match=f"Test: column 'a' {message}"):
            read(objects(None if isinstance(value, str) else 1.5, value), **options)


@pytest.mark.parametrize("value", [[1], (1,), {1}, {"b": 1}, b"1", np.zeros(2), object(), 1j])
def test_objects_are_refused(value):
    with pytest.raises(TypeError, match="Test: column 'a' holds .* in row 1"):
        read(objects("text", value))


def test_tables_that_are_not_computed():
    X, y = pl.DataFrame(np.ones((4, 2))).lazy(), np.arange(4)
    for model in (make("TabMLP", "Regressor"), CrossValEnsembleRegressor(TabMLPRegressor())):
        with pytest.raises(TypeError, match=r"Regressor: X is a polars LazyFrame, .*\.collect\(\)"):
            model.fit(X, y)


def test_sparse_tables(monkeypatch):
    X, y = numbers(40)
    X[X < 0] = 0
    dense = make("TabMLP", "Regressor", max_epochs=1).fit(X, y)
    sparse = make("TabMLP", "Regressor", max_epochs=1).fit(csr_array(X), y)
    np.testing.assert_array_equal(sparse.predict(coo_array(X)), dense.predict(X))
    monkeypatch.setattr(validation, "LARGEST_DENSE", 100)
    with pytest.raises(ValueError, match=r"TabMLPRegressor: X is sparse with the shape \(40, 4\)"):
        sparse.predict(csr_array(X))


def test_masked_arrays():
    X = np.ma.masked_greater(np.array([[1.0], [2.0], [9.0]]), 5)
    model = make("TabMLP", "Regressor", early_stopping=False).fit(X, [1, 2, 3])
    np.testing.assert_array_equal(model.predict(X), model.predict([[1.0], [2.0], [None]]))


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
    with pytest.raises(ValueError, match="CrossValEnsembleRegressor: the column names of X must"):
        CrossValEnsembleRegressor(TabMLPRegressor()).fit(X, y)


TEXTS = ["a", "b c", "ü", "12", "nan", None] * 4
CATEGORIES = {
    "objects": np.array(TEXTS, dtype=object),
    "arrow": pd.array(TEXTS, dtype=pd.StringDtype("pyarrow")),
    "python": pd.array(TEXTS, dtype=pd.StringDtype("python")),
    "declared": pd.Categorical(TEXTS),
    "numbers": pd.Categorical([1.5, 2, None, 7] * 6),
    "moments": pd.Categorical(pd.to_datetime(["2020-01-01", "2021-02-03", None] * 8)),
}


@pytest.mark.parametrize("name", CATEGORIES)
def test_a_row_alone_is_read_as_among_others(name):
    frame = pd.DataFrame({"x": CATEGORIES[name], "n": np.arange(24.0)})
    kinds, options = ["category", "number"], {"estimator_name": "Test", "column_names": ["x", "n"]}
    whole = read_columns(frame, kinds=kinds, **options)
    assert [column.kind for column in read_columns(frame, **options)] == kinds
    for i in range(6):
        row = read_columns(frame.iloc[[i]], kinds=kinds, **options)
        for one, among in zip(row, whole, strict=True):
            assert (one.name, one.kind, one.form) == (among.name, among.kind, among.form)
            alone, value = one.values[0], among.values[i]
            assert (pd.isna(alone) and pd.isna(value)) or alone == value


def test_labels_are_those_of_the_table_at_hand():
    frame = pd.DataFrame({"a": [1.0], "b": [1.0]})
    assert labels_of(frame) == labels_of(frame.iloc[[0]]) == ["a", "b"]
    frame.columns = ["a", "c"]
    assert labels_of(frame) == ["a", "c"]
    frame.insert(0, 0, 1.0)
    assert labels_of(frame) == [0, "a", "c"]
