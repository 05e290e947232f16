"""What an estimator does: it learns, repeats itself, follows its parameters and says what
happened."""

import copy
import inspect
import math
import pickle
import time
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from conftest import ARCHITECTURES, make, numbers, people, some_rows, target
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV

import tabdl
from tabdl.exceptions import FitInterruptedWarning
from tabdl.models import ft_transformer
from tabdl.training.defaults import choose_batch_size, choose_patience

SIGNATURES = {
    "shared": {
        "lr": None,
        "weight_decay": 1e-5,
        "clip_norm": None,
        "optimizer": "adamw",
        "lr_schedule": "constant",
        "warmup_epochs": 0.0,
        "ema_decay": None,
        "hidden_mix": False,
        "mixup": 0.0,
        "swap_noise": 0.0,
        "swap_noise_from": "batch",
        "feature_dropout": 0.0,
        "batch_size": "auto",
        "max_epochs": 500,
        "early_stopping": True,
        "patience": "auto",
        "validation_fraction": 0.2,
        "scoring": None,
        "time_limit": None,
        "numeric_transform": "quantile",
        "numeric_missing": "impute",
        "categorical_statistics": "none",
        "categorical_features": "from_dtype",
        "precision": "auto",
        "device": "auto",
        "compile": "auto",
        "n_jobs": None,
        "random_state": None,
        "verbose": 0,
        "n_members": 1,
        "callbacks": None,
        "checkpoint": None,
        "warm_start": False,
        "pretrain": None,
        "pretrain_epochs": 20,
    },
    "Classifier": {"class_weight": None, "label_smoothing": 0.0, "calibrate": False},
    "Regressor": {"loss": "squared_error", "quantile": 0.5, "huber_delta": 1.0},
    "FTTransformer": {
        "n_blocks": 2,
        "d_block": 96,
        "n_heads": 8,
        "attention_dropout": 0.2,
        "ffn_hidden_multiplier": 4 / 3,
        "ffn_dropout": 0.1,
        "residual_dropout": 0.0,
        "norm": "pre",
        "stochastic_depth": 0.0,
        "lr": 1e-3,
        "lr_schedule": "cooldown",
        "n_members": 2,
        "numeric_embedding": "piecewise",
        "token_bias": True,
        "kv_compression": None,
    },
    "SNN": {
        "n_blocks": 4,
        "d_block": 256,
        "dropout": 0.02,
        "d_embedding": 16,
        "one_hot_max_size": 0,
        "numeric_embedding": None,
        "lr": 5e-4,
        "weight_decay": 1e-5,
    },
    "DCNv2": {
        "n_cross_layers": 3,
        "n_blocks": 3,
        "d_block": 256,
        "cross_dropout": 0.2,
        "hidden_dropout": 0.2,
        "d_embedding": 16,
        "one_hot_max_size": 0,
        "numeric_embedding": None,
        "lr": 2e-4,
        "weight_decay": 1e-5,
    },
    "AutoInt": {
        "n_blocks": 3,
        "d_block": 32,
        "n_heads": 2,
        "attention_dropout": 0.1,
        "residual_dropout": 0.0,
        "numeric_embedding": "linear",
        "kv_compression": None,
        "lr": 5e-4,
    },
    "GMLP": {
        "n_blocks": 3,
        "d_block": 128,
        "ffn_hidden_multiplier": 2.0,
        "d_attention": 0,
        "ffn_dropout": 0.1,
        "residual_dropout": 0.0,
        "stochastic_depth": 0.0,
        "lr": 1e-3,
        "numeric_embedding": "linear",
    },
    "GrowNet": {
        "n_blocks": 40,
        "d_block": 128,
        "epochs_per_stage": 1,
        "correct_epochs": 1,
        "learn_boost_rate": "with_categories",
        "d_embedding": 16,
        "one_hot_max_size": 0,
        "numeric_embedding": None,
        "lr": 3e-3,
        "optimizer": "adam",
        "max_epochs": 40,
    },
    "GrowNetClassifier": {"newton_labels": "signed"},
    "NODE": {
        "n_blocks": 1,
        "d_block": 1024,
        "depth": 6,
        "d_tree": 2,
        "d_embedding": 16,
        "one_hot_max_size": 0,
        "numeric_embedding": None,
        "lr": 1e-3,
        "optimizer": "adamw",
        "weight_decay": 0.0,
    },
    "TabNet": {
        "n_blocks": 4,
        "d_block": 16,
        "relaxation_factor": 1.5,
        "sparsity_loss_weight": 1e-4,
        "masks_see_rows": True,
        "virtual_batch_size": 256,
        "momentum": 0.95,
        "d_embedding": 16,
        "one_hot_max_size": 0,
        "numeric_embedding": None,
        "lr": 1e-2,
        "lr_decay_rate": 0.95,
        "lr_decay_steps": 500,
        "weight_decay": 0.0,
        "clip_value": 2000.0,
    },
    "TabResNet": {
        "n_blocks": 2,
        "d_block": 192,
        "d_hidden_multiplier": 2.0,
        "hidden_dropout": 0.3,
        "residual_dropout": 0.0,
        "stochastic_depth": 0.0,
        "d_embedding": 16,
        "one_hot_max_size": 0,
        "numeric_embedding": "piecewise",
        "lr": 1e-3,
        "lr_schedule": "cooldown",
    },
    "TabMLP": {
        "n_blocks": 3,
        "d_block": 384,
        "dropout": 0.1,
        "d_embedding": 16,
        "one_hot_max_size": 0,
        "numeric_embedding": "piecewise",
        "lr": 1e-3,
        "lr_schedule": "cooldown",
    },
    "RealMLP": {
        "n_blocks": 3,
        "d_block": 256,
        "activation": "selu",
        "dropout": 0.15,
        "dropout_schedule": "flat_cosine",
        "d_embedding": 8,
        "one_hot_max_size": 8,
        "numeric_embedding": "pbld",
        "numeric_transform": "robust",
        "lr": 0.04,
        "lr_schedule": "coslog4",
        "beta2": 0.95,
        "weight_decay": 0.02,
        "weight_decay_schedule": "flat_cosine",
        "precision": "float32",
        "batch_size": 256,
        "max_epochs": 256,
        "patience": 256,
    },
    "RealMLPClassifier": {"label_smoothing": "auto"},
    "RealMLPRegressor": {"activation": "mish", "lr": 0.2},
    "TabM": {
        "arch": "tabm-mini",
        "k": 32,
        "n_blocks": 3,
        "d_block": 128,
        "dropout": 0.1,
        "share_training_batches": False,
        "prune": False,
        "d_embedding": 16,
        "one_hot_max_size": 128,
        "numeric_embedding": "piecewise_tree",
        "lr": 4e-3,
        "lr_schedule": "cooldown",
        "weight_decay": 3e-4,
        "clip_norm": 1.0,
    },
}


