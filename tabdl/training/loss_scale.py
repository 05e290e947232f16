"""The scaled loss of training in float16, whose smallest numbers would be gradients of zero."""

from collections.abc import Sequence

import torch
from torch import Tensor

_FIRST = 2.0**16
_STEPS_UNTIL_GROWTH = 2000


class LossScale:
    """A factor of the loss of each network, which grows until gradients overflow.

    After 2000 steps without an overflow the factor doubles; an overflow halves it. A network whose
    gradients overflow takes this step with gradients of zero: its momentum goes on, and the other
    networks do not notice. The numbers lie on the device: nothing waits for it, and a recorded step
    reads them anew.

    Micikevicius et al. 2018, "Mixed Precision Training" (1710.03740), section 3.2.

    Parameters
    ----------
    n_networks : int
        M.
    device : torch.device

    Attributes
    ----------
    scale : float32 Tensor of shape (M,)
    n_good : int32 Tensor of shape (M,)
        Steps since the factor changed.
    """

    def __init__(self, n_networks: int, device: torch.device) -> None:
        self.scale = torch.full((n_networks,), _FIRST, device=device)
        self.n_good = torch.zeros(n_networks, dtype=torch.int32, device=device)

    def state(self) -> list[Tensor]:
        """Return the numbers that the next steps depend on."""
        return [self.scale, self.n_good]

    def load_state(self, state: Sequence[Tensor]) -> None:
        """Go on from a :meth:`state`."""
        self.scale.copy_(state[0])
        self.n_good.copy_(state[1])

    @torch.no_grad()
    def unscale(self, parameters: Sequence[Tensor]) -> None:
        """Divide the gradients by the factors, and adapt the factors.

        Parameters
        ----------
        parameters : list of Tensor
            With several networks, (M, ...).
        """
        gradients = [p.grad for p in parameters if p.grad is not None and p.grad.numel() > 0]
        if len(self.scale) == 1:
            gradients = [gradient.unsqueeze(0) for gradient in gradients]
        largest = torch.stack([gradient.abs().flatten(1).amax(1) for gradient in gradients])
        is_good = largest.isfinite().all(0)
        for gradient in gradients:
            shape = (-1, *[1] * (gradient.ndim - 1))
            # A factor of zero would make infinity not a number.
            gradient.masked_fill_(~is_good.view(shape), 0.0).div_(self.scale.view(shape))
        self._adapt(is_good)

    def _adapt(self, is_good):
        self.n_good.add_(1).mul_(is_good)
        grows = self.n_good == _STEPS_UNTIL_GROWTH
        self.n_good.masked_fill_(grows, 0)
        self.scale.mul_(torch.where(grows, 2.0, torch.where(is_good, 1.0, 0.5)))
