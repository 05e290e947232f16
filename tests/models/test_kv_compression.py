"""FT-Transformer whose attention is to fewer keys and values, against the equation written down."""

import pickle

import numpy as np
import pytest
import torch
from conftest import make, numbers
from papers_networks import assert_same_function, built

import tabdl
from tabdl import FTTransformerRegressor
from tabdl.inspection import attention_importances


def heads(x, n_heads):
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


@pytest.mark.parametrize("n_heads", [1, 2])
@pytest.mark.parametrize("n_blocks", [1, 3])
def test_the_equation(n_blocks, n_heads):
    """2006.04768, equation 7, before the heads are told apart, as in the code of 2106.11959."""
    net, *inputs = built(
        FTTransformerRegressor(
            n_blocks=n_blocks, d_block=8, n_heads=n_heads, norm="post", kv_compression=0.5
        )
    )
    x = net.embedding(*inputs)
    assert x.shape[1] == 6
    for block in net.backbone.blocks:
        layer = block.attention
        assert layer.keys.weight.shape == layer.values.weight.shape == (3, 6)
        q, k, v = (x @ layer.qkv.weight.T + layer.qkv.bias).chunk(3, -1)
        k = torch.einsum("st,btd->bsd", layer.keys.weight, k)
        v = torch.einsum("st,btd->bsd", layer.values.weight, v)
        q, k, v = (heads(part, n_heads) for part in (q, k, v))
        alpha = torch.softmax(q @ k.mT / (8 / n_heads) ** 0.5, -1)
        branch = layer.out((alpha @ v).transpose(1, 2).flatten(-2))
        x = block.attention_norm(x + branch)
        x = block.ffn_norm(x + block.ffn(x))
    assert_same_function(net, net(*inputs), net.head(x[:, 0]))


def test_members_alone_and_together_and_from_a_file(tmp_path):
    X, y = numbers(60, 6)
    several = make("FTTransformer", "Regressor", kv_compression=0.4, n_members=2).fit(X, y)
    alone = make("FTTransformer", "Regressor", kv_compression=0.4).fit(X, y)
    member = several.member_results_[0].history[-1]["train_loss"]
    assert member == pytest.approx(alone.history_[-1]["train_loss"], rel=1e-5)
    plain = make("FTTransformer", "Regressor").fit(X, y)
    assert not np.allclose(plain.predict(X), alone.predict(X))
    tabdl.save(several, tmp_path / "model.tabdl")
    for copied in (tabdl.load(tmp_path / "model.tabdl"), pickle.loads(pickle.dumps(several))):
        np.testing.assert_array_equal(copied.predict(X), several.predict(X))


def test_what_it_refuses():
    X, y = numbers(40, 4)
    with pytest.raises(ValueError, match=r"kv_compression must leave .* with 5 tokens"):
        make("FTTransformer", "Regressor", kv_compression=0.1).fit(X, y)
    with pytest.raises(ValueError, match="kv_compression must be"):
        make("FTTransformer", "Regressor", kv_compression=1.5).fit(X, y)
    model = make("FTTransformer", "Regressor", kv_compression=0.5).fit(X, y)
    with pytest.raises(ValueError, match="kv_compression .* attends to mixtures of columns"):
        attention_importances(model, X)
