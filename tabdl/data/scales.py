"""How one numeric column is scaled; each scale is fitted on training values only."""

from typing import Any, Self

import numpy as np
import torch

from tabdl.data.state import State

# The tie-breaking noise of the quantile transform, in standard deviations of the column.
_TIE_NOISE = 1e-3
# That of the authors' code; see NoisyQuantileNormal.
_PAPER_NOISE = 1e-3
# Probabilities are kept this far from 0 and 1, so that no number leaves +-5.2 (as scikit-learn's
# QuantileTransformer does).
_TAIL = 1e-7
# Beyond, squares and products of the network leave float32.
LARGEST = 1e12


class QuantileNormal:
    """The quantile of a number among the training values, as a standard normal's (the paper's).

    The authors add random noise to the training values before they take quantiles, which parts
    equal values. Here the quantiles of a noise are computed: where a value holds a share of the
    rows, the share is spread over the normal distribution around it. So nothing is random, and a
    weight of 2 is the same as a row that stands twice.

    A number beyond the training values has the quantile of the nearest. The paper's has probability
    0 or 1 there, which is +-5.2: where many rows have the largest value, as in a column of years,
    no training row is near that, and networks are wrong by far in the next year.
    """

    middle = 0.0
    tie_noise = _TIE_NOISE

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        # DIFF: quantiles of the noise, not random noise. The number of quantiles is the authors',
        # where a weight of 2 counts as two rows (and weights that sum to less than the rows do not
        # make the quantiles fewer).
        n_rows = int(max(len(values), weight.sum()))
        levels = np.linspace(0, 1, max(min(n_rows // 30, 1000), 10))
        unique, share = _shares(values, weight)
        upper = np.cumsum(share)
        at = np.searchsorted(upper, levels * (1 - 1e-12)).clip(max=len(unique) - 1)
        inside = (levels - (upper - share)[at]) / share[at]
        noise = self.tie_noise * _mean_std(unique, share)[1]
        # Beyond 0.01 the normal's tails would pass the neighbours.
        quantiles = np.maximum.accumulate(
            unique[at] + noise * normal_quantile(inside.clip(0.01, 0.99))
        )
        # DIFF: the paper's goes on to the ends of the noise.
        self.quantiles, self.levels = _between(
            unique[0], unique[-1], *_with_middles(quantiles, levels)
        )
        return self

    def transform(self, values: np.ndarray) -> np.ndarray:
        return normal_quantile(self.levels_of(values))

    def levels_of(self, values: np.ndarray) -> np.ndarray:
        """Return the share of the training values below each value, [0, 1]."""
        return np.interp(values, self.quantiles, self.levels)

    def state(self) -> dict[str, Any]:
        """Return the fitted state, see ``data/state.py``."""
        return {"quantiles": self.quantiles, "levels": self.levels}

    def restore(self, state: Any, where: str) -> Self:
        """Set the fitted state."""
        fields = State(state, ("quantiles", "levels"), where)
        self.quantiles = fields.array("quantiles", "f", (None,))
        self.levels = fields.array("levels", "f", self.quantiles.shape)
        if len(self.levels) == 0 or (np.diff(self.quantiles) < 0).any():
            fields.refuse("quantiles", "numbers in ascending order")
        return self


class NoisyQuantileNormal(QuantileNormal):
    """The same quantiles among training values with the random noise of the authors' code.

    Its standard deviation is 1e-3 / max(s, 1e-3), where s is the column's: the *inverse* of what
    would be in proportion to it. A column whose values differ by less than the noise loses what it
    says (rtdl-revisiting-models, ``lib/data.py``). The generator starts from 0 in every column.
    """

    tie_noise = 0.0

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        std = _PAPER_NOISE / max(_mean_std(*_shares(values, weight))[1], _PAPER_NOISE)
        noise = std * np.random.default_rng(0).standard_normal(len(values))
        return super().fit(values + noise, weight)


def _with_middles(quantiles, levels):
    """Return points that interpolate to the middle level where several quantiles are one number.

    There the levels jump: from the lowest just below that number, over the middle, to the highest
    just above it.
    """
    starts = np.flatnonzero(np.diff(quantiles, prepend=-np.inf) > 0)
    ends = np.append(starts[1:], len(quantiles)) - 1
    number, low, high = quantiles[starts], levels[starts], levels[ends]
    points = np.column_stack([np.nextafter(number, -np.inf), number, np.nextafter(number, np.inf)])
    needed = np.column_stack([low < high, np.ones(len(starts), bool), low < high])
    # Neighbouring floats have nothing between them.
    return np.maximum.accumulate(points[needed]), np.column_stack([low, (low + high) / 2, high])[
        needed
    ]


def _between(low, high, quantiles, levels):
    """Return the same points between two numbers, with these two as the first and the last."""
    ends = np.array([low, high])
    inside = (quantiles > low) & (quantiles < high)
    first, last = np.interp(ends, quantiles, levels)
    return (
        np.concatenate([ends[:1], quantiles[inside], ends[1:]]),
        np.concatenate([[first], levels[inside], [last]]),
    )


class Standard:
    """Mean 0, standard deviation 1."""

    middle = 0.0

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        self.mean, self.std = _mean_std(values, weight)
        if self.std == 0:  # the weight of all values but one is nothing beside that one's
            self.std = (values.max() - values.min()) / 2
        return self

    def transform(self, values: np.ndarray) -> np.ndarray:
        return (values - self.mean) / self.std

    def state(self) -> dict[str, Any]:
        """Return the fitted state, see ``data/state.py``."""
        return {"mean": float(self.mean), "std": float(self.std)}

    def restore(self, state: Any, where: str) -> Self:
        """Set the fitted state."""
        fields = State(state, ("mean", "std"), where)
        self.mean = fields.number("mean")
        self.std = fields.number("std", above=0)
        return self


class RobustClip:
    """Median 0, interquartile range 1, then smoothly clipped to +-3: ``z / sqrt(1 + (z / 3)^2)``.

    Holzmüller, Grinsztajn, Steinwart: "Better by Default" (RealMLP, 2407.04491), section 3. A range
    of zero falls back to half the distance of the extremes.
    """

    middle = 0.0

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        unique, share = _shares(values, weight)
        low, self.median, high = unique[
            np.searchsorted(np.cumsum(share), [0.25, 0.5, 0.75]).clip(max=len(unique) - 1)
        ]
        self.range = high - low if high > low else (unique[-1] - unique[0]) / 2
        return self

    def transform(self, values: np.ndarray) -> np.ndarray:
        z = ((values - self.median) / self.range).clip(-LARGEST, LARGEST)
        return z / np.sqrt(1 + (z / 3) ** 2)

    def state(self) -> dict[str, Any]:
        """Return the fitted state, see ``data/state.py``."""
        return {"median": float(self.median), "range": float(self.range)}

    def restore(self, state: Any, where: str) -> Self:
        """Set the fitted state."""
        fields = State(state, ("median", "range"), where)
        self.median = fields.number("median")
        self.range = fields.number("range", above=0)
        return self


class Unscaled:
    """Numbers as they are; a missing one becomes the training median."""

    def fit(self, values: np.ndarray, weight: np.ndarray) -> Self:
        unique, share = _shares(values, weight)
        self.middle = unique[np.searchsorted(np.cumsum(share), 0.5).clip(max=len(unique) - 1)]
        return self

    def transform(self, values: np.ndarray) -> np.ndarray:
        return values

    def state(self) -> dict[str, Any]:
        """Return the fitted state, see ``data/state.py``."""
        return {"middle": float(self.middle)}

    def restore(self, state: Any, where: str) -> Self:
        """Set the fitted state."""
        self.middle = State(state, ("middle",), where).number("middle")
        return self


def normal_quantile(probability: np.ndarray) -> np.ndarray:
    """Return the numbers below which a standard normal has the probabilities, within +-5.2."""
    inside = np.minimum(np.maximum(probability, _TAIL), 1 - _TAIL)
    return torch.special.ndtri(torch.from_numpy(np.ascontiguousarray(inside))).numpy()


def _mean_std(values, weight):
    """Return the weighted mean and standard deviation, without overflow of squares."""
    largest = np.abs(values).max()
    scaled = values / largest
    mean = np.average(scaled, weights=weight)
    return largest * mean, largest * np.sqrt(np.average((scaled - mean) ** 2, weights=weight))


def _shares(values, weight):
    """Return the distinct values in order, and each one's share of the weight."""
    if weight.min() == weight.max():  # three times as fast
        unique, mass = np.unique(values, return_counts=True)
    else:
        unique, inverse = np.unique(values, return_inverse=True)
        mass = np.bincount(inverse, weights=weight)
    return unique, mass / mass.sum()
