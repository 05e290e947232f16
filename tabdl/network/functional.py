"""The pointwise parts and the attention core as single operations: one pass over the data where
autograd would make several.

None of them has parameters and all of them keep the leading dimension apart, so that under
``torch.vmap`` (several networks trained at once) that dimension is folded into the rows.
"""

import torch
from torch.autograd.function import once_differentiable


class _DropoutMask(torch.autograd.Function):
    """1 for an element that is kept, 0 with probability ``threshold / 65536``, in the shape and
    dtype of ``like``."""

    @staticmethod
    def forward(like, threshold, generators):
        return _kept(like.shape, like.device, threshold, generators[0]).to(like.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx, gradient):
        return None, None, None

    @staticmethod
    def vmap(info, in_dims, like, threshold, generators):
        shape = like.movedim(in_dims[0], 0).shape[1:]
        kept = [_kept(shape, like.device, threshold, generator) for generator in generators]
        return torch.stack(kept).to(like.dtype), 0


def _kept(shape, device, threshold, generator):
    n_elements = shape.numel()
    words = torch.empty((n_elements + 3) // 4, dtype=torch.int64, device=device)
    words.random_(-(2**63), 2**63 - 1, generator=generator)
    return words.view(torch.int16)[:n_elements].ge_(threshold - 32768).view(shape)


def dropout_mask(like, threshold, generators):
    """Return which elements dropout keeps, 1 or 0 in the shape and dtype of ``like``, from 16
    random bits an element.

    Parameters
    ----------
    like : Tensor
        Its values do not matter.
    threshold : int in [0, 65536), or a Tensor of one
        65536 times the share of elements that become zero.
    generators : tuple of torch.Generator or None
        One for each network under ``torch.vmap``, else one; None is torch's global one.
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
    def backward(ctx, gradient, _):
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
    def vmap(info, in_dims, x, kept, scale):
        return _fold(_ReGLU, info, in_dims, x, kept, scale)


def reglu(x, kept=None, scale=1.0):
    """Return ``a * relu(b) * kept * scale`` of the halves of the last dimension (Shazeer 2020, "GLU
    Variants").

    Shape: (B, ..., 2 D) to (B, ..., D).
    """
    return _ReGLU.apply(x, kept, 1.0 if kept is None else scale)[0]


class _Mish(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        e = wide.clamp(max=20).exp_()  # beyond, the tangent is 1 in float64 too
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
    def backward(ctx, gradient, _):
        return gradient * ctx.saved_tensors[0]


def mish(x):
    """Return ``x tanh(log(1 + exp(x)))`` (Misra 2019), on a CPU with one exponential instead of
    torch's three functions.

    With e = exp(x) the hyperbolic tangent is ``n / (n + 2)``, n = e (e + 2). Forward and backward
    together take less than half of torch's time.
    """
    return _Mish.apply(x)[0] if x.device.type == "cpu" else torch.nn.functional.mish(x)


def _heads(qkv, n_heads):
    """(B, T, 3 D) to (3, B H, T, D / H), contiguous."""
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
    def backward(ctx, gradient, *_):
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
        grad_logits = torch._softmax_backward_data(
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
    def vmap(info, in_dims, qkv, kept, scale, n_heads):
        return _fold(_Attention, info, in_dims, qkv, kept, scale, n_heads)


def attention(qkv, n_heads, kept=None, scale=1.0):
    """Return multi-head self-attention's mixed values.

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
    # Its backward pass fails for several networks at once ("LSE is not correctly aligned", torch
    # 2.11).
    if kept is None and qkv.is_cuda and not torch.is_grad_enabled():
        q, k, v = qkv.unflatten(-1, (3, n_heads, -1)).permute(2, 0, 3, 1, 4)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
    return _Attention.apply(qkv, kept, 1.0 if kept is None else scale, n_heads)[0]


def _fold(function, info, in_dims, *inputs):
    """Apply ``function`` with the networks' rows below each other: all its tensors have the rows
    first."""
    folded = [
        value if dim is None else value.movedim(dim, 0).flatten(0, 1)
        for value, dim in zip(inputs, in_dims, strict=True)
    ]
    outputs = function.apply(*folded)
    return tuple(output.unflatten(0, (info.batch_size, -1)) for output in outputs), (0,) * len(
        outputs
    )
