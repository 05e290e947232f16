"""Temperature scaling: probabilities that validation rows confirm.

Guo, Pleiss, Sun, Weinberger: "On Calibration of Modern Neural Networks" (ICML 2017, 1706.04599),
section 4.2.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

# Temperatures lie within 1/20 and 20.
_LARGEST = math.log(20)


def fit_temperature(
    loss: Callable[[Tensor, Tensor, float], Tensor],
    logits: Tensor,
    y: Tensor,
    weight: Tensor | None,
    n_temperatures: int,
) -> Tensor:
    """Return the temperatures T with the smallest mean of ``loss(logits / T, y)``.

    The loss is convex in 1/T, so the sign of its slope brackets the minimum.

    Parameters
    ----------
    loss : callable
        ``(logits (N, 1, C), y, label_smoothing) -> (N,)``.
    logits : Tensor of shape (N, 1, C), float64
    y : Tensor of shape (N,) or (N, C)
        Encoded targets.
    weight : Tensor of shape (N,) or None
    n_temperatures : int
        1, or C: one for each output.

    Returns
    -------
    float64 Tensor of shape (n_temperatures,)
    """
    y = y.double() if y.is_floating_point() else y
    # As if one more row had its class by chance. Without this row, predictions that are all right
    # would ask for a temperature of zero.
    smoothing = 1 / (len(logits) + 1)
    low = torch.full((n_temperatures,), -_LARGEST, dtype=torch.float64)
    high = torch.full((n_temperatures,), _LARGEST, dtype=torch.float64)
    for _ in range(50):
        middle = ((low + high) / 2).requires_grad_()
        losses = loss(logits * middle.exp(), y, smoothing)
        [slope] = torch.autograd.grad((losses if weight is None else losses * weight).sum(), middle)
        low = torch.where(slope < 0, middle, low).detach()
        high = torch.where(slope < 0, high, middle).detach()
    return (-(low + high) / 2).exp()
