"""Statistics of categories: their formulas, weights, unseen values, and that nothing leaks."""

import numpy as np
import pandas as pd
import pytest
from conftest import make

from tabdl.base.estimator import prepare, read_training_data
from tabdl.data.columns import read_columns
from tabdl.data.encoding import FeatureEncoder
from tabdl.data.statistics import MOST_PLAIN_VALUES, log_counts, prior_rows, target_means


def rows(n=60, n_codes=8, seed=0):
    """Return codes, weights (1 to 3), targets (n, 2) and an order of n rows."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_codes, n)
    y = np.column_stack([codes % 3 + rng.normal(size=n), rng.normal(size=n)])
    return codes, rng.integers(1, 4, n).astype(float), y, rng.permutation(n)


# --- formulas


def test_target_means_are_shrunk_sums():
    codes, weight, y, order = rows()
    by_code, of_rows = target_means(codes, 10, weight, y, order)
    prior = np.average(y, axis=0, weights=weight)
    m = prior_rows(codes, 10, weight, y - prior)
    assert 1 <= m[0] < m[1]

    def mean(chosen):
        chosen = np.array(chosen, dtype=int)
        total = weight[chosen] @ y[chosen] if len(chosen) else 0
        finite = np.where(np.isinf(m), 1e30, m)
        return (total + finite * prior) / (weight[chosen].sum() + finite)

    for code in range(10):
        np.testing.assert_allclose(by_code[code], mean(np.flatnonzero(codes == code)))
    for place, row in enumerate(order):
        earlier = [other for other in order[:place] if codes[other] == codes[row]]
        np.testing.assert_allclose(of_rows[row], mean(earlier))


def test_the_prior_weighs_as_the_variances_say():
    """Noise with a deviation of 3 times that of the categories: as much as 9 rows."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 500, 20_000)
    y = rng.normal(size=500)[codes] + 3 * rng.normal(size=20_000)
    certain = codes % 2.0
    m = prior_rows(codes, 501, np.ones(20_000), np.column_stack([y, certain]) - [y.mean(), 0.5])
    assert m[0] == pytest.approx(9, rel=0.15)
    assert m[1] == 1  # and no less, where nothing varies within categories


