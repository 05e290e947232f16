"""What the tests of the paper's other networks share (2106.11959): its tables and comparisons."""

from typing import Any

import torch
from conftest import some_rows

from benchmarks.models.registry import MODELS
from benchmarks.runs.results import PAPER
from tabdl.data.table import Schema
from tabdl.network.contract import init_weights

MIXED = Schema(("a", "b", "c"), ("d", "e"), (3, 5))
# The codes of Adult's training rows; ours have one more a feature, for what no training row has.
_CODES = (9, 16, 7, 15, 6, 5, 2, 42)
TABLES = {
    "california_housing": Schema(tuple("abcdefgh"), (), ()),
    "adult": Schema(tuple("abcdef"), tuple("ghijklmn"), _CODES),
}


def built(estimator):
    """Return the network for two outputs, in float64 and evaluation mode, with its inputs; no
    weight is a zero or a one."""
    rows = some_rows(MIXED)
    net = estimator._build_net(MIXED, 2, rows).double()
    generator = torch.Generator().manual_seed(1)
    init_weights(net, generator)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator).double() / 4)
    return net.eval(), rows.x_num.double(), rows.x_cat.int()


def flat_rows(net, x_num, x_cat):
    """Return the numbers beside the vectors of the categories, (B, 3 + 2 D)."""
    table = net.embedding.cat.weight
    return torch.cat([x_num, table[x_cat[:, 0]], table[3 + x_cat[:, 1]]], 1)


def assert_same_function(net, outputs, expected):
    """Assert that outputs, and gradients of all parameters, are the same."""
    torch.testing.assert_close(outputs, expected.unsqueeze(1), rtol=1e-10, atol=1e-10)
    ours, theirs = (
        torch.autograd.grad(y.square().sum(), [*net.parameters()]) for y in (outputs, expected)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def n_parameters(model, table):
    """Return the size of the paper's tuned network."""
    entry: Any = MODELS[model]
    estimator = entry.regressor(
        **entry.parameters(None, "default", "plain"), **PAPER["tuned_configs"][table][model]
    )
    net = estimator._build_net(TABLES[table], 1, some_rows(TABLES[table]))
    return sum(parameter.numel() for parameter in net.parameters())
