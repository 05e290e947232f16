"""HiddenMix and stochastic depth: what a training step makes of other rows, and of blocks left
out."""

import math

import numpy as np
import pytest
import torch
from conftest import make, numbers, people, some_rows, target

from tabdl.data.table import Schema, Table
from tabdl.embeddings import Linear, numeric_embedding
from tabdl.network.contract import init_weights
from tabdl.network.embeddings import FlatEmbedding
from tabdl.network.layers import StochasticDepth
from tabdl.training.devices import Precision
from tabdl.training.epoch import EpochRunner
from tabdl.training.loop import train
from tabdl.training.run import TrainingConfig, TrainingRun

SCHEMA = Schema(("a", "b"), ("c", "d"), (3, 40))


def rows(n_rows=64, dtype=torch.float64):
    table = some_rows(SCHEMA, n_rows)
    return Table(table.x_num.to(dtype), table.x_cat, table.x_num[:, :1].to(dtype))


def net_of(architecture, seed=0, **parameters):
    net = make(architecture, "Regressor", numeric_embedding="linear", **parameters)._build_net(
        SCHEMA, 1, rows()
    )
    init_weights(net, torch.Generator().manual_seed(seed))
    return net.double()


def squared(outputs, y):
    return (outputs - y.unsqueeze(1)).square().mean((1, 2))


def test_whole_rows_stay_or_go(architecture):
    """A share of one is the row itself, of zero the row before."""
    net, table = net_of(architecture).eval(), rows()
    n_channels = net.embedding.n_channels
    outputs = net(table.x_num, table.x_cat)
    for share, expected in ((1.0, outputs), (0.0, outputs.roll(net.n_batch_streams, 0))):
        mix = (
            torch.full((64,), share, dtype=torch.float64),
            torch.full((64, n_channels), share, dtype=torch.float64),
        )
        torch.testing.assert_close(
            net(table.x_num, table.x_cat, mix), expected, rtol=1e-10, atol=1e-10
        )


def test_columns_of_a_flat_embedding():
    """Each channel is taken from one of the two rows in every feature; a one-hot feature, which has
    none, is averaged."""
    estimator = make("TabMLP", "Regressor", numeric_embedding=Linear(d_embedding=4))
    num = numeric_embedding(estimator, rows())
    module = FlatEmbedding(SCHEMA, 3, one_hot_max_size=5, num=num)
    init_weights(module, torch.Generator().manual_seed(0))
    own = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    weight = module.mix_weight(torch.tensor([0.25]), own)
    assert weight.tolist() == [[1, 0, 0, 1, 1, 0, 0, 1, 0.25, 0.25, 1, 0, 0]]


def settings():
    values = {
        "lr": 0.01,
        "weight_decay": 0.0,
        "batch_size": 8,
        "max_epochs": 2,
        "patience": None,
        "time_limit": None,
    }
    return TrainingConfig(**values, precision=Precision(torch.float64), hidden_mix=True)


def steps_of(net, table):
    return EpochRunner([TrainingRun(net, table, None, None, 0)], squared, settings())