def test_signature(architecture, task):
    cls = getattr(tabdl, architecture + task)
    parameters = inspect.signature(cls).parameters.values()
    assert {p.kind for p in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    parts = ("shared", task, architecture, architecture + task)
    assert {p.name: p.default for p in parameters} == {
        k: v for part in parts for k, v in SIGNATURES.get(part, {}).items()
    }


@pytest.mark.parametrize("task", ["Classifier", "Regressor"])
def test_the_papers_configuration(task):
    """Its table 13, with changes on top, whatever the defaults are."""
    cls = getattr(tabdl, "FTTransformer" + task)
    parameters = cls.paper_config().get_params()
    network = {
        "n_blocks": 3,
        "d_block": 192,
        "n_heads": 8,
        "ffn_hidden_multiplier": 4 / 3,
        "norm": "pre",
    }
    dropouts = {"attention_dropout": 0.2, "ffn_dropout": 0.1, "residual_dropout": 0.0}
    training = {
        "lr": 1e-4,
        "weight_decay": 1e-5,
        "patience": 16,
        "scoring": "accuracy" if task == "Classifier" else None,
    }
    assert (
        parameters.items()
        >= {**network, **dropouts, **training, "numeric_transform": "quantile"}.items()
    )
    # Whatever else changes what is learned is pinned too.
    pinned = set(ft_transformer._PAPER) | {"scoring"}
    free = {
        "batch_size",
        "max_epochs",
        "validation_fraction",
        "time_limit",
        "categorical_features",
        "precision",
        "device",
    }
    free |= {
        "compile",
        "n_jobs",
        "random_state",
        "verbose",
        "callbacks",
        "checkpoint",
        "warm_start",
        "pretrain_epochs",
    }
    free |= SIGNATURES[task].keys()
    assert set(parameters) == pinned | free
    changed = cls.paper_config(n_blocks=1, max_epochs=1, random_state=0)
    assert (changed.n_blocks, changed.max_epochs, changed.d_block) == (1, 1, 192)
    X, y = numbers(40)
    assert changed.fit(X, target(y, task)).n_iter_ == 1


def test_docstring_describes_every_parameter(architecture, task):
    cls = getattr(tabdl, architecture + task)
    for name in inspect.signature(cls).parameters:
        assert f"\n    {name} : " in cls.__doc__
    assert "{" not in cls.__doc__.replace("{array", "")
    assert "history_" in cls.__doc__


# --- learning


# Settings that learn the rules of these tests in few steps.
QUICK = {"max_epochs": 35, "batch_size": 64, "lr": 0.01}


def test_learns_a_rule(architecture, task):
    X, y = numbers(600)
    model = make(architecture, task, **QUICK).fit(X, target(y, task))
    X_new, y_new = numbers(300, seed=1)
    assert model.score(X_new, target(y_new, task)) > (0.85 if task == "Regressor" else 0.9)


def test_learns_from_categories_alone(architecture):
    rng = np.random.default_rng(0)
    X = rng.choice(["a", "b", "c", "d"], (400, 2)).astype(object)
    y = (X[:, 0] == "a") ^ (X[:, 1] == "b")
    model = make(architecture, "Classifier", **QUICK).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > 0.95
    assert model.classes_.dtype == bool


def test_every_parameter_gets_a_gradient(architecture):
    from tabdl.data.table import Schema
    from tabdl.network.contract import init_weights

    schema = Schema(("a", "b"), ("c",), (3,))
    net = make(architecture, "Regressor")._build_net(schema, 2, some_rows(schema))
    init_weights(net, torch.Generator().manual_seed(0))
    net(torch.randn(42, 2), torch.randint(3, (42, 1))).square().sum().backward()
    # The key's bias cannot act: softmax ignores what is added to all keys' scores. It is a third of
    # qkv.bias.
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.two_networks
def test_multiclass_multilabel_and_multioutput(architecture):
    X, y = numbers(200)
    labels = np.array(["low", "mid", "high", "top"])[np.digitize(y, [-1, 0, 1])]
    model = make(architecture, "Classifier", **QUICK).fit(X, labels)
    assert model.score(X, labels) > 0.6 and list(model.classes_) == sorted(set(labels))
    assert model.predict_proba(X).shape == (200, 4)
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)

    flags = np.column_stack([y > 0, X[:, 2] > 0, X[:, 3] > 1]).astype(int)
    model = make(architecture, "Classifier", **QUICK).fit(X, flags)
    assert model.predict(X).shape == model.predict_proba(X).shape == (200, 3)
    assert (model.predict(X) == flags).mean() > 0.8

    values = np.column_stack([y, 1000 * X[:, 2] - 5])
    model = make(architecture, "Regressor", **QUICK).fit(X, values)
    assert model.predict(X).shape == (200, 2) and model.score(X, values) > 0.7


