"""Random tables: the same values are encoded alike whatever holds them, and alone as among others.

``TABDL_FUZZ_TABLES=10000 python -m pytest tests/data/test_fuzz.py`` tries more of them.
"""

import datetime
import os
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import HealthCheck, given, seed, settings, strategies as st

from tabdl.data.columns import read_columns
from tabdl.data.encoding import NUMERIC_TRANSFORMS, FeatureEncoder

N_TABLES = int(os.environ.get("TABDL_FUZZ_TABLES", "100"))
TOKYO = datetime.timezone(datetime.timedelta(hours=9))
SPANS = st.timedeltas(datetime.timedelta(-100_000), datetime.timedelta(100_000))
NAIVE = st.datetimes(datetime.datetime(1678, 1, 1), datetime.datetime(2262, 1, 1))
DECIMALS = st.decimals(-(10**9), 10**9, places=3, allow_nan=False)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.sampled_from(["a", "b", "é", "A", "", " a", "1", "01", "1.5", "nan", "None", "x" * 300])
SMALL = st.integers(-3, 3)
# The values of each form, and the types that hold them in pandas, polars and pyarrow.
FORMS = {
    "integer": (SMALL | st.integers(-(2**63), 2**63 - 1), "Int64", pl.Int64, pa.int64()),
    "unsigned": (st.integers(2**64 - 4, 2**64 - 1), "UInt64", pl.UInt64, pa.uint64()),
    "float": (FLOATS | SMALL.map(float), "Float64", pl.Float64, pa.float64()),
    "boolean": (st.booleans(), "boolean", pl.Boolean, pa.bool_()),
    "text": (TEXT, "string", pl.String, pa.string()),
    "number text": (FLOATS.map(str), "string", pl.String, pa.string()),
    "day": (st.dates(), "datetime64[us]", pl.Date, pa.date32()),
    "moment": (NAIVE, "datetime64[us]", pl.Datetime("us"), pa.timestamp("us")),
    "zoned": (
        NAIVE.map(lambda moment: moment.replace(tzinfo=TOKYO)),
        "datetime64[us, Asia/Tokyo]",
        pl.Datetime("us", "Asia/Tokyo"),
        pa.timestamp("us", "Asia/Tokyo"),
    ),
    "duration": (SPANS, "timedelta64[us]", pl.Duration("us"), pa.duration("us")),
    "time": (st.times(), "object", pl.Time, pa.time64("us")),
    "decimal": (DECIMALS, "object", pl.Decimal(18, 3), pa.decimal128(18, 3)),
    "mixed": (SMALL | FLOATS | TEXT | st.booleans(), "object", None, None),
    "numbers": (SMALL | FLOATS | DECIMALS | st.booleans(), "object", None, None),
    "any": (SMALL | NAIVE | TEXT | SPANS | st.times(), "object", None, None),
}


def objects(values):
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def numpy_table(columns, forms):
    return np.stack([objects(values) for values in columns], 1)


def pandas_objects(columns, forms):
    return pd.DataFrame({f"x{j}": objects(values) for j, values in enumerate(columns)})


def pandas_types(columns, forms):
    columns = {
        f"x{j}": pd.Series(objects(values)).astype(FORMS[form][1])
        for j, (values, form) in enumerate(zip(columns, forms, strict=True))
    }
    return pd.DataFrame(columns)


def pandas_arrow(columns, forms):
    columns = {
        f"x{j}": pd.Series(pd.arrays.ArrowExtensionArray(pa.array(values, FORMS[form][3])))
        for j, (values, form) in enumerate(zip(columns, forms, strict=True))
    }
    return pd.DataFrame(columns)


def pandas_categories(columns, forms):
    return pandas_objects(columns, forms).astype("category")


def polars_frame(columns, forms):
    return pl.DataFrame(
        [
            pl.Series(f"x{j}", values, dtype=FORMS[form][2])
            for j, (values, form) in enumerate(zip(columns, forms, strict=True))
        ]
    )


