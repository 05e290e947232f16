"""Pointwise parts and the core of attention as single operations.

They pass over the data once where autograd would pass several times. None of them has parameters,
and all keep the leading dimension apart. So under ``torch.vmap``, where several networks are
trained at once, the dimension of the networks is folded into the rows.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# The backward passes are ignored by pyright: ``once_differentiable`` says that ctx is
# positional only.

_NO_CONTEXT = contextlib.nullcontext()


def without_autocast(device_type: str) -> contextlib.AbstractContextManager:
    """Return a context in which nothing is computed in 16 bits.

    To enter torch's own takes as long as a small product, so it is made only where autocast is on.
    """
    if not torch.is_autocast_enabled(device_type):
        return _NO_CONTEXT
    return torch.autocast(device_type, enabled=False)


class RandomBits:
    """Random numbers of 16 bits that are taken in order.

    Parameters
    ----------
    source : torch.Generator, None or list of int16 Tensor
        The generator to draw from, None for the global one, or what was drawn before for each time
        that numbers are taken.
    device : torch.device
        Of what is drawn.

    Attributes
    ----------
    sizes : list of int
        How many numbers were taken each time.
    """

    def __init__(
        self,
        source: torch.Generator | Sequence[Tensor] | None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.source = source
        self.device = device
        self.sizes: list[int] = []

    def take(self, n: int) -> Tensor:
        """Return the next ``n`` numbers, int16, which the caller may overwrite."""
        self.sizes.append(n)
        if isinstance(self.source, Sequence):
            return self.source[len(self.sizes) - 1]
        words = torch.empty((n + 3) // 4, dtype=torch.int64, device=self.device)
        words.random_(-(2**63), 2**63 - 1, generator=self.source)
        return words.view(torch.int16)[:n]


class _DropoutMask(torch.autograd.Function):
    """1 for an element that is kept, 0 with probability ``threshold / 65536``."""

    @staticmethod
    def forward(like, threshold, generators):
        return _kept(like.shape, like.device, threshold, generators[0]).to(like.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx, *gradients):
        return None, None, None

    @staticmethod
    def vmap(info, in_dims, *args):
        like, threshold, generators = args
        shape = like.movedim(in_dims[0], 0).shape[1:]
        kept = [_kept(shape, like.device, threshold, generator) for generator in generators]
        return torch.stack(kept).to(like.dtype), 0


def _kept(shape: Any, device: Any, threshold: Any, generator: Any) -> Tensor:
    bits = generator if isinstance(generator, RandomBits) else RandomBits(generator, device)
    return bits.take(shape.numel()).ge_(threshold - 32768).view(shape)


def dropout_mask(
    like: Tensor,
    threshold: int | Tensor,
    generators: tuple[torch.Generator | RandomBits | None, ...],
) -> Tensor:
    """Return 1 for elements that dropout keeps and 0 for others, from 16 random bits an element.

    Parameters
    ----------
    like : Tensor
        It has the shape and dtype of the result; its values do not matter.
    threshold : int in [0, 65536), or a Tensor of one
        65536 times the share of elements that become zero.
    generators : tuple of torch.Generator, RandomBits or None
        One for each network under ``torch.vmap``, else one; None is the global generator.
    """
    return _DropoutMask.apply(like.detach(), threshold, generators)


class _ReGLU(torch.autograd.Function):
    @staticmethod
    def forward(x, kept, scale):
        a, b = x.chunk(2, -1)
        gate = b.relu()
        if kept is not None:
            gate.mul_(kept).mul_(scale)
        return gate * a, gate

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, _, ctx.scale = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x, output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = gradients[0]
        x, gate = ctx.saved_tensors
        a, _ = x.chunk(2, -1)
        grad_x = torch.empty_like(x)
        grad_a, grad_b = grad_x.chunk(2, -1)
        torch.mul(gradient, gate, out=grad_a)
        # The gate is positive where b is and the element was kept.
        torch.ops.aten.threshold_backward(
            (gradient * a).mul_(ctx.scale), gate, 0, grad_input=grad_b
        )
        return grad_x, None, None

    @staticmethod
    def vmap(info, in_dims, *args):
        return _fold(_ReGLU, info, in_dims, *args)


def reglu(x: Tensor, kept: Tensor | None = None, scale: float | Tensor = 1.0) -> Tensor:
    """Return ``a * relu(b) * kept * scale`` of the halves a and b of the last dimension.

    Shazeer 2020, "GLU Variants". Shape: (B, ..., 2 D) to (B, ..., D).
    """
    return _ReGLU.apply(x, kept, 1.0 if kept is None else scale)[0]


class _Mish(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        # Beyond 20 the tangent is 1, also in float64.
        e = wide.clamp(max=20).exp_()
        n = (e + 2).mul_(e)
        divisor = n + 2
        gate = n.div_(divisor)
        # d gate / dx = 4 e (e + 1) / divisor^2
        slope = (e + 1).mul_(e).mul_(4).div_(divisor.mul_(divisor)).mul_(wide).add_(gate)
        return (wide * gate).to(x.dtype), slope.to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradients[0] * ctx.saved_tensors[0]


def mish(x: Tensor) -> Tensor:
    """Return ``x tanh(log(1 + exp(x)))`` (Misra 2019).

    On a CPU it takes one exponential where torch takes three functions: with e = exp(x) the
    hyperbolic tangent is ``n / (n + 2)``, n = e (e + 2).
    """
    return _Mish.apply(x)[0] if x.device.type == "cpu" else torch.nn.functional.mish(x)


def _heads(qkv: Tensor, n_heads: int) -> Tensor:
    """Return (B, T, 3 D) as (3, B H, T, D / H), contiguous."""
    return qkv.unflatten(-1, (3, n_heads, -1)).permute(2, 0, 3, 1, 4).flatten(1, 2)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(qkv, kept, scale, n_heads):
        q, k, v = _heads(qkv, n_heads)
        logits = torch.bmm(q, k.transpose(1, 2)).to(torch.promote_types(qkv.dtype, torch.float32))
        probabilities = torch.softmax(logits.mul_(q.shape[-1] ** -0.5), -1).unflatten(
            0, (-1, n_heads)
        )
        dropped = (probabilities if kept is None else (probabilities * kept).mul_(scale)).to(
            qkv.dtype
        )
        out = (
            torch.bmm(dropped.flatten(0, 1), v)
            .unflatten(0, (-1, n_heads))
            .transpose(1, 2)
            .flatten(-2)
        )
        return out, probabilities, dropped

    @staticmethod
    def setup_context(ctx, inputs, output):
        qkv, kept, ctx.scale, ctx.n_heads = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(qkv, kept, *output[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = gradients[0]
        qkv, kept, probabilities, dropped = ctx.saved_tensors
        q, k, v = _heads(qkv, ctx.n_heads)
        # Under autocast and vmap a gradient of float32 comes for an output of bfloat16.
        grad_out = (
            gradient.to(qkv.dtype).unflatten(-1, (ctx.n_heads, -1)).transpose(1, 2).flatten(0, 1)
        )  # (B H, T, D / H)
        grad_probabilities = (
            torch.bmm(grad_out, v.transpose(1, 2)).to(probabilities.dtype).view_as(probabilities)
        )
        if kept is not None:
            grad_probabilities.mul_(kept)
        grad_logits = torch.ops.aten._softmax_backward_data(
            grad_probabilities, probabilities, -1, probabilities.dtype
        )
        grad_logits = grad_logits.mul_(ctx.scale * q.shape[-1] ** -0.5).to(qkv.dtype).flatten(0, 1)
        grad_heads = torch.empty((3, *q.shape), dtype=q.dtype, device=q.device)
        torch.bmm(grad_logits, k, out=grad_heads[0])
        torch.bmm(grad_logits.transpose(1, 2), q, out=grad_heads[1])
        torch.bmm(dropped.flatten(0, 1).transpose(1, 2), grad_out, out=grad_heads[2])
        return (
            grad_heads.unflatten(1, (-1, ctx.n_heads)).permute(1, 3, 0, 2, 4).flatten(-3),
            None,
            None,
            None,
        )

    @staticmethod
    def vmap(info, in_dims, *args):
        return _fold(_Attention, info, in_dims, *args)


def attention(
    qkv: Tensor, n_heads: int, kept: Tensor | None = None, scale: float | Tensor = 1.0
) -> Tensor:
    """Return the mixed values of multi-head self-attention.

    Parameters
    ----------
    qkv : Tensor of shape (B, T, 3 D)
        Queries, keys and values beside each other.
    n_heads : int
        H.
    kept : Tensor of shape (B, H, T, T) or None
        The attention probabilities are multiplied by it and by ``scale`` (dropout).
    scale : float

    Returns
    -------
    Tensor of shape (B, T, D)
    """
    # The backward pass of torch's operation fails for several networks at once ("LSE is not
    # correctly aligned", torch 2.11).
    if kept is None and qkv.is_cuda and not torch.is_grad_enabled():
        q, k, v = qkv.unflatten(-1, (3, n_heads, -1)).permute(2, 0, 3, 1, 4)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
    return _Attention.apply(qkv, kept, 1.0 if kept is None else scale, n_heads)[0]


def _fold(function, info, in_dims, *inputs):
    """Apply ``function`` with the rows of all networks below each other.

    All tensors of the function have the rows first.
    """
    folded = [
        value if dim is None else value.movedim(dim, 0).flatten(0, 1)
        for value, dim in zip(inputs, in_dims, strict=True)
    ]
    outputs = function.apply(*folded)
    return tuple(output.unflatten(0, (info.batch_size, -1)) for output in outputs), (0,) * len(
        outputs
    )
