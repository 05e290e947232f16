"""Cross-validated ensembles: what comes out of the folds, whoever trains on them and however rows
are split."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from conftest import make, numbers, people, target
from sklearn.base import BaseEstimator, RegressorMixin, clone, is_classifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from tabdl import CrossValEnsembleClassifier, CrossValEnsembleRegressor
from tabdl.data.dataset import Dataset, Subset
from tabdl.data.splitting import inner_split
from tabdl.embeddings import PiecewiseLinear
from tabdl.ensemble.fold import fit_estimator
from tabdl.exceptions import FitInterruptedWarning
from tabdl.training.loop import train_with_float32_fallback

TREES = {"n_estimators": 60, "n_jobs": 1}


def boosted(name, task, stops=True):
    """Return a small boosted tree of a library, with or without early stopping."""
    library = pytest.importorskip(name)
    stopping = {"early_stopping_rounds": 5} if stops else {}
    if name == "catboost":
        cls = getattr(library, "CatBoost" + task)
        return cls(
            iterations=60,
            allow_writing_files=False,
            logging_level="Silent",
            thread_count=1,
            **stopping,
        )
    if name == "lightgbm":
        stopping = {"early_stopping_round": 5} if stops else {}
        return getattr(library, "LGBM" + task)(**TREES, min_child_samples=5, verbose=-1, **stopping)
    return getattr(library, "XGB" + task)(**TREES, **stopping)


def ensemble(estimator, **parameters):
    kind = CrossValEnsembleClassifier if is_classifier(estimator) else CrossValEnsembleRegressor
    return kind(estimator, **{"cv": 3, "random_state": 0, **parameters})


def response(model):
    return model.predict_proba if hasattr(model, "predict_proba") else model.predict


# --- what comes out


@pytest.mark.two_networks
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("stop_by", ["inner", "fold"])
def test_networks(architecture, task, together, stop_by):
    X, y = people()
    y = target(y - 2, task)
    model = ensemble(make(architecture, task), cv=3, together=together, early_stopping=stop_by).fit(
        X, y
    )
    assert model.oof_prediction_.shape == ((120, 2) if task == "Classifier" else (120,))
    assert not np.isnan(model.oof_prediction_).any()
    assert (
        [len(history) for history in model.histories_]
        == [fitted.n_iter_ for fitted in model.estimators_]
        == [5, 5, 5]
    )
    assert len(model.scores_) == 3 and model.n_features_in_ == 8
    np.testing.assert_allclose(
        response(model)(X), np.mean([response(f)(X) for f in model.estimators_], axis=0)
    )
    assert all(fitted.callbacks is None for fitted in model.estimators_)


@pytest.mark.parametrize("together", [True, False])
def test_out_of_fold_predictions_are_of_the_fold_that_left_the_row_out(together):
    X, y = people()
    model = ensemble(
        make("TabMLP", "Regressor"),
        cv=KFold(4),
        together=together,
        scoring="neg_mean_absolute_error",
    ).fit(X, y)
    for (_, test), fitted, score in zip(
        KFold(4).split(X), model.estimators_, model.scores_, strict=True
    ):
        np.testing.assert_allclose(
            model.oof_prediction_[test], fitted.predict(X.iloc[test]), rtol=1e-6
        )
        assert score == pytest.approx(
            -np.abs(fitted.predict(X.iloc[test]) - y[test]).mean(), rel=1e-6
        )
    assert model.oof_score_ == pytest.approx(-np.abs(model.oof_prediction_ - y).mean())


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "catboost"])
@pytest.mark.parametrize("task", ["Classifier", "Regressor"])
@pytest.mark.parametrize("stop_by", ["inner", "fold"])
def test_boosted_trees(name, task, stop_by):
    X, y = numbers(200)
    labels = (
        np.array(["low", "mid", "high"])[np.digitize(y, [-0.5, 0.5])] if task == "Classifier" else y
    )
    weight = np.random.default_rng(0).uniform(0.5, 1.5, len(y))
    model = ensemble(boosted(name, task), early_stopping=stop_by).fit(
        X, labels, sample_weight=weight
    )
    assert model.score(X, labels) > 0.75
    assert all(history is not None for history in model.histories_)
    if task == "Classifier":
        assert list(model.classes_) == ["high", "low", "mid"] and set(model.predict(X)) <= {
            "low",
            "mid",
            "high",
        }


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "catboost"])
@pytest.mark.parametrize("stops", [True, False])
def test_refit_learns_the_number_of_trees_from_the_folds(name, stops):
    X, y = numbers(200)
    model = ensemble(boosted(name, "Regressor", stops), refit="all").fit(X, y)
    refitted = model.refit_estimator_
    trees = {
        "xgboost": lambda m: m.get_booster().num_boosted_rounds(),
        "lightgbm": lambda m: m.n_estimators_,
    }
    n_trees = trees.get(name, lambda m: m.tree_count_)
    kept = {"xgboost": lambda m: m.best_iteration + 1, "lightgbm": lambda m: m.best_iteration_}.get(
        name, n_trees
    )
    assert n_trees(refitted) == (
        round(np.median([kept(fitted) for fitted in model.estimators_])) if stops else 60
    )
    np.testing.assert_array_equal(model.predict(X), np.asarray(refitted.predict(X), dtype=float))


def test_refit_of_a_network():
    X, y = people()
    model = ensemble(
        make("TabMLP", "Regressor", n_members=2, max_epochs=40, patience=2, lr=1e-2), refit="all"
    ).fit(X, y)
    epochs = round(np.median([fitted.best_epoch_ for fitted in model.estimators_]))
    refitted = model.refit_estimator_
    assert [result.n_iter for result in refitted.member_results_] == [epochs] * 2
    assert not refitted.early_stopping


@pytest.mark.parametrize("name", [None, "xgboost"])
def test_a_pipeline(name):
    X, y = numbers(200)
    last = (
        make("TabMLP", "Regressor", max_epochs=30) if name is None else boosted(name, "Regressor")
    )
    model = ensemble(make_pipeline(StandardScaler(), last), early_stopping="fold", refit="all").fit(
        X * 1000, y
    )
    assert model.score(X * 1000, y) > 0.5
    assert model.estimators_[0][0].mean_ != pytest.approx(model.estimators_[1][0].mean_)


def test_repeats_have_other_folds_and_seeds():
    X, y = numbers()
    model = ensemble(make("TabMLP", "Regressor"), n_repeats=2).fit(X, y)
    assert (
        len(model.estimators_) == 6
        and len({fitted.random_state for fitted in model.estimators_}) == 6
    )
    once = ensemble(make("TabMLP", "Regressor")).fit(X, y)
    assert not np.allclose(model.oof_prediction_, once.oof_prediction_)


@pytest.mark.parametrize("together", [True, False])
def test_the_same_seed_gives_the_same_ensemble(together):
    X, y = people()
    first, second = (
        ensemble(make("TabResNet", "Regressor"), together=together).fit(X, y) for _ in "ab"
    )
    np.testing.assert_array_equal(first.predict(X), second.predict(X))


@pytest.mark.parametrize("task", ["Classifier", "Regressor"])
def test_a_pickle_holds_no_training_rows(task):
    X, y = numbers(20_000, 2)
    y = target(y, task)
    sizes = [
        len(pickle.dumps(ensemble(make("TabMLP", task, max_epochs=1), cv=2).fit(X[:n], y[:n])))
        for n in (2000, 20_000)
    ]
    # An out-of-fold prediction is 8 bytes a row and class; quantiles grow up to 1,000 a column; X
    # alone would add 16 bytes a row.
    assert sizes[1] - sizes[0] < 18_000 * 8 * (2 if task == "Classifier" else 1) + 100_000
    model = ensemble(make("TabMLP", task), cv=2).fit(X[:200], y[:200])
    np.testing.assert_array_equal(
        response(pickle.loads(pickle.dumps(model)))(X), response(model)(X)
    )


# --- trained together


def test_members_of_one_training_share_a_table(monkeypatch):
    from tabdl.base import estimator as base

    seen = []
    monkeypatch.setattr(
        base,
        "train_with_float32_fallback",
        lambda members, **kwargs: (
            seen.extend(members) or train_with_float32_fallback(members, **kwargs)
        ),
    )
    X, y = people(200)
    ensemble(make("TabMLP", "Regressor", n_members=2), together=True).fit(X, y)
    assert (
        len(seen) == 6
        and len({id(member.table) for member in seen}) == 1
        and len({id(member.val.table) for member in seen}) == 1
    )
    assert all(len(member.index) + len(member.val) in (133, 134) for member in seen)


@pytest.mark.two_networks
def test_a_category_that_a_fold_lacks_is_unseen_to_it(architecture):
    """Its vector, or column, was never trained; so it must not matter which of two such categories
    a row has."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=90), "c": rng.choice(["x", "y"], 90)})
    X.loc[:9, "c"] = "only in the first fold"
    model = ensemble(make(architecture, "Regressor"), cv=KFold(3), together=True).fit(
        X, rng.normal(size=90)
    )
    rare, unseen = (
        X.iloc[20:30].assign(c=value) for value in ("only in the first fold", "nowhere")
    )
    first, *others = model.estimators_
    np.testing.assert_array_equal(first.predict(rare), first.predict(unseen))
    assert all((fitted.predict(rare) != fitted.predict(unseen)).any() for fitted in others)