def test_shares_are_beta_distributed():
    table = rows(20_000)
    with steps_of(net_of("TabMLP"), table) as steps:
        share, kept = steps._draw_mix(table.x_num.unsqueeze(0), steps.n_channels)
    assert (
        share.shape == (1, 20_000)
        and kept.shape == (1, 20_000, steps.n_channels)
        and set(kept.unique().tolist()) == {0, 1}
    )
    levels = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    expected = (2 / math.pi * levels.sqrt().asin()).tolist()  # of Beta(1/2, 1/2)
    assert [(share < level).double().mean().item() for level in levels] == pytest.approx(
        expected, abs=0.015
    )
    torch.testing.assert_close(
        kept.mean((0, 1)), share.mean().expand(steps.n_channels), rtol=0, atol=0.015
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_is_that_of_both_rows(weighted):
    table = rows()
    if weighted:
        table = Table(
            table.x_num, table.x_cat, table.y, torch.linspace(0.5, 1.5, 64, dtype=torch.float64)
        )
    net = net_of("TabMLP", dropout=0.0)
    with steps_of(net, table) as steps:
        part = table._map(lambda tensor: tensor.unsqueeze(0))
        state = steps.noise[0].get_state()
        losses = steps._losses(steps.networks, part)[0]
        steps.noise[0].set_state(state)
        share, kept = (tensor[0] for tensor in steps._draw_mix(part.x_num, steps.n_channels))
    outputs = net(table.x_num, table.x_cat, (share, kept))
    weight = torch.ones(64) if table.weight is None else table.weight
    mine, others = (
        w * squared(outputs, y)
        for w, y in ((weight, table.y), (weight.roll(1), table.y.roll(1, 0)))
    )
    torch.testing.assert_close(losses, share * mine + (1 - share) * others)


def test_mixed_members_are_what_each_is_alone(architecture):
    def run(seeds):
        nets = [net_of(architecture, seed) for seed in seeds]
        members = [
            TrainingRun(net, rows(), None, None, seed)
            for net, seed in zip(nets, seeds, strict=True)
        ]
        train(members, loss=squared, val_loss=squared, config=settings())
        return nets

    for together, alone in zip(run([0, 1]), run([0]) + run([1]), strict=True):
        # AdamW enlarges what is left of a gradient that is zero.
        torch.testing.assert_close(together.state_dict(), alone.state_dict(), rtol=1e-4, atol=5e-4)


@pytest.mark.two_networks
def test_it_learns(architecture, task):
    X, y = people(300)
    options = {"max_epochs": 30, "batch_size": 64, "lr": 0.02}
    model = make(architecture, task, hidden_mix=True, numeric_embedding="piecewise", **options)
    assert model.fit(X, target(y - 3, task)).score(X, target(y - 3, task)) > (
        0.7 if task == "Regressor" else 0.9
    )


@pytest.mark.parametrize(
    "parameters", [{"numeric_embedding": None}, {"numeric_embedding": None, "one_hot_max_size": 10}]
)
def test_numbers_without_vectors_cannot_be_mixed(parameters):
    X, y = people()
    with pytest.raises(
        ValueError, match="TabMLPRegressor: hidden_mix=True mixes channels of the features' vectors"
    ):
        make("TabMLP", "Regressor", hidden_mix=True, **parameters).fit(X, y)


def test_categories_without_numbers_can():
    X = np.random.default_rng(0).choice(["a", "b", "c"], (100, 2)).astype(object)
    make("TabMLP", "Classifier", hidden_mix=True).fit(X, X[:, 0] == "a")


def test_stochastic_depth_leaves_out_whole_rows():
    layers = [StochasticDepth(0.6, i, 3) for i in range(3)]
    for layer, rate in zip(layers, (0.2, 0.4, 0.6), strict=True):
        layer.generators = (torch.Generator().manual_seed(0),)
        out = layer(torch.ones(20_000, 2, 3))
        assert out.flatten(1).amin(1).equal(out.flatten(1).amax(1))
        assert (out[:, 0, 0] == 0).float().mean().item() == pytest.approx(rate, abs=0.01)
        assert out.mean().item() == pytest.approx(1, abs=0.03) and layer.eval()(out) is out


def branches(architecture, X, y, rate):
    """Return how far a single step moves each parameter of the only block's branches."""
    parameters = {
        "n_blocks": 1,
        "max_epochs": 1,
        "batch_size": 100,
        "early_stopping": False,
        "weight_decay": 0.0,
    }
    fits = [
        make(architecture, "Regressor", stochastic_depth=rate, lr=lr, **parameters).fit(X, y)
        for lr in (1e-3, 1e-12)
    ]
    pairs = zip(*(fit.module_.backbone.named_parameters() for fit in fits), strict=True)
    return [(a - b).abs().max().item() for (name, a), (_, b) in pairs if name.startswith("blocks")]


@pytest.mark.parametrize("architecture", ["FTTransformer", "TabResNet", "GMLP"])
def test_skipped_branches_do_not_learn(architecture):
    X, y = numbers(100)
    assert (
        max(branches(architecture, X, y, 0.99999)) < 1e-9 < max(branches(architecture, X, y, 0.0))
    )
