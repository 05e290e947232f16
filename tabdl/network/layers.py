"""Layers that more than one architecture uses."""

import torch
from torch import Tensor, nn

from tabdl.network.functional import RandomBits, dropout_mask, without_autocast


class ZeroBiasLinear(nn.Linear):
    """A linear layer whose bias begins with zeros, as in the attention of the authors' package."""

    def init_weights(self, generator: torch.Generator) -> None:
        """Fill the weight with uniform numbers in +-1/sqrt(fan_in), the bias with zeros."""
        bound = self.in_features**-0.5
        self.weight.uniform_(-bound, bound, generator=generator)
        self.bias.zero_()


class SeparateLinear(nn.Module):
    """A linear layer for each feature.

    Shape: (B, F, d_in) to (B, F, d_out).

    Parameters
    ----------
    n_features, d_in, d_out : int
    bias : bool
    zero : bool
        Begin with weights of zero.
    """

    decayed = ("weight",)

    def __init__(
        self, n_features: int, d_in: int, d_out: int, bias: bool = True, zero: bool = False
    ) -> None:
        super().__init__()
        self.zero = zero
        self.in_features = d_in
        self.weight = nn.Parameter(torch.empty(n_features, d_in, d_out))
        self.bias = nn.Parameter(torch.empty(n_features, d_out)) if bias else None

    def init_weights(self, generator: torch.Generator) -> None:
        """Fill with uniform numbers in +-1/sqrt(d_in), or zeros."""
        bound = self.weight.shape[1] ** -0.5
        for parameter in self.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
        if self.zero:
            self.weight.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of the layer of each feature."""
        x = (x.transpose(0, 1) @ self.weight).transpose(0, 1)
        return x if self.bias is None else x + self.bias


class InputLinear(nn.Linear):
    """A linear layer that never computes in 16 bits, also under autocast.

    Its inputs are the numbers of a table, of which 16 bits would keep three digits only.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs in the dtype of the weights."""
        with without_autocast(input.device.type):
            return super().forward(input)


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own instead of torch's global one.

    So fits in threads do not meet. The mask comes from 16 random bits an element. The scale is
    exact for the rate that 16 bits can express, which is within 1/131072 of ``p``.

    Parameters
    ----------
    p : float in [0, 1)
        The share of elements that become zero in training.

    Attributes
    ----------
    generators : tuple of torch.Generator, RandomBits or None
        One for each network that is trained in common steps. None is the global generator, until a
        fit lends its own.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.threshold = round(p * 65536)
        self.generators: tuple[torch.Generator | RandomBits | None, ...] = (None,)
        # Threshold and scale on the device, while a schedule changes them.
        self._rate: tuple[Tensor, Tensor] | None = None

    @property
    def scale(self) -> float | Tensor:
        """What the kept elements are multiplied with."""
        return 65536 / (65536 - self.threshold) if self._rate is None else self._rate[1]

    def lend_rate(self, device: torch.device) -> None:
        """Read the rate from ``device`` until :meth:`return_rate`."""
        self._rate = (
            torch.empty((), dtype=torch.int32, device=device),
            torch.empty((), dtype=torch.float32, device=device),
        )

    def return_rate(self) -> None:
        """Have the layer's own rate again."""
        self._rate = None

    def set_rate(self, factor: float) -> None:
        """Make the rate on the device ``factor`` times the layer's own."""
        assert self._rate is not None, "lend_rate comes first"
        threshold = round(self.threshold * factor)
        self._rate[0].fill_(threshold)
        self._rate[1].fill_(65536 / (65536 - threshold))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with random zeros in training, in its own shape."""
        kept = self.kept(x) if self.training else None
        return x if kept is None else (x * kept).mul_(self.scale)

    def kept(self, like: Tensor) -> Tensor | None:
        """Return 1 for what stays and 0 for the rest, shaped as ``like``; None when all stays."""
        if not self.training or self.threshold == 0:
            return None
        threshold = self.threshold if self._rate is None else self._rate[0]
        return dropout_mask(like, threshold, self.generators)

    def extra_repr(self) -> str:
        """Return the rate, for the representation of the module."""
        return f"p={self.threshold / 65536:.4g}"


class StochasticDepth(Dropout):
    """Leaves out a residual branch for random rows in training.

    Huang et al. 2016, "Deep Networks with Stochastic Depth".

    Parameters
    ----------
    p : float in [0, 1)
        The rate of the last block.
    block, n_blocks : int
        The number of this block, from 0, and how many there are. The rate grows linearly with the
        depth (section 3).
    """

    def __init__(self, p: float, block: int, n_blocks: int) -> None:
        super().__init__(p * (block + 1) / n_blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output ``x`` of the branch, (B, ...), with rows of zeros."""
        if not self.training:
            return x
        kept = self.kept(x[(slice(None), *[slice(1)] * (x.ndim - 1))])
        return x if kept is None else x * (kept * self.scale)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that takes a training batch of one row by its running statistics.

    Torch raises for such a batch.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised rows, (B, D)."""
        # Torch's own forward looks at much that is settled here, in twice the time of the sums.
        if not self.training or len(input) == 1:
            return nn.functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)