@pytest.mark.two_networks
def test_a_fold_does_not_know_the_targets_of_its_test_rows(architecture):
    X, y = numbers(200)
    network = make(
        architecture,
        "Regressor",
        numeric_embedding=PiecewiseLinear(bins="tree", min_samples_leaf=2),
        max_epochs=2,
    )
    model, other = (
        ensemble(network, cv=KFold(2), together=True).fit(X, target)
        for target in (y, np.r_[y[:100], -y[100:]])
    )
    np.testing.assert_array_equal(model.estimators_[1].predict(X), other.estimators_[1].predict(X))
    assert (model.estimators_[0].predict(X) != other.estimators_[0].predict(X)).any()


def test_weights_of_zero_and_frames_when_together():
    X, y = people(150)
    weight = np.ones(150)
    weight[100:] = 0
    y[100:] = 1e6
    model = ensemble(make("TabMLP", "Regressor", max_epochs=30), together=True).fit(
        X, y, sample_weight=weight
    )
    assert np.abs(model.predict(X)).max() < 100


def test_auto_is_together_for_small_networks_only(monkeypatch):
    from tabdl.ensemble import cross_val as module

    runs = []
    original = module.train_fits
    monkeypatch.setattr(module, "train_fits", lambda *args: runs.append(1) or original(*args))
    X, y = numbers()
    ensemble(make("TabMLP", "Regressor", device="cpu")).fit(X, y)
    ensemble(make("TabMLP", "Regressor", d_block=2048, max_epochs=1, device="cpu")).fit(X, y)
    assert runs == [1]


