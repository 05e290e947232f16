"""Bad input: each kind gets an error that names the estimator, what is wrong, what is allowed and
what was given."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make, numbers, people, target
from sklearn.metrics import f1_score, make_scorer

import tabdl


@pytest.mark.parametrize(
    "parameters, message",
    [
        (
            {"n_blocks": 0},
            "FTTransformerClassifier: n_blocks must be an int >= 1, got 0 of type int",
        ),
        ({"n_blocks": 2.0}, "n_blocks must be an int >= 1, got 2.0 of type float"),
        (
            {"d_block": 30, "n_heads": 4},
            "d_block must be a multiple of n_heads, got d_block=30 and n_heads=4",
        ),
        ({"ffn_hidden_multiplier": 0.01}, "ffn_hidden_multiplier must leave a hidden width"),
        ({"attention_dropout": 1.0}, r"attention_dropout must be a float in \[0, 1\), got 1.0"),
        ({"lr": float("nan")}, r"lr must be a float in \(0, inf\), got nan"),
        ({"lr": "fast"}, "lr must be a float"),
        ({"batch_size": True}, "batch_size must be 'auto' or an int >= 1, got True of type bool"),
        ({"early_stopping": "no"}, "early_stopping must be True, False, got 'no'"),
        ({"validation_fraction": 1.0}, "validation_fraction must be a float in"),
        ({"scoring": "acuracy"}, "scoring must be None, a callable .* got 'acuracy'"),
        (
            {"numeric_transform": "minmax"},
            "numeric_transform must be 'quantile', 'standard', 'robust', 'none', 'quantile_noise', "
            "got 'minmax'",
        ),
        (
            {"categorical_features": "all"},
            "categorical_features must be 'from_dtype' or a list of columns, got 'all'",
        ),
        (
            {"precision": "half"},
            "precision must be 'auto', 'float32', 'bfloat16', 'float16', 'float64', got 'half'",
        ),
        ({"device": "gpu"}, "device must be 'auto' or a torch.device or its name .* got 'gpu'"),
        ({"random_state": -1}, "random_state must be"),
        ({"callbacks": print}, "callbacks must be None or a list with a callable for each item"),
        (
            {"class_weight": {0: 1, "spam": 2}},
            r"class_weight must map classes of y \(\[0, 1\]\) to weights >= 0",
        ),
        ({"class_weight": {0: -1}}, "to weights >= 0, got {0: -1}"),
        ({"class_weight": {0: 1e308, 1: 1e308}}, "sum that is positive and finite, got inf"),
        ({"class_weight": {0: 0, 1: 0}}, "sum that is positive and finite, got 0.0"),
        (
            {"scoring": f1_score},
            r"scoring must be a callable \(estimator, X, y\), .* by sklearn.metrics.make_scorer",
        ),
        (
            {"scoring": lambda y, prediction, weight: f1_score(y, prediction)},
            r"FTTransformerClassifier: scoring=.* cannot score .* by sklearn.metrics.make_scorer",
        ),
        ({"scoring": lambda estimator, X, y: None}, "scoring must return a number, got None"),
    ],
)
def test_wrong_values(parameters, message):
    X, y = numbers()
    model = make("FTTransformer", "Classifier").set_params(**parameters)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X, target(y, "Classifier"))
    assert not hasattr(model, "module_")


@pytest.mark.parametrize(
    "scoring, labels, message",
    [
        ("roc_auc", [0, 1, 2], "y has 3 classes; use scoring='roc_auc_ovr'"),
        ("f1", [0, 1, 2], "y has 3 classes; use scoring='f1_macro'"),
        ("f1", ["n", "p"], r"make_scorer\(f1_score, pos_label='p'\)"),
        (make_scorer(f1_score), ["n", "p"], r"make_scorer\(f1_score, pos_label='p'\)"),
    ],
)
def test_scores_that_cannot_be_had(scoring, labels, message):
    X, _ = numbers()
    y = np.array(labels)[np.arange(120) % len(labels)]
    model = make("TabMLP", "Classifier", scoring=scoring, callbacks=[pytest.fail])
    with pytest.raises(ValueError, match=f"^TabMLPClassifier: scoring=.* cannot score .*{message}"):
        model.fit(X, y)


@pytest.mark.parametrize("scoring", ["roc_auc", "roc_auc_ovr"])
def test_validation_rows_that_lack_a_class(scoring):
    X, _ = numbers()
    y = np.arange(120) % (2 if scoring == "roc_auc" else 3)
    model = make("TabMLP", "Classifier", scoring=scoring)
    with pytest.raises(
        ValueError, match=f"scoring='{scoring}' .* use validation rows of .* classes"
    ):
        model.fit(X, y, X_val=X[y < 1], y_val=y[y < 1])


def test_widths_of_an_mlp():
    X, y = numbers()
    model = tabdl.TabMLPRegressor(n_blocks=3, d_block=[8, 16], max_epochs=1)
    with pytest.raises(
        ValueError,
        match="TabMLPRegressor: d_block must be an int or one width for each of the n_blocks=3",
    ):
        model.fit(X, y)
    model.set_params(d_block=[8, 16, 4]).fit(X, y)
    assert [block[0].out_features for block in model.module_.backbone] == [8, 16, 4]


@pytest.mark.two_networks
@pytest.mark.skipif(
    torch.cuda.is_available(), reason="this machine has a CUDA device: asking for one is no error"
)
def test_no_such_device(architecture):
    X, y = numbers()
    with pytest.raises(
        ValueError,
        match=f"{architecture}Regressor: device='cuda' was asked for, but this machine has none",
    ):
        make(architecture, "Regressor", device="cuda").fit(X, y)


@pytest.mark.parametrize(
    "y, message",
    [
        ([0.0, np.nan] * 60, "Input y contains NaN"),
        ([0.0, np.inf] * 60, "Input y contains infinity"),
        ([1.0, None] * 60, "Regressor: Input y contains NaN"),
        (pd.array([1, None] * 60, dtype="Int64"), "Input y contains NaN"),
        (None, "TabMLPRegressor requires y to be passed, but the target y is None"),
        ([1.0] * 119, "inconsistent numbers of samples"),
        (np.zeros((120, 2, 2)), "dim 3|3 dim|3-d|Found array with dim"),
        (["a"] * 120, "could not convert string to float"),
    ],
)
def test_wrong_targets(y, message):
    X, _ = numbers()
    with pytest.raises(ValueError, match=message):
        make("TabMLP", "Regressor").fit(X, y)


@pytest.mark.parametrize(
    "y, message",
    [
        (["a"] * 120, "TabMLPClassifier: y must have at least 2 classes, got 1 class: 'a'"),
        (np.array(["a", None] * 60, dtype=object), "TabMLPClassifier: Input y contains NaN"),
        (np.linspace(0, 1, 120), "Unknown label type"),
        ([0.0, np.inf] * 60, "Input y contains infinity"),
    ],
)
def test_wrong_classes(y, message):
    X, _ = numbers()
    with pytest.raises(ValueError, match=message):
        make("TabMLP", "Classifier").fit(X, y)


@pytest.mark.parametrize(
    "weight, message",
    [
        (
            np.ones(5),
            (
                r"TabMLPRegressor: sample_weight must have shape \(120,\), one weight a row, got "
                r"shape \(5,\)"
            ),
        ),
        (-np.ones(120), "sample_weight must be finite and not negative, got -1.0"),
        (np.full(120, np.nan), "sample_weight must be finite and not negative, got nan"),
        (np.zeros(120), "all weights are zero"),
        (np.full(120, 1e307), "TabMLPRegressor: sample_weight must have a finite sum, got weights"),
    ],
)
def test_wrong_weights(weight, message):
    X, y = numbers()
    with pytest.raises(ValueError, match=message):
        make("TabMLP", "Regressor").fit(X, y, sample_weight=weight)


@pytest.mark.two_networks
def test_tables_unlike_the_one_at_fit(architecture):
    X, y = people()
    model = make(architecture, "Regressor").fit(X, y)
    with pytest.raises(
        ValueError, match="feature names should match those that were passed during fit"
    ):
        model.predict(X.rename(columns={"age": "years"}))
    with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
        model.predict(X[X.columns[::-1]])
    with pytest.raises(ValueError, match="Feature names seen at fit time, yet now missing"):
        model.predict(X.drop(columns="age"))
    with pytest.raises(
        ValueError,
        match=(
            f"{architecture}Regressor: column 'age' held numbers at fit and holds string values now"
        ),
    ):
        model.predict(X.assign(age=X["age"].astype("string")))
    with pytest.raises(
        ValueError, match="column 'city' held categories that are strings at fit, and numbers now"
    ):
        model.predict(X.assign(city=1.0))
    with pytest.raises(
        ValueError, match="column 'joined' held dates at fit and holds string values now"
    ):
        model.predict(X.assign(joined="2020-01-01"))
    with pytest.raises(ValueError, match="column 'age' contains infinity in row 0"):
        model.predict(X.assign(age=np.inf))


@pytest.mark.parametrize(
    "empty",
    [pd.DataFrame({"a": []}), pd.DataFrame(index=range(3)), np.empty((0, 2)), np.empty((3, 0))],
)
def test_empty_tables(empty):
    with pytest.raises(ValueError, match=r"0 (sample|feature)\(s\)"):
        make("TabMLP", "Regressor").fit(empty, np.zeros(len(empty)))


def test_validation_data_that_does_not_fit():
    X, y = people()
    model = make("TabMLP", "Classifier")
    labels = np.where(y > 3, "yes", "no")
    with pytest.raises(ValueError, match="feature names should match"):
        model.fit(X, labels, X_val=X.drop(columns="age"), y_val=labels)
    with pytest.raises(
        ValueError, match="TabMLPClassifier: y_val has the class 'perhaps', which y has not"
    ):
        model.fit(X, labels, X_val=X, y_val=np.where(y > 3, "yes", "perhaps"))
    with pytest.raises(ValueError, match="TabMLPClassifier: X_val and y_val belong together"):
        model.fit(X, labels, X_val=X)
    with pytest.raises(ValueError, match="TabMLPClassifier: X_val and y_val belong together"):
        model.fit(X, labels, sample_weight_val=np.ones(len(X)))
    with pytest.raises(ValueError, match="sample_weight_val must have shape"):
        model.fit(X, labels, X_val=X, y_val=labels, sample_weight_val=np.ones(3))
    with pytest.raises(ValueError, match="TabMLPRegressor: y_val must have 1 target"):
        make("TabMLP", "Regressor").fit(X, y, X_val=X, y_val=np.column_stack([y, y]))


def test_a_fraction_that_leaves_nobody():
    X, y = numbers(4)
    with pytest.raises(
        ValueError, match="TabMLPRegressor: validation_fraction=0.9 of n_samples=4 rows leaves none"
    ):
        make("TabMLP", "Regressor", validation_fraction=0.9).fit(X, y)
    with pytest.raises(ValueError, match="n_samples=1 rows leaves none"):
        make("TabMLP", "Regressor").fit(X[:1], y[:1])


def test_one_row_without_early_stopping(architecture):
    X, y = people(1)
    model = make(architecture, "Regressor", early_stopping=False).fit(X, y)
    assert model.predict(X) == pytest.approx(y, abs=3)


@pytest.mark.two_networks
def test_a_class_with_one_row(architecture):
    X, y = numbers()
    labels = np.where(y > 0, "yes", "no").astype(object)
    labels[3] = "once"
    model = make(architecture, "Classifier").fit(X, labels)
    assert list(model.classes_) == ["no", "once", "yes"] and model.predict_proba(X).shape == (
        120,
        3,
    )


def test_classes_that_have_one_row_each():
    X, _ = numbers(9)
    with pytest.raises(
        ValueError, match="TabMLPClassifier: each of the 9 classes of y has one row"
    ):
        make("TabMLP", "Classifier").fit(X, np.arange(9))


def test_fewer_rows_than_a_batch_and_a_batch_of_one(architecture):
    X, y = numbers(33)  # batches of 32 leave one row
    for options in ({"batch_size": 1000}, {"batch_size": 32}, {"batch_size": 1}):
        model = make(architecture, "Regressor", early_stopping=False, max_epochs=2, **options).fit(
            X, y
        )
        assert np.isfinite(model.predict(X)).all()


@pytest.mark.two_networks
def test_columns_that_say_nothing(architecture):
    """Constant and all-missing columns of every kind, and values that only predict brings."""
    n = 40
    nothing = pd.DataFrame(
        {
            "one": [1.0] * n,
            "missing": [np.nan] * n,
            "word": ["a"] * n,
            "no word": pd.array([None] * n, dtype="string"),
            "day": pd.to_datetime(["2020-01-01"] * n),
            "no day": pd.to_datetime([None] * n),
        }
    )
    y = np.arange(n) * 1.0
    model = make(architecture, "Regressor").fit(nothing, y)
    later = pd.DataFrame(
        {
            "one": [5.0, np.nan],
            "missing": [7.0, np.nan],
            "word": ["b", None],
            "no word": pd.array(["c", None], dtype="string"),
            "day": pd.to_datetime(["2030-05-05", None]),
            "no day": pd.to_datetime(["2030-05-05", None]),
        }
    )
    assert np.isfinite(model.predict(later)).all()


@pytest.mark.two_networks
def test_unseen_categories_get_the_mean_of_the_seen(architecture):
    frame = pd.DataFrame({"c": ["low", "high"] * 50})
    y = np.where(frame["c"] == "low", 0.0, 10.0)
    estimator = make(architecture, "Regressor")
    vectors = {"one_hot_max_size": 0} if hasattr(estimator, "one_hot_max_size") else {}
    model = make(
        architecture, "Regressor", max_epochs=100, lr=1e-2, early_stopping=False, **vectors
    ).fit(frame, y)
    np.testing.assert_allclose(model.predict(frame.iloc[:2]), [0, 10], atol=1.5)
    high, low, unseen = model.module_.embedding.cat.weight.detach()
    torch.testing.assert_close(unseen, (high + low) / 2)
    assert -1.5 < model.predict(pd.DataFrame({"c": ["new"]}))[0] < 11.5


@pytest.mark.two_networks
def test_a_hundred_thousand_categories(architecture):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"id": [f"id{i}" for i in range(100_000)], "group": rng.choice(["a", "b"], 100_000)}
    ).astype({"id": "category"})
    y = np.where(frame["group"] == "a", 1.0, -1.0)
    model = make(
        architecture,
        "Regressor",
        max_epochs=2,
        batch_size=4096,
        n_blocks=1,
        early_stopping=False,
        lr=1e-2,
    )
    model.fit(frame, y)
    assert model.encoder_.schema.cardinalities == (100_001, 3)
    new = pd.DataFrame({"id": ["never", "seen"], "group": ["a", "b"]})
    assert model.predict(new)[0] > 0.5 and model.predict(new)[1] < -0.5


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9, 1e200, 1e-200])
def test_a_constant_target(value):
    X, y = numbers(50)
    weight = np.linspace(0.1, 3, 50)
    model = make("TabMLP", "Regressor", max_epochs=2)
    model.fit(X, np.full(50, value), sample_weight=weight)
    assert (model.predict(X) == value).all()
    both = model.fit(X, np.column_stack([y, np.full(50, value)]), sample_weight=weight).predict(X)
    assert (both[:, 1] == value).all() and np.ptp(both[:, 0]) > 0


@pytest.mark.two_networks
def test_a_constant_target_of_every_architecture(architecture):
    X, _ = numbers(50)
    model = make(architecture, "Regressor", max_epochs=2).fit(X, np.full(50, 7.1))
    assert (model.predict(X) == 7.1).all()


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_targets_of_extreme_size(size):
    """Powers of ten round, so the standardised targets are the same to float64's precision."""
    X, y = numbers()
    usual, extreme = (make("TabMLP", "Regressor").fit(X, y * s).predict(X) for s in (1, size))
    np.testing.assert_allclose(extreme / size, usual, rtol=1e-3, atol=1e-4)


def test_a_target_that_is_too_large():
    X, y = numbers()
    with pytest.raises(ValueError, match=r"TabMLPRegressor: y must lie within \+-1e\+300, got"):
        make("TabMLP", "Regressor").fit(X, y * 1e305)
    model = make("TabMLP", "Regressor", precision="float32")
    with pytest.raises(ValueError, match="TabMLPRegressor: y_val must be of the size of y"):
        model.fit(X, y, X_val=X, y_val=y * 1e60)


def test_large_target_keeps_its_digits():
    X, y = numbers(300)
    model = make("TabMLP", "Regressor", max_epochs=40).fit(X, 1e9 + y)
    assert model.score(X, 1e9 + y) > 0.7


def test_names_at_fit_and_none_at_predict_warn_as_in_scikit_learn():
    X, y = numbers()
    model = make("TabMLP", "Regressor").fit(pd.DataFrame(X, columns=list("abcd")), y)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(X)


def test_lists_and_strings():
    X, y = [[1, "a"], [2, "b"], [3, None], [None, "b"]] * 10, [1, 2, 3, 4] * 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(make("TabMLP", "Regressor").fit(X, y).predict(X)).all()
