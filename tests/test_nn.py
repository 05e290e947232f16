"""Layers alone: dropout's rate and generator, initialisation, batch normalisation of one row, parameter groups."""

import pytest
import torch
from conftest import make
from torch import nn

from tabdl.data import Schema
from tabdl.nn import BatchNorm, CategoryEmbedding, Dropout, initialize, parameter_groups

SCHEMA = Schema(("a", "b"), ("c", "d"), (3, 5))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dropout(p, dtype):
    layer = Dropout(p)
    layer.generator = torch.Generator().manual_seed(0)
    x = torch.ones(501, 999, dtype=dtype, requires_grad=True)
    y = layer(x)
    assert y.dtype == dtype
    assert (y == 0).double().mean().item() == pytest.approx(p, abs=0.005)
    assert y.double().mean().item() == pytest.approx(1, abs=0.02)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y)
    assert layer.eval()(x) is x


def test_dropout_has_its_own_generator():
    layer, other, x = Dropout(0.5), Dropout(0.5), torch.ones(1000)
    layer.generator, other.generator = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    state = torch.get_rng_state()
    assert torch.equal(layer(x), other(x)) and not torch.equal(layer(x), layer(x))
    assert torch.equal(torch.get_rng_state(), state)


def test_initialisation_fills_everything_by_its_table(architecture):
    net = make(architecture, "Regressor", n_blocks=2, d_block=64)._build_net(SCHEMA, 2)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.fill_(float("nan") if tensor.is_floating_point() else -1)
    initialize(net, torch.Generator().manual_seed(0))
    assert all(tensor.isfinite().all() and (tensor >= -1).all() for tensor in net.state_dict().values())
    assert all((t >= 0).all() for name, t in net.state_dict().items() if not t.is_floating_point())
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            assert 0.9 * bound < module.weight.abs().max() <= bound
            assert bool(module.bias.any()) == (name.rpartition(".")[2] not in ("qkv", "out"))


def test_initialisation_follows_its_generator(architecture):
    nets = [make(architecture, "Regressor")._build_net(SCHEMA, 2) for _ in range(3)]
    state = torch.get_rng_state()
    for net, seed in zip(nets, (0, 0, 1), strict=True):
        initialize(net, torch.Generator().manual_seed(seed))
    assert torch.equal(torch.get_rng_state(), state)
    first, same, other = (torch.cat([p.flatten() for p in net.parameters()]) for net in nets)
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_batch_norm_takes_one_row():
    ours, theirs = BatchNorm(4), nn.BatchNorm1d(4)
    rows = torch.randn(30, 4)
    torch.testing.assert_close(ours(rows), theirs(rows))
    with pytest.raises(ValueError):
        theirs(rows[:1])
    torch.testing.assert_close(ours(rows[:1]), theirs.eval()(rows[:1]))


def test_parameter_groups_cover_every_parameter_once(architecture):
    net = make(architecture, "Regressor")._build_net(SCHEMA, 2)
    decayed, rest = parameter_groups(net, 0.1)
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    ids = [id(p) for p in decayed["params"] + rest["params"]]
    assert sorted(ids) == sorted(id(p) for p in net.parameters())
    names = {id(p): name for name, p in net.named_parameters()}
    for parameter in decayed["params"]:
        assert parameter.ndim == 2 and "embedding" not in names[id(parameter)] and "norm" not in names[id(parameter)]


def test_unseen_is_the_weighted_mean():
    layer = CategoryEmbedding((3, 4), 2, bias=False)
    initialize(nn.ModuleList([layer]), torch.Generator().manual_seed(0))
    layer.average_unseen(torch.tensor([[0, 1], [1, 1], [1, 2]]), torch.tensor([1.0, 1.0, 2.0]))
    weight = layer.weight.detach()
    torch.testing.assert_close(weight[2], (weight[0] + 3 * weight[1]) / 4)
    torch.testing.assert_close(weight[6], (2 * weight[4] + 2 * weight[5]) / 4)
