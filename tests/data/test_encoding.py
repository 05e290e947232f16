"""The encoder: transforms beside scikit-learn's, weights as repetition, missing and unseen values,
no view of other rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from tabdl.data.columns import Column, read_columns
from tabdl.data.encoding import NUMERIC_TRANSFORMS, FeatureEncoder
from tabdl.data.scales import _with_middles


def encode(frame, transform="quantile", rows=None, weight=None, later=None, **options):
    """Return the fitted encoder, x_num and x_cat of ``later`` (default: ``frame``)."""
    columns = read_columns(frame, estimator_name="Test", **options)
    rows = np.arange(len(frame)) if rows is None else rows
    encoder = FeatureEncoder(transform, "Test").fit(
        columns, rows, np.ones(len(rows)) if weight is None else weight
    )
    if later is not None:
        columns = read_columns(later, estimator_name="Test", kinds=encoder.kinds)
    return encoder, *encoder.transform(columns, dtype=np.float64)


def test_quantile_is_scikit_learns_on_distinct_values():
    X = np.random.default_rng(0).lognormal(size=(3000, 1))
    _, x_num, _ = encode(X)
    expected = QuantileTransformer(
        n_quantiles=100, output_distribution="normal", subsample=None
    ).fit_transform(X)
    inner = np.abs(expected) < 2.5
    np.testing.assert_allclose(x_num[inner], expected[inner], atol=0.02)


def test_quantile_is_the_authors_noisy_one_on_ties():
    """Beside random noise of the same size, averaged over draws."""
    rng = np.random.default_rng(0)
    X = rng.choice([0.0, 1.0, 2.0, 5.0], (3000, 1), p=[0.6, 0.2, 0.15, 0.05])
    _, x_num, _ = encode(X)
    draws = []
    for seed in range(20):
        noise = 1e-3 * X.std() * np.random.default_rng(seed).normal(size=X.shape)
        draws.append(
            QuantileTransformer(n_quantiles=100, output_distribution="normal", subsample=None)
            .fit(X + noise)
            .transform(X)
        )
    np.testing.assert_allclose(x_num, np.mean(draws, axis=0), atol=0.1)


@pytest.mark.parametrize("n_values", [12, 3000])
def test_quantiles_end_where_the_training_values_do(n_values):
    """Later months are the last month, not a number that no training row has."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, n_values, (3000, 1)).astype(float)
    low, high = X.min(), X.max()
    later = np.array([[low], [low - 1], [-1e9], [high], [high + 1e-9], [high + 1], [1e9]])
    _, x_num, _ = encode(X, later=later)
    assert (x_num[:3] == x_num[0]).all() and (x_num[3:] == x_num[3]).all()
    assert x_num[3] == pytest.approx(encode(X)[1].max(), abs=1e-12)
    paper = encode(X, "quantile_noise", later=later)[1]
    assert paper[[2, 6]].ravel() == pytest.approx([-5.2, 5.2], abs=0.01)


def test_standard_is_scikit_learns():
    X = np.random.default_rng(0).lognormal(size=(500, 2))
    np.testing.assert_allclose(encode(X, "standard")[1], StandardScaler().fit_transform(X))


def test_robust_follows_its_formula():
    X = np.random.default_rng(0).normal(size=(2001, 1))
    _, x_num, _ = encode(X, "robust")
    z = (X - np.median(X)) / np.subtract(*np.quantile(X, [0.75, 0.25]))
    np.testing.assert_allclose(x_num, z / np.sqrt(1 + (z / 3) ** 2), atol=0.01)
    assert np.abs(encode(np.append(X, 1e9)[:, None], "robust")[1]).max() <= 3


def test_missing_numbers_have_an_indicator():
    """One for each column that has them at fit, behind its number; one for a moment, not one for
    each of its parts."""
    frame = pd.DataFrame(
        {
            "a": [1.0, None, 3.0, 4.0],
            "full": [1.0, 2.0, 3.0, 4.0],
            "constant": [7.0, 7.0, None, 7.0],
            "when": pd.to_datetime(["2020-01-01", "2021-02-03", "2022-03-04", None]),
        }
    )
    later = frame.assign(full=[None, 1.0, 2.0, 3.0])
    columns = read_columns(frame, estimator_name="Test")
    encoder = FeatureEncoder("standard", "Test", "indicator").fit(columns, np.arange(4), np.ones(4))
    plain, x_plain, _ = encode(frame, "standard", later=later)
    x_num, _ = encoder.transform(
        read_columns(later, estimator_name="Test", kinds=encoder.kinds), dtype=np.float64
    )
    indicators = [name for name in encoder.schema.num_names if name.endswith(".missing")]
    assert indicators == ["a.missing", "constant.missing", "when.days.missing"]
    at = {name: i for i, name in enumerate(encoder.schema.num_names)}
    np.testing.assert_array_equal(x_num[:, at["a.missing"]], [0, 1, 0, 0])
    np.testing.assert_array_equal(x_num[:, at["constant.missing"]], [0, 0, 1, 0])
    np.testing.assert_array_equal(x_num[:, at["when.days.missing"]], [0, 0, 0, 1])
    np.testing.assert_array_equal(x_num[:, [at[name] for name in plain.schema.num_names]], x_plain)


