"""The networks inside AutoGluon, the real one."""

import pickle

import numpy as np
import pandas as pd
import pytest

pytest.importorskip(
    "autogluon.tabular",
    reason="AutoGluon wants an older pandas: python3 -m venv ag && ag/bin/pip install -e "
    "'.[autogluon]' pytest && ag/bin/python -m pytest tests/kaggle/test_autogluon.py",
)

from autogluon.tabular import TabularPredictor
from autogluon.tabular.testing import FitHelper

import tabdl
from tabdl.kaggle import autogluon

# AutoGluon warns of itself: of its dependencies, of small tables, of packages that are not there.
pytestmark = pytest.mark.filterwarnings("default")
MODELS = [
    autogluon.TabMModel,
    autogluon.FTTransformerModel,
    autogluon.RealMLPModel,
    autogluon.TabResNetModel,
    autogluon.TabMLPModel,
]
SMALL = {"n_blocks": 1, "d_block": 16, "max_epochs": 4}
RESOURCES = {"num_cpus": 1, "num_gpus": 0, "fit_weighted_ensemble": False, "verbosity": 0}
N = 160
RNG = np.random.default_rng(0)


def table():
    """Return numbers with gaps, text, booleans and weights, and labels that they explain."""
    X = pd.DataFrame({"a": RNG.normal(size=N), "b": RNG.normal(size=N)})
    X["colour"] = RNG.choice(["red", "green", "blue"], N)
    X["flag"] = RNG.random(N) < 0.5
    X["w"] = np.where(np.arange(N) < N // 2, 0.0, 2.0)
    y = np.where(X["b"] + (X["colour"] == "red") > 0, "yes", "no")
    X.loc[::9, "a"] = np.nan
    return X.assign(y=y)


def members(predictor):
    """Return the fitted estimators of tabdl in a predictor, by the name of AutoGluon's model."""
    found = {}
    for name in predictor.model_names():
        model = predictor._trainer.load_model(name)
        children = getattr(model, "models", None) or [model]
        loaded = [model.load_child(c) if children != [model] else c for c in children]
        found[name] = [child.model for child in loaded]
    return found


@pytest.fixture(scope="module")
def bagged(tmp_path_factory):
    """Return a predictor with a bag of two folds and its refit, and the table."""
    path = tmp_path_factory.mktemp("bagged")
    predictor = TabularPredictor("y", path=str(path), sample_weight="w")
    predictor.fit(
        table(),
        hyperparameters={autogluon.TabMLPModel: SMALL | {"ag.stopping_metric": "roc_auc"}},
        num_bag_folds=2,
        num_bag_sets=1,
        time_limit=300,
        ag_args_ensemble={"fold_fitting_strategy": "sequential_local"},
        **RESOURCES,
    )
    predictor.refit_full()
    return predictor


@pytest.mark.parametrize("model", MODELS)
def test_autogluon_verifies(model, tmp_path, monkeypatch):
    """AutoGluon's own check; of one network with every problem, bags and refits."""
    monkeypatch.chdir(tmp_path)
    is_whole = model is autogluon.TabMLPModel
    FitHelper.verify_model(
        model,
        SMALL,
        bag=is_whole,
        refit_full=is_whole,
        problem_types=None if is_whole else ["multiclass"],
        extra_metrics=False,
    )


def test_names_are_not_those_of_autogluon():
    from autogluon.tabular.registry import ag_model_registry

    keys = {model.ag_key for model in MODELS}
    assert len(keys) == len(MODELS) and not keys & set(ag_model_registry.keys)


def test_folds_stop_by_their_own_test_rows(bagged):
    folds, _ = members(bagged).values()
    # Half of the rows have no weight, and take no part.
    assert sum(fold.n_val_rows_ for fold in folds) == N // 2
    assert all(fold.n_train_rows_ + fold.n_val_rows_ == N // 2 for fold in folds)
    assert all(0 <= record["val_score"] <= 1 for fold in folds for record in fold.history_)
    assert [fold.random_state for fold in folds] == [0, 0]
    assert all(fold.time_limit <= 300 and fold.device == "cpu" for fold in folds)


def test_columns_stay_what_they_are(bagged):
    [fold, _], _ = members(bagged).values()
    assert fold.encoder_.schema.num_names == ("a", "b")
    assert set(fold.encoder_.schema.cat_names) == {"colour", "flag"}


def test_a_refit_trains_on_all_rows_as_long(bagged):
    folds, [refit] = members(bagged).values()
    assert refit.n_val_rows_ == 0 and refit.n_train_rows_ == N // 2
    assert not refit.early_stopping
    assert refit.n_iter_ == round(np.mean([autogluon.epochs_learned(fold) for fold in folds]))


def test_a_loaded_predictor_predicts_the_same(bagged):
    rows = table().drop(columns="y")
    loaded = TabularPredictor.load(bagged.path)
    for name in bagged.model_names():
        one, other = (p.predict_proba(rows, model=name) for p in (bagged, loaded))
        pd.testing.assert_frame_equal(one, other)
    unseen = rows.assign(colour="violet", a=None)
    assert np.isfinite(loaded.predict_proba(unseen)).all(axis=None)


def test_models_move_and_pickle(bagged):
    model = bagged._trainer.load_model(bagged.model_names()[-1])
    model = getattr(model, "load_child", lambda child: model)(getattr(model, "models", [model])[0])
    assert model.get_device() == "cpu"
    model.set_device("cpu")
    copy = pickle.loads(pickle.dumps(model))
    rows = bagged.transform_features(table().drop(columns="y"))
    np.testing.assert_array_equal(copy.predict_proba(rows), model.predict_proba(rows))


def test_the_time_limit_is_kept(tmp_path):
    """The plan of the network is made for the seconds that AutoGluon has left."""
    predictor = TabularPredictor("b", path=str(tmp_path), problem_type="regression")
    parameters = {"n_blocks": 1, "d_block": 16, "patience": 500, "ag.max_time_limit": 1.5}
    predictor.fit(
        table().drop(columns=["w"]),
        hyperparameters={autogluon.TabMLPModel: parameters},
        **RESOURCES,
    )
    [[network]] = members(predictor).values()
    assert network.time_limit < 1.5 and network.stop_reason_ == "time_limit"
    assert 1 <= autogluon.epochs_learned(network) <= network.n_iter_


def test_quantiles_are_refused_by_name():
    with pytest.raises(ValueError, match=r"TabMModel: problem_type .* got 'quantile'.*loss='quan"):
        autogluon.TabMModel.estimator_class("quantile")


def test_the_epochs_between_the_best_weights_and_a_cooldown_do_not_count():
    X = RNG.normal(size=(200, 3))
    y = X[:, 0] + RNG.normal(size=200)
    network = tabdl.TabMLPRegressor(n_blocks=1, d_block=8, patience=2, random_state=0).fit(X, y)
    assert network.stop_reason_ == "patience"
    rates = [record["lr"] for record in network.history_]
    n_constant = rates.count(rates[0])
    learned = autogluon.epochs_learned(network)
    if network.best_epoch_ > n_constant:
        assert learned == network.best_epoch_ - 2
    else:
        assert learned == network.best_epoch_
    assert autogluon.refit_params(network) == {"early_stopping": False, "max_epochs": learned}


def test_parameters_that_need_validation_rows_are_not_refitted():
    X = RNG.normal(size=(60, 2))
    network = tabdl.TabMClassifier(k=2, calibrate=True, prune=True, **SMALL).fit(X, X[:, 0] > 0)
    params = autogluon.refit_params(network)
    assert not params["calibrate"] and not params["prune"]


@pytest.mark.parametrize("problem_type", ["multiclass", "regression"])
@pytest.mark.parametrize("cls", MODELS)
def test_a_search_begins_with_the_defaults(cls, problem_type, tmp_path):
    model = cls(path=str(tmp_path), name="model", problem_type=problem_type)
    defaults = cls.estimator_class(problem_type)().get_params()
    found = model._get_default_searchspace()
    assert {name: space.default for name, space in found.items()} == {
        name: defaults[name] for name in cls.search_space
    }
    for space in found.values():
        values = space.data if hasattr(space, "data") else [space.lower, space.upper]
        assert min(values) <= space.default <= max(values)
    parameters = {name: space.default for name, space in found.items()}
    cls.estimator_class(problem_type)(**parameters)


def test_a_search(tmp_path):
    predictor = TabularPredictor("y", path=str(tmp_path))
    predictor.fit(
        table(),
        hyperparameters={autogluon.TabMLPModel: SMALL},
        hyperparameter_tune_kwargs={"num_trials": 2, "searcher": "random", "scheduler": "local"},
        **RESOURCES,
    )
    first, second = (network for [network] in members(predictor).values())
    assert first.lr != second.lr and first.d_block == second.d_block == 16


def test_memory_is_estimated_without_a_fit():
    X = table().drop(columns="y").astype({"colour": "category"})
    model = autogluon.TabMLPModel

    def estimate(X, **hyperparameters):
        return model.estimate_memory_usage_static(
            X=X, problem_type="multiclass", num_classes=3, hyperparameters=hyperparameters
        )

    small = estimate(X, d_block=16)
    assert 2**29 < small < 2**30
    assert estimate(pd.concat([X] * 1000), d_block=16) > small
    assert estimate(X, d_block=2048) > small
