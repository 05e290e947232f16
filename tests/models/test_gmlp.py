"""gMLP against its paper's equations, written down once more."""

import pytest
import torch
from conftest import some_rows
from torch.nn.functional import gelu, layer_norm, linear

from tabdl import GMLPRegressor
from tabdl.data.table import Schema
from tabdl.network.contract import init_weights

SCHEMA = Schema(("a", "b", "c"), ("d", "e"), (3, 5))
N_TOKENS = 6


def built(moved=True, **parameters):
    """Return a network in float64, its weights moved away from zeros and ones if ``moved``, and its
    tokens of some rows."""
    model = GMLPRegressor(
        **{
            "n_blocks": 2,
            "d_block": 8,
            "ffn_hidden_multiplier": 1.5,
            "ffn_dropout": 0.0,
            **parameters,
        }
    )
    net = model._build_net(SCHEMA, 2, some_rows(SCHEMA)).double()
    generator = torch.Generator().manual_seed(1)
    init_weights(net, generator)
    with torch.no_grad():
        for parameter in net.parameters() if moved else ():
            parameter.add_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64))
    rows = some_rows(SCHEMA)
    return net, (rows.x_num.double(), rows.x_cat)


def norm(x, module):
    return layer_norm(x, x.shape[-1:], module.weight, module.bias)


def block_of_the_paper(x, block):
    """Figure 1 and equations 2 to 4; with the tiny attention, figure 6: softmax(QK' / sqrt(d)) V
    added to the gate."""
    normed = norm(x, block.norm)
    z1, z2 = gelu(block.linear_in(normed)).split(block.linear_out.in_features, -1)
    gate = (
        torch.einsum("ij,bjd->bid", block.gate.weight, norm(z2, block.gate.norm))
        + block.gate.bias[None, :, None]
    )
    if block.attention is not None:
        q, k, v = block.attention.qkv(normed).chunk(3, -1)
        weights = torch.softmax(torch.einsum("bid,bjd->bij", q, k) / q.shape[-1] ** 0.5, -1)
        gate = gate + block.attention.out(torch.einsum("bij,bjd->bid", weights, v))
    return x + block.linear_out(z1 * gate)


@pytest.mark.parametrize("d_attention", [0, 3])
@pytest.mark.parametrize("n_blocks", [1, 3])
def test_the_papers_equations(d_attention, n_blocks):
    """Outputs and gradients, also of the last block, which computes [CLS] alone."""
    net, inputs = built(d_attention=d_attention, n_blocks=n_blocks)
    x = net.embedding(*inputs)
    assert x.shape == (30, N_TOKENS, 8)
    for block in net.backbone.blocks:
        x = block_of_the_paper(x, block)
    expected, outputs = net.head(x[:, 0]).unsqueeze(1), net(*inputs)
    torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-10)
    parameters = list(net.parameters())
    direction = torch.randn(
        expected.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    ours, theirs = (
        torch.autograd.grad(y, parameters, direction, retain_graph=True)
        for y in (outputs, expected)
    )
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


def test_a_block_begins_as_a_feed_forward_layer():
    """No token sees another one yet, and the gate is one."""
    net, inputs = built(moved=False)
    block, x = net.backbone.blocks[0], net.embedding(*inputs)
    u = gelu(
        linear(
            block.norm(x), *(t.chunk(2)[0] for t in (block.linear_in.weight, block.linear_in.bias))
        )
    )
    torch.testing.assert_close(block(x), x + block.linear_out(u), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(block.gate.bias.detach(), torch.ones(N_TOKENS, dtype=torch.float64))


def test_dropout_is_where_it_should_be():
    """All that a block adds is dropped by the residual dropout, and half of its hidden numbers by
    the other."""
    net, inputs = built(residual_dropout=0.99, ffn_dropout=0.5)
    block, x = net.backbone.blocks[0].train(), net.embedding(*inputs)
    unchanged = (block(x) == x).double().mean().item()
    assert unchanged == pytest.approx(0.99, abs=0.01)
    seen = []
    block.linear_out.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    block(x)
    assert (seen[0] == 0).double().mean().item() == pytest.approx(0.5, abs=0.05)


def test_a_hidden_width_of_zero_is_refused():
    with pytest.raises(
        ValueError,
        match="GMLPRegressor: ffn_hidden_multiplier must leave a hidden width of at least 1, got",
    ):
        built(ffn_hidden_multiplier=0.1)
