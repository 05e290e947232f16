"""The contract of networks: of every architecture, and of layers that tabdl has never seen."""

import numpy as np
import pytest
import torch
from conftest import make, numbers, some_rows
from torch import nn

from tabdl.base import RegressorTask, TabularEstimator
from tabdl.data.table import Schema
from tabdl.models.tabm import TabMNet
from tabdl.network.contract import (
    TabularNet,
    check_draws,
    init_weights,
    is_foreign,
    materialize,
    parameter_groups,
)

SCHEMA = Schema(("a", "b"), ("c",), (3,))
ROWS = some_rows(SCHEMA)


class Numbers(nn.Module):
    """An embedding that leaves four numbers as they are."""

    n_channels = None

    def forward(self, x_num, x_cat):
        return x_num


class Around(nn.Module):
    """A backbone from (B, 4) to (B, 4) around one layer."""

    def __init__(self, layer, call=None):
        super().__init__()
        self.layer = layer
        self.call = call or (lambda layer, x: layer(x))

    def forward(self, x):
        return self.call(self.layer, x)


class Bare(nn.Module):
    """A parameter, a mask, and no word on how they begin."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.register_buffer("mask", torch.ones(4, dtype=torch.bool))

    def forward(self, x):
        return x * self.weight * self.mask


class Forgetful(Bare):
    def init_weights(self, generator):
        self.weight.normal_(generator=generator)


class Careful(Bare):
    def init_weights(self, generator):
        self.weight.copy_(torch.randn(4))  # without the generator
        self.mask.fill_(True)


class DropsInside(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, self.training)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))


class ZeroScale(nn.Module):
    """A module that has something to say of the one inside."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)

    def init_weights(self, generator):
        self.norm.weight.zero_()

    def forward(self, x):
        return self.norm(x)


def attend(layer, x):
    tokens = x.unsqueeze(1)
    return layer(tokens, tokens, tokens)[0].squeeze(1)


def recur(layer, x):
    return layer(x.unsqueeze(1))[0].squeeze(1)


def look_up(layer, x):
    return layer((x[:, 0] > 0).long())


GOOD = {
    "Embedding": lambda: Around(nn.Embedding(2, 4), look_up),
    "RMSNorm": lambda: nn.RMSNorm(4),
    "Linear without bias": lambda: nn.Linear(4, 4, bias=False),
    "MultiheadAttention": lambda: Around(nn.MultiheadAttention(4, 2, batch_first=True), attend),
    "LSTM": lambda: Around(nn.LSTM(4, 4, batch_first=True), recur),
    "Dropout of rate 0": lambda: nn.Dropout(0.0),
    "draws without the generator": lambda: Around(Careful()),
}


def built(backbone):
    """Return a network of two outputs around a backbone that ``backbone()`` makes."""
    with torch.device("meta"):
        net = TabularNet(Numbers(), backbone(), nn.Linear(4, 2))
    return materialize(net)


def built_architecture(architecture):
    with torch.device("meta"):
        net = make(architecture, "Regressor")._build_net(SCHEMA, 2, ROWS)
    return materialize(net)


def initialized(net, seed=0):
    """Return the numbers of ``net``, and check that torch's global state has no part in them."""
    states = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        init_weights(net, torch.Generator().manual_seed(seed))
        assert torch.equal(before, torch.get_rng_state())
        states.append({name: value.clone() for name, value in net.state_dict().items()})
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    return states[0]


def assert_one_group_each(net):
    names = [name for name, _ in net.named_parameters()]
    for matrices_apart in (False, True):
        groups = parameter_groups(net, matrices_apart)
        assert sorted(name for group in groups for name in group.names) == sorted(names)


def test_architectures_keep_the_contract(architecture):
    net = built_architecture(architecture)
    first, other = initialized(net), initialized(net, seed=1)
    assert any(not torch.equal(value, other[name]) for name, value in first.items())
    assert_one_group_each(net)
    # So that nothing of them is run only to be checked.
    assert not any(is_foreign(module) for module in net.modules())


@pytest.mark.parametrize("name", GOOD)
def test_layers_of_others_work(name):
    net = built(GOOD[name])
    initialized(net)
    assert_one_group_each(net)
    x_num, x_cat = torch.randn(3, 4), torch.empty(3, 0, dtype=torch.uint8)
    before = torch.get_rng_state()
    check_draws(net, x_num, x_cat)
    assert torch.equal(before, torch.get_rng_state())
    assert net(x_num, x_cat).shape == (3, 1, 2)


