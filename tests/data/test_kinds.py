"""The tables of docs/guide/tables.md say what each dtype is read as: the reader itself writes them.

``python tests/data/test_kinds.py`` writes them anew.
"""

import datetime
import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from tabdl.data.columns import read_columns

PATH = Path(__file__).parents[2] / "docs" / "guide" / "tables.md"
TABLES = "## numpy\n"
DAY = datetime.datetime(2021, 3, 4, 5, 6)
SPAN = datetime.timedelta(seconds=5)
TIME = datetime.time(1, 2)
DECIMAL = decimal.Decimal("1.5")
UTC = datetime.UTC

NUMPY = ["bool", "int8", "int64", "uint64", "float16", "float32", "float64", "longdouble"]
NUMPY += ["complex128", "datetime64[D]", "datetime64[ns]", "timedelta64[s]", "S1"]
OBJECTS = {
    "int and float": [1, 2.5],
    "Decimal and int": [DECIMAL, 0],
    "bool": [True, False],
    "bool and int": [True, 2],
    "str": ["a", "b"],
    "str, spells numbers": ["0.5", "1"],
    "str, spells integers": ["1", "2"],
    "str and int": ["a", 1],
    "date": [DAY.date(), DAY.date()],
    "datetime": [DAY, DAY],
    "datetime with a time zone": [DAY.replace(tzinfo=UTC)],
    "time": [TIME, TIME],
    "timedelta": [SPAN, SPAN],
    "timedelta and 0": [SPAN, 0],
    "None": [None, None],
    "list": [[1], [2]],
    "ndarray": [np.zeros(2), np.ones(2)],
    "dict": [{"a": 1}],
    "set": [{1}],
    "bytes": [b"a"],
    "any other": [object()],
}
PANDAS = ["int64", "Int64", "uint64", "float32", "Float64", "bool", "boolean"]
PANDAS_OTHERS = {
    "str": pd.Series(["a"], dtype="str"),
    "string": pd.Series(["a"], dtype="string"),
    "category of str": pd.Series(["a"], dtype="category"),
    "category of int": pd.Series([1], dtype="category"),
    "datetime64[s]": pd.Series([DAY]).astype("datetime64[s]"),
    "datetime64[ns]": pd.Series([DAY]).astype("datetime64[ns]"),
    "datetime64[ns, UTC]": pd.Series([DAY]).astype("datetime64[ns]").dt.tz_localize("UTC"),
    "timedelta64[ns]": pd.Series([SPAN]).astype("timedelta64[ns]"),
    "period[M]": pd.Series(pd.period_range("2020", periods=1, freq="M")),
    "interval": pd.Series(pd.interval_range(0, 1)),
    "category of interval": pd.Series(pd.cut([1, 2], 2)),
    "Sparse[float64]": pd.Series(pd.arrays.SparseArray([0.0, 1.0])),
}
POLARS = {
    pl.Int8: 1,
    pl.Int64: 1,
    pl.Int128: 1,
    pl.UInt64: 1,
    pl.Float32: 1.5,
    pl.Float64: 1.5,
    pl.Decimal(5, 2): DECIMAL,
    pl.Boolean: True,
    pl.String: "a",
    pl.Categorical: "a",
    pl.Enum(["a"]): "a",
    pl.Date: DAY.date(),
    pl.Datetime("ns"): DAY,
    pl.Datetime("us", "UTC"): DAY,
    pl.Duration("ms"): SPAN,
    pl.Time: TIME,
    pl.Null: None,
    pl.Object: 1,
    pl.Binary: b"a",
    pl.List(pl.Int8): [1],
    pl.Array(pl.Int8, 1): [1],
    pl.Struct({"a": pl.Int8}): {"a": 1},
}
ARROW = [
    (pa.int8(), 1),
    (pa.int64(), 1),
    (pa.uint64(), 1),
    (pa.float16(), 1.5),
    (pa.float64(), 1.5),
    (pa.decimal128(5, 2), DECIMAL),
    (pa.bool_(), True),
    (pa.string(), "a"),
    (pa.large_string(), "a"),
    (pa.string_view(), "a"),
    (pa.dictionary(pa.int32(), pa.string()), "a"),
    (pa.dictionary(pa.int32(), pa.int64()), 1),
    (pa.date32(), DAY.date()),
    (pa.date64(), DAY.date()),
    (pa.timestamp("ns"), DAY),
    (pa.timestamp("us", "UTC"), DAY),
    (pa.duration("ms"), SPAN),
    (pa.time32("s"), TIME),
    (pa.time64("us"), TIME),
    (pa.null(), None),
    (pa.binary(), b"a"),
    (pa.list_(pa.int8()), [1]),
    (pa.struct({"a": pa.int8()}), {"a": 1}),
    (pa.map_(pa.string(), pa.int8()), [("a", 1)]),
]


def objects(values):
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column[:, None]


def tables():
    """Return a table of one column for each dtype, by library."""
    zero = np.zeros((2, 1), dtype="int8")
    return {
        "numpy": {dtype: zero.astype(dtype) for dtype in NUMPY} | {"U1": np.array([["a"]])},
        "Objects, of numpy or pandas": {name: objects(v) for name, v in OBJECTS.items()},
        "pandas": {
            name: series.to_frame("a")
            for name, series in (
                {dtype: pd.Series([0, 1]).astype(dtype) for dtype in PANDAS} | PANDAS_OTHERS
            ).items()
        },
        "polars": {
            f"`{dtype}`": pl.DataFrame({"a": pl.Series([value], dtype=dtype)})
            for dtype, value in POLARS.items()
        },
        "pyarrow, and pandas' ArrowDtype": {
            f"`{dtype}`": pa.table({"a": pa.array([value], dtype)}) for dtype, value in ARROW
        },
    }


def kind(X):
    """Return what the reader makes of the one column of a table."""
    try:
        column = read_columns(X, estimator_name="Test")[0]
    except TypeError:
        return "refused: TypeError"
    return column.kind


def document():
    """Return the file with tables of today."""
    text = PATH.read_text().split(TABLES)[0]
    for library, of_dtype in tables().items():
        text += f"## {library}\n\n| dtype or values | kind |\n| --- | --- |\n"
        text += "".join(f"| {name} | {kind(X)} |\n" for name, X in of_dtype.items()) + "\n"
    return text.rstrip() + "\n"


def test_the_tables_of_kinds_are_current():
    assert PATH.read_text() == document()


if __name__ == "__main__":
    PATH.write_text(document())