# --- splitters, metadata


@pytest.mark.parametrize("splitter", [GroupKFold(3), StratifiedGroupKFold(3)])
@pytest.mark.parametrize("architecture", ["TabMLP"])
def test_groups_stay_whole(splitter, architecture):
    X, y = numbers(120)
    groups = np.arange(120) // 10
    model = ensemble(make(architecture, "Classifier"), cv=splitter).fit(X, y > 0, groups=groups)
    assert not np.isnan(model.oof_prediction_).any()


def test_inner_splits_keep_groups_whole():
    groups = np.repeat(np.arange(20), 5)
    y = np.where(groups == 3, 2, np.arange(100) % 2)  # the class 2 has one group
    rows = Subset(Dataset(np.zeros((100, 1)), y, groups=groups), np.arange(10, 90))
    options = {"has_classes": True, "forward": False, "estimator_name": "Owner"}
    for seed in range(9):
        train, val = inner_split(rows, 0.2, seed=seed, **options)
        assert not set(groups[train.indices]) & set(groups[val.indices])
        assert len(val) in range(10, 22) and 2 in train.y
    one_group = Subset(rows.dataset, np.arange(10, 15))
    with pytest.raises(ValueError, match="Owner: the training rows of a fold are all of one group"):
        inner_split(one_group, 0.2, seed=0, **options)


