"""AutoInt against its papers' equations, written down once more."""

import pytest
import torch
from papers_networks import assert_same_function, built, n_parameters
from torch.nn.functional import layer_norm

from tabdl import AutoIntRegressor
from tabdl.network.contract import decayed_names


def heads(x, n_heads):
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


@pytest.mark.parametrize("kv_compression", [None, 0.7])
@pytest.mark.parametrize("n_heads", [1, 2])
@pytest.mark.parametrize("n_blocks", [1, 3])
def test_the_papers_equations(n_blocks, n_heads, kv_compression):
    """1810.11921, equations 5 to 10, with the norm and the factor of the authors of 2106.11959,
    and its compression of keys and values: 2006.04768, equation 7."""
    net, x_num, x_cat = built(
        AutoIntRegressor(
            n_blocks=n_blocks, d_block=8, n_heads=n_heads, kv_compression=kv_compression
        )
    )
    embedding, table = net.embedding, net.embedding.cat.weight
    tokens = [x_num[:, [j]] * embedding.num.weight[j] for j in range(3)]
    x = torch.stack([*tokens, table[x_cat[:, 0]], table[3 + x_cat[:, 1]]], 1)
    for layer in net.backbone.layers:
        weights, biases = (
            t.chunk(3) for t in (layer.attention.qkv.weight, layer.attention.qkv.bias)
        )
        q, k, v = (x @ w.T + b for w, b in zip(weights, biases, strict=True))
        if kv_compression is not None:
            assert layer.attention.keys.weight.shape == (3, 5)
            k, v = layer.attention.keys.weight @ k, layer.attention.values.weight @ v
        q, k, v = (heads(part, n_heads) for part in (q, k, v))
        alpha = torch.softmax(q @ k.transpose(-1, -2) / (8 / n_heads) ** 0.5, -1)
        mixed = (alpha @ v).transpose(1, 2).flatten(-2)
        added = x @ layer.residual.weight.T + mixed
        x = layer_norm(added, (8,), layer.norm.weight, layer.norm.bias).clamp(min=0)
    expected = x.flatten(1) @ net.head[0].weight.T + net.head[0].bias
    assert_same_function(net, net(x_num, x_cat), expected)


def test_dropout_is_where_it_should_be():
    """All that attention adds is dropped by the residual dropout; the norm comes after it."""
    net, *inputs = built(AutoIntRegressor(n_blocks=1, d_block=8, residual_dropout=0.99))
    layer, x = net.backbone.layers[0].train(), net.embedding(*inputs)
    plain = layer.norm(layer.residual(x)).relu()
    same = (layer(x) - plain).abs().amax(-1) < 1e-12
    assert same.double().mean().item() == pytest.approx(0.99**8, abs=0.1)


def test_tokens_norms_and_biases_do_not_decay():
    net, *_ = built(AutoIntRegressor(n_blocks=1))
    layer = "backbone.layers.0"
    assert decayed_names(net) == {
        *(f"{layer}.attention.qkv.weight", f"{layer}.residual.weight", "head.0.weight")
    }


def test_no_token_is_left_of_a_compression():
    with pytest.raises(ValueError, match=r"AutoIntRegressor: kv_compression .* with 5 tokens"):
        built(AutoIntRegressor(kv_compression=0.1))


def test_sizes_of_the_papers_tuned_networks():
    assert n_parameters("autoint", "california_housing") == 52_193
    assert n_parameters("autoint", "adult") == 8_161


def test_heads_of_one_width():
    with pytest.raises(ValueError, match="AutoIntRegressor: d_block must be a multiple of n_heads"):
        built(AutoIntRegressor(d_block=7))
