"""GrowNet against its paper's equations and the loop of its stages, written down once more."""

import copy
import pickle

import numpy as np
import pytest
import torch
from conftest import make, numbers, some_rows
from torch.nn.functional import batch_norm, binary_cross_entropy_with_logits, leaky_relu

from tabdl import GrowNetRegressor
from tabdl.data.table import Schema
from tabdl.models.grownet import StageLoss
from tabdl.network.contract import init_weights

SCHEMA = Schema(("a", "b", "c"), ("d", "e"), (3, 5))


def built(n_outputs=2, **parameters):
    """Return a network in float64 with weights away from zeros and ones, and some rows."""
    sizes = {"n_blocks": 3, "d_block": 6, "d_embedding": 4, "learn_boost_rate": True}
    net = GrowNetRegressor(**sizes | parameters)._build_net(SCHEMA, n_outputs, None).double()
    generator = torch.Generator().manual_seed(1)
    init_weights(net, generator)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64))
    net.head.prior.fill_(0.3)
    rows = some_rows(SCHEMA)
    return net, (rows.x_num.double(), rows.x_cat)


def normed(x, module):
    return batch_norm(x, None, None, module.weight, module.bias, training=True)


def weak_net(net, x, below):
    """Section 3 of 2106.11959's code: BatchNorm of the row and the network below, two layers."""
    if below is not None:
        x = normed(torch.cat([x, below], 1), net.norm_in)
    hidden = net.hidden(normed(leaky_relu(net.linear_in(x), 0.1), net.norm))
    return hidden, net.linear_out(hidden.relu())


def outputs_of_the_paper(net, x, n):
    """Equation 1, with the penultimate layer of the network below (figure 1)."""
    below, total = None, 0
    for weak in net.backbone.nets[:n]:
        below, added = weak_net(weak, x, below)
        total = total + added
    return net.head.prior + net.head.boost_rate * total


def test_the_papers_equations():
    net, inputs = built()
    outputs = net(*inputs)[:, 0]
    expected = outputs_of_the_paper(net, net.embedding(*inputs), 3)
    torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-10)
    direction = torch.randn(
        expected.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    parameters = list(net.parameters())
    ours, theirs = (torch.autograd.grad(y, parameters, direction) for y in (outputs, expected))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_used", [1, 2])
def test_a_new_network_is_trained_alone(n_used):
    net, inputs = built()
    net.begin_phase(n_used, is_new_alone=True)
    outputs = net(*inputs)
    assert outputs.shape == (30, 2, 2)
    x = net.embedding(*inputs)
    before = outputs_of_the_paper(net, x, n_used - 1).expand(30, 2)
    torch.testing.assert_close(outputs[:, 0], before, rtol=1e-10, atol=1e-10)
    whole = outputs_of_the_paper(net, x, n_used)
    torch.testing.assert_close(outputs.sum(1), whole, rtol=1e-10, atol=1e-10)
    outputs.sum().backward()
    new = {
        f"backbone.nets.{n_used - 1}.{name}" for name, _ in net.backbone.nets[0].named_parameters()
    }
    trained = {name for name, p in net.named_parameters() if p.grad is not None}
    assert new <= trained
    assert all(name.startswith(f"backbone.nets.{n_used - 1}.") for name in trained)


def test_the_signed_expansion_is_that_of_the_loss():
    """Half of it has the first two derivatives of the logistic loss at what the others say."""
    y, before = torch.tensor([[0.0], [1.0], [1.0]]).double(), torch.tensor([[0.7], [-2.0], [3.0]])
    before = before.double()

    def loss(added):
        return binary_cross_entropy_with_logits(before + added, y, reduction="none").sum()

    def expansion(added):
        outputs = torch.stack([before, added], 1)
        return StageLoss(loss, "signed")(outputs, y).sum() / 2

    nothing = torch.zeros(3, 1, dtype=torch.float64, requires_grad=True)
    found = []
    for function in (expansion, loss):
        (slope,) = torch.autograd.grad(function(nothing), nothing, create_graph=True)
        found.append((slope, *torch.autograd.grad(slope.sum(), nothing)))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


def test_the_binary_expansion_is_that_of_the_code():
    """h (added - y (1 + exp(-y F)))^2, h = 1 / ((1 + exp(y F)) (1 + exp(-y F))), y 0 or 1."""
    y, before = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.7], [-2.0]])
    added = torch.tensor([[0.5], [0.25]])
    found = StageLoss(lambda outputs, y: outputs, "binary")(torch.stack([before, added], 1), y)
    h = 1 / ((1 + np.exp(-2.0)) * (1 + np.exp(2.0)))
    expected = [0.25 * 0.5**2, h * (0.25 - (1 + np.exp(2.0))) ** 2]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_stages_and_their_rates():
    phases = built(n_blocks=32, epochs_per_stage=2, correct_epochs=3)[0].phases
    found = {
        epoch: [
            (p.n_passes, round(1 / p.lr_factor), round(1 / p.decay_factor)) for p in phases(epoch)
        ]
        for epoch in (0, 1, 14, 15, 16, 30, 31, 32)
    }
    assert found == {
        0: [(2, 1, 1)],
        1: [(2, 1, 1), (3, 3, 1)],
        14: [(2, 1, 1), (3, 3, 1)],
        15: [(2, 1, 1), (3, 6, 2)],
        16: [(2, 2, 2), (3, 6, 2)],
        30: [(2, 2, 2), (3, 12, 4)],
        31: [(2, 4, 4), (3, 12, 4)],
        32: [(3, 12, 4)],
    }


