"""``pretrain``: what a network learns of rows without labels, and what takes part in it."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make, numbers, people, target

from tabdl import CrossValEnsembleRegressor, TabMLPClassifier, TabMLPRegressor, TabMRegressor

X, Y = people(90)
DOCS = Path(__file__).parents[2] / "docs" / "guide" / "pretraining.md"
UNLABELLED = people(60, seed=1)[0]
SMALL = {"d_block": 8, "max_epochs": 1, "lr": 3e-3, "random_state": 0}
# Architectures whose backbones end in the outputs.
END_IN_OUTPUTS = ("GrowNet", "NODE")
# Training hardly moves the weights that pretraining leaves, which has no warm-up.
STILL = SMALL | {"warmup_epochs": 1e9, "pretrain": "both", "pretrain_epochs": 3}


def body(model):
    """Return the weights of embedding and backbone."""
    named = model.module_.named_parameters()
    return [w.detach().clone() for name, w in named if "head" not in name.split(".")]


def losses(model):
    return [record["train_loss"] for record in model.pretrain_history_]


def are_close(model, other):
    pairs = zip(body(model), body(other), strict=True)
    return all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def pretrained(X, y, cls=TabMLPRegressor, fit=None, **changes):
    return cls(**STILL | changes).fit(X, y, **fit or {})


def test_the_examples_of_the_documentation_run():
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.M | re.S)
    names = {}
    exec("\n".join(blocks), names)
    assert len(names["model"].pretrain_history_) == 5


# --- learning


def test_the_loss_falls_in_every_architecture(architecture, task):
    if architecture in END_IN_OUTPUTS:
        pytest.skip("its backbone ends in the outputs: refused below")
    pretrain = {"Classifier": "mask", "Regressor": "both"}[task]
    model = make(architecture, task, pretrain=pretrain, pretrain_epochs=6, max_epochs=1)
    model.fit(X, target(Y - 3, task), X_unlabelled=UNLABELLED)
    found = losses(model)
    assert len(found) == 6 and found[-1] < 0.97 * found[0]
    assert model.predict(X).shape == (90,)


def test_training_begins_from_the_weights_of_pretraining():
    X, y = numbers(80)
    model = pretrained(X, y)
    plain = TabMLPRegressor(**STILL | {"pretrain": None}).fit(X, y)
    assert plain.pretrain_history_ == [] and len(model.pretrain_history_) == 3
    assert not are_close(model, plain) and are_close(model, pretrained(X, y))
    assert not are_close(model, pretrained(X, y, random_state=1))
    trained = pretrained(X, y, warmup_epochs=0.0)
    assert losses(trained) == losses(model) and not are_close(trained, model)


def test_labels_take_no_part():
    X, y = numbers(80)
    model = pretrained(X, y, early_stopping=False)
    shuffled = pretrained(X, np.random.default_rng(0).permutation(y), early_stopping=False)
    assert are_close(model, shuffled) and losses(model) == losses(shuffled)
    # Bins of an embedding by quantiles heed class_weight; they are a part of the network.
    rare = {"numeric_embedding": None, "early_stopping": False, "class_weight": {0: 1.0, 1: 9.0}}
    first = pretrained(X, np.arange(80) % 2, TabMLPClassifier, **rare)
    other = pretrained(X, np.arange(80) // 8 % 2, TabMLPClassifier, **rare)
    assert losses(first) == losses(other)


def test_rows_of_weight_zero_and_validation_rows_take_no_part():
    X, y = numbers(80)
    few = pretrained(X[:50], y[:50], fit={"X_val": X[50:60], "y_val": y[50:60]})
    weight = np.repeat([1.0, 0.0], [50, 30])
    val = {"X_val": 100 + X[60:], "y_val": y[60:]}
    assert are_close(few, pretrained(X, y, fit={"sample_weight": weight} | val))
    weight[:10] = 20.0
    assert not are_close(few, pretrained(X, y, fit={"sample_weight": weight} | val))


def test_rows_without_labels_take_part_in_pretraining_only():
    y = Y - 3
    model, more = pretrained(X, y), pretrained(X, y, fit={"X_unlabelled": UNLABELLED})
    assert losses(more)[0] != losses(model)[0] and not are_close(more, model)
    assert more.n_train_rows_ == model.n_train_rows_
    np.testing.assert_equal(more.encoder_.state(), model.encoder_.state())


def test_members_are_what_they_would_be_alone():
    X, y = numbers(80)
    together = pretrained(X, y, n_members=2)
    records = together.pretrain_history_
    assert [record["member"] for record in records] == [0, 0, 0, 1, 1, 1]
    alone = losses(pretrained(X, y))
    np.testing.assert_allclose([record["train_loss"] for record in records[:3]], alone, rtol=1e-5)
    assert records[3]["train_loss"] != records[0]["train_loss"]


@pytest.mark.parametrize("share_training_batches", [True, False])
def test_each_prediction_of_tabm_reconstructs(share_training_batches):
    X, y = numbers(80)
    model = pretrained(
        *(X, y, TabMRegressor), k=4, share_training_batches=share_training_batches, lr=1e-2
    )
    assert losses(model)[-1] < losses(model)[0]


def test_folds_pretrain_on_their_own_rows():
    X, y = numbers(90)
    ensemble = CrossValEnsembleRegressor(TabMLPRegressor(**STILL), cv=3).fit(X, y)
    first, *others = [losses(model) for model in ensemble.estimators_]
    assert len(first) == 3 and first not in others


def test_half_of_a_time_limit_is_for_pretraining():
    X, y = numbers(60)
    changes = {"pretrain_epochs": 10**6, "max_epochs": 10**6, "time_limit": 1.5}
    model = TabMLPRegressor(**SMALL | {"pretrain": "mask", "patience": 10**6} | changes).fit(X, y)
    assert 1 <= len(model.pretrain_history_) < 10**6
    seconds = sum(record["seconds"] for record in model.pretrain_history_)
    assert seconds < 1.1 and model.stop_reason_ == "time_limit"


def test_files_keep_the_network_alone():
    X, y = numbers(60)
    model = pretrained(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.pretrain_history_ == []


# --- labels in pretraining


def test_labels_take_part_in_supervised_pretraining():
    X, y = numbers(80)
    plain = {"pretrain": "mask+supervised", "early_stopping": False, "numeric_embedding": None}
    model = pretrained(X, y, **plain)
    other = pretrained(X, np.random.default_rng(0).permutation(y), **plain)
    assert not are_close(model, other) and losses(model)[-1] < losses(model)[0]
    # Without labels of their own, other rows add what they add without the target.
    more = pretrained(X, y, fit={"X_unlabelled": X[:40]}, **plain)
    assert losses(more)[0] < losses(model)[0]


def test_validation_rows_keep_their_labels():
    X, y = numbers(80)
    changes = {"pretrain": "both+supervised", "numeric_embedding": None}
    first = pretrained(X[:60], y[:60], fit={"X_val": X[60:], "y_val": y[60:]}, **changes)
    second = pretrained(X[:60], y[:60], fit={"X_val": X[60:], "y_val": -y[60:]}, **changes)
    assert losses(first) == losses(second)


def test_three_classes_are_learned_in_pretraining():
    X, y = numbers(80)
    classes = np.digitize(y, [-0.5, 0.5])
    changes = {"pretrain": "mask+supervised", "pretrain_epochs": 30, "lr": 1e-2}
    model = pretrained(X, classes, TabMLPClassifier, **changes)
    assert losses(model)[-1] < 0.9 * losses(model)[0]


# --- going on, and refusals


def test_a_fit_that_goes_on_has_no_pretraining():
    X, y = numbers(60)
    model = pretrained(X, y, warm_start=True)
    before = body(model)
    model.fit(X, y)
    assert model.pretrain_history_ == []
    for now, then in zip(body(model), before, strict=True):
        torch.testing.assert_close(now, then, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="X_unlabelled .* a fit that goes on"):
        model.fit(X, y, X_unlabelled=X)
    model.partial_fit(X, y)


def test_refusals():
    X, y = numbers(60)
    with pytest.raises(ValueError, match="X_unlabelled .* and pretrain=None"):
        TabMLPRegressor(**SMALL).fit(X, y, X_unlabelled=X)
    with pytest.raises(ValueError, match="pretrain='both' needs checkpoint=None"):
        pretrained(X, y, checkpoint="state.pt")
    with pytest.raises(ValueError, match="partial_fit needs pretrain=None"):
        TabMLPRegressor(**STILL).partial_fit(X, y)
    with pytest.raises(ValueError, match="pretrain"):
        pretrained(X, y, pretrain="masks")


@pytest.mark.parametrize("name", END_IN_OUTPUTS)
def test_a_backbone_that_ends_in_the_outputs_is_refused(name):
    X, y = numbers(60)
    with pytest.raises(ValueError, match=f"{name}Regressor: pretrain='mask' needs"):
        make(name, "Regressor", pretrain="mask").fit(X, y)


@pytest.mark.parametrize("change", ["fewer", "names", "kinds"])
def test_rows_without_labels_of_other_columns_are_refused_by_name(change):
    other = UNLABELLED.drop(columns="age")
    if change == "names":
        other = UNLABELLED.rename(columns={"age": "years"})
    if change == "kinds":
        other = UNLABELLED.assign(age="old")
    with pytest.raises((ValueError, TypeError), match="age") as error:
        pretrained(X, Y, fit={"X_unlabelled": other})
    assert "X_unlabelled" in str(error.value)
