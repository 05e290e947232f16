"""A new architecture costs one file, here the lines up to ``ToyRegressor``; one line in
``tabdl/__init__.py``; one entry of the harness's registry; and tests of its own."""

import pickle

import numpy as np
import pytest
from conftest import make, people, public, target
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator
from torch import nn

import tabdl
from tabdl.base import ClassifierTask, RegressorTask, TabularEstimator
from tabdl.embeddings import OPTIONAL_NUMERIC_EMBEDDINGS, flat_embedding
from tabdl.network.contract import TabularNet
from tabdl.network.layers import Dropout
from tabdl.params import Float, Int, param

# --- the architecture


class Toy(TabularEstimator):
    """The hyper-parameters of a network with one hidden layer behind a normalisation."""

    d_block: int = param(Int(1), default=64, doc="Width of the hidden layer.")
    dropout: float = param(Float("[0, 1)"), default=0.1, doc="Dropout of the hidden layer.")
    d_embedding: int = param(Int(1), default=8, doc="Width of a category's vector.")
    one_hot_max_size: int = param(Int(0), default=4, doc="Features of so few values are one-hot.")
    numeric_embedding: object = param(
        *OPTIONAL_NUMERIC_EMBEDDINGS, default="piecewise", doc="How a number becomes a vector."
    )
    lr: float = param(Float("(0, inf)"), default=3e-3, doc="Learning rate of AdamW.")

    def _build_net(self, schema, n_outputs, train_table):
        embedding = flat_embedding(self, schema, train_table)
        backbone = nn.Sequential(
            nn.RMSNorm(embedding.d_out),  # a layer that tabdl uses nowhere else
            nn.Linear(embedding.d_out, self.d_block),
            nn.SiLU(),
            Dropout(self.dropout),
        )
        return TabularNet(embedding, backbone, nn.Linear(self.d_block, n_outputs))


class ToyClassifier(ClassifierTask, Toy):
    """A toy for classes.

    {parameters}

    {attributes}
    """


class ToyRegressor(RegressorTask, Toy):
    """A toy for numbers.

    {parameters}

    {attributes}
    """


# --- what it gets for that

# Those of scikit-learn's checks that a network could fail; the others meet shared code alone.
CHECKS = {
    "check_classifiers_one_label_sample_weights",
    "check_classifiers_train",
    "check_dict_unchanged",
    "check_estimators_nan_inf",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_fit1d",
    "check_fit2d_1feature",
    "check_fit2d_1sample",
    "check_fit_idempotent",
    "check_fit_score_takes_y",
    "check_methods_subset_invariance",
    "check_n_features_in",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_regressor_multioutput",
    "check_regressors_train",
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weights_invariance",
}


@pytest.fixture(autouse=True)
def one_line_in_init(monkeypatch):
    monkeypatch.setattr(tabdl, "ToyClassifier", ToyClassifier, raising=False)
    monkeypatch.setattr(tabdl, "ToyRegressor", ToyRegressor, raising=False)


def checks():
    # What makes a repeated row exactly a row of weight 2; see test_sklearn_contract.py.
    exact = {"dropout": 0.0, "early_stopping": False, "precision": "float64"}
    small = {"d_block": 16, "max_epochs": 15, "lr": 0.03, "batch_size": 64}
    for cls in (ToyClassifier, ToyRegressor):
        for estimator, check in estimator_checks_generator(cls(**small, **exact)):
            if check.func.__name__ in CHECKS and not check.keywords:
                yield pytest.param(estimator, check, id=f"{cls.__name__}-{check.func.__name__}")


@pytest.mark.parametrize(("estimator", "check"), [*checks()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_the_suite_finds_it(task):
    """The fixture ``architecture`` is made of what is public."""
    assert {"ToyClassifier", "ToyRegressor"} <= set(public(TabularEstimator))
    model = make("Toy", task)
    assert (model.d_block, model.max_epochs) == (16, 5)
    assert "numeric_embedding : None or" in model.__doc__ and "history_ : list" in model.__doc__


def test_pickle_and_clone(task):
    X, y = people()
    model = make("Toy", task, n_members=2).fit(X, target(y - 2, task))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    again = clone(model).fit(X, target(y - 2, task))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("together", [True, False])
def test_folds_and_ensembles(together, task):
    X, y = people()
    y = target(y - 2, task)
    folds = getattr(tabdl, f"CrossValEnsemble{task}")(make("Toy", task), cv=3, together=together)
    greedy = getattr(tabdl, f"GreedyEnsemble{task}")(
        [("toy", folds), ("mlp", make("TabMLP", task, max_epochs=2))], cv=3, random_state=0
    ).fit(X, y)
    member = greedy.members_["toy"]
    assert [fitted.n_iter_ for fitted in member.estimators_] == [5, 5, 5]
    assert np.isfinite(member.oof_prediction_).all() and np.isfinite(greedy.score_path_).all()
    assert greedy.predict(X).shape == y.shape


@pytest.mark.parametrize("name", ["smoke_housing", "smoke_adult"])
def test_one_entry_of_the_registry(name, tmp_path, monkeypatch):
    from benchmarks import run
    from benchmarks.models.registry import MODELS, Model

    quick = {"max_epochs": 2, "d_block": 8}
    entry = Model(ToyClassifier, ToyRegressor, "Toy", "#333333", own=lambda data: quick)
    monkeypatch.setitem(MODELS, "toy", entry)
    command = ["--datasets", name, "--models", "toy", "--seeds", "0", "--device", "cpu"]
    assert run.main(["evaluate", *command, "--out", str(tmp_path)]) == 0
    assert run.main(["report", *command, "--out", str(tmp_path)]) == 0
    assert "toy" in (tmp_path / "report" / "report.md").read_text().lower()
