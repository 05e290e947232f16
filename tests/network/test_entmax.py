"""Sparse shares: their definitions, the package of their authors, and their gradients."""

import pytest
import torch

from tabdl.network.entmax import entmax15, entmoid15, sparsemax

SHARES = {"entmax15": entmax15, "sparsemax": sparsemax}


def some_numbers(*shape):
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name, power", [("sparsemax", 1.0), ("entmax15", 2.0)])
def test_shares_are_powers_above_a_threshold(name, power):
    """They are ``max((alpha - 1) x - threshold, 0)^(1 / (alpha - 1))``, and their sum is 1."""
    x = some_numbers(40, 7)
    shares = SHARES[name](x)
    torch.testing.assert_close(shares.sum(-1), torch.ones(40, dtype=torch.float64))
    thresholds = x / power - shares ** (1 / power)
    is_zero = shares == 0
    assert 0.1 < is_zero.double().mean() < 0.9
    threshold = thresholds.masked_fill(is_zero, 0).sum(-1, keepdim=True) / (~is_zero).sum(-1, True)
    expected = (x / power - threshold).clamp(min=0) ** power
    torch.testing.assert_close(shares, expected, rtol=1e-10, atol=1e-10)


def test_two_ways_are_entmax_of_two():
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    pairs = torch.stack([x, torch.zeros_like(x)], -1)
    torch.testing.assert_close(entmoid15(x), entmax15(pairs)[:, 0], rtol=1e-10, atol=1e-10)
    assert entmoid15(torch.tensor([-2.0, 2.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("function", [entmax15, sparsemax, entmoid15])
def test_gradients(function):
    x = some_numbers(6, 7).requires_grad_()
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradcheck(torch.vmap(function), x)


@pytest.mark.parametrize("function", [entmax15, sparsemax])
def test_equal_numbers_and_one_number(function):
    torch.testing.assert_close(function(torch.zeros(2, 5)), torch.full((2, 5), 0.2))
    torch.testing.assert_close(function(torch.tensor([[3.0], [-1e30]])), torch.ones(2, 1))


@pytest.mark.parametrize("name", SHARES)
def test_the_package_of_the_authors(name):
    package = pytest.importorskip("entmax", reason="the package entmax is not installed")
    ours, theirs = (some_numbers(30, 9).requires_grad_() for _ in range(2))
    direction = some_numbers(30, 9).flip(0)
    found, expected = SHARES[name](ours), getattr(package, name)(theirs, -1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad(found, ours, direction)
    torch.testing.assert_close(
        gradients, torch.autograd.grad(expected, theirs, direction), rtol=1e-10, atol=1e-10
    )
