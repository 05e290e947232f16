"""TabNet against its paper's equations and its authors' code, written down once more."""

import math

import numpy as np
import pytest
import torch
from conftest import make, numbers, some_rows
from torch.nn.functional import batch_norm

from tabdl import TabNetRegressor
from tabdl.data.table import Schema
from tabdl.models.tabnet import GhostBatchNorm, SparseLoss
from tabdl.network.contract import init_weights
from tabdl.network.entmax import sparsemax

SCHEMA = Schema(("a", "b", "c"), ("d", "e"), (3, 5))


def built(**parameters):
    """Return a network in float64 with weights away from zeros and ones, and some rows."""
    sizes = {"n_blocks": 3, "d_block": 5, "d_embedding": 4, "virtual_batch_size": 10}
    net = TabNetRegressor(**sizes | parameters)._build_net(SCHEMA, 2, None).double()
    generator = torch.Generator().manual_seed(1)
    init_weights(net, generator)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64))
    rows = some_rows(SCHEMA)
    return net, (rows.x_num.double(), rows.x_cat)


def ghost_norm(x, module):
    """Batch normalisation of each part of the batch."""
    parts = x.split(module.n_rows)
    weights = module.weight, module.bias
    return torch.cat([batch_norm(p, None, None, *weights, training=True, eps=1e-3) for p in parts])


def gated(linear, norm, x):
    values, gates = ghost_norm(x @ linear.weight.T, norm).chunk(2, -1)
    return values * gates.sigmoid()


def transformer_of_the_paper(backbone, step, x):
    """Figure 4c: two layers that all steps share, two of the step, halved sums around each."""
    linears = [*backbone.shared, step[2].linear, step[3].linear]
    x = gated(linears[0], step[0].norm, x)
    for linear, layer in zip(linears[1:], step[1:], strict=True):
        x = (gated(linear, layer.norm, x) + x) * math.sqrt(0.5)
    return x


def mask_logits(module, attention):
    """Of the paper; in the code of 2106.11959, where ``attention`` has no columns, a norm of 0."""
    if attention.shape[1]:
        return ghost_norm(attention @ module.linear.weight.T, module.norm)
    nothing = attention @ attention.new_zeros(0, len(module.bias))
    return batch_norm(nothing, None, None, None, module.bias, training=True, eps=1e-3)


def steps_of_the_paper(backbone, x):
    """Section 3: the sum of the decisions, the entropy of the masks, and the masks.

    The first step only makes a mask; where masks see no rows, it makes nothing.
    """
    prior, chosen, decision, entropy, masks = torch.ones_like(x), x, 0, 0, []
    first = backbone.steps[0] if backbone.first is None else backbone.first
    for i, step in enumerate([first, *backbone.steps]):
        features = transformer_of_the_paper(backbone, step, chosen)
        if i > 0:
            decision = decision + features[:, : backbone.d_block].relu()
        if i < len(backbone.masks):
            attention = features[:, backbone.d_block :]
            mask = sparsemax(prior * mask_logits(backbone.masks[i], attention))
            prior = prior * (backbone.relaxation_factor - mask)
            entropy = entropy - (mask * (mask + 1e-5).log()).sum(1) / len(backbone.masks)
            chosen = mask * x
            masks.append(mask)
    return decision, entropy, torch.stack(masks)


@pytest.mark.parametrize("masks_see_rows", [True, False])
@pytest.mark.parametrize("virtual_batch_size", [10, 12, 30])
def test_the_papers_equations(masks_see_rows, virtual_batch_size):
    net, inputs = built(masks_see_rows=masks_see_rows, virtual_batch_size=virtual_batch_size)
    outputs = net(*inputs)[:, 0]
    decision, entropy, masks = steps_of_the_paper(net.backbone, net.embedding(*inputs))
    expected = torch.cat([net.head(decision), entropy[:, None]], 1)
    torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-10)
    assert masks.std(1).max().item() > 0.1 if masks_see_rows else masks.std(1).max() < 1e-12
    direction = torch.randn(
        expected.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    parameters = list(net.parameters())
    ours, theirs = (torch.autograd.grad(y, parameters, direction) for y in (outputs, expected))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


def test_a_feature_serves_one_step_without_relaxation():
    net, inputs = built(relaxation_factor=1.0)
    with torch.no_grad():
        for mask in net.backbone.masks:
            mask.norm.weight.mul_(30)
            mask.norm.bias.add_(200)
    masks = steps_of_the_paper(net.backbone, net.embedding(*inputs))[2]
    torch.testing.assert_close(masks.sum(2), torch.ones(3, 30, dtype=torch.float64))
    wholly = masks[0] == 1
    assert wholly.sum() > 10 and masks[1:, wholly].max() == 0


def test_parts_are_normalised_apart():
    norm, x = GhostBatchNorm(3, 4, 0.9), torch.randn(9, 3, generator=torch.manual_seed(0))
    init_weights(norm, torch.Generator().manual_seed(0))
    whole, before = norm(x), x[8] / math.sqrt(1 + 1e-3)
    for part in (slice(0, 4), slice(4, 8)):
        expected = batch_norm(x[part], None, None, training=True, eps=1e-3)
        torch.testing.assert_close(whole[part], expected)
    # A row alone has no deviation.
    torch.testing.assert_close(whole[8], before)
    mean = x[:8].unflatten(0, (2, 4)).mean(1).mean(0)
    var = x[:8].unflatten(0, (2, 4)).var(1, correction=0).mean(0)
    torch.testing.assert_close(norm.running_mean, 0.1 * mean)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * var)
    expected = (x - norm.running_mean) / (norm.running_var + 1e-3).sqrt()
    torch.testing.assert_close(norm.eval()(x), expected)


def test_the_entropy_is_a_part_of_the_loss():
    outputs, y = torch.tensor([[[1.0, 2.0, 0.5]]]), torch.tensor([[0.0, 0.0]])
    loss = SparseLoss(lambda outputs, y: (outputs[:, 0] - y).square().sum(1), 0.1)
    assert loss(outputs, y).tolist() == pytest.approx([5.05])


def test_the_learning_rate_decays_a_little_in_each_step():
    """By the rate in so many steps; rows that do not fill a batch wait."""
    X, y = numbers(70)
    options = {"batch_size": 32, "early_stopping": False, "max_epochs": 3, "lr": 0.01}
    model = make("TabNet", "Regressor", lr_decay_rate=0.5, lr_decay_steps=4, **options).fit(X, y)
    expected = [0.01 * 0.5 ** (last / 4) for last in (1, 3, 5)]
    np.testing.assert_allclose([record["lr"] for record in model.history_], expected)