def test_rows_that_differ_by_chance_or_stand_alone_have_the_prior():
    alone = np.arange(30)
    y = np.random.default_rng(0).normal(size=(30, 1))
    alternating = np.tile([[1.0], [-1.0]], (15, 1))
    for codes, target in ((alone, y), (alone // 2, alternating)):
        for means in target_means(codes, 31, np.ones(30), target, alone):
            np.testing.assert_array_equal(means, target.mean())


def test_log_counts():
    codes = np.array([0, 0, 0, 2, 2, 1])
    by_code, of_rows = log_counts(codes, 4, np.ones(6))
    np.testing.assert_allclose(np.expm1(by_code), [3, 1, 2, 0])
    np.testing.assert_allclose(np.expm1(of_rows), [2, 2, 2, 1, 1, 0])  # the other rows


def test_a_weight_of_two_is_a_row_that_stands_twice():
    codes, _, y, order = rows()
    weight = np.where(np.arange(60) % 3, 1.0, 2.0)
    twice = np.repeat(np.arange(60), weight.astype(int))
    ones = np.ones(len(twice))
    once, other = log_counts(codes, 9, weight), log_counts(codes[twice], 9, ones)
    np.testing.assert_allclose(once[0], other[0])
    np.testing.assert_allclose(once[1][twice], other[1])
    means = target_means(codes, 9, weight, y, order)[0]
    expected = target_means(codes[twice], 9, ones, y[twice], np.arange(len(twice)))[0]
    np.testing.assert_allclose(means, expected)


def test_small_weights_count_as_rows():
    """Weights that sum to 1 say how rows share, not that there is less than a row."""
    codes, weight, y, order = rows()
    for found, expected in zip(
        target_means(codes, 9, weight / weight.sum(), y, order),
        target_means(codes, 9, weight / weight.mean(), y, order),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected)


# --- leaks


def leaks(of_train, y, of_fresh, y_fresh):
    """Return whether a feature goes together with the target more closely where rows train."""
    now, fresh = (np.corrcoef(f, t)[0, 1] for f, t in ((of_train, y), (of_fresh, y_fresh)))
    return abs(now) > abs(fresh) + 0.1


@pytest.mark.parametrize("n_rows_each", [2, 5, 40])
def test_shuffled_targets_do_not_leak_and_means_of_the_own_row_do(n_rows_each):
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(1200 // n_rows_each), n_rows_each)
    y, y_fresh = rng.normal(size=(2, 1200))
    # So that the prior does not hide what the means say, a few categories differ.
    y, y_fresh = (t + 3 * (codes % 25 == 0) for t in (y, y_fresh))
    plain = codes % 25 > 0  # the other rows have targets by chance
    order = rng.permutation(1200)
    by_code, of_rows = target_means(codes, codes[-1] + 2, np.ones(1200), y[:, None], order)
    assert not leaks(of_rows[plain, 0], y[plain], by_code[codes[plain], 0], y_fresh[plain])
    means = pd.Series(y).groupby(codes).transform("mean").to_numpy()
    if n_rows_each < 40:
        assert leaks(means[plain], y[plain], means[plain], y_fresh[plain])


def with_ids(n_rows, seed=0):
    """Return a table with 3 rows for each of many ids, and classes by chance."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.arange(n_rows) // 3)
    X = pd.DataFrame({"id": pd.Categorical([f"i{i}" for i in ids]), "x": rng.normal(size=n_rows)})
    return X, rng.integers(0, 2, n_rows)


def best_loss(X, y, **options):
    model = make("TabMLP", "Classifier", max_epochs=15, numeric_embedding=None, **options)
    return min(record["val_loss"] for record in model.fit(X, y).history_)


def test_shuffled_targets_give_no_gain_on_validation_rows():
    X, y = with_ids(900)
    chance = np.log(2) - 0.02
    assert best_loss(X, y, categorical_statistics="both") > chance
    leaking = X.assign(mean=pd.Series(y).groupby(X["id"], observed=True).transform("mean"))
    assert best_loss(leaking, y) < chance


# --- in the encoder


def frame_with_many(n=400, seed=0):
    """Return a frame with a column of 30 cities and missing values, and a target by city."""
    rng = np.random.default_rng(seed)
    city = rng.integers(0, 30, n)
    frame = pd.DataFrame(
        {
            "city": pd.Series([f"c{i:02}" for i in city], dtype=object),
            "age": rng.normal(size=n),
            "plan": rng.choice(["a", "b"], n),
        }
    )
    frame.loc[::10, "city"] = None
    return frame, city / 10 + rng.normal(size=n) / 2


def encoder_of(frame, y, which="both", transform="none", weight=None):
    columns = read_columns(frame, estimator_name="Test")
    weight = np.ones(len(frame)) if weight is None else weight
    encoder = FeatureEncoder(transform, "Test", categorical_statistics=which)
    features = encoder.fit_transform(columns, np.arange(len(frame)), weight, y, 7, np.float64)
    return encoder, features


def test_names_and_places_of_features():
    frame, y = frame_with_many()
    for which, names in (
        ("none", ()),
        ("count", ("city.log_count",)),
        ("target", ("city.target",)),
        ("both", ("city.log_count", "city.target")),
    ):
        encoder, (x_num, x_cat) = encoder_of(frame, y[:, None], which)
        assert encoder.schema.num_names == ("age", *names)
        assert encoder.columns_of_features() == [1, *(0 for _ in names), 0, 2]
        assert x_num.shape[1] == 1 + len(names) and x_cat.shape[1] == 2
    encoder, _ = encoder_of(frame, np.column_stack([y, y]))
    assert encoder.schema.num_names[2:] == ("city.target_0", "city.target_1")
    few = frame.assign(city=frame["city"].where(frame["city"] < f"c{MOST_PLAIN_VALUES - 1:02}"))
    assert encoder_of(few, y[:, None])[0].schema.num_names == ("age",)


def test_unseen_and_missing_categories():
    frame, y = frame_with_many()
    encoder, _ = encoder_of(frame, y[:, None])
    later = pd.DataFrame({"city": ["nowhere", None, "c03"], "age": 0.0, "plan": "a"})
    columns = read_columns(later, estimator_name="Test", kinds=encoder.kinds)
    count, mean = encoder.transform(columns, dtype=np.float64)[0][:, 1:].T
    named = frame["city"].fillna("missing")
    np.testing.assert_allclose(
        np.expm1(count), [0, (named == "missing").sum(), (named == "c03").sum()]
    )
    assert mean[0] == pytest.approx(y.mean())
    by_city = pd.Series(y).groupby(named).mean()
    np.testing.assert_allclose(mean[1:], by_city[["missing", "c03"]], atol=0.1)


@pytest.mark.parametrize("transform", ["quantile", "standard", "robust"])
def test_statistics_are_scaled_as_numbers_are(transform):
    """As a column of the user with the same numbers would be."""
    frame, y = frame_with_many()
    _, (plain, _) = encoder_of(frame, y[:, None])
    encoder, (scaled, _) = encoder_of(frame, y[:, None], transform=transform)
    columns = read_columns(plain[:, 1:], estimator_name="Test")
    alone = FeatureEncoder(transform, "Test")
    expected, _ = alone.fit_transform(columns, np.arange(400), np.ones(400), dtype=np.float64)
    np.testing.assert_allclose(scaled[:, 1:], expected)
    assert encoder.schema.n_num == 3


def test_training_rows_have_other_features_than_the_same_rows_later():
    frame, y = frame_with_many()
    model = make("TabMLP", "Regressor", categorical_statistics="both")
    train = read_training_data(model, frame, y, None).used
    tables = [prepare(model, train, 0.0, order) for order in (1, 1, 2)]
    first, same, other = (preparation.table.x_num.numpy() for preparation in tables)
    later = tables[0].encode(train).x_num.numpy()
    np.testing.assert_array_equal(first, same)
    np.testing.assert_array_equal(first[:, 0], later[:, 0])
    for column in (1, 2):
        assert (first[:, column] != later[:, column]).mean() > 0.5
    np.testing.assert_array_equal(first[:, 1], other[:, 1])
    assert (first[:, 2] != other[:, 2]).mean() > 0.5
    # Means over earlier rows and over all rows say the same of a category.
    assert np.corrcoef(first[:, 2], later[:, 2])[0, 1] > 0.8


def test_states_come_back_and_older_ones_are_read():
    frame, y = frame_with_many()
    encoder, _ = encoder_of(frame, y[:, None], transform="quantile")
    columns = read_columns(frame, estimator_name="Test")
    narrowed = encoder.narrowed(encoder.transform(columns)[1][:20])
    for own in (encoder, narrowed):
        again = FeatureEncoder.from_state(own.state(), "Test")
        assert again.schema == own.schema and again.state().keys() == own.state().keys()
        for mine, other in zip(again.transform(columns), own.transform(columns), strict=True):
            np.testing.assert_array_equal(mine, other)
    # What a network sees of numbers is that of all training rows; what of codes, of its own.
    mine, other = encoder.transform(columns), narrowed.transform(columns)
    np.testing.assert_array_equal(mine[0], other[0])
    assert (mine[1] != other[1]).any()
    older = encoder_of(frame, y[:, None], "none")[0].state()
    assert "statistics" not in older
    assert FeatureEncoder.from_state(older, "Test").statistics == {}


def test_damaged_states_are_refused():
    frame, y = frame_with_many()
    state = encoder_of(frame, y[:, None])[0].state()
    own = state["statistics"][0]
    for statistics, message in (
        ([own], "statistics must be a list of 3"),
        ([own, own, None], "None for a column without categories"),
        ([{**own, "names": []}, None, None], "one name at least"),
        ([{**own, "features": own["features"][1:]}, None, None], "an array of shape"),
        ([{**own, "features": own["features"] * np.nan}, None, None], "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            FeatureEncoder.from_state({**state, "statistics": statistics}, "Test")