def step(net, parameters, lr, loss, n):
    """Take ``n`` steps of Adam with a penalty on all rows."""
    optimizer = torch.optim.Adam(parameters, lr, weight_decay=1e-2)
    for _ in range(n):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


@pytest.mark.parametrize("learns", [True, False])
def test_the_loop_of_the_authors(learns):
    """Three stages of one batch, against plain torch: a network alone, then all of them."""
    X, y = numbers(60)
    options = {"n_blocks": 3, "epochs_per_stage": 2, "correct_epochs": 2, "weight_decay": 1e-2}
    options |= {"learn_boost_rate": learns, "early_stopping": False, "batch_size": 60}
    options |= {"precision": "float64", "numeric_transform": "standard"}
    model = make("GrowNet", "Regressor", max_epochs=3, lr=1e-2, **options).fit(X, y)
    beginnings = []
    once = make("GrowNet", "Regressor", max_epochs=1, lr=1e-30, **options)
    original = once._keep
    once._keep = lambda nets, *rest: beginnings.append(copy.deepcopy(nets)) or original(nets, *rest)
    once.fit(X, y)
    net = beginnings[0][0].train()
    x = torch.from_numpy((X - X.mean(0)) / X.std(0))
    t = torch.from_numpy((y - y.mean()) / y.std())[:, None]
    for s, weak in enumerate(net.backbone.nets):

        def error(n=s + 1):
            return (outputs_of_the_paper(net, x, n) - t).square().mean()

        step(net, weak.parameters(), 1e-2, error, 2)
        if s > 0:
            rate = [net.head.boost_rate] if learns else []
            step(net, [*net.backbone.nets[: s + 1].parameters(), *rate], 1e-2 / 3, error, 2)
    for name, parameter in net.named_parameters():
        trained = model.module_.get_parameter(name)
        torch.testing.assert_close(trained, parameter, rtol=1e-9, atol=1e-9)


def test_only_trained_networks_are_kept():
    X, y = numbers(200)
    model = make("GrowNet", "Regressor", n_blocks=9, max_epochs=9, patience=2, lr=0.05).fit(X, y)
    kept = model.module_.backbone.nets
    assert (
        len(kept)
        == model.best_epoch_
        < 9
        == len(model._with({})._build_net(SCHEMA, 1, None).backbone.nets)
    )
    again = pickle.loads(pickle.dumps(model))
    assert len(again.module_.backbone.nets) == len(kept)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("task", ["Classifier", "Regressor"])
def test_the_prior_is_that_of_the_training_rows(task):
    X, y = numbers(80)
    weight = np.linspace(0.5, 1.5, 80)
    labels = y if task == "Regressor" else np.where(y > 0.5, "b", "a")
    model = make("GrowNet", task, n_blocks=1, max_epochs=1, early_stopping=False)
    prior = model.fit(X, labels, sample_weight=weight).module_.head.prior
    share = np.average(y > 0.5, weights=weight)
    expected = 0.0 if task == "Regressor" else np.log(share / (1 - share))
    np.testing.assert_allclose(prior, [expected], atol=1e-5)
    three = np.digitize(y, [-0.5, 0.5])
    if task == "Classifier":
        prior = model.fit(X, three).module_.head.prior
        np.testing.assert_allclose(prior.softmax(0), np.bincount(three) / 80, rtol=1e-5)