@pytest.mark.two_networks
def test_a_thousand_classes(architecture):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(np.arange(1000), 4))
    X = np.column_stack([y // 32, y % 32]) + rng.normal(size=(4000, 2)) * 0.01
    model = make(architecture, "Classifier", max_epochs=2, batch_size=256).fit(X, y)
    assert model.predict_proba(X[:10]).shape == (10, 1000)
    assert model.history_[1]["train_loss"] < model.history_[0]["train_loss"] < np.log(1000) + 2


@pytest.mark.parametrize("loss, expected", [("quantile", 0.9), ("absolute_error", 0.5)])
def test_losses_predict_what_they_say(loss, expected):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2000, 1)), rng.exponential(size=2000) + 100
    model = make("TabMLP", "Regressor", loss=loss, quantile=0.9, max_epochs=60).fit(X, y)
    assert abs((y <= model.predict(X)).mean() - expected) < 0.06


def test_huber_withstands_outliers():
    X, y = numbers(500)
    y_bad = y.copy()
    y_bad[::50] += 100
    errors = {
        loss: np.abs(
            make("TabMLP", "Regressor", loss=loss, max_epochs=40, huber_delta=0.1)
            .fit(X, y_bad)
            .predict(X)
            - y
        ).mean()
        for loss in ("squared_error", "huber")
    }
    assert errors["huber"] < errors["squared_error"] / 2


