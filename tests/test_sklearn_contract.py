"""Every check of scikit-learn for all public estimators, and what the checks rest on: tags and
signatures."""

import inspect

import pytest
from conftest import NETWORKS, public
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import tabdl

ESTIMATORS = [getattr(tabdl, name) for name in NETWORKS]
# Smaller than the defaults, for the sake of time; the defaults are checked in full beside them.
WITHOUT_DROPOUT = {
    "FTTransformer": {
        "n_blocks": 2,
        "d_block": 32,
        "attention_dropout": 0.0,
        "ffn_dropout": 0.0,
        "residual_dropout": 0.0,
        "lr": 3e-3,
    },
    "GMLP": {"n_blocks": 2, "d_block": 32, "ffn_dropout": 0.0},
    "TabMLP": {"dropout": 0.0},
}
# The default TabM makes 32 predictions with layers of 256; smaller for the sake of time.
SMALLER = {"TabM": {"k": 4, "d_block": 64}}
# A repeated row and a weight of 2 give the same training only where all rows train (a held-out part
# would differ), in one batch, and to 1e-7 only in float64.
EQUIVALENCE = {"early_stopping": False, "max_epochs": 20, "precision": "float64"}

INEQUIVALENT = dict.fromkeys(
    (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ),
    "dropout, batch statistics and the held-out rows see a repeated row twice, and a row of weight "
    "2 once",
)


def expected_to_fail(estimator):
    return {} if estimator.precision == "float64" else INEQUIVALENT


def architecture(cls):
    return cls.__name__.removesuffix("Classifier").removesuffix("Regressor")


def instances():
    """Every estimator with its defaults, and those that can be without randomness, without it."""
    # Fewer epochs for the sake of time, as scikit-learn does with max_iter in its own tests; all
    # else is default.
    defaults = [cls(max_epochs=100, **SMALLER.get(architecture(cls), {})) for cls in ESTIMATORS]
    exact = [
        cls(**WITHOUT_DROPOUT[architecture(cls)], **EQUIVALENCE)
        for cls in ESTIMATORS
        if architecture(cls) in WITHOUT_DROPOUT
    ]
    return defaults + exact


ENSEMBLES = [
    tabdl.CrossValEnsembleClassifier(LogisticRegression(), cv=3, random_state=0),
    tabdl.CrossValEnsembleRegressor(Ridge(), cv=3, random_state=0),
    tabdl.GreedyEnsembleClassifier(
        [LogisticRegression(), DecisionTreeClassifier(random_state=0)], cv=3, random_state=0
    ),
    tabdl.GreedyEnsembleRegressor(
        [("ridge", Ridge()), ("tree", DecisionTreeRegressor(random_state=0))], cv=3, random_state=0
    ),
]


@parametrize_with_checks(ENSEMBLES)
def test_ensemble_check(estimator, check):
    check(estimator)


@parametrize_with_checks(instances(), expected_failed_checks=expected_to_fail)
def test_check(estimator, check):
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
