"""Training in float16: the loss is scaled for each network, and an overflow costs one step."""

import pytest
import torch
from conftest import make, numbers
from torch import nn

from tabdl.training import epoch
from tabdl.training.loss_scale import LossScale

CPU = torch.device("cpu")


def with_gradients(*gradients):
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    return parameters


def test_gradients_are_divided_by_the_factor():
    parameters = with_gradients(torch.full((2, 3), 2.0**16), torch.full((4,), 2.0**17))
    scale = LossScale(1, CPU)
    scale.unscale(parameters)
    assert (parameters[0].grad == 1).all() and (parameters[1].grad == 2).all()
    assert scale.scale.tolist() == [2.0**16]


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_an_overflow_concerns_one_network_alone(bad):
    """Its gradients are zero and its factor is half; then the factor grows again."""
    gradient = torch.full((2, 3), 2.0**16)
    other = gradient.clone()
    other[1, 2] = bad
    parameters = with_gradients(gradient, other)
    scale = LossScale(2, CPU)
    scale.unscale(parameters)
    for parameter in parameters:
        assert parameter.grad.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert scale.scale.tolist() == [2.0**16, 2.0**15]
    for _ in range(1999):
        scale.unscale(with_gradients(gradient))
    assert scale.scale.tolist() == [2.0**17, 2.0**15]
    scale.unscale(with_gradients(gradient))
    assert scale.scale.tolist() == [2.0**17, 2.0**16]


def test_small_gradients_are_not_lost():
    """Without the factor, gradients of 1e-8 and less are zero in float16."""
    net = nn.Linear(8, 8, bias=False)
    x = torch.full((1, 8), 1e-2)
    scale = LossScale(1, CPU)

    def gradient(factor):
        net.weight.grad = None
        with torch.autocast("cpu", torch.float16):
            outputs = net(x)
        (outputs.float().sum() * 1e-8 * factor).backward()
        return net.weight.grad.abs().sum().item()

    assert gradient(1.0) == 0
    gradient(scale.scale[0])
    scale.unscale([net.weight])
    assert net.weight.grad.sum().item() == pytest.approx(64 * 1e-10, rel=0.02)


def test_a_fit_goes_on_after_an_overflow(monkeypatch):
    """The first factor is far too large."""
    monkeypatch.setattr("tabdl.training.loss_scale._FIRST", 2.0**40)
    seen = []

    class Spied(LossScale):
        def __init__(self, *args):
            super().__init__(*args)
            seen.append(self)

    monkeypatch.setattr(epoch, "LossScale", Spied)
    X, y = numbers(200)
    options = {"precision": "float16", "max_epochs": 30, "lr": 0.02, "early_stopping": False}
    model = make("TabMLP", "Regressor", n_members=2, **options).fit(X, y)
    assert (seen[0].scale < 2.0**30).all() and model.score(X, y) > 0.8