def test_label_smoothing_softens_probabilities():
    X, y = numbers(300)
    model = make(
        "TabMLP",
        "Classifier",
        max_epochs=60,
        early_stopping=False,
        dropout=0.0,
        lr=1e-2,
        d_block=64,
    )
    sure, soft = (
        clone(model).set_params(label_smoothing=s).fit(X, y > 0).predict_proba(X).max(1)
        for s in (0.0, 0.3)
    )
    assert sure.mean() > 0.95 and 0.75 < soft.mean() < 0.87


# --- weights


@pytest.mark.two_networks
def test_weights_act_in_the_loss(architecture):
    X = np.zeros((200, 2))
    X[:, 0] = np.arange(200) % 2
    y = np.arange(200) % 4 < 2
    weight = np.where(y, 3.0, 1.0)
    options = {"max_epochs": 60, "batch_size": 100, "lr": 0.02, "early_stopping": False}
    model = make(architecture, "Classifier", **options).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], 0.75, atol=0.08)
    model.set_params(class_weight={True: 3.0}).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], 0.75, atol=0.08)


def test_balanced_class_weight():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(600, 2)), np.arange(600) % 10 == 0
    model = make("TabMLP", "Classifier", class_weight="balanced", max_epochs=20).fit(X, y)
    assert 0.4 < model.predict_proba(X)[:, 1].mean() < 0.6


@pytest.mark.two_networks
def test_rows_of_weight_zero_take_no_part(architecture, task):
    X, y = numbers(80)
    weight = np.ones(80)
    weight[60:] = 0
    X[60:], bad = 1e6, y.copy()
    bad[60:] = 0
    y = target(bad, task)
    with_zero = make(architecture, task).fit(X, y, sample_weight=weight)
    without = make(architecture, task).fit(X[:60], y[:60])
    np.testing.assert_array_equal(with_zero.predict(X[:60]), without.predict(X[:60]))


# --- same and different


def test_same_seed_same_result(architecture, task):
    X, y = people()
    first, second, other = (
        make(architecture, task, random_state=s).fit(X, target(y - 2, task)) for s in (1, 1, 2)
    )
    response = "predict" if task == "Regressor" else "predict_proba"
    np.testing.assert_array_equal(getattr(first, response)(X), getattr(second, response)(X))
    assert not np.allclose(getattr(first, response)(X), getattr(other, response)(X))
    assert [r["val_loss"] for r in first.history_] == [r["val_loss"] for r in second.history_]


def test_no_seed_gives_another_result_each_time():
    X, y = numbers()
    first, second = (
        make("TabMLP", "Regressor", random_state=None).fit(X, y).predict(X) for _ in range(2)
    )
    assert not np.allclose(first, second)


def test_a_row_does_not_depend_on_the_rows_beside_it(architecture, task):
    X, y = people(40)
    model = make(architecture, task, max_epochs=2).fit(X, target(y - 2, task))
    whole = model.predict(X)
    np.testing.assert_array_equal(
        whole, np.concatenate([model.predict(X.iloc[[i]]) for i in range(40)])
    )
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(whole[order], model.predict(X.iloc[order]))


@pytest.mark.two_networks
def test_pickle_and_copies(architecture, task):
    X, y = people()
    model = make(architecture, task).fit(X, target(y - 2, task))
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(X), model.predict(X))
    assert not hasattr(clone(model), "module_")


@pytest.mark.two_networks
def test_pickle_holds_no_training_rows(architecture):
    X, y = numbers(20_000, 2)
    small = len(pickle.dumps(make(architecture, "Regressor", max_epochs=1).fit(X[:2000], y[:2000])))
    large = len(pickle.dumps(make(architecture, "Regressor", max_epochs=1).fit(X, y)))
    # The number of quantiles grows with the rows, up to 1,000 a column; a row of X alone would add
    # 18,000 * 16 bytes.
    assert large - small < 40_000


@pytest.mark.two_networks
def test_refit_forgets(architecture):
    X, y = numbers()
    model = make(architecture, "Regressor").fit(X[:, :2], -y)
    again = model.fit(X, y).predict(X)
    np.testing.assert_array_equal(again, make(architecture, "Regressor").fit(X, y).predict(X))


# --------------------------------------------------------------------------------------------------
# every parameter matters

