"""Layers alone: dropout's rate and generator, initialisation, batch normalisation of one row,
weight decay."""

import pytest
import torch
from conftest import ARCHITECTURES, make, some_rows
from torch import nn

from tabdl.data.table import Schema
from tabdl.models.snn import NormalLinear
from tabdl.network.contract import decayed_names, init_weights
from tabdl.network.embeddings import CategoryEmbedding, FeatureTokenizer, LinearEmbedding
from tabdl.network.layers import BatchNorm, Dropout

SCHEMA = Schema(("a", "b"), ("c", "d"), (3, 5))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dropout(p, dtype):
    layer = Dropout(p)
    layer.generators = (torch.Generator().manual_seed(0),)
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
    layer.generators, other.generators = ((torch.Generator().manual_seed(3),) for _ in range(2))
    state = torch.get_rng_state()
    assert torch.equal(layer(x), other(x)) and not torch.equal(layer(x), layer(x))
    assert torch.equal(torch.get_rng_state(), state)


def test_initialisation_fills_everything_by_its_table(architecture):
    net = make(architecture, "Regressor", d_block=64)._build_net(SCHEMA, 2, some_rows(SCHEMA))
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.fill_(float("nan") if tensor.is_floating_point() else -1)
    init_weights(net, torch.Generator().manual_seed(0))
    for name, tensor in net.state_dict().items():
        assert not tensor.isnan().any() if tensor.is_floating_point() else (tensor >= 0).all(), name
    assert all((t >= 0).all() for name, t in net.state_dict().items() if not t.is_floating_point())
    for name, module in net.named_modules():
        # Those of SNN are normal: see test_snn.py.
        if isinstance(module, nn.Linear) and not isinstance(module, NormalLinear):
            bound = module.in_features**-0.5
            assert 0.9 * bound < module.weight.abs().max() <= bound
            if module.bias is not None:
                assert bool(module.bias.any()) == (name.rpartition(".")[2] not in ("qkv", "out"))


def test_initialisation_follows_its_generator(architecture):
    nets = [
        make(architecture, "Regressor")._build_net(SCHEMA, 2, some_rows(SCHEMA)) for _ in range(3)
    ]
    state = torch.get_rng_state()
    for net, seed in zip(nets, (0, 0, 1), strict=True):
        init_weights(net, torch.Generator().manual_seed(seed))
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


@pytest.mark.parametrize(
    "architecture",
    [name for name in ARCHITECTURES if name not in ("RealMLP", "SNN", "DCNv2", "NODE", "GrowNet")],
)  # see the tests of these
def test_decayed_are_matrices_of_linear_layers(architecture):
    net = make(architecture, "Regressor")._build_net(SCHEMA, 2, some_rows(SCHEMA))
    parameters = dict(net.named_parameters())
    decayed = decayed_names(net)
    assert decayed < set(parameters)
    for name, parameter in parameters.items():
        is_matrix = parameter.ndim >= 2 and "norm" not in name and not name.endswith("bias")
        is_matrix = is_matrix and ("embedding" not in name or "num.linear" in name)
        assert (name in decayed) == is_matrix, name


def test_unseen_is_the_weighted_mean():
    layer = CategoryEmbedding((3, 4), 2, bias=False)
    init_weights(nn.ModuleList([layer]), torch.Generator().manual_seed(0))
    codes, row_weight = (
        torch.tensor([[0, 1], [1, 1], [1, 2]], dtype=torch.uint8),
        torch.tensor([1.0, 1.0, 2.0]),
    )
    layer.set_unknown_to_mean(layer.code_frequencies(codes, row_weight))
    weight = layer.weight.detach()
    torch.testing.assert_close(weight[2], (weight[0] + 3 * weight[1]) / 4)
    torch.testing.assert_close(weight[6], (2 * weight[4] + 2 * weight[5]) / 4)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cardinalities", [(3, 5), (300, 5)])
def test_a_linear_layer_of_features_needs_no_tokens(cardinalities, bias):
    """For few codes through the table, for more codes than rows through the rows; the same numbers
    and gradients."""
    generator = torch.Generator().manual_seed(0)
    tokenizer, linear = (
        FeatureTokenizer(LinearEmbedding(4, 8, bias), cardinalities, 8, bias).double(),
        nn.Linear(8, 24).double(),
    )
    init_weights(tokenizer, generator)
    x_num = torch.randn(10, 4, generator=generator, dtype=torch.float64)
    x_cat = torch.stack([torch.randint(c, (10,), generator=generator) for c in cardinalities], 1)
    parameters = [*tokenizer.parameters(), *linear.parameters()]
    slow, fast = linear(tokenizer(x_num, x_cat)), tokenizer(x_num, x_cat, linear)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
    direction = torch.randn(slow.shape, generator=generator, dtype=torch.float64)
    gradients = [torch.autograd.grad((out * direction).sum(), parameters) for out in (fast, slow)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)
