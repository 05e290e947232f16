"""NODE against its paper's equations, written down once more."""

import itertools

import numpy as np
import pytest
import torch
from conftest import some_rows

from tabdl import NODEClassifier, NODERegressor
from tabdl.data.table import Schema
from tabdl.network.contract import decayed_names, init_weights
from tabdl.network.entmax import entmax15

SCHEMA = Schema(("a", "b", "c"), ("d", "e"), (3, 5))


def built(schema=SCHEMA, n_outputs=2, n_rows=30, **parameters):
    """Return a network in float64 that has seen some rows, and these rows."""
    sizes = {"n_blocks": 2, "d_block": 5, "depth": 3, "d_tree": 3, "d_embedding": 4}
    rows = some_rows(schema, n_rows)
    net = NODERegressor(**sizes | parameters)._build_net(schema, n_outputs, rows).double()
    generator = torch.Generator().manual_seed(1)
    init_weights(net, generator)
    net.init_from_data(rows, generator)
    return net, (rows.x_num.double(), rows.x_cat)


def shares_of_two(x):
    """Return 1.5-entmax of the pairs (x, 0), (..., 2)."""
    return entmax15(torch.stack([x, torch.zeros_like(x)], -1))


def trees_of_the_paper(layer, x):
    """Equations 2 to 5, tree by tree and leaf by leaf: (B, d_in) to (B, n_trees, d_tree)."""
    responses = []
    for t in range(len(layer.response)):
        total = 0
        weights = entmax15(layer.feature_selection_logits[t])
        values = x @ weights.T  # (B, depth)
        scaled = (values - layer.feature_thresholds[t]) / layer.log_temperatures[t].exp()
        sides = shares_of_two(scaled)
        for leaf in itertools.product((0, 1), repeat=layer.depth):
            number = sum(side << i for i, side in enumerate(leaf))
            weight = torch.stack([sides[:, i, side] for i, side in enumerate(leaf)], -1).prod(-1)
            total = total + weight[:, None] * layer.response[t, :, number]
        responses.append(total)
    return torch.stack(responses, 1)


def output_of_the_paper(net, inputs):
    """Section 3.2: layers on top of all before them, and the mean of all trees."""
    x, responses = net.embedding(*inputs), []
    for layer in net.backbone.layers:
        responses.append(trees_of_the_paper(layer, x))
        x = torch.cat([x, responses[-1].flatten(1)], 1)
    return torch.cat(responses, 1)[..., : net.backbone.n_outputs].mean(1)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("n_blocks", [1, 3])
def test_the_papers_equations(n_blocks, depth):
    net, inputs = built(n_blocks=n_blocks, depth=depth)
    # The first thresholds and temperatures leave every split soft.
    with torch.no_grad():
        for layer in net.backbone.layers:
            layer.log_temperatures.sub_(1.5)
    outputs, expected = net(*inputs)[:, 0], output_of_the_paper(net, inputs)
    torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-10)
    direction = torch.randn(
        expected.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    parameters = list(net.parameters())
    ours, theirs = (torch.autograd.grad(y, parameters, direction) for y in (outputs, expected))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


def test_thresholds_and_temperatures_come_from_the_rows():
    """A threshold is a quantile of its values; the farthest value is where its split ends."""
    net, inputs = built(n_rows=400)
    x = net.embedding(*inputs)
    for layer in net.backbone.layers:
        values = torch.einsum("bi,tdi->tdb", x, entmax15(layer.feature_selection_logits))
        thresholds = layer.feature_thresholds.unsqueeze(-1)
        below = (values < thresholds).double().mean(-1)
        assert below.min() < 0.25 and below.max() > 0.75
        farthest = (values - thresholds).abs().amax(-1)
        torch.testing.assert_close(layer.log_temperatures.exp(), farthest, rtol=1e-4, atol=1e-5)
        right = layer.splits(x.T)
        assert right.min() > 0 and right.max() < 1
        x = torch.cat([x, trees_of_the_paper(layer, x).flatten(1)], 1)


def test_random_quantiles_are_those_of_numpy():
    net, _ = built(n_blocks=1)
    layer, generator = net.backbone.layers[0], torch.Generator().manual_seed(3)
    x = torch.randn(len(layer.feature_selection_logits[0, 0]), 51, dtype=torch.float64)
    layer.init_from_rows(x, generator)
    share = torch.rand(15, 1, generator=generator.manual_seed(3), dtype=torch.float64)
    values = torch.einsum("ib,tdi->tdb", x, entmax15(layer.feature_selection_logits)).flatten(0, 1)
    expected = [np.quantile(own, q) for own, q in zip(values.detach(), share[:, 0], strict=True)]
    np.testing.assert_allclose(layer.feature_thresholds.detach().flatten(), expected, rtol=1e-10)


def test_as_many_parameters_as_in_the_paper():
    """The default configuration on California Housing: a run report of 2106.11959."""
    schema = Schema(tuple("abcdefgh"), (), ())
    net = NODERegressor()._build_net(schema, 1, some_rows(schema))
    assert sum(parameter.numel() for parameter in net.parameters()) == 192_512


def test_responses_decay():
    net, _ = built(numeric_embedding="linear")
    names = {f"backbone.layers.{i}.response" for i in range(2)}
    assert decayed_names(net) == names


def test_a_response_has_a_number_for_each_class():
    rows = some_rows(SCHEMA)
    net = NODEClassifier(d_block=2, d_tree=2)._build_net(SCHEMA, 4, rows)
    assert net.backbone.layers[0].response.shape == (2, 4, 64)
