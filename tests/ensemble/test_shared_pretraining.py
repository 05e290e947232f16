"""``tabdl.pretrain``: one pretraining from which several fits begin."""

import pickle

import numpy as np
import pytest
import torch
from conftest import make, people
from sklearn.base import clone
from sklearn.linear_model import Ridge

import tabdl
from tabdl import CrossValEnsembleRegressor, TabMLPClassifier, TabMLPRegressor, TabMRegressor

X, Y = people(90)
# Training hardly moves the weights.
STILL = {
    "d_block": 8,
    "max_epochs": 1,
    "lr": 3e-3,
    "warmup_epochs": 1e9,
    "pretrain": "mask",
    "pretrain_epochs": 3,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def pretrained():
    return tabdl.pretrain(TabMLPRegressor(**STILL), X)


def body(module):
    """Return the weights of embedding and backbone; a vector of unknown categories is a mean."""
    named = module.named_parameters()
    return {n: w for n, w in named if not n.startswith("head") and ".cat." not in n}


def are_close(model, other):
    first, second = body(model.module_), body(other.module_)
    return all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


def test_fits_of_other_rows_seeds_and_targets_begin_from_one_pretraining(pretrained):
    first = clone(pretrained).fit(X, Y)
    others = [
        clone(pretrained).set_params(random_state=1).fit(X[:50], Y[:50]),
        pickle.loads(pickle.dumps(pretrained)).fit(X[20:], -Y[20:]),
        TabMLPClassifier(**STILL | {"pretrain": pretrained.pretrain}).fit(X, Y > 3),
    ]
    fresh = TabMLPRegressor(**STILL | {"pretrain": None}).fit(X, Y)
    assert all(are_close(first, other) for other in others)
    assert not are_close(first, fresh)
    assert first.pretrain_history_ == []
    assert [record["epoch"] for record in pretrained.pretrain.history] == [1, 2, 3]
    # The encoder is that of pretraining, whatever the rows of a fit.
    np.testing.assert_equal(others[0].encoder_.state(), first.encoder_.state())
    # The heads are those of the seeds.
    heads = [next(model.module_.head.parameters()) for model in (first, others[0])]
    assert not torch.allclose(*heads)


def test_a_fit_trains_on_from_there(pretrained):
    model = clone(pretrained).set_params(warmup_epochs=0.0, max_epochs=3).fit(X, Y)
    assert not are_close(model, clone(pretrained).fit(X, Y))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(clone(again).fit(X, Y).predict(X), model.predict(X))


def test_members_and_folds_begin_from_it(pretrained):
    model = clone(pretrained).set_params(n_members=2).fit(X, Y)
    first, second = (body(net) for net in model.module_.nets)
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    ensemble = CrossValEnsembleRegressor(pretrained, cv=2, random_state=0).fit(X, Y)
    assert are_close(*ensemble.estimators_)


def test_streams_begin_from_it(pretrained):
    model = clone(pretrained).set_params(lr=1e-9)
    model.partial_fit(X[:40], Y[:40])
    assert are_close(model, clone(pretrained).fit(X, Y))


@pytest.mark.parametrize("architecture", ["TabM", "FTTransformer", "RealMLP"])
def test_other_networks(architecture):
    options = {"pretrain": "both", "pretrain_epochs": 2, "max_epochs": 1, "warmup_epochs": 1e9}
    if architecture == "TabM":
        options["numeric_embedding"] = "piecewise"
    model = tabdl.pretrain(make(architecture, "Regressor", **options), X)
    # Few rows have fewer bins of their own.
    first, second = clone(model).fit(X[:12], Y[:12]), clone(model).fit(X, Y)
    assert are_close(first, second)


def test_what_is_given_stays_as_it_is():
    model = TabMLPRegressor(**STILL, n_members=2)
    began = tabdl.pretrain(model, X, sample_weight=np.arange(90))
    assert model.pretrain == "mask" and not hasattr(model, "module_")
    assert began.n_members == 2 and "pretrained TabMLP, 8 columns" in repr(began.pretrain)
    other = tabdl.pretrain(model, X)
    assert repr(other.pretrain) != repr(began.pretrain)
    assert repr(tabdl.pretrain(model, X).pretrain) == repr(other.pretrain)


def test_a_file_has_the_network_without_the_pretraining(pretrained, tmp_path):
    model = clone(pretrained).fit(X, Y)
    with pytest.warns(UserWarning, match="TabMLPRegressor.pretrain is left out"):
        tabdl.save(model, tmp_path / "model.tabdl")
    again = tabdl.load(tmp_path / "model.tabdl")
    assert again.pretrain is None
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


# --- refusals


@pytest.mark.parametrize(
    "changes, found",
    [
        ({"d_block": 16}, "d_block=16 was 8 in tabdl.pretrain"),
        ({"numeric_transform": "standard"}, "numeric_transform='standard' was 'quantile'"),
        ({"numeric_embedding": None}, "numeric_embedding=None was"),
        ({"categorical_features": ["age"]}, "column 'age'"),
    ],
)
def test_other_parameters_are_refused_by_name(pretrained, changes, found):
    with pytest.raises(ValueError, match=found):
        clone(pretrained).set_params(**changes).fit(X, Y)


def test_other_columns_are_refused_by_name(pretrained):
    for other in (X.rename(columns={"age": "years"}), X.drop(columns="age")):
        with pytest.raises(ValueError, match=r"as tabdl.pretrain had: (.|\n)*age"):
            clone(pretrained).fit(other, Y)
    with pytest.raises(ValueError, match="age"):
        clone(pretrained).fit(X.assign(age="old"), Y)


def test_another_architecture_is_refused(pretrained):
    with pytest.raises(ValueError, match="TabMRegressor: pretrain was made .* for TabMLP"):
        TabMRegressor(pretrain=pretrained.pretrain).fit(X, Y)


def test_rows_without_labels_are_refused(pretrained):
    with pytest.raises(ValueError, match="X_unlabelled takes part in pretraining only"):
        clone(pretrained).fit(X, Y, X_unlabelled=X)


@pytest.mark.parametrize(
    "changes, found",
    [
        ({"pretrain": None}, "needs an objective"),
        ({"pretrain": "mask+supervised"}, "needs labels"),
        ({"numeric_embedding": "piecewise_tree"}, "makes its bins with labels"),
        ({"categorical_statistics": "target"}, "categorical_statistics='target' needs labels"),
        ({"checkpoint": "state.pt"}, "needs checkpoint=None"),
    ],
)
def test_what_needs_labels_cannot_be_pretrained_alone(changes, found):
    with pytest.raises(ValueError, match=found):
        tabdl.pretrain(TabMLPRegressor(**STILL | changes), X)


def test_other_estimators_cannot_be_pretrained():
    with pytest.raises(TypeError, match="must be a network of tabdl, got Ridge"):
        tabdl.pretrain(Ridge(), X)
    with pytest.raises(ValueError, match="needs two rows at least, got 1"):
        tabdl.pretrain(TabMLPRegressor(**STILL), X[:1])