OTHER = {
    "lr": 1e-3,
    "weight_decay": 1.0,
    "batch_size": 48,
    "max_epochs": 3,
    "early_stopping": False,
    "patience": 1,
    "validation_fraction": 0.4,
    "scoring": "neg_max_error",
    "time_limit": 1e-9,
    "numeric_transform": "standard",
    "numeric_missing": "indicator",
    "categorical_features": ["city", "plan", "active", "children"],
    "precision": "float64",
    "random_state": 7,
    "callbacks": [lambda record: True],
    "n_members": 2,
    "class_weight": "balanced",
    "label_smoothing": 0.2,
    "calibrate": True,
    "loss": "absolute_error",
    "quantile": 0.9,
    "huber_delta": 0.1,
    "n_blocks": 3,
    "n_cross_layers": 3,
    "d_block": 20,
    "n_heads": 4,
    "d_embedding": 5,
    "d_hidden_multiplier": 3.0,
    "ffn_hidden_multiplier": 3.0,
    "d_attention": 8,
    "attention_dropout": 0.0,
    "ffn_dropout": 0.0,
    "hidden_dropout": 0.0,
    "dropout": 0.0,
    "residual_dropout": 0.3,
    "cross_dropout": 0.0,
    "norm": "post",
    "token_bias": False,
    "kv_compression": 0.5,
    "one_hot_max_size": 10,
    "numeric_embedding": "periodic",
    "clip_norm": 0.01,
    "optimizer": "muon",
    "lr_schedule": "cosine",
    "warmup_epochs": 1.5,
    "ema_decay": 0.5,
    "hidden_mix": True,
    "mixup": 0.4,
    "swap_noise": 0.3,
    "swap_noise_from": "nearest",
    "feature_dropout": 0.3,
    "stochastic_depth": 0.5,
    "activation": "relu",
    "dropout_schedule": "constant",
    "weight_decay_schedule": "constant",
    "beta2": 0.5,
    "arch": "tabm-packed",
    "k": 5,
    "share_training_batches": True,
    "prune": True,
    "depth": 2,
    "d_tree": 4,
    "epochs_per_stage": 2,
    "correct_epochs": 2,
    "learn_boost_rate": False,
    "newton_labels": "binary",
    "relaxation_factor": 1.1,
    "sparsity_loss_weight": 0.5,
    "masks_see_rows": False,
    "virtual_batch_size": 7,
    "momentum": 0.5,
    "lr_decay_rate": 0.5,
    "lr_decay_steps": 5,
    "clip_value": 1e-9,
    "pretrain": "both",
    "pretrain_epochs": 3,
}
NEEDS = {
    "quantile": {"loss": "quantile"},
    "huber_delta": {"loss": "huber"},
    "patience": {"lr": 0.1, "max_epochs": 40},
    "lr_decay_steps": {"lr_decay_rate": 0.5},
    "pretrain_epochs": {"pretrain": "mask"},
    "swap_noise_from": {"swap_noise": 0.3},
} | {"hidden_mix": {"numeric_embedding": "linear"}}
ELSEWHERE = {
    "verbose": "test_progress",
    "device": "test_wrong_values and the gpu tests",
    "n_jobs": "training/test_devices",
    "compile": "test_compile",
    "checkpoint": "test_checkpoint",
    "warm_start": "test_going_on",
    "categorical_statistics": "test_categorical_statistics",
}
# Parameters of one legal value.
FIXED = {("NODE", "optimizer")}
# Pretraining is refused where the backbone ends in the outputs; see test_pretraining.
FIXED |= {(a, name) for a in ("GrowNet", "NODE") for name in ("pretrain", "pretrain_epochs")}


def shared_parameter(name):
    """Return the mark of what is the same code in each architecture."""
    is_shared = name in SIGNATURES["shared"] or name in SIGNATURES["Regressor"]
    return [pytest.mark.two_networks] if is_shared else []


@cache
def trace(architecture, task, parameters):
    """Return what a fit can show for a parameter: predictions, losses and scores, and the sizes of
    the network."""
    X, y = people()
    model = make(architecture, task, **dict(parameters)).fit(X, target(y - 3, task))
    answers = model.predict_proba(X) if is_classifier(model) else model.predict(X)
    losses = [(r["train_loss"], r["val_loss"], r["val_score"]) for r in model.history_]
    return answers.tolist(), losses, [p.shape for p in model.module_.parameters()]