@pytest.mark.parametrize(
    "backbone, message",
    [
        (Bare, r"backbone \(test_contract.Bare\) has parameters or buffers, but neither a method"),
        (Forgetful, r"backbone \(test_contract.Forgetful\): 'mask' was not initialised"),
        (Tied, r"backbone.second \(.*Linear\): 'weight' is also 'backbone.first.weight'"),
        (lambda: nn.LazyLinear(4), r"backbone \(.*LazyLinear\): give it the width of its input"),
    ],
)
def test_what_cannot_be_initialised_is_named(backbone, message):
    with pytest.raises(TypeError, match=message):
        initialized(built(backbone))


@pytest.mark.parametrize(
    "backbone, message",
    [
        (lambda: nn.Sequential(nn.Dropout(0.1)), r"backbone.0 \(.*\.Dropout\) draws from torch's"),
        (DropsInside, r"backbone \(test_contract.DropsInside\) draws"),
        (
            lambda: Around(nn.MultiheadAttention(4, 2, 0.1, batch_first=True), attend),
            r"backbone.layer \(.*MultiheadAttention\) draws",
        ),
        (
            lambda: Around(nn.LSTM(4, 4, 2, batch_first=True, dropout=0.5), recur),
            r"backbone.layer \(.*LSTM\) draws",
        ),
        (nn.RReLU, r"backbone \(.*RReLU\) draws"),
    ],
)
def test_what_draws_is_named(backbone, message):
    net = built(backbone)
    initialized(net)
    x_num, x_cat = torch.randn(3, 4), torch.empty(3, 0, dtype=torch.uint8)
    before = torch.get_rng_state()
    with pytest.raises(TypeError, match=message):
        check_draws(net, x_num, x_cat)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "attribute, value, message",
    [
        ("decayed", ("wieght",), "decayed names 'wieght', which it lacks"),
        ("decayed", ("layer",), "decayed must name parameters, got 'layer'"),
        ("lr_factors", {"layer.scale": 2.0}, "lr_factors names 'layer.scale', which it lacks"),
        ("lr_factors", {"call": 2.0}, "lr_factors must name parameters or modules, got 'call'"),
    ],
)
def test_names_that_mean_nothing(attribute, value, message):
    net = built(lambda: Around(nn.Linear(4, 4)))
    setattr(net.backbone, attribute, value)
    with pytest.raises(TypeError, match=rf"backbone \(test_contract.Around\): {message}"):
        parameter_groups(net)


def test_groups_say_what_modules_say():
    net = built(lambda: Around(nn.Linear(4, 4)))
    net.backbone.decayed = ("layer.bias",)
    net.backbone.lr_factors = {"layer": 3.0}
    net.backbone.layer.lr_factors = {"bias": 0.5}
    net.head.weight.requires_grad_(False)
    groups = {group.names: group for group in parameter_groups(net, matrices_apart=True)}
    assert sorted(groups) == [("backbone.layer.bias",), ("backbone.layer.weight",), ("head.bias",)]
    bias, weight = groups["backbone.layer.bias",], groups["backbone.layer.weight",]
    assert bias.has_weight_decay and bias.lr_factor == 1.5 and not bias.is_hidden_matrix
    assert weight.has_weight_decay and weight.lr_factor == 3.0 and weight.is_hidden_matrix


def test_the_outer_module_has_the_last_word():
    net = built(ZeroScale)
    initialized(net)
    assert net.backbone.norm.weight.eq(0).all() and net.backbone.norm.bias.eq(0).all()


def test_attention_begins_as_torch_begins_it():
    net = built(GOOD["MultiheadAttention"])
    initialized(net)
    assert net.backbone.layer.out_proj.bias.eq(0).all()
    assert net.backbone.layer.out_proj.weight.abs().max() <= 0.5


class RecurrentRegressor(RegressorTask, TabularEstimator):
    """An estimator from elsewhere; torch cannot compute its layer for several networks at once."""

    def _build_net(self, schema, n_outputs, train_table):
        backbone = Around(nn.LSTM(schema.n_num, 8, batch_first=True), recur)
        return TabularNet(Numbers(), backbone, nn.Linear(8, n_outputs))


class ManyPredictions(TabMNet):
    def predictions(self, x):
        return super().predictions(self.backbone(x))


def test_an_estimator_from_elsewhere():
    X, y = numbers()
    model = RecurrentRegressor(n_members=2, max_epochs=2, random_state=0).fit(X, y)
    again = RecurrentRegressor(n_members=2, max_epochs=2, random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), again.predict(X))


def test_batches_of_their_own_are_checked_with_enough_rows():
    sizes = {"k": 3, "separate_batches": True}
    net = ManyPredictions(Numbers(), DropsInside(), nn.Linear(4, 2), **sizes)
    with pytest.raises(TypeError, match="backbone .* draws"):
        check_draws(net, torch.randn(2, 4), torch.empty(2, 0, dtype=torch.uint8))
