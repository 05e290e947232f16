"""Greedy ensembles: the selection on plain arrays, and the estimators that make those arrays."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn.exceptions
from conftest import make, numbers, people, target
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import cohen_kappa_score, make_scorer, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, TimeSeriesSplit
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from tabdl import (
    CrossValEnsembleRegressor,
    GreedyEnsembleClassifier,
    GreedyEnsembleRegressor,
    greedy_weights,
)
from tabdl.exceptions import FitInterruptedWarning


def minus_rmse(y, prediction):
    return -root_mean_squared_error(y, prediction)


# --- selection


def best_by_hand(predictions, y, n_rounds):
    """Caruana et al. 2004, section 2: with replacement, the best prefix; written without regard to
    time."""
    chosen, best = [], (-np.inf, None)
    for _ in range(n_rounds):
        scores = [
            minus_rmse(y, np.mean([predictions[j] for j in [*chosen, i]], axis=0))
            for i in range(len(predictions))
        ]
        chosen.append(int(np.argmax(scores)))
        if max(scores) > best[0]:
            best = max(scores), np.bincount(chosen, minlength=len(predictions)) / len(chosen)
    return best[1]


@pytest.mark.parametrize("seed", range(5))
def test_is_the_papers_algorithm(seed):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=100)
    predictions = [
        y + rng.normal(scale=scale, size=100) + shift
        for scale, shift in ((0.5, 0.1), (0.6, -0.2), (0.8, 0.0), (2, 1))
    ]
    weights = greedy_weights(predictions, y, minus_rmse, n_rounds=20)
    np.testing.assert_allclose(weights, best_by_hand(predictions, y, 20))
    np.testing.assert_allclose(
        weights, greedy_weights(predictions, y, "neg_root_mean_squared_error", n_rounds=20)
    )
    assert weights.sum() == pytest.approx(1) and minus_rmse(y, weights @ predictions) > max(
        minus_rmse(y, p) for p in predictions
    )


def test_ties_prefer_members_already_used():
    y = np.arange(10.0)
    twin = y + 0.1
    np.testing.assert_array_equal(
        greedy_weights([twin, twin.copy(), y + 3], y, minus_rmse), [1, 0, 0]
    )
    # The first round takes the perfect one; a constant score after that never takes another.
    np.testing.assert_array_equal(greedy_weights([y + 1, y, y + 2], y, lambda y, p: 0.0), [1, 0, 0])


def test_the_first_best_prefix_is_kept():
    y = np.zeros(4)
    low, high = np.full(4, -1.0), np.full(4, 1.0)
    np.testing.assert_allclose(greedy_weights([low, high], y, minus_rmse, n_rounds=25), [0.5, 0.5])
    np.testing.assert_allclose(greedy_weights([low, high], y, minus_rmse, n_rounds=1), [1, 0])


@pytest.mark.parametrize("name", ["neg_log_loss", "roc_auc_ovr", "accuracy"])
def test_scorers_of_classes(name):
    rng = np.random.default_rng(0)
    y = np.array(["a", "b", "c"])[rng.integers(3, size=200)]
    codes = np.searchsorted(["a", "b", "c"], y)
    predictions = [
        np.eye(3)[codes] * share + (1 - share) * rng.dirichlet(np.ones(3), 200)
        for share in (0.3, 0.35, 0.0)
    ]
    weights = greedy_weights(predictions, y, name)
    assert weights[:2].min() > 0 and weights[2] < 0.2


def test_wrong_arrays():
    y = np.arange(5.0)
    with pytest.raises(
        ValueError,
        match=r"with a row for each of the 5 values of y; predictions\[1\] has shape \(4,\)",
    ):
        greedy_weights([y, y[:4]], y, minus_rmse)
    with pytest.warns(UserWarning) as warned:
        assert list(greedy_weights([y, np.full(5, np.nan)], y, minus_rmse)) == [1, 0]
    assert "greedy_weights: predictions[1] is left out, its score fails: ValueError" in str(
        warned[0].message
    )
    with pytest.warns(UserWarning, match="its score is NaN"):
        assert list(greedy_weights([y, y + 1], y, lambda y, p: np.nan if p[0] else 1.0)) == [1, 0]
    with (
        warnings.catch_warnings(),
        pytest.raises(ValueError, match="none of the members has a score"),
    ):
        warnings.simplefilter("ignore")
        greedy_weights([y], y, lambda y, p: np.nan)


# --- estimators


@pytest.mark.parametrize("scoring", [None, "neg_mean_absolute_error"])
def test_a_blend_of_networks_and_others(scoring):
    X, y = numbers(200)
    members = [
        make("TabMLP", "Regressor", max_epochs=60),
        ("knn", KNeighborsRegressor()),
        Ridge(),
        Ridge(alpha=9),
    ]
    blend = GreedyEnsembleRegressor(members, scoring=scoring, cv=4, random_state=0).fit(X, y)
    assert (
        list(blend.weights_)
        == ["tabmlpregressor", "knn", "ridge", "ridge-2"]
        == list(blend.members_)
    )
    assert sum(blend.weights_.values()) == pytest.approx(1) and len(blend.score_path_) == 25
    mean = sum(share * blend.members_[name].predict(X) for name, share in blend.weights_.items())
    np.testing.assert_allclose(blend.predict(X), mean)
    error = (
        -np.sqrt(np.mean((blend.oof_prediction_ - y) ** 2))
        if scoring is None
        else -np.abs(blend.oof_prediction_ - y).mean()
    )
    assert error == pytest.approx(max(blend.score_path_)) and error >= max(
        blend.member_scores_.values()
    )
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(blend)).predict(X), blend.predict(X))


def test_members_are_parameters_where_they_have_names():
    X, y = numbers(60)
    blend = GreedyEnsembleRegressor(
        [("ridge", Ridge()), ("net", make("TabMLP", "Regressor"))], cv=2, random_state=0
    )
    assert blend.get_params()["net__lr"] == blend.estimators[1][
        1
    ].lr and "net__lr" not in blend.get_params(deep=False)
    search = GridSearchCV(
        blend, {"ridge__alpha": [1e-3, 1e3], "net": [KNeighborsRegressor()]}, cv=2
    ).fit(X, y)
    found = dict(search.best_estimator_.estimators)
    assert found["ridge"].alpha == 1e-3 and isinstance(found["net"], KNeighborsRegressor)
    assert (
        blend.estimators[0][1].alpha == 1.0
        and search.best_estimator_.members_["ridge"].estimators_[0].alpha == 1e-3
    )
    with pytest.raises(ValueError, match="Invalid parameter 'other'"):
        blend.set_params(other__lr=1)


@pytest.mark.parametrize(
    "name, words", [("cv", "conflict with constructor arguments"), ("a__b", "must not contain __")]
)
def test_members_names_are_no_other_parameters(name, words):
    X, y = numbers(40)
    with pytest.raises(ValueError, match=words):
        GreedyEnsembleRegressor([(name, Ridge())], cv=2).fit(X, y)


@pytest.mark.parametrize(
    "members",
    [[make_pipeline(StandardScaler(), Ridge())], [("knn", KNeighborsRegressor()), Ridge()]],
)
def test_members_without_names_are_no_parameters(members):
    blend = GreedyEnsembleRegressor(members)
    assert blend.get_params() == blend.get_params(deep=False)
    with pytest.raises(ValueError, match="Invalid parameter 'knn'"):
        blend.set_params(knn=Ridge())
    named = blend.set_params(estimators=[("ridge", Ridge())], ridge__alpha=3)
    assert named.estimators[0][1].alpha == 3


def test_classes_and_all_kinds_of_scores():
    X, y = people(150)
    X = X[["age", "children"]].astype(float).fillna(0)
    grades = np.digitize(y, [1.5, 2.5, 3.5])
    members = [
        ("forest", RandomForestClassifier(10, random_state=0)),
        ("logistic", LogisticRegression(max_iter=2000)),
    ]
    kappa = make_scorer(cohen_kappa_score, weights="quadratic")
    for scoring in (
        kappa,
        "neg_log_loss",
        "roc_auc_ovr",
        "accuracy",
        lambda estimator, X, y: estimator.score(X, y),
    ):
        blend = GreedyEnsembleClassifier(members, scoring=scoring, cv=3, random_state=0).fit(
            X, grades
        )
        assert blend.predict_proba(X).shape == (150, 4) and set(blend.predict(X)) <= set(grades)
        assert max(blend.score_path_) >= max(blend.member_scores_.values())


def test_members_share_the_folds():
    X, y = numbers()
    members = [KNeighborsRegressor(1), CrossValEnsembleRegressor(KNeighborsRegressor(1), cv=4)]
    blend = GreedyEnsembleRegressor(members, cv=4, random_state=0).fit(X, y)
    first, second = (member.oof_prediction_ for member in blend.members_.values())
    np.testing.assert_array_equal(first, second)


def test_members_keep_no_rows_of_folds():
    X, y = numbers()
    blend = GreedyEnsembleRegressor([Ridge()], cv=4, random_state=0).fit(X, y)
    assert blend.members_["ridge"].cv == 4


def test_predictions_from_elsewhere():
    X, y = numbers()
    other = y + np.random.default_rng(0).normal(scale=0.1, size=120)
    blend = GreedyEnsembleRegressor([Ridge()], cv=3, random_state=0).fit(
        X, y, oof_predictions={"mine": other}
    )
    assert blend.weights_["mine"] > 0.5
    test = np.arange(7.0)
    expected = blend.weights_["mine"] * test + blend.weights_["ridge"] * blend.members_[
        "ridge"
    ].predict(X[:7])
    np.testing.assert_allclose(blend.predict(X[:7], predictions={"mine": test}), expected)
    with pytest.raises(
        ValueError,
        match="GreedyEnsembleRegressor: predictions must have what 'mine' predicts for X",
    ):
        blend.predict(X[:7])
    with pytest.raises(
        ValueError, match=r"the predictions of 'mine' must have shape \(7,\), got \(6,\)"
    ):
        blend.predict(X[:7], predictions={"mine": test[:6]})
    alone = GreedyEnsembleRegressor([]).fit(X, y, oof_predictions={"mine": other})
    np.testing.assert_allclose(alone.predict(X[:7], predictions={"mine": test}), test)


def test_probabilities_of_the_second_class_from_elsewhere():
    X, y = numbers()
    y = target(y, "Classifier")
    blend = GreedyEnsembleClassifier([]).fit(
        X, y, oof_predictions={"mine": np.where(y == 1, 0.9, 0.2)}
    )
    np.testing.assert_allclose(
        blend.predict_proba(X[:2], predictions={"mine": [0.1, 0.6]}), [[0.9, 0.1], [0.4, 0.6]]
    )


def test_rows_without_an_out_of_fold_prediction_do_not_count():
    X, y = numbers()
    with pytest.warns(UserWarning, match="oof_prediction_ is NaN there"):
        blend = GreedyEnsembleRegressor(
            [Ridge(), KNeighborsRegressor()], cv=TimeSeriesSplit(3)
        ).fit(X, y)
    assert np.isnan(blend.oof_prediction_[:30]).all() and np.isfinite(blend.score_path_).all()


def test_groups_and_weights():
    X, y = numbers(120)
    weight = np.r_[np.ones(60), np.full(60, 1e-9)]
    blend = GreedyEnsembleRegressor(
        [Ridge(), DecisionTreeRegressor(random_state=0)], cv=GroupKFold(3), scoring="r2"
    )
    blend.fit(X, y, sample_weight=weight, groups=np.arange(120) // 10)
    assert np.isfinite(blend.predict(X)).all()
    with pytest.raises(TypeError, match="KNeighborsRegressor takes no sample_weight in fit"):
        GreedyEnsembleRegressor([KNeighborsRegressor()], cv=3).fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("kind", [list, pd.DataFrame, csr_array])
def test_predictions_belong_to_the_rows_of_x(kind):
    X, y = numbers(40)
    blend = GreedyEnsembleRegressor([Ridge()], cv=2).fit(
        csr_array(X) if kind is csr_array else kind(X.tolist()), y, oof_predictions={"mine": y}
    )
    X = csr_array(X) if kind is csr_array else kind(X.tolist())
    np.testing.assert_allclose(blend.predict(X, predictions={"mine": y}), y)
    with pytest.raises(ValueError, match=r"of 'mine' must have shape \(40,\), got \(7,\)"):
        blend.predict(X, predictions={"mine": y[:7]})
    with pytest.raises(ValueError, match="numbers for all rows of X, got NaN"):
        blend.predict(X, predictions={"mine": np.full(40, np.nan)})
    with pytest.raises(ValueError, match=r"names of oof_predictions at fit, \['mine'\]; got \['my"):
        blend.predict(X, predictions={"mine": y, "my": y})


class Interrupted(KNeighborsRegressor):
    def fit(self, X, y):
        raise KeyboardInterrupt


class Untouched(KNeighborsRegressor):
    def fit(self, X, y):
        raise AssertionError("trained after Ctrl-C")


def test_ctrl_c_ends_the_fit_and_keeps_what_is_done():
    X, y = numbers(60)
    members = [Ridge(), ("cut", Interrupted()), ("next", Untouched())]
    with pytest.warns(FitInterruptedWarning, match="in the training of member 'cut'"):
        blend = GreedyEnsembleRegressor(members, cv=2, random_state=0).fit(X, y)
    assert blend.interrupted_ and blend.weights_ == {"ridge": 1.0}
    with pytest.raises(KeyboardInterrupt):
        GreedyEnsembleRegressor(members[1:], cv=2).fit(X, y)


def test_ctrl_c_in_an_epoch_ends_the_fit():
    X, y = numbers(60)
    calls = []

    def interrupt(record):
        calls.append(1)
        if len(calls) == 7:  # the second epoch of the second fold
            raise KeyboardInterrupt

    network = make("TabMLP", "Regressor", callbacks=[interrupt])
    options = {"cv": 2, "random_state": 0, "refit": "all"}
    with pytest.warns(UserWarning) as warned:
        blend = GreedyEnsembleRegressor([("cut", network), Untouched()], **options).fit(X, y)
    assert FitInterruptedWarning in [w.category for w in warned]
    assert list(blend.weights_) == ["cut"] and len(calls) == 7
    assert len(blend.members_["cut"].estimators_) == 1 and np.isfinite(blend.predict(X)).all()


def test_scoring_is_checked_before_members_are_trained():
    X, _ = numbers()
    with pytest.raises(
        ValueError, match="GreedyEnsembleClassifier: scoring='roc_auc' .*roc_auc_ovr"
    ):
        GreedyEnsembleClassifier([Untouched()], cv=3, scoring="roc_auc").fit(X, np.arange(120) % 3)


def test_without_a_terminal_a_line_a_member(capsys):
    X, y = numbers(60)
    GreedyEnsembleRegressor([Ridge(), ("other", Ridge())], cv=2, verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"GreedyEnsembleRegressor: the training of member {name!r} is done"
        for name in ("ridge", "other")
    ]


# --- bad input


class Fails(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        raise RuntimeError("no luck")

    def predict(self, X):
        return np.zeros(len(X))


def test_metadata_is_routed():
    X, y = numbers(90)
    groups, weight = np.arange(90) // 9, np.r_[np.ones(60), np.full(30, 1e-6)]
    with sklearn.config_context(enable_metadata_routing=True):
        asks, refuses = (
            Ridge().set_fit_request(sample_weight=request) for request in (True, False)
        )
        members = [("asks", asks), ("refuses", refuses), ("cannot", KNeighborsRegressor())]
        blend = GreedyEnsembleRegressor(members, cv=GroupKFold(3)).fit(
            X, y, sample_weight=weight, groups=groups
        )
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
            GreedyEnsembleRegressor([Ridge()], cv=GroupKFold(3)).fit(
                X, y, sample_weight=weight, groups=groups
            )
    folds = list(GroupKFold(3).split(X, y, groups))
    for name, expected in (("asks", weight), ("refuses", None)):
        by_hand = [
            Ridge().fit(X[a], y[a], None if expected is None else expected[a]).predict(X[b])
            for a, b in folds
        ]
        oof = blend.members_[name].oof_prediction_
        np.testing.assert_allclose(
            np.concatenate([oof[b] for _, b in folds]), np.concatenate(by_hand)
        )


def test_a_member_that_fails():
    X, y = numbers()
    with pytest.raises(RuntimeError, match="no luck") as caught:
        GreedyEnsembleRegressor([Ridge(), ("bad", Fails())], cv=3).fit(X, y)
    assert "the training of Fails failed in fold 1 of 3" in caught.value.__notes__[0]
    assert caught.value.__notes__[1] == "GreedyEnsembleRegressor: the member 'bad' failed."
    with pytest.warns(UserWarning) as warned:
        blend = GreedyEnsembleRegressor([Ridge(), ("bad", Fails())], cv=3, on_error="skip").fit(
            X, y
        )
    assert any(
        "GreedyEnsembleRegressor: bad is left out, it failed: RuntimeError: no luck"
        in str(w.message)
        for w in warned
    )
    assert list(blend.weights_) == ["ridge"]
    with warnings.catch_warnings(), pytest.raises(ValueError, match="no member could be trained"):
        warnings.simplefilter("ignore")
        GreedyEnsembleRegressor([Fails()], cv=3, on_error="skip").fit(X, y)


def test_a_score_that_fails_for_a_member():
    X, y = numbers()
    y = np.abs(y)
    with pytest.warns(UserWarning) as warned:
        blend = GreedyEnsembleRegressor(
            [KNeighborsRegressor()], scoring="neg_root_mean_squared_log_error", cv=KFold(3)
        ).fit(X, y, oof_predictions={"negative": -y - 2})
    assert any("negative is left out, its score fails" in str(w.message) for w in warned)
    assert blend.weights_ == {"negative": 0.0, "kneighborsregressor": 1.0} and np.isnan(
        blend.member_scores_["negative"]
    )


@pytest.mark.parametrize(
    "parameters, message",
    [
        (
            {"estimators": [3]},
            r"estimators must be a list of estimators, or of pairs \(name, estimator\), got \[3\]",
        ),
        ({"estimators": []}, "there must be a member in estimators or oof_predictions, got none"),
        ({"n_rounds": 0}, "n_rounds must be an int >= 1, got 0"),
        ({"scoring": "nonsense"}, "scoring must be None, a callable"),
        ({"cv": 1}, "cv must be an int >= 2"),
        (
            {"estimators": [("a", Ridge()), ("a", Ridge())]},
            "the names of estimators must be unique, got 'a' twice",
        ),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        GreedyEnsembleRegressor([Ridge()], cv=3).set_params(**parameters).fit(*numbers())


def test_predictions_from_elsewhere_that_do_not_fit():
    X, y = numbers()
    with pytest.raises(
        ValueError, match=r"the predictions of 'mine' must have shape \(120,\), got \(119,\)"
    ):
        GreedyEnsembleRegressor([Ridge()]).fit(X, y, oof_predictions={"mine": y[:-1]})
    with pytest.raises(ValueError, match="both have a member named 'ridge'"):
        GreedyEnsembleRegressor([Ridge()]).fit(X, y, oof_predictions={"ridge": y})
    with pytest.raises(
        ValueError, match=r"the predictions of 'mine' must have shape \(120, 3\), got \(120, 2\)"
    ):
        labels = np.digitize(y, [-1, 1])
        GreedyEnsembleClassifier([]).fit(X, labels, oof_predictions={"mine": np.ones((120, 2))})
