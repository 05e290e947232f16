"""Every check of scikit-learn for all public estimators, and what the checks rest on: tags and
signatures."""

import inspect

import pytest
from conftest import ARCHITECTURES, BASELINES, NETWORKS, make, numbers, public, target
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

import tabdl

ESTIMATORS = [getattr(tabdl, name) for name in NETWORKS]
TASKS = ["Classifier", "Regressor"]
EQUIVALENCE = "check_sample_weight_equivalence_on_dense_data"
INEQUIVALENT = dict.fromkeys(
    (EQUIVALENCE, "check_sample_weight_equivalence_on_sparse_data"),
    "dropout, batch statistics and the held-out rows see a repeated row twice, and a row of weight "
    "2 once",
)
# The architectures that can be without randomness and batch statistics, without them.
WITHOUT_DROPOUT = {
    "AutoInt": {"attention_dropout": 0.0},
    "DCNv2": {"cross_dropout": 0.0, "hidden_dropout": 0.0},
    "FTTransformer": {"attention_dropout": 0.0, "ffn_dropout": 0.0, "residual_dropout": 0.0},
    "GMLP": {"ffn_dropout": 0.0},
    "SNN": {"dropout": 0.0},
    "TabMLP": {"dropout": 0.0},
}
# A repeated row and a weight of 2 give the same training only where all rows train (a held-out part
# would differ), in one batch, and to 1e-7 only in float64.
EXACT = {"early_stopping": False, "max_epochs": 20, "precision": "float64"}


def small_instances():
    small = {"max_epochs": 15, "lr": 0.03, "batch_size": 64}
    return [make(name, task, **small) for name in ARCHITECTURES for task in TASKS]


# The checks that ask for good predictions, or for one of every class; others fit for two epochs.
LEARNING = {
    "check_class_weight_balanced_classifiers",
    "check_class_weight_classifiers",
    "check_classifiers_classes",
    "check_classifiers_train",
    "check_regressors_train",
}
# Smaller where the defaults take minutes.
QUICKER = {
    "GrowNet": {"n_blocks": 4, "max_epochs": 20},
    "NODE": {"d_block": 64, "lr": 0.03},
    "TabNet": {"n_blocks": 1, "momentum": 0.6, "lr": 0.05, "lr_decay_rate": 1.0, "max_epochs": 15},
}


def quicker(cls):
    return next((own for name, own in QUICKER.items() if cls.__name__.startswith(name)), {})


def checks_of(estimators, names):
    """Return the checks of those names, without arguments, as parameters of a test."""
    return [
        pytest.param(estimator, check, id=f"{type(estimator).__name__}-{check.func.__name__}")
        for each in estimators
        for estimator, check in estimator_checks_generator(each)
        if check.func.__name__ in names and not check.keywords
    ]


ENSEMBLES = [
    tabdl.CrossValEnsembleClassifier(LogisticRegression(), cv=2, random_state=0),
    tabdl.CrossValEnsembleRegressor(Ridge(), cv=2, random_state=0),
    tabdl.GreedyEnsembleClassifier(
        [LogisticRegression(), DecisionTreeClassifier(random_state=0)], cv=2, random_state=0
    ),
    tabdl.GreedyEnsembleRegressor(
        [("ridge", Ridge()), ("tree", DecisionTreeRegressor(random_state=0))], cv=2, random_state=0
    ),
    tabdl.DistilledClassifier(
        LogisticRegression(), DecisionTreeClassifier(random_state=0), cv=2, random_state=0
    ),
    tabdl.DistilledRegressor(Ridge(), DecisionTreeRegressor(random_state=0), cv=2, random_state=0),
]


@parametrize_with_checks(ENSEMBLES)
def test_ensemble_check(estimator, check):
    check(estimator)


@parametrize_with_checks(small_instances(), expected_failed_checks=lambda _: INEQUIVALENT)
def test_check(estimator, check):
    learns = check.func.__name__ in LEARNING
    check(estimator if learns else clone(estimator).set_params(max_epochs=2))


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in BASELINES])
def test_defaults_learn(architecture, task):
    """All is default but the number of epochs; RealMLP's schedules go by it."""
    X, y = numbers(200)
    n_epochs = 60 if architecture == "RealMLP" else 20
    model = getattr(tabdl, architecture + task)(max_epochs=n_epochs, random_state=0)
    y = target(y, task)
    assert model.fit(X, y).score(X, y) > (0.5 if task == "Regressor" else 0.85)


@pytest.mark.all_networks
@pytest.mark.parametrize(
    ("estimator", "check"),
    checks_of(
        [cls(**{"max_epochs": 100, **quicker(cls)}) for cls in ESTIMATORS],
        {"check_classifiers_train", "check_regressors_train"},
    ),
)
def test_defaults_learn_scikit_learns_tables(estimator, check):
    """All is default but ``QUICKER`` and the number of epochs, as in scikit-learn's tests of its
    own networks."""
    check(estimator)


@pytest.mark.parametrize(
    ("estimator", "check"),
    checks_of(
        [
            make(name, task, **parameters, **EXACT)
            for name, parameters in WITHOUT_DROPOUT.items()
            for task in TASKS
        ],
        {EQUIVALENCE},
    ),
)
def test_a_weight_of_two_is_a_row_that_stands_twice(estimator, check):
    check(estimator)


def test_every_public_estimator_is_checked():
    others = {type(ensemble).__name__ for ensemble in ENSEMBLES}
    assert {cls.__name__ for cls in ESTIMATORS} | others == set(public(BaseEstimator))


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_tags_promise_what_the_issue_asks(cls):
    tags = get_tags(cls())
    assert tags.input_tags.allow_nan and tags.input_tags.string and tags.input_tags.categorical
    assert not tags.non_deterministic and not tags.no_validation
    if tags.estimator_type == "classifier":
        assert (
            tags.classifier_tags.multi_label
            and tags.classifier_tags.multi_class
            and not tags.classifier_tags.poor_score
        )
    else:
        assert tags.target_tags.multi_output and not tags.regressor_tags.poor_score
    assert "sample_weight" in inspect.signature(cls.fit).parameters
