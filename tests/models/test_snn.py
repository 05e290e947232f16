"""SNN against its papers' equations, written down once more."""

import pytest
import torch
from conftest import some_rows
from papers_networks import MIXED, assert_same_function, built, flat_rows, n_parameters

from tabdl import SNNRegressor
from tabdl.models.snn import AlphaDropout
from tabdl.network.contract import decayed_names, init_weights
from tabdl.network.functional import RandomBits

ALPHA, LAMBDA = 1.6732632423543772, 1.0507009873554805  # 1706.02515, equation 14


def selu(x):
    return LAMBDA * torch.where(x > 0, x, ALPHA * (x.exp() - 1))


def test_the_papers_equations():
    net, *inputs = built(SNNRegressor(n_blocks=3, d_block=[7, 5, 6], d_embedding=4))
    x = flat_rows(net, *inputs)
    for linear, *_ in net.backbone:
        x = selu(x @ linear.weight.T + linear.bias)
    expected = x @ net.head[0].weight.T + net.head[0].bias
    assert_same_function(net, net(*inputs), expected)


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_alpha_dropout(p):
    """Section 3, with the same mask. Mean zero and variance one stay."""
    layer = AlphaDropout(p)
    layer.generators = (torch.Generator().manual_seed(0),)
    x = torch.randn(400_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    bits = RandomBits(torch.Generator().manual_seed(0)).take(len(x))
    kept = bits >= layer.threshold - 32768
    q, lowest = 1 - layer.threshold / 65536, -ALPHA * LAMBDA
    a = (q + lowest**2 * q * (1 - q)) ** -0.5
    b = -a * (1 - q) * lowest
    found = layer(x)
    torch.testing.assert_close(found, a * torch.where(kept, x, lowest) + b, rtol=1e-10, atol=1e-10)
    assert abs(found.mean().item()) < 0.01 and found.var().item() == pytest.approx(1, abs=0.01)
    assert layer.eval()(x) is x


def test_a_rate_that_a_schedule_changes():
    layer, half = AlphaDropout(0.4), AlphaDropout(0.2)
    for one in (layer, half):
        one.generators = (torch.Generator().manual_seed(0),)
    layer.lend_rate(torch.device("cpu"))
    layer.set_rate(0.5)
    x = torch.linspace(-2, 2, 1000)
    torch.testing.assert_close(layer(x), half(x), rtol=1e-5, atol=1e-5)


def test_weights_begin_normal_and_biases_at_zero():
    net = SNNRegressor(n_blocks=2, d_block=400)._build_net(MIXED, 2, some_rows(MIXED))
    init_weights(net, torch.Generator().manual_seed(0))
    for linear in (net.backbone[0][0], net.backbone[1][0], net.head[0]):
        scaled = linear.weight.std() * linear.in_features**0.5
        assert scaled.item() == pytest.approx(1, abs=0.1) and not linear.bias.any()


def test_all_parameters_decay():
    net, *_ = built(SNNRegressor())
    assert decayed_names(net) == {name for name, _ in net.named_parameters()}


def test_sizes_of_the_papers_tuned_networks():
    assert n_parameters("snn", "california_housing") == 46_846
    assert n_parameters("snn", "adult") == 292_718
