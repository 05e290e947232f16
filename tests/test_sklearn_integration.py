"""As a part of scikit-learn: pipelines, searches, stacking, voting, calibration, routing."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from conftest import make, people, target
from scipy.stats import loguniform, randint
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.ensemble import StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# What scikit-learn does with any estimator is shown on one; what differs, on each.


@pytest.fixture
def table():
    X, y = people(160)
    return X.drop(columns=["since", "mixed"]), y


def test_pipeline_with_named_columns(table):
    X, y = table
    transformer = make_column_transformer(
        (SimpleImputer(), make_column_selector(dtype_include="number")),
        remainder="passthrough",
        verbose_feature_names_out=True,
    ).set_output(transform="pandas")
    pipeline = make_pipeline(transformer, make("TabResNet", "Regressor")).fit(X, y)
    assert (
        "simpleimputer__age" in pipeline[-1].feature_names_in_
        and "remainder__city" in pipeline[-1].feature_names_in_
    )
    assert pipeline[-1].encoder_.schema.cat_names == (
        "remainder__city",
        "remainder__plan",
        "remainder__active",
    )
    assert np.isfinite(pipeline.predict(X)).all()


def test_search_over_architecture_and_training_in_processes(table):
    X, y = table
    grid = {"n_blocks": [1, 2], "lr": [1e-2, 1e-7]}
    search = GridSearchCV(
        make("TabResNet", "Regressor", max_epochs=10), grid, cv=2, n_jobs=2, error_score="raise"
    ).fit(X, y)
    assert search.best_params_["lr"] == 1e-2
    assert search.best_score_ == pytest.approx(search.cv_results_["mean_test_score"].max())


def test_random_search_draws_numpy_scalars(table):
    X, y = table
    space = {
        "n_blocks": randint(1, 3),
        "d_block": np.array([8, 16]),
        "n_heads": np.array([2, 4]),
        "batch_size": np.array([16, 32]),
        "lr": loguniform(1e-3, 1e-2),
        "numeric_transform": np.array(["standard", "robust"]),
        "early_stopping": [True, False],
    }
    search = RandomizedSearchCV(
        make("FTTransformer", "Regressor"),
        space,
        n_iter=2,
        cv=2,
        random_state=0,
        error_score="raise",
    )
    assert np.isfinite(search.fit(X, y).cv_results_["mean_test_score"]).all()


def test_cross_validation(task, table):
    X, y = table
    y = target(y - 3, task)
    model = make("TabResNet", task)
    assert cross_val_score(model, X, y, cv=3, error_score="raise").shape == (3,)
    assert cross_val_predict(model, X, y, cv=2).shape == y.shape


def test_stacking_voting_and_calibration(table):
    X, y = table
    y = np.where(y > 3, "rich", "poor")
    model = make("TabResNet", "Classifier")
    for combined in (
        StackingClassifier([("net", model)], LogisticRegression(), cv=2),
        VotingClassifier([("a", model), ("b", make("TabMLP", "Classifier"))], voting="soft"),
        CalibratedClassifierCV(model, cv=2),
        CalibratedClassifierCV(model, method="isotonic", cv=2),
    ):
        combined.fit(X, y)
        assert combined.predict_proba(X).shape == (160, 2)
        assert set(combined.predict(X)) <= {"rich", "poor"}


def test_voting_and_transformed_target_of_regressors(table):
    X, y = table
    model = make("TabResNet", "Regressor", max_epochs=20)
    assert (
        VotingRegressor([("a", model), ("b", make("TabMLP", "Regressor"))])
        .fit(X, y)
        .predict(X)
        .shape
        == y.shape
    )
    logarithm = TransformedTargetRegressor(model, func=np.log1p, inverse_func=np.expm1).fit(X, y)
    assert logarithm.score(X, y) > 0


@pytest.mark.two_networks
def test_permutation_importance_finds_the_columns(architecture, table):
    X, y = table
    model = make(architecture, "Regressor", max_epochs=20, lr=0.02).fit(X, y)
    importance = pd.Series(
        permutation_importance(model, X, y, n_repeats=3, random_state=0).importances_mean, X.columns
    )
    assert set(importance.nlargest(2).index) == {"age", "city"}


def test_sample_weight_is_routed(table):
    X, y = table
    X = X[["age", "children"]]
    weight = np.where(np.arange(len(y)) < 80, 1.0, 0.0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = (
            make("TabResNet", "Regressor")
            .set_fit_request(sample_weight=True)
            .set_score_request(sample_weight=True)
        )
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        routed = pipeline.fit(X, y, sample_weight=weight).predict(X)
        scores = cross_val_score(
            pipeline, X, y, params={"sample_weight": np.ones(len(y))}, cv=2, error_score="raise"
        )
    scaled = StandardScaler().fit_transform(X)
    direct = make("TabResNet", "Regressor").fit(scaled, y, sample_weight=weight).predict(scaled)
    np.testing.assert_array_equal(routed, direct)
    assert np.isfinite(scores).all()
