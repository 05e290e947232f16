"""Maps from numbers to shares that can be exactly zero: sparsemax, 1.5-entmax and its two-way form.

Martins, Astudillo: "From Softmax to Sparsemax" (ICML 2016, 1602.02068); Peters, Niculae, Martins:
"Sparse Sequence-to-Sequence Models" (ACL 2019, 1905.05702), for entmax. Both are computed exactly,
from the sorted numbers. All act on the last dimension, or element by element.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def _sorted_sums(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the numbers in descending order, how many there are up to each, and their sums."""
    ordered = x.sort(-1, descending=True).values
    count = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    return ordered, count, ordered.cumsum(-1)


def _at_last(values: Tensor, is_inside: Tensor) -> Tensor:
    """Return the value at the last place that is inside; the places before it are inside too."""
    return values.gather(-1, is_inside.sum(-1, keepdim=True) - 1)


class _Sparsemax(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        x = x - x.amax(-1, keepdim=True)
        ordered, count, sums = _sorted_sums(x)
        threshold = _at_last((sums - 1) / count, 1 + count * ordered > sums)
        return (x - threshold).clamp(min=0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):  # pyright: ignore[reportIncompatibleMethodOverride]
        (shares,) = ctx.saved_tensors
        support = (shares > 0).to(shares.dtype)
        gradient = gradients[0] * support
        mean = gradient.sum(-1, keepdim=True) / support.sum(-1, keepdim=True)
        return gradient - mean * support


def sparsemax(x: Tensor) -> Tensor:
    """Return the nearest shares to ``x`` over its last dimension (1602.02068, algorithm 1).

    They are not negative and their sum is 1.
    """
    return _Sparsemax.apply(x)


class _Entmax15(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        x = (x - x.amax(-1, keepdim=True)) / 2
        ordered, count, sums = _sorted_sums(x)
        mean = sums / count
        # The sum of the squares of (x - threshold) over the largest numbers is 1.
        spread = ordered.square().cumsum(-1) - sums * mean
        thresholds = mean - ((1 - spread) / count).clamp(min=0).sqrt()
        threshold = _at_last(thresholds, thresholds <= ordered)
        return (x - threshold).clamp(min=0).square()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):  # pyright: ignore[reportIncompatibleMethodOverride]
        root = ctx.saved_tensors[0].sqrt()
        gradient = gradients[0] * root
        mean = gradient.sum(-1, keepdim=True) / root.sum(-1, keepdim=True)
        return gradient - mean * root


def entmax15(x: Tensor) -> Tensor:
    """Return the shares of 1.5-entmax over the last dimension (1905.05702, algorithm 2).

    They are ``max(x / 2 - threshold, 0)^2``, whose sum is 1.
    """
    return _Entmax15.apply(x)


class _Entmoid15(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        # With z = x / 2 the roots of the two shares are (r + z) / 2 and (r - z) / 2, r^2 = 2 - z^2:
        # they differ by z, and their squares add up to 1.
        z = (x * 0.5).clamp(-1, 1)
        r = torch.rsub(z * z, 2).sqrt_()
        root = z.add_(r).mul_(0.5)
        return root * root, r

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):  # pyright: ignore[reportIncompatibleMethodOverride]
        (r,) = ctx.saved_tensors
        # (1 - z^2) / (2 r), which is 0 from x = 2 on.
        return r.sub(r.reciprocal()).mul_(0.5).mul_(gradients[0])


def entmoid15(x: Tensor) -> Tensor:
    """Return the first of the two shares that 1.5-entmax gives to ``x`` and 0, for each number."""
    return _Entmoid15.apply(x)[0]