def test_rows_that_are_left_out_are_nan():
    X, y = numbers(100)
    with pytest.warns(
        UserWarning,
        match="CrossValEnsembleRegressor: 25 of 100 rows are test rows of no trained fold; oof",
    ):
        model = ensemble(Ridge(), cv=TimeSeriesSplit(3)).fit(X, y)
    assert (
        np.isnan(model.oof_prediction_[:25]).all()
        and not np.isnan(model.oof_prediction_[25:]).any()
    )


@pytest.mark.parametrize("estimator", ["TabMLP", "lightgbm"])
def test_rows_to_stop_by_come_last_where_folds_follow_time(estimator, monkeypatch):
    X, y = numbers(120)
    X[:, 0] = np.arange(120)
    seen = []

    def spy(estimator, X, y, weight, rows_to_stop_by):
        seen.append((X[:, 0], rows_to_stop_by[0][:, 0]))
        return fit_estimator(estimator, X, y, weight, rows_to_stop_by)

    monkeypatch.setattr("tabdl.ensemble.fold.fit_estimator", spy)
    estimator = (
        make(estimator, "Regressor") if estimator == "TabMLP" else boosted(estimator, "Regressor")
    )
    with pytest.warns(UserWarning, match="30 of 120 rows"):
        ensemble(estimator, cv=TimeSeriesSplit(3)).fit(X, y)
    assert [(len(train), len(stop)) for train, stop in seen] == [(24, 6), (48, 12), (72, 18)]
    assert all(train.max() < stop.min() for train, stop in seen)


def test_overlapping_test_folds_are_averaged():
    X, y = numbers(60)
    folds = [(np.arange(40), np.arange(40, 60)), (np.arange(20), np.arange(20, 60))]
    with pytest.warns(UserWarning, match="20 of 60 rows"):
        model = ensemble(Ridge(), cv=folds).fit(X, y)
    both = np.mean([fitted.predict(X[50:]) for fitted in model.estimators_], axis=0)
    np.testing.assert_allclose(model.oof_prediction_[50:], both)


def test_metadata_is_routed():
    X, y = numbers(90)
    groups, weight = np.arange(90) // 9, np.r_[np.ones(60), np.full(30, 1e-6)]
    with sklearn.config_context(enable_metadata_routing=True):
        asks = Ridge().set_fit_request(sample_weight=True)
        model = ensemble(asks, cv=GroupKFold(3)).fit(X, y, sample_weight=weight, groups=groups)
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
            ensemble(Ridge(), cv=GroupKFold(3)).fit(X, y, sample_weight=weight, groups=groups)
    without = ensemble(Ridge(), cv=GroupKFold(3)).fit(X, y, groups=groups)
    assert not np.allclose(model.predict(X), without.predict(X))