@pytest.mark.parametrize("transform", NUMERIC_TRANSFORMS[:4])  # each row has its own noise
def test_a_weight_of_two_is_a_row_that_stands_twice(transform):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=200), rng.integers(0, 5, 200)])
    weight = rng.integers(1, 4, 200)
    repeated = np.repeat(X, weight, axis=0)
    np.testing.assert_allclose(
        encode(X, transform, weight=weight.astype(float))[1],
        encode(repeated, transform, later=X)[1],
        rtol=1e-9,
        atol=1e-12,
    )


@pytest.mark.parametrize("transform", NUMERIC_TRANSFORMS)
def test_constant_missing_and_enormous_numbers(transform):
    X = np.array(
        [
            [1.0, np.nan, np.nan, 1e300],
            [1.0, np.nan, 2.0, -1e300],
            [1.0, np.nan, 3.0, 0.0],
            [1.0, np.nan, 7.0, 1.0],
        ]
    )
    _, x_num, _ = encode(X, transform)
    assert np.isfinite(x_num.astype(np.float32)).all()
    assert not x_num[:, :2].any()
    middle = {"none": 3.0}.get(transform, 0.0)
    assert x_num[0, 2] == middle
    later = np.array([[9.0, 5.0, np.nan, np.nan]])
    np.testing.assert_array_equal(encode(X, transform, later=later)[1][0, :3], [0, 0, middle])


def test_only_training_rows_are_seen():
    frame = pd.DataFrame({"a": [1.0, 2, 3, 1000], "c": ["x", "y", "x", "z"]})
    encoder, x_num, x_cat = encode(frame, "standard", rows=np.arange(3))
    np.testing.assert_allclose(x_num[:3].mean(), 0, atol=1e-12)
    assert encoder.schema.cardinalities == (3,)
    assert x_cat[:, 0].tolist() == [0, 1, 0, 2]  # z is unseen: the last code


def test_codes_of_missing_and_unseen():
    frame = pd.DataFrame(
        {
            "with": ["a", None, "b"],
            "without": ["a", "a", "b"],
            "flag": pd.array([True, False, None], dtype="boolean"),
        }
    )
    later = pd.DataFrame(
        {
            "with": ["b", None, "?"],
            "without": ["b", None, "?"],
            "flag": pd.array([None, True, False], dtype="boolean"),
        }
    )
    encoder, _, x_cat = encode(frame, later=later)
    assert encoder.schema.cat_names == (
        "with",
        "without",
        "flag",
    ) and encoder.schema.cardinalities == (4, 3, 4)
    assert x_cat.T.tolist() == [[1, 2, 3], [1, 2, 2], [2, 1, 0]]


def test_dates_become_the_parts_that_vary():
    moments = pd.to_datetime(["2021-01-01", "2022-03-01", None, "2022-05-07"])
    encoder, x_num, _ = encode(pd.DataFrame({"t": moments}), "none")
    assert encoder.schema.num_names == ("t.days", "t.year", "t.month", "t.day", "t.day_of_week")
    assert x_num[1].tolist() == [19052, 2022, 3, 1, 1]
    assert np.isfinite(x_num).all()


def test_many_categories():
    labels = np.random.default_rng(0).permutation(
        np.array([f"id{i}" for i in range(100_000)], dtype=object)
    )
    with pytest.warns(UserWarning, match="Test: column 'x0' is text with 100000 different values"):
        encoder, _, x_cat = encode(labels[:, None])
    assert encoder.schema.cardinalities == (100_001,)
    assert len(np.unique(x_cat)) == 100_000


@pytest.mark.parametrize("transform", NUMERIC_TRANSFORMS)
@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2, 3, 4, 7],
        [-1e308, 1.0, 2, 3, 1e308],
        [0.0, 5e-324, 1e-323, 2e-323],
        [1e300, 1e-300, -1e-300, 0.5, 0.6, 0.7],
        [-1.7e308, 1.7e308],
    ],
)
def test_numbers_at_the_end_of_their_range(transform, values):
    """What is finite is encoded as finite, and in the order of the numbers."""
    later = np.array([-1.7e308, -1e100, -1, -1e-300, 0, 5e-324, 1e-300, 1, 5, 1e100, 1.7e308])
    later = np.sort(np.append(later, values))
    _, x_num, _ = encode(np.array(values)[:, None], transform, later=later[:, None])
    assert np.isfinite(x_num.astype(np.float32)).all()
    assert (np.diff(x_num[:, 0]) >= 0).all()
    assert x_num[0, 0] < x_num[-1, 0]