@pytest.mark.parametrize(
    "architecture, task, name",
    [
        pytest.param(architecture, task, name, marks=shared_parameter(name))
        for architecture in ARCHITECTURES
        # What classes add is the same code in each architecture.
        for task in ("Classifier", "Regressor")[architecture not in ("TabMLP", "GrowNet") :]
        for name in inspect.signature(getattr(tabdl, architecture + task)).parameters
        if name not in ELSEWHERE and (architecture, name) not in FIXED
    ],
)
def test_every_parameter_changes_something(architecture, task, name):
    value = "roc_auc" if name == "scoring" and task == "Classifier" else OTHER[name]
    needs = NEEDS.get(name, {})
    assert make(architecture, task, **needs).get_params()[name] != value
    usual = trace(architecture, task, tuple(needs.items()))
    assert usual != trace.__wrapped__(architecture, task, (needs | {name: value}).items())


def test_random_state_instance_is_drawn_from():
    X, y = numbers()
    state = np.random.RandomState(0)
    first, second = (
        make("TabMLP", "Regressor", random_state=state).fit(X, y).predict(X) for _ in range(2)
    )
    assert not np.allclose(first, second)
    again = make("TabMLP", "Regressor", random_state=np.random.RandomState(0)).fit(X, y).predict(X)
    np.testing.assert_array_equal(first, again)


# --- stopping, history


@pytest.mark.two_networks
def test_history_and_attributes(architecture, task):
    X, y = people()
    model = make(architecture, task).fit(X, target(y - 2, task))
    assert [r["epoch"] for r in model.history_] == [1, 2, 3, 4, 5] and model.n_iter_ == 5
    assert list(model.history_[0]) == [
        "epoch",
        "train_loss",
        "val_loss",
        "val_score",
        "lr",
        "seconds",
    ]
    assert all(
        isinstance(value, int | float) for record in model.history_ for value in record.values()
    )
    assert model.history_[0]["lr"] == model.lr and model.history_[0]["seconds"] > 0
    assert model.n_parameters_ == sum(p.numel() for p in model.module_.parameters())
    assert model.n_features_in_ == 8 and list(model.feature_names_in_) == list(X.columns)
    assert model.stop_reason_ == "max_epochs"


@pytest.mark.two_networks
def test_early_stopping_keeps_the_best_weights(architecture):
    X, y = numbers(100)
    X_val, y_val = numbers(60, seed=1)
    rng = np.random.default_rng(0)
    model = make(
        architecture, "Regressor", max_epochs=300, patience=5, lr=1e-2, lr_schedule="constant"
    )
    model.fit(X, y + rng.normal(size=100), X_val=X_val, y_val=y_val)
    scores = [r["val_score"] for r in model.history_]
    assert model.stop_reason_ == "patience" and model.n_iter_ == model.best_epoch_ + 5 < 300
    assert np.argmax(scores) + 1 == model.best_epoch_
    mse = np.mean(((model.predict(X_val) - y_val) / model._target.std) ** 2)
    assert mse == pytest.approx(model.history_[model.best_epoch_ - 1]["val_loss"], rel=1e-4)


@pytest.mark.parametrize("batch_size, n_epochs", [(1, 16), (4, 42), (32, 48)])
def test_automatic_patience_waits_for_832_steps(batch_size, n_epochs):
    """80 rows train; the score of the first epoch is the best."""
    X, y = numbers(100)
    scores = iter(range(0, -100, -1))
    model = make(
        "TabMLP",
        "Regressor",
        max_epochs=100,
        batch_size=batch_size,
        lr_schedule="constant",
        scoring=lambda *_: next(scores),
    ).fit(X, y)
    assert (model.stop_reason_, model.best_epoch_, model.n_iter_) == ("patience", 1, 1 + n_epochs)


@pytest.mark.parametrize(
    "n_rows, n_epochs", [(13_209, 16), (1_000_000, 16), (7_000, 30), (659, 40), (300, 48)]
)
def test_automatic_patience_and_batches(n_rows, n_epochs):
    """As in the paper from its smallest table on, 13,209 rows."""
    n_steps = math.ceil(n_rows / choose_batch_size(n_rows))
    assert choose_patience(n_steps, "constant") == n_epochs


