"""DCN V2 against its papers' equations, written down once more."""

import pytest
import torch
from papers_networks import assert_same_function, built, flat_rows, n_parameters

from tabdl import DCNv2Regressor
from tabdl.network.contract import decayed_names


@pytest.mark.parametrize("n_cross_layers, n_blocks", [(1, 2), (3, 1)])
def test_the_papers_equations(n_cross_layers, n_blocks):
    """2008.13535, equations 1 and 3, and the parallel structure of section 3.4."""
    sizes = {"d_block": 6, "d_embedding": 4}
    estimator = DCNv2Regressor(n_cross_layers=n_cross_layers, n_blocks=n_blocks, **sizes)
    net, *inputs = built(estimator)
    projection, head = net.backbone.projection, net.head[0]
    x0 = flat_rows(net, *inputs) @ projection.weight.T + projection.bias
    crossed = deep = x0
    for layer in net.backbone.cross:
        crossed = x0 * (crossed @ layer.linear.weight.T + layer.linear.bias) + crossed
    for linear, *_ in net.backbone.deep:
        deep = (deep @ linear.weight.T + linear.bias).clamp(min=0)
    expected = torch.cat([crossed, deep], 1) @ head.weight.T + head.bias
    assert_same_function(net, net(*inputs), expected)


def test_dropout_is_where_it_should_be():
    """What a cross layer adds is dropped, not what goes on; hidden numbers are dropped."""
    net, *inputs = built(DCNv2Regressor(d_block=64, cross_dropout=0.9, hidden_dropout=0.5))
    x0 = net.backbone.projection(net.embedding(*inputs))
    layer = net.backbone.cross[0].train()
    unchanged = (layer(x0, x0) == x0).double().mean().item()
    assert unchanged == pytest.approx(0.9, abs=0.03)
    zeros = [(net.backbone.deep[0].train(mode)(x0) == 0).double().mean() for mode in (False, True)]
    assert 1 - zeros[1].item() == pytest.approx((1 - zeros[0].item()) / 2, abs=0.05)


def test_all_parameters_decay():
    net, *_ = built(DCNv2Regressor())
    assert decayed_names(net) == {name for name, _ in net.named_parameters()}


def test_sizes_of_the_papers_tuned_networks():
    assert n_parameters("dcn_v2", "california_housing") == 620_249
    assert n_parameters("dcn_v2", "adult") == 1_181_713