@pytest.mark.parametrize("fitted, later", [(["a", "b"], [1.0, 2.0]), ([1.0, 2.0], ["a", "b"])])
def test_categories_of_another_type(fitted, later):
    encoder = FeatureEncoder("none", "Test")
    first = Column(
        "c", "category", np.array(fitted, dtype=object if isinstance(fitted[0], str) else float)
    )
    encoder.fit([first], np.arange(2), np.ones(2))
    second = Column(
        "c", "category", np.array(later, dtype=object if isinstance(later[0], str) else float)
    )
    with pytest.raises(
        ValueError, match="Test: column 'c' held categories that are (strings|numbers) at fit, and"
    ):
        encoder.transform([second])
    missing = Column("c", "category", np.full(2, np.nan))
    assert encoder.transform([missing])[1].tolist() == [[2], [2]]


@pytest.mark.parametrize("n_values", [2, 3, 7, 1000])
def test_middles_of_plateaus(n_values):
    """One interpolation gives what scikit-learn's two give: from the left and from the right, and
    their mean."""
    rng = np.random.default_rng(n_values)
    quantiles = np.sort(np.round(rng.normal(size=n_values), 1).repeat(rng.integers(1, 4, n_values)))
    levels = np.linspace(0, 1, len(quantiles))
    values = np.concatenate([quantiles, rng.normal(size=200), [-9, 9, np.nan]])
    below = np.interp(values, quantiles, levels)
    above = 1 - np.interp(-values, -quantiles[::-1], 1 - levels[::-1])
    np.testing.assert_allclose(
        np.interp(values, *_with_middles(quantiles, levels)), (below + above) / 2, atol=1e-12
    )


def test_the_noise_of_the_authors_code():
    """Its deviation is 1e-3 / max(s, 1e-3): little on wide columns, all on narrow ones."""
    wide = np.random.default_rng(1).normal(size=3000)
    drawn = np.random.default_rng(0).standard_normal((3000, 1))
    for scale in (100.0, 0.002, 0.0002):
        frame = pd.DataFrame({"a": wide * scale})
        found = encode(frame, "quantile_noise")[1].ravel()
        noise = 1e-3 / max(wide.std() * scale, 1e-3) * drawn
        theirs = QuantileTransformer(
            n_quantiles=100, output_distribution="normal", subsample=None
        ).fit(frame.to_numpy() + noise)
        expected = theirs.transform(frame.to_numpy()).ravel()
        assert np.abs(found - expected).mean() < 0.02, scale
    assert found.std() < 0.01 < 0.9 < encode(frame)[1].std()


@pytest.mark.parametrize("transform", NUMERIC_TRANSFORMS)
def test_a_row_alone_is_the_row_among_many(transform):
    """Few rows are read and scaled all columns at once; the bits are the same."""
    rng = np.random.default_rng(0)
    n = 200
    frame = pd.DataFrame(
        {
            "double": rng.normal(size=n),
            "single": rng.normal(size=n).astype(np.float32),
            "small": rng.integers(0, 9, n).astype(np.int8),
            "large": rng.integers(-(2**60), 2**60, n),
            "tiny": rng.normal(size=n) * 1e-300,
            "constant": np.ones(n),
            "nullable": pd.array(rng.integers(0, 9, n), dtype="Int64"),
            "spelled": [f"{value:.2f}" for value in rng.normal(size=n)],
            "text": rng.choice(["a", "b"], n),
            "day": pd.date_range("2020", periods=n),
        }
    )
    frame.iloc[::7, 0] = np.nan
    frame.loc[::5, ["nullable", "text", "day"]] = None
    encoder, x_num, x_cat = encode(frame, transform)
    for rows in (slice(0, 1), slice(5, 6), slice(30, 46)):
        columns = read_columns(frame[rows], estimator_name="Test", kinds=encoder.kinds)
        few_num, few_cat = encoder.transform(columns, dtype=np.float64)
        np.testing.assert_array_equal(few_num, x_num[rows])
        np.testing.assert_array_equal(few_cat, x_cat[rows])


def test_an_infinity_in_a_row_alone_is_refused():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 5.0, 2.0]})
    with pytest.raises(ValueError, match="column 'b' contains infinity in row 0"):
        encode(frame, later=pd.DataFrame({"a": [1.0], "b": [np.inf]}))