@pytest.mark.two_networks
def test_without_early_stopping_all_rows_train(architecture):
    X, y = numbers(70)
    model = make(
        architecture, "Regressor", early_stopping=False, max_epochs=7, patience=1, lr=0.1
    ).fit(X, y)
    assert model.n_iter_ == model.best_epoch_ == 7
    assert model.history_[0]["val_loss"] is None and model.history_[0]["val_score"] is None
    # Validation data is only watched then.
    watched = make(architecture, "Regressor", early_stopping=False, max_epochs=7, lr=0.1).fit(
        X, y, X_val=X, y_val=-y
    )
    np.testing.assert_array_equal(watched.predict(X), model.predict(X))
    assert watched.history_[0]["val_loss"] > 0


def test_validation_rows_stay_unseen():
    X, y = numbers(100)
    far = X + 100
    constant = {"lr_schedule": "constant"}
    model = make("TabMLP", "Regressor", **constant).fit(X, y, X_val=far, y_val=y + 1000)
    n_epochs = model.best_epoch_
    alone = make("TabMLP", "Regressor", early_stopping=False, max_epochs=n_epochs, **constant)
    alone.fit(X, y)
    np.testing.assert_array_equal(model.predict(X), alone.predict(X))


def test_validation_weights_act():
    X, y = numbers(100)
    weight = np.where(np.arange(100) < 50, 1.0, 0.0)
    model = make("TabMLP", "Regressor", scoring="neg_mean_absolute_error")
    weighted = model.fit(X, y, X_val=X, y_val=y, sample_weight_val=weight).history_
    halved = model.fit(X, y, X_val=X[:50], y_val=y[:50]).history_
    for name in ("val_loss", "val_score"):
        np.testing.assert_allclose(
            [r[name] for r in weighted], [r[name] for r in halved], rtol=1e-6
        )


@pytest.mark.parametrize(
    "metric", ["roc_auc", "accuracy", "neg_log_loss", "f1", "balanced_accuracy"]
)
def test_scoring_is_scikit_learns(metric):
    from sklearn.metrics import get_scorer

    X, y = numbers(200)
    labels = np.where(y > 0, "yes", "no")
    y = labels if metric != "f1" else y > 0
    model = make("TabMLP", "Classifier", scoring=metric, max_epochs=12, early_stopping=False)
    model.fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    assert model.history_[-1]["val_score"] == pytest.approx(
        get_scorer(metric)(model, X[100:], y[100:]), rel=1e-5
    )


def test_scoring_is_a_callable():
    X, y = people()
    seen = []

    def metric(estimator, X, y):
        seen.append((X.columns.tolist(), len(X), len(y)))
        return -np.abs(estimator.predict(X) - y).max()

    model = make("TabMLP", "Regressor", scoring=metric).fit(X, y)
    # Once before training, on made-up predictions, and once an epoch.
    assert seen == [(X.columns.tolist(), 24, 24)] * 6
    assert all(r["val_score"] < 0 for r in model.history_)


def test_an_epoch_without_a_valid_score_is_the_worst_one():
    X, y = numbers()
    scores = iter([1.0, math.nan, "fails", 2.0, math.nan])

    def scorer(estimator, X, y):
        score = next(scores)
        if score == "fails":
            raise ValueError("a negative prediction")
        return score

    model = make("TabMLP", "Regressor", scoring=scorer, max_epochs=4).fit(X, y)
    assert [r["val_score"] for r in model.history_] == [-math.inf, -math.inf, 2.0, -math.inf]
    assert model.best_epoch_ == 3
    scores = iter([1.0, *[math.nan] * 3])
    words = r"TabMLPRegressor: scoring=.* had no valid score in any epoch \(the score is NaN\)"
    with pytest.warns(UserWarning, match=words):
        model.set_params(max_epochs=3).fit(X, y)
    losses = [record["val_loss"] for record in model.history_]
    assert model.best_epoch_ == np.argmin(losses) + 1


@pytest.mark.parametrize(
    "scoring", ["neg_root_mean_squared_log_error", "neg_mean_poisson_deviance"]
)
def test_scores_of_positive_predictions(scoring):
    X, _ = numbers()
    model = make("TabMLP", "Regressor", scoring=scoring).fit(X, np.exp(3 * X[:, 0]))
    assert model.n_iter_ == 5


