"""InteractionFeatures: what is found, what is left alone, every table, scikit-learn's contract."""

import doctest
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import make
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from tabdl.preprocessing import InteractionFeatures, interactions


def made(n_features=2, **options):
    return InteractionFeatures(n_features, **{"random_state": 0, **options})


def uniform(n_rows=900, n_columns=4, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 3, size=(n_rows, n_columns))


@pytest.fixture(scope="module")
def table():
    """Debts, incomes, two categories, a flag and a date; the target is made of pairs of them."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "debt": rng.lognormal(size=1200),
            "income": pd.array(rng.integers(1, 9, 1200), dtype="Int64"),
            "kind": rng.choice(list("uvwxyz"), 1200),
            "plan": pd.Categorical(rng.choice(list("abcdef"), 1200)),
            "flag": rng.random(1200) < 0.5,
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 99, 1200), "D"),
        },
        index=np.arange(1200) * 2 + 5,
    )
    codes = X["kind"].astype("category").cat.codes, X["plan"].cat.codes
    of_pairs = 2 * rng.normal(size=(6, 6))[codes]
    y = of_pairs + 3.0 * (X["debt"] / X["income"] > 0.3).to_numpy() + rng.normal(size=1200) / 5
    X.loc[X.index[::9], ["debt", "plan"]] = None
    return X, y


@pytest.fixture(scope="module")
def fitted(table):
    return made().fit(*table)


@parametrize_with_checks([InteractionFeatures(n_features=2, random_state=0)])
def test_scikit_learns_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("expected", "target"),
    [
        ("x0 / x1", lambda X: X[:, 0] / X[:, 1]),
        ("x1 - x3", lambda X: np.abs(X[:, 1] - X[:, 3])),
        ("x0 * x2", lambda X: np.digitize(X[:, 0] * X[:, 2], [1, 2, 4])),
    ],
)
def test_what_makes_the_target_is_found_first(expected, target):
    X = uniform()
    model = made().fit(X, target(X))
    assert model.get_feature_names_out()[4] == expected
    assert (
        model.importances_[0] > 1 and list(model.importances_) == sorted(model.importances_)[::-1]
    )


def test_nothing_is_added_for_noise():
    X = uniform()
    model = made().fit(X, np.random.default_rng(1).normal(size=900))
    assert model.interactions_ == [] and model.importances_.shape == (0,)
    np.testing.assert_array_equal(model.transform(X), X)


def test_at_most_so_many_and_only_what_is_asked_for():
    X = uniform()
    y = X[:, 0] * X[:, 1] + X[:, 2] * X[:, 3] * 2
    names = made(1).fit(X, y).get_feature_names_out()
    assert list(names[4:]) == ["x2 * x3"]
    differences = made(operations=["difference"]).fit(X, y)
    assert {own.operation for own in differences.interactions_} <= {"difference"}
    two = made(n_columns=2).fit(X, y).interactions_
    assert {(own.left, own.right) for own in two} == {(2, 3)}


def test_a_frame_of_every_kind(fitted, table):
    X, _ = table
    names = list(fitted.get_feature_names_out())
    assert names[:6] == list(X.columns) and sorted(names[6:]) == ["debt / income", "kind & plan"]
    found = fitted.transform(X)
    pd.testing.assert_frame_equal(found[list(X.columns)], X)
    ratio = X["debt"] / X["income"].astype(float)
    np.testing.assert_allclose(found["debt / income"], ratio, equal_nan=True)
    crossed = found["kind & plan"]
    assert crossed.isna().equals(X["plan"].isna())
    row = found[X["plan"].notna()].iloc[0]
    assert row["kind & plan"] == f"{row['kind']}, {row['plan']}"


def test_rows_do_not_depend_on_those_beside_them(fitted, table):
    X, _ = table
    pd.testing.assert_frame_equal(fitted.transform(X[:7]), fitted.transform(X)[:7])


@pytest.mark.parametrize("library", ["polars", "pyarrow", "objects", "numbered"])
def test_other_tables(library, fitted, table):
    X, y = table
    expected = fitted.transform(X)
    if library == "polars":
        other = pl.from_pandas(X)
    elif library == "pyarrow":
        other = pa.Table.from_pandas(X, preserve_index=False)
    elif library == "objects":
        other = X.to_numpy(dtype=object)
    else:
        other = X.set_axis(range(6), axis=1)
    model = made().fit(other, y)
    assert model.interactions_ == fitted.interactions_
    found = model.transform(other)
    assert type(found) is type(other) and found.shape == (1200, 8)
    if library == "objects":
        numbers = found[:, 6 + [own.operation for own in model.interactions_].index("ratio")]
    else:
        names = model.get_feature_names_out()
        ratio = next(name for name in names if "/" in name)
        numbers = np.array(found[ratio], dtype=float)
    np.testing.assert_allclose(
        numbers.astype(float), expected["debt / income"].to_numpy(), equal_nan=True
    )


def test_output_as_asked(table):
    X = uniform()
    model = made(1).set_output(transform="pandas").fit(X, X[:, 0] / X[:, 1])
    found = model.transform(X)
    assert list(found.columns) == ["x0", "x1", "x2", "x3", "x0 / x1"]
    np.testing.assert_array_equal(found["x0 / x1"], X[:, 0] / X[:, 1])


def test_zeros_infinite_and_missing_numbers():
    X = uniform()
    X[:, 1] = np.round(X[:, 1])
    X[::5, 1], X[::11, 0] = 0, np.nan
    y = np.nan_to_num(X[:, 1] / X[:, 0])
    model = made(1).fit(X, y)
    # The column without zeros is the divisor.
    assert model.get_feature_names_out()[-1] == "x1 / x0"
    later = pd.DataFrame([[0.0, 2, 1, 1], [np.nan, 2, 1, 1], [1e-308, 1e300, 1, 1]]).to_numpy()
    assert np.isnan(model.transform(later)[:, -1]).all()


def test_tables_without_pairs():
    rng = np.random.default_rng(0)
    y = rng.normal(size=100)
    for X in (
        pd.DataFrame({"a": y, "constant": 1.0, "empty": np.nan, "c": rng.choice(["u", "v"], 100)}),
        pd.DataFrame({"day": pd.date_range("2020-01-01", periods=100)}),
        pd.DataFrame({"c": ["u"] * 100, "d": [None] * 100}),
    ):
        for target in (y, np.zeros(100)):
            model = made().fit(X, target)
            assert model.interactions_ == []
            pd.testing.assert_frame_equal(model.transform(X), X)


def test_classes_of_text_and_rare_ones():
    X = uniform()
    y = np.where(X[:, 0] > X[:, 1], "more", "less").astype(object)
    y[0] = "rare"
    assert made(1).fit(X, y).get_feature_names_out()[-1] in ("x0 / x1", "x0 - x1")


def test_the_same_seed_gives_the_same_features(fitted, table):
    again = clone(fitted).fit(*table)
    assert again.interactions_ == fitted.interactions_
    np.testing.assert_array_equal(again.importances_, fitted.importances_)
    copied = pickle.loads(pickle.dumps(fitted))
    pd.testing.assert_frame_equal(copied.transform(table[0]), fitted.transform(table[0]))


def test_names_that_the_table_has_are_not_made_again(fitted, table):
    X, y = table
    twice = made().fit(fitted.transform(X), y)
    names = list(twice.get_feature_names_out())
    assert len(names) == len(set(names))


def test_in_front_of_trees_and_networks():
    X, later = uniform(500), uniform(500, seed=1)
    y, expected = (np.log(rows[:, 0] / rows[:, 1]) ** 2 for rows in (X, later))
    for last in (LinearRegression(), HistGradientBoostingRegressor(random_state=0)):
        with_features = make_pipeline(made(1), last).fit(X, y).score(later, expected)
        assert with_features > clone(last).fit(X, y).score(later, expected)
    network = make("TabMLP", "Regressor", max_epochs=2)
    predicted = make_pipeline(made(1), network).fit(X, y).predict(later)
    assert predicted.shape == (500,)


def test_errors(fitted, table):
    X, y = table
    for options, message in (
        ({"n_features": 0}, "n_features must be an int >= 1"),
        ({"n_columns": 1.5}, "n_columns must be an int >= 2"),
        ({"operations": "ratio"}, "operations must be some of"),
        ({"operations": ["sum"]}, "operations must be some of"),
        ({"task": "classes"}, "task must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            made(**options).fit(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        made().fit(X, y[:-1])
    with pytest.raises(ValueError, match="missing values"):
        made().fit(X, np.where(y > 0, y, np.nan))
    with pytest.raises(ValueError, match="at least 6 rows"):
        made().fit(X[:3], y[:3])
    with pytest.raises(ValueError, match="column 'debt' held numbers at fit and holds categories"):
        fitted.transform(X.assign(debt="much"))
    with pytest.raises(ValueError, match="column 'kind' held categories at fit and holds numbers"):
        fitted.transform(X.assign(kind=X["debt"]))
    with pytest.raises(NotFittedError):
        made().transform(X)


def test_columns_without_any_value_later(fitted, table):
    X, _ = table
    found = fitted.transform(X[:3].assign(debt=[None, None, None], kind=np.nan))
    assert found.iloc[:, 6:].isna().all(axis=None)


def test_the_example_of_the_docstring():
    found = doctest.testmod(interactions)
    assert found.attempted > 0 and found.failed == 0