# --- bad input


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), make("TabMLP", "Classifier"), "xgboost"]
)
def test_a_fold_without_a_class(estimator):
    estimator = boosted(estimator, "Classifier") if isinstance(estimator, str) else estimator
    X, y = numbers(90)
    labels = np.array(["a", "b"])[(y > 0).astype(int)].astype(object)
    labels[:5] = "rare"
    with pytest.warns(UserWarning) as caught:
        model = ensemble(estimator, cv=KFold(3)).fit(X, labels)
    assert (
        len([w for w in caught if "some folds lack the class(es) ['rare']" in str(w.message)]) == 1
    )
    assert (model.oof_prediction_[:30, 2] == 0).all() and model.predict_proba(X).shape == (90, 3)
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)


def test_groups_that_are_missing():
    X, y = numbers()
    with pytest.raises(
        ValueError,
        match=r"CrossValEnsembleRegressor: cv=GroupKFold.* splits by groups; give them to fit",
    ):
        ensemble(Ridge(), cv=GroupKFold(3)).fit(X, y)


class Fails(RegressorMixin, BaseEstimator):
    """Fails where the first row of the fold is row 0, or always."""

    def __init__(self, always=False):
        self.always = always

    def fit(self, X, y):
        if self.always or X[0, 0] == 0:
            raise RuntimeError("no luck")
        self.mean_ = y.mean()
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def test_a_member_that_fails():
    X, y = numbers(90)
    X[:, 0] = np.arange(90)
    with pytest.raises(RuntimeError, match="no luck") as caught:
        ensemble(Fails(), cv=KFold(3)).fit(X, y)
    assert caught.value.__notes__ == [
        "CrossValEnsembleRegressor: the training of Fails failed in fold 2 of 3."
    ]
    with pytest.warns(UserWarning) as warned:
        model = ensemble(Fails(), cv=KFold(3), on_error="skip").fit(X, y)
    said = [str(w.message) for w in warned]
    assert any(
        "failed in fold 3 of 3. It is left out: RuntimeError: no luck" in text for text in said
    )
    assert any("60 of 90 rows are test rows of no trained fold" in text for text in said)
    assert len(model.estimators_) == 1 and np.isnan(model.oof_prediction_[30:]).all()
    with pytest.raises(RuntimeError, match="no luck"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ensemble(Fails(always=True), cv=KFold(3), on_error="skip").fit(X, y)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_network_that_diverges_names_its_fold(on_error):
    X, y = people()
    model = ensemble(
        make("TabMLP", "Regressor", lr=1e30, precision="float32"), together=True, on_error=on_error
    )
    with pytest.raises(FloatingPointError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    assert "the training of TabMLPRegressor failed in fold" in caught.value.__notes__[0]


@pytest.mark.parametrize("together", [True, False])
def test_an_interrupt_keeps_what_is_trained(together):
    X, y = people()

    # Each fold is scored once before training, and once an epoch: the second fold is cut.
    scorer = interrupting(11 if together else 9)
    network = make("TabMLP", "Regressor", scoring=scorer)
    n_done = 3 if together else 1
    with pytest.warns(UserWarning) as warned:
        model = ensemble(network, cv=KFold(3), together=together, refit="all").fit(X, y)
    words = f"CrossValEnsembleRegressor: interrupted; fitted with {n_done} of 3 folds."
    assert words in [str(w.message) for w in warned if w.category is FitInterruptedWarning]
    assert len(model.estimators_) == n_done and np.isfinite(model.predict(X)).all()
    assert model.interrupted_ and model.refit_estimator_ is None
    assert len(scorer.calls) == 11 if together else 9


def interrupting(n_calls):
    """Return a scorer that raises KeyboardInterrupt in its call number ``n_calls``."""

    def scorer(estimator, X, y):
        scorer.calls.append(1)
        if len(scorer.calls) == n_calls:
            raise KeyboardInterrupt
        return -float(np.abs(estimator.predict(X) - y).mean())

    scorer.calls = []
    return scorer


class InterruptedOnAllRows(Ridge):
    def fit(self, X, y):
        if len(X) == 90:
            raise KeyboardInterrupt
        return super().fit(X, y)


def test_an_interrupt_of_the_refit_keeps_the_folds():
    X, y = numbers(90)
    with pytest.warns(FitInterruptedWarning, match="the mean over the 3 folds predicts"):
        model = ensemble(InterruptedOnAllRows(), refit="all").fit(X, y)
    expected = np.mean([fitted.predict(X) for fitted in model.estimators_], axis=0)
    np.testing.assert_allclose(model.predict(X), expected)
    assert model.interrupted_


def test_logarithms_of_probabilities():
    X, y = numbers(60)
    model = ensemble(DecisionTreeClassifier(max_depth=2), cv=2).fit(X, y > 0)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"cv": 1}, r"cv must be an int >= 2 or a splitter, or pairs .*, got 1"),
        (
            {"cv": [(np.arange(5), np.arange(500, 505))]},
            r"cv names rows from 500 to 504, but X has the rows 0 to 119",
        ),
        ({"cv": [(np.arange(5), [])]}, r"every fold of cv must have training and test rows"),
        ({"n_repeats": 0}, r"n_repeats must be an int >= 1, got 0"),
        ({"early_stopping": True}, r"early_stopping must be 'inner', 'fold', got True"),
        ({"refit": "some"}, r"refit must be None, 'all', got 'some'"),
        ({"scoring": "nonsense"}, r"scoring must be None, a callable .*, got 'nonsense'"),
        (
            {"scoring": log_loss},
            r"scoring must be a callable \(estimator, X, y\), got one of fewer arguments",
        ),
        ({"estimator": 3}, r"estimator must be an estimator with fit and predict, got 3"),
        ({"random_state": -1}, r"random_state must be None or an int"),
        (
            {"scoring": "neg_root_mean_squared_log_error", "estimator": Fails(always=True)},
            r"scoring='neg_root_mean_squared_log_error' cannot score the 120 rows",
        ),
    ],
)
def test_wrong_parameters(parameters, message):
    X, y = numbers()
    with pytest.raises(ValueError, match="CrossValEnsembleRegressor: " + message):
        ensemble(Ridge()).set_params(**parameters).fit(X, y)


