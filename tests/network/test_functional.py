"""The fused operations beside the plain ones, in float64: outputs, gradients, and several networks
at once."""

import pytest
import torch
from torch.nn import functional

from tabdl.network.functional import attention, dropout_mask, mish, reglu

B, T, D, H = 6, 5, 8, 2


def random(*shape):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64
    ).requires_grad_()


def plain_attention(qkv, n_heads, kept, scale):
    q, k, v = (t.unflatten(-1, (n_heads, -1)).transpose(-2, -3) for t in qkv.chunk(3, -1))
    probabilities = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1)
    if kept is not None:
        probabilities = probabilities * kept * scale
    return (probabilities @ v).transpose(-2, -3).flatten(-2)


def plain_reglu(x, kept, scale):
    a, b = x.chunk(2, -1)
    y = a * functional.relu(b)
    return y if kept is None else y * kept * scale


def assert_same(fast, slow, x):
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
    direction = random(*slow.shape)
    torch.testing.assert_close(
        *(torch.autograd.grad((out * direction).sum(), x)[0] for out in (fast, slow)),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("with_dropout", [False, True])
@pytest.mark.parametrize("n_heads", [1, H])
def test_attention(with_dropout, n_heads):
    qkv = random(B, T, 3 * D)
    kept = (random(B, n_heads, T, T) > -1).double() if with_dropout else None
    assert_same(attention(qkv, n_heads, kept, 1.25), plain_attention(qkv, n_heads, kept, 1.25), qkv)


@pytest.mark.parametrize("with_dropout", [False, True])
def test_reglu(with_dropout):
    x = random(B, T, 2 * D)
    kept = (random(B, T, D) > -1).double() if with_dropout else None
    assert_same(reglu(x, kept, 1.25), plain_reglu(x, kept, 1.25), x)


@pytest.mark.parametrize("with_dropout", [False, True])
def test_several_networks_at_once(with_dropout):
    qkv, x = random(3, B, T, 3 * D), random(3, B, T, 2 * D)
    kept = [
        (random(3, *shape) > -1).double() if with_dropout else None
        for shape in ((B, H, T, T), (B, T, D))
    ]
    in_dims = (0, 0 if with_dropout else None)
    fast = torch.vmap(lambda t, kept: attention(t, H, kept, 1.25), in_dims)(qkv, kept[0])
    assert_same(fast, plain_attention(qkv, H, kept[0], 1.25), qkv)
    assert_same(
        torch.vmap(lambda t, kept: reglu(t, kept, 1.25), in_dims)(x, kept[1]),
        plain_reglu(x, kept[1], 1.25),
        x,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_drops_the_same_beside_others(dtype):
    def generators():
        return tuple(torch.Generator().manual_seed(seed) for seed in (0, 1, 2))

    x = torch.zeros(3, 7, 9, dtype=dtype)
    together = torch.vmap(lambda t: dropout_mask(t, 2**14, generators()), randomness="different")(x)
    alone = torch.stack([dropout_mask(x[0], 2**14, (generator,)) for generator in generators()])
    assert together.dtype == dtype and torch.equal(together, alone)
    assert set(alone.unique().tolist()) == {0, 1} and not torch.equal(alone[0], alone[1])


def test_mish_is_torchs():
    x = torch.cat(
        [
            torch.linspace(-120, 120, 2001, dtype=torch.float64),
            torch.randn(500, dtype=torch.float64),
        ]
    ).requires_grad_()
    y = functional.mish(x)
    [gradient] = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(mish(x), y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(mish(x).sum(), x)[0], gradient, rtol=1e-10, atol=1e-12
    )
    stacked = torch.func.vmap(torch.func.grad(lambda part: mish(part).sum()))(
        x.detach().view(41, -1)
    )
    torch.testing.assert_close(stacked.flatten(), gradient, rtol=1e-10, atol=1e-12)
    half = torch.linspace(-5, 5, 100, dtype=torch.bfloat16)
    assert mish(half).dtype == torch.bfloat16
    torch.testing.assert_close(mish(half), functional.mish(half))
