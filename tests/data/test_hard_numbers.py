"""Numbers and targets that break networks, under every embedding and architecture: predictions stay
finite."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make, numbers
from torch import nn

import tabdl
from tabdl.embeddings import PiecewiseLinear
from tabdl.exceptions import NonFiniteLossError
from tabdl.models.tabm import ARCHITECTURES

EMBEDDINGS = {
    "linear": "linear",
    "periodic": "periodic",
    "periodic_lite": "periodic_lite",
    "pbld": "pbld",
    "piecewise": "piecewise",
    "more bins than rows": PiecewiseLinear(n_bins=1000),
    "tree": PiecewiseLinear(bins="tree", min_samples_leaf=1),
}


@pytest.fixture(params=EMBEDDINGS)
def embedding(request):
    return EMBEDDINGS[request.param]


def assert_finite(model, *tables):
    for X in tables:
        assert np.isfinite(
            model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)
        ).all()


@pytest.mark.two_networks
@pytest.mark.parametrize("transform", ["quantile", "robust", "standard", "none"])
def test_one_value_two_values_and_enormous_ones(architecture, embedding, transform):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "one value": np.full(60, 7.0),
            "two values": rng.choice([0.0, 1.0], 60),
            "nearly one value": 1 + 1e-12 * np.arange(60),
            "enormous": rng.normal(size=60) * 1e38,
            "a spike": np.where(np.arange(60) == 3, 1e38, rng.normal(size=60)),
            "usual": rng.normal(size=60),
        }
    )
    model = make(
        architecture,
        "Regressor",
        numeric_embedding=embedding,
        numeric_transform=transform,
        max_epochs=2,
    )
    y = frame["usual"] + frame["two values"]
    is_bounded = transform in ("quantile", "robust") or embedding in ("periodic", "periodic_lite")
    if architecture == "DCNv2" and not is_bounded:
        # Cross layers multiply numbers, and a float32 is too small for such products.
        with pytest.raises(NonFiniteLossError, match="numeric_transform='quantile'"):
            model.fit(frame, y)
        return
    model.fit(frame, y)
    far = [frame.assign(**dict.fromkeys(frame, value)) for value in (1e38, -1e38, 0.0, np.nan)]
    assert_finite(model, frame, *far)


def test_a_hundred_thousand_values(embedding):
    X = np.random.default_rng(0).permutation(100_000)[:, None].astype(float)
    model = make(
        "TabMLP",
        "Regressor",
        numeric_embedding=embedding,
        batch_size=8192,
        max_epochs=2,
        early_stopping=False,
        n_blocks=1,
    )
    assert_finite(model.fit(X, X[:, 0]), X[:1000], X[:10] * 1e30)


@pytest.mark.two_networks
def test_a_hundred_thousand_values_of_each_architecture(architecture):
    X = np.random.default_rng(0).permutation(100_000)[:, None].astype(float)
    options = {
        "numeric_embedding": "piecewise",
        "batch_size": 8192,
        "max_epochs": 1,
        "early_stopping": False,
        "n_blocks": 1,
    }
    assert_finite(make(architecture, "Regressor", **options).fit(X, X[:, 0]), X[:1000])


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("share", [True, False])
def test_one_prediction(arch, share, task):
    """With k = 1 TabM is a plain MLP; nothing is left to prune."""
    X, y = numbers(200)
    y = y if task == "Regressor" else y > 0
    model = make(
        "TabM",
        task,
        arch=arch,
        k=1,
        share_training_batches=share,
        prune=True,
        max_epochs=30,
        lr=1e-2,
    ).fit(X, y)
    assert model.module_.k == 1 and model.score(X, y) > 0.6
    assert_finite(model, X)


@pytest.mark.two_networks
@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_class_that_appears_once(architecture, early_stopping):
    X, y = numbers(80)
    labels = np.where(y > 0, "high", "low")
    labels[5] = "once"
    model = make(
        architecture, "Classifier", early_stopping=early_stopping, calibrate=early_stopping
    ).fit(X, labels)
    assert model.classes_.tolist() == ["high", "low", "once"]
    assert_finite(model, X)
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)


@pytest.mark.two_networks
@pytest.mark.parametrize("early_stopping", [True, False])
def test_targets_a_million_standard_deviations_away(architecture, early_stopping):
    X, y = numbers(200)
    y[:2] = 1e6, -1e6
    assert_finite(make(architecture, "Regressor", early_stopping=early_stopping).fit(X, y), X)
    far = make(architecture, "Regressor").fit(
        X[2:], y[2:], X_val=X, y_val=y
    )  # in units of the training targets
    assert_finite(far, X)
    assert np.abs(far.predict(X)).max() < 100


class Spike(nn.Module):
    """Adds nothing, by way of a product that float32 can hold and bfloat16 cannot."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.empty(1, 1))

    def init_weights(self, generator):
        self.weight.fill_(3.398e38)

    def forward(self, x):
        return x + 0 * nn.functional.linear(torch.ones_like(x[:, :1]), self.weight)


class Spiked(tabdl.TabMLPClassifier):
    """{parameters}"""

    def _build_net(self, schema, n_outputs, rows):
        net = super()._build_net(schema, n_outputs, rows)
        net.backbone.append(Spike())
        return net


def test_overflow_of_bfloat16_falls_back_to_float32():
    """With one warning, from the beginning; the network predicts in float32 from then on."""
    X, y = numbers(100)
    settings = {"n_blocks": 1, "d_block": 16, "max_epochs": 5, "random_state": 0, "calibrate": True}
    seen = []
    model = Spiked(
        **settings, precision="bfloat16", callbacks=[lambda record: seen.append(record["epoch"])]
    )
    with pytest.warns(
        UserWarning,
        match="With bfloat16 train_loss became nan in epoch 1; training begins anew in float32",
    ) as warned:
        model.fit(X, y > 0)
    assert len(warned) == 1 and seen == [1, 2, 3, 4, 5]
    exact = Spiked(**settings, precision="float32").fit(X, y > 0)
    np.testing.assert_array_equal(model.predict_proba(X), exact.predict_proba(X))
    assert model.temperature_ == exact.temperature_
    with pytest.warns(UserWarning, match="begins anew") as warned:
        members = Spiked(**settings, precision="bfloat16", n_members=2).fit(X, y > 0)
    assert len(warned) == 1
    assert_finite(members, X)


def test_a_loss_that_float32_cannot_hold_either():
    X, y = numbers(100)
    model = make("TabMLP", "Regressor", lr=1e30, precision="bfloat16")
    with (
        pytest.warns(UserWarning, match="begins anew"),
        pytest.raises(FloatingPointError, match="Try a smaller lr"),
    ):
        model.fit(X, y)