def test_log_loss_of_validation_rows_that_lack_a_class():
    X, y = numbers()
    y = target(y, "Classifier")
    model = make("TabMLP", "Classifier", scoring="neg_log_loss")
    model.fit(X, y, X_val=X[y == 1], y_val=y[y == 1])
    expected = np.log(model.predict_proba(X[y == 1])[:, 1]).mean()
    assert model.history_[model.best_epoch_ - 1]["val_score"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("calibrate", [False, True])
def test_logarithms_of_probabilities(calibrate):
    X, y = numbers()
    flags = np.column_stack([y > 0, X[:, 2] > 0]).astype(int)
    for labels in (y > 0, np.digitize(y, [-1, 1]), flags):
        model = make("TabMLP", "Classifier", n_members=2, calibrate=calibrate).fit(X, labels)
        np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    sure = make("TabMLP", "Classifier", max_epochs=1, numeric_transform="none").fit(X * 1e6, y > 0)
    assert np.isfinite(sure.predict_log_proba(X * 1e8)).all()


@pytest.mark.two_networks
def test_time_limit_is_kept_to_within_an_epoch(architecture):
    X, y = numbers(4000)
    model = make(
        architecture, "Regressor", max_epochs=10_000, patience=10_000, time_limit=1.0, batch_size=64
    )
    start = time.perf_counter()
    model.fit(X, y)
    longest = max(r["seconds"] for r in model.history_)
    assert model.stop_reason_ == "time_limit"
    assert sum(r["seconds"] for r in model.history_) < 1.0 + longest
    assert time.perf_counter() - start < 60  # and nothing like 10,000 epochs


def test_callbacks_see_every_epoch_and_stop():
    X, y = numbers()
    seen = []
    model = make(
        "TabMLP",
        "Regressor",
        callbacks=[lambda r: seen.append(r["epoch"]), lambda r: r["epoch"] == 3],
    ).fit(X, y)
    assert seen == [1, 2, 3] and model.n_iter_ == 3 and model.stop_reason_ == "callback"


def test_optuna_prunes_by_callback():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    X, y = numbers()

    def objective(trial):
        def report(record):
            trial.report(record["val_score"], record["epoch"])
            if trial.should_prune():
                raise optuna.TrialPruned

        lr = trial.suggest_categorical("lr", [3e-3, 1e-9])
        model = make("TabMLP", "Regressor", lr=lr, max_epochs=20, callbacks=[report]).fit(X, y)
        return model.history_[model.best_epoch_ - 1]["val_score"]

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.GridSampler({"lr": [3e-3, 1e-9]}, seed=1),
        pruner=optuna.pruners.MedianPruner(1),
    )
    study.enqueue_trial({"lr": 3e-3})
    study.optimize(objective, n_trials=4)
    pruned = [t.params["lr"] for t in study.trials if t.state == optuna.trial.TrialState.PRUNED]
    assert pruned and set(pruned) == {1e-9} and study.best_params == {"lr": 3e-3}


# --- interruptions


def interrupt_in(epoch):
    def callback(record):
        if record["epoch"] == epoch:
            raise KeyboardInterrupt

    return callback


@pytest.mark.two_networks
def test_interrupt_after_an_epoch_leaves_a_fitted_estimator(architecture):
    X, y = numbers()
    model = make(architecture, "Regressor", max_epochs=50, callbacks=[interrupt_in(4)])
    with pytest.warns(
        UserWarning,
        match=f"{architecture}Regressor: interrupted after epoch 4; fitted with the best",
    ):
        model.fit(X, y)
    assert model.stop_reason_ == "interrupted" and model.n_iter_ == 4
    assert np.isfinite(model.predict(X)).all()
    pickle.dumps(model.set_params(callbacks=None))


def test_ctrl_c_stops_a_search_that_raises():
    """The way that the docstring of fit names."""
    X, y = numbers(60)
    model = make("TabMLP", "Regressor", callbacks=[interrupt_in(2)])
    search = GridSearchCV(model, {"lr": [1e-3, 1e-2]}, cv=2, error_score="raise")
    with warnings.catch_warnings(), pytest.raises(FitInterruptedWarning):
        warnings.simplefilter("error", FitInterruptedWarning)
        search.fit(X, y)


def test_interrupt_before_an_epoch_goes_up():
    X, y = numbers()

    def metric(estimator, X, y):
        raise KeyboardInterrupt

    model = make("TabMLP", "Regressor", scoring=metric)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert not hasattr(model, "module_")


def test_loss_that_explodes_is_an_error():
    X, y = numbers()
    with pytest.raises(
        FloatingPointError, match=r"train_loss became (nan|inf) in epoch \d+. Try a smaller lr"
    ):
        make("TabMLP", "Regressor", lr=1e30, max_epochs=20).fit(X, y)
