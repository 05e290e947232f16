"""Temperature scaling: probabilities that validation rows confirm.

Guo, Pleiss, Sun, Weinberger: "On Calibration of Modern Neural Networks" (ICML 2017, 1706.04599),
section 4.2.
"""

import math

import torch

# Temperatures lie within 1/20 and 20.
_LARGEST = math.log(20)


def fit_temperature(loss, logits, y, weight, n_temperatures):
    """Return the temperatures T for which ``loss(logits / T, y)`` has the smallest mean,
    (n_temperatures,).

    The loss is convex in 1/T, so the sign of its slope brackets the minimum.

    Parameters
    ----------
    loss : callable
        ``(logits (N, 1, C), y, label_smoothing) -> (N,)``.
    logits : Tensor of shape (N, 1, C), float64
    y : Tensor
        What the loss takes, of the N rows.
    weight : Tensor of shape (N,) or None
    n_temperatures : int
        1, or C: one for each output.
    """
    y = y.double() if y.is_floating_point() else y
    # As if one more row had its class by chance: rows that the network gets all right do not ask
    # for a temperature of zero.
    smoothing = 1 / (len(logits) + 1)
    low, high = (
        torch.full((n_temperatures,), end, dtype=torch.float64) for end in (-_LARGEST, _LARGEST)
    )
    for _ in range(50):
        middle = ((low + high) / 2).requires_grad_()
        losses = loss(logits * middle.exp(), y, smoothing)
        [slope] = torch.autograd.grad((losses if weight is None else losses * weight).sum(), middle)
        low, high = (
            torch.where(slope < 0, middle, low).detach(),
            torch.where(slope < 0, high, middle).detach(),
        )
    return (-(low + high) / 2).exp()