def test_wrong_targets_and_weights():
    X, y = numbers()
    with pytest.raises(ValueError, match="y must have one label a row"):
        ensemble(DecisionTreeClassifier()).fit(X, np.column_stack([y > 0, y > 1]).astype(int))
    with pytest.raises(ValueError, match="y must have at least 2 classes, got 1 class"):
        ensemble(DecisionTreeClassifier()).fit(X, np.ones(120, dtype=int))
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(120,\)"):
        ensemble(Ridge()).fit(X, y, sample_weight=np.ones(3))
    with pytest.raises(
        ValueError, match=r"groups must have shape \(120,\), one group for each row"
    ):
        ensemble(Ridge()).fit(X, y, groups=np.zeros(119))
    with pytest.raises(ValueError, match="largest absolute value of y must lie between 1e-150 and"):
        ensemble(Ridge()).fit(X, y * 1e-200)
    with pytest.raises(TypeError, match="Fails takes no sample_weight in fit"):
        ensemble(Fails()).fit(X, y, sample_weight=np.ones(120))


def test_progress(capsys):
    X, y = numbers()
    ensemble(make("TabMLP", "Regressor", max_epochs=2), verbose=2, together=False).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert (
        len(lines) == 3 * 3
        and lines[2] == "CrossValEnsembleRegressor of TabMLPRegressor: fold 1 of 3 is trained"
    )
    assert lines[7].startswith(
        "CrossValEnsembleRegressor of TabMLPRegressor: fold 3 of 3: epoch 2, train loss"
    )


def test_clones_and_parameters():
    model = ensemble(make("TabMLP", "Regressor"), cv=4)
    assert clone(model).get_params()["estimator__d_block"] == model.estimator.d_block
    assert model.set_params(estimator__lr=0.5).estimator.lr == 0.5