def arrow_table(columns, forms):
    columns = {
        f"x{j}": pa.array(values, FORMS[form][3])
        for j, (values, form) in enumerate(zip(columns, forms, strict=True))
    }
    return pa.table(columns)


ANY = [numpy_table, pandas_objects]
TYPED = [*ANY, pandas_types, pandas_arrow, polars_frame, arrow_table]


@st.composite
def tables(draw):
    """Return forms, values at fit and later by columns, makers of tables, and the encoder's
    options."""
    forms = draw(st.lists(st.sampled_from(sorted(FORMS)), min_size=1, max_size=3))
    n_rows, n_later = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    cells = [st.none() | FORMS[form][0] for form in forms]
    first = [draw(st.lists(cell, min_size=n_rows, max_size=n_rows)) for cell in cells]
    later = [
        draw(st.lists(st.sampled_from(values) | cell, min_size=n_later, max_size=n_later))
        for values, cell in zip(first, cells, strict=True)
    ]
    makers = TYPED if all(FORMS[form][3] is not None for form in forms) else ANY
    categorical = draw(st.sampled_from(["from_dtype", list(range(len(forms)))]))
    if categorical != "from_dtype":
        makers = [*makers, pandas_categories]
    return {
        "forms": forms,
        "first": first,
        "later": later,
        "makers": draw(st.permutations(makers))[:2],
        "categorical": categorical,
        "transform": draw(st.sampled_from(NUMERIC_TRANSFORMS)),
        "missing": draw(st.sampled_from(["impute", "indicator"])),
    }


def named(function):
    """Return what a function gives, or None for an error that names estimator and column."""
    try:
        return function()
    except (ValueError, TypeError) as error:
        assert str(error).startswith("Test: column 'x"), repr(error)
        return None


def encoder_of(X, case):
    columns = read_columns(X, estimator_name="Test", categorical=case["categorical"])
    n_rows = len(columns[0])
    encoder = FeatureEncoder(case["transform"], "Test", case["missing"])
    return encoder.fit(columns, np.arange(n_rows), np.ones(n_rows))


def encoded(encoder, X):
    columns = read_columns(
        X, estimator_name="Test", kinds=encoder.kinds, column_names=encoder.column_names
    )
    x_num, x_cat = encoder.transform(columns, dtype=np.float64)
    assert np.isfinite(x_num).all()
    return np.hstack([x_num, x_cat])


@seed(18)
@settings(
    max_examples=N_TABLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(tables())
def test_same_values_same_codes(case):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Test: column 'x", UserWarning)
        check(case)


def check(case):
    first, later, forms = case["first"], case["later"], case["forms"]
    expected = {}
    for maker in case["makers"]:
        encoder = named(lambda maker=maker: encoder_of(maker(first, forms), case))
        if encoder is None:
            expected.setdefault("fit", None)
            assert expected["fit"] is None, maker
            continue
        assert expected.setdefault("fit", encoder) is not None, maker
        for part, values in (("first", first), ("later", later)):
            for other in case["makers"]:
                X = other(values, forms)
                now = named(lambda encoder=encoder, X=X: encoded(encoder, X))
                rows = expected.setdefault(part, now)
                assert (now is None) == (rows is None), (maker, other)
                np.testing.assert_array_equal(now, rows, f"{maker}, {other}")
            check_rows_alone(encoder, values, case, expected[part])


def check_rows_alone(encoder, values, case, expected):
    """Assert that a row is encoded alone as among others; where others fail, it may."""
    for i in range(min(len(values[0]), 2)):
        row = case["makers"][-1]([column[i : i + 1] for column in values], case["forms"])
        alone = named(lambda row=row: encoded(encoder, row))
        if expected is not None:
            np.testing.assert_array_equal(alone, expected[i : i + 1])
