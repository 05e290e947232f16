"""Numerical embeddings: a vector for each number, with more shape than a straight line.

Gorishniy, Rubachev, Babenko: "On Embeddings for Numerical Features in Tabular Deep Learning" (NeurIPS 2022, 2203.05556);
Holzmüller, Grinsztajn, Steinwart: "Better by Default" (NeurIPS 2024, 2407.04491), for PBLD;
Gorishniy, Kotelnikov, Babenko: "TabM" (ICLR 2025, 2410.24210), for version "B" of the piecewise-linear embedding.

The classes :class:`Linear`, :class:`Periodic`, :class:`PBLD` and :class:`PiecewiseLinear` are settings, to be given as an
estimator's ``num_embedding``; each builds its network module from the training rows.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tabdl.bins import quantile_edges, tree_edges
from tabdl.nn import CategoryEmbedding, LinearEmbedding, SeparateLinear
from tabdl.params import Float, Int, Kind, OneOf, check_params, param


class _Settings:
    """A numerical embedding's settings, checked when they are made."""

    uses_target = False

    def __post_init__(self):
        check_params(self)


@dataclass(frozen=True, kw_only=True)
class Linear(_Settings):
    """``x_j * w_j + b_j``, a ReLU behind it if ``activation`` (LR of 2203.05556; 2106.11959, section 3.3).

    Parameters
    ----------
    d_embedding : int or None
        Width of a number's vector; None: the Transformer's width, else 32.
    activation : bool
    """

    d_embedding: int | None = param(None, OneOf(None), Int(1), doc="Width of a number's vector.")
    activation: bool = param(False, OneOf(True, False), doc="A ReLU at the end.")

    def module(self, rows, is_classification, d_embedding):
        """Return the module for the training ``rows``, a Table."""
        sizes = rows.x_num.shape[1], d_embedding or self.d_embedding or 32
        return LinearReLUEmbedding(*sizes) if self.activation else LinearEmbedding(*sizes)


@dataclass(frozen=True, kw_only=True)
class Periodic(_Settings):
    """``ReLU(linear_j([cos, sin](2 pi c_j x_j)))`` with trained frequencies c_j (PLR; 2203.05556, section 3.3).

    Parameters
    ----------
    d_embedding : int or None
        Width of a number's vector; None: the Transformer's width, else 24.
    n_frequencies : int
        Frequencies a number.
    frequency_scale : float
        Standard deviation of the initial frequencies: the parameter to tune, in 0.01 to 10, with numbers near a standard normal.
    lite : bool
        One linear layer for all numbers instead of one each.
    activation : bool
        The ReLU at the end.
    """

    d_embedding: int | None = param(None, OneOf(None), Int(1), doc="Width of a number's vector.")
    n_frequencies: int = param(48, Int(1), doc="Frequencies a number.")
    frequency_scale: float = param(0.1, Float("(0, inf)"), doc="Standard deviation of the initial frequencies.")
    lite: bool = param(False, OneOf(True, False), doc="One linear layer for all numbers.")
    activation: bool = param(True, OneOf(True, False), doc="A ReLU at the end.")

    def module(self, rows, is_classification, d_embedding):
        """Return the module for the training ``rows``, a Table."""
        sizes = rows.x_num.shape[1], self.n_frequencies, d_embedding or self.d_embedding or 24
        return PeriodicEmbedding(*sizes, self.frequency_scale, self.lite, self.activation)


@dataclass(frozen=True, kw_only=True)
class PBLD(_Settings):
    """``[x_j, linear_j(cos(2 pi w_j x_j + b_j))]``: periodic, bias, linear, dense (2407.04491, section 3.2).

    Parameters
    ----------
    d_embedding : int or None
        Width of a number's vector, of which the first is the number; None: the Transformer's width, else 4.
    n_frequencies : int
        Frequencies a number.
    frequency_scale : float
        Standard deviation of the initial frequencies.
    """

    d_embedding: int | None = param(None, OneOf(None), Int(2), doc="Width of a number's vector.")
    n_frequencies: int = param(16, Int(1), doc="Frequencies a number.")
    frequency_scale: float = param(0.1, Float("(0, inf)"), doc="Standard deviation of the initial frequencies.")

    def module(self, rows, is_classification, d_embedding):
        """Return the module for the training ``rows``, a Table."""
        sizes = rows.x_num.shape[1], self.n_frequencies, d_embedding or self.d_embedding or 4
        return PBLDEmbedding(*sizes, self.frequency_scale)


@dataclass(frozen=True, kw_only=True)
class PiecewiseLinear(_Settings):
    """A piecewise-linear curve in each dimension (PLE; 2203.05556, section 3.2; version "B" of 2410.24210, appendix D.8).

    Parameters
    ----------
    d_embedding : int or None
        Width of a number's vector; None: the Transformer's width, else 16.
    n_bins : int
        Pieces a number, at most; a number of few distinct values has fewer.
    bins : {"quantile", "tree"}
        Where the pieces meet: at quantiles of the training rows, or where a decision tree of the target on this number alone
        splits.
    min_samples_leaf, min_impurity_decrease : int, float
        Of the decision tree.
    version : {"A", "B"}
        "B": plus a linear embedding, and the pieces begin at zero, so that training begins with a straight line.
    activation : bool
        A ReLU behind the pieces.
    """

    d_embedding: int | None = param(None, OneOf(None), Int(1), doc="Width of a number's vector.")
    n_bins: int = param(48, Int(2), doc="Pieces a number, at most.")
    bins: str = param("quantile", OneOf("quantile", "tree"), doc="Where the pieces meet.")
    min_samples_leaf: int = param(64, Int(1), doc="Of the decision tree.")
    min_impurity_decrease: float = param(1e-4, Float("[0, inf)"), doc="Of the decision tree.")
    version: str = param("B", OneOf("A", "B"), doc="Version of the embedding.")
    activation: bool = param(False, OneOf(True, False), doc="A ReLU behind the pieces.")

    @property
    def uses_target(self):
        """Whether the bins come from the target of the training rows."""
        return self.bins == "tree"

    def module(self, rows, is_classification, d_embedding):
        """Return the module for the training ``rows``, a Table; its bins come from them."""
        if self.bins == "quantile":
            edges = quantile_edges(rows.x_num, rows.weight, self.n_bins)
        else:
            options = {"min_samples_leaf": self.min_samples_leaf, "min_impurity_decrease": self.min_impurity_decrease}
            edges = tree_edges(rows.x_num, rows.y, rows.weight, self.n_bins, is_classification, options)
        return PiecewiseLinearEmbedding(edges, d_embedding or self.d_embedding or 16, self.version, self.activation)


_BY_NAME = {
    "linear": Linear(),
    "periodic": Periodic(),
    "periodic_lite": Periodic(lite=True),
    "pbld": PBLD(),
    "piecewise": PiecewiseLinear(),
    "piecewise_tree": PiecewiseLinear(bins="tree"),
}
NUM_EMBEDDINGS = OneOf(*_BY_NAME), Kind("one of tabdl.embeddings' settings", lambda value: isinstance(value, _Settings))


OPTIONAL_NUM_EMBEDDINGS = OneOf(None), *NUM_EMBEDDINGS


def flat_embedding(estimator, schema, rows):
    """Return the :class:`FlatEmbedding` of an estimator with ``num_embedding``, ``d_embedding`` and ``one_hot_max_size``."""
    num = None
    if estimator.num_embedding is not None:
        num = make_num_embedding(estimator.num_embedding, rows, estimator._has_classes)
    return FlatEmbedding(schema, estimator.d_embedding, estimator.one_hot_max_size, num)


def make_num_embedding(num_embedding, rows, is_classification, d_block=None):
    """Return the module ``(B, Fn) -> (B, Fn, D)`` for a ``num_embedding`` parameter, or None without numbers.

    Parameters
    ----------
    num_embedding : str or settings
    rows : Table
        The training rows, on the CPU.
    is_classification : bool
    d_block : int, optional
        D, where the architecture prescribes it.
    """
    if rows.x_num.shape[1] == 0:
        return None
    settings = _settings(num_embedding)
    if d_block is not None and settings.d_embedding not in (None, d_block):
        raise ValueError(
            f"num_embedding: d_embedding must be None or d_block={d_block} here, as tokens have one width; got {settings!r}."
        )
    with torch.device("cpu"):  # bins are numbers, also where modules are made without
        return settings.module(rows, is_classification, d_block)


def uses_target(num_embedding):
    """Return whether what a ``num_embedding`` parameter stands for is made from the target of the training rows."""
    return num_embedding is not None and _settings(num_embedding).uses_target


def _settings(num_embedding):
    return _BY_NAME[num_embedding] if isinstance(num_embedding, str) else num_embedding


class LinearReLUEmbedding(LinearEmbedding):
    """A :class:`LinearEmbedding` and a ReLU. Shape: (B, Fn) to (B, Fn, D)."""

    def forward(self, x_num, linear=None):
        """Return the tokens, or ``linear`` of the tokens."""
        tokens = super().forward(x_num).relu()
        return tokens if linear is None else linear(tokens)


class PeriodicEmbedding(nn.Module):
    """See :class:`Periodic`. Shape: (B, Fn) to (B, Fn, D)."""

    def __init__(self, n_features, n_frequencies, d_embedding, frequency_scale, lite, activation):
        super().__init__()
        self.frequency_scale = frequency_scale
        self.frequencies = nn.Parameter(torch.empty(n_features, n_frequencies))
        sizes = 2 * n_frequencies, d_embedding
        self.linear = nn.Linear(*sizes) if lite else SeparateLinear(n_features, *sizes)
        self.d_out = d_embedding
        self.activation = nn.ReLU() if activation else nn.Identity()

    def fill(self, generator):
        """Draw the frequencies from a normal distribution, three standard deviations wide at most."""
        scale = self.frequency_scale
        nn.init.trunc_normal_(self.frequencies, std=scale, a=-3 * scale, b=3 * scale, generator=generator)

    def forward(self, x_num):
        angle = 2 * math.pi * self.frequencies * x_num.unsqueeze(-1)
        with torch.autocast(x_num.device.type, enabled=False):
            return self.activation(self.linear(torch.cat([angle.cos(), angle.sin()], -1)))


class PBLDEmbedding(nn.Module):
    """See :class:`PBLD`. Shape: (B, Fn) to (B, Fn, D)."""

    def __init__(self, n_features, n_frequencies, d_embedding, frequency_scale):
        super().__init__()
        self.frequency_scale = frequency_scale
        self.frequencies = nn.Parameter(torch.empty(n_features, n_frequencies))
        self.phases = nn.Parameter(torch.empty(n_features, n_frequencies))
        self.linear = SeparateLinear(n_features, n_frequencies, d_embedding - 1)
        self.d_out = d_embedding

    def fill(self, generator):
        """Draw frequencies from a normal, phases from a uniform distribution over the circle."""
        self.frequencies.normal_(std=self.frequency_scale, generator=generator)
        self.phases.uniform_(-math.pi, math.pi, generator=generator)

    def forward(self, x_num):
        x = x_num.unsqueeze(-1)
        with torch.autocast(x_num.device.type, enabled=False):
            return torch.cat([x, self.linear(torch.addcmul(self.phases, 2 * math.pi * self.frequencies, x).cos())], -1)


class PiecewiseLinearEmbedding(nn.Module):
    """See :class:`PiecewiseLinear`. Shape: (B, Fn) to (B, Fn, D).

    Parameters
    ----------
    edges : list of Tensor, length Fn
        Increasing edges of each number's bins, at least two.
    d_embedding : int
    version : {"A", "B"}
    activation : bool
    """

    def __init__(self, edges, d_embedding, version, activation):
        super().__init__()
        self.edges, self.d_out = edges, d_embedding
        n_features, n_bins = len(edges), max(len(e) for e in edges) - 1
        self.line = LinearEmbedding(n_features, d_embedding) if version == "B" else None
        self.linear = SeparateLinear(n_features, n_bins, d_embedding, bias=version == "A", zero=version == "B")
        self.activation = nn.ReLU() if activation else nn.Identity()
        for name in ("left", "slope", "low", "high"):
            self.register_buffer(name, torch.empty(n_features, n_bins))

    def fill(self, generator):
        """Set the constants of the encoding from the edges; a feature with fewer bins has zeros behind them."""
        for buffer in (self.left, self.slope, self.low, self.high):
            buffer.zero_()
        for i, edges in enumerate(self.edges):
            n_bins = len(edges) - 1
            self.left[i, :n_bins] = edges[:-1]
            self.slope[i, :n_bins] = 1 / edges.diff()
            self.high[i, :n_bins] = 1
            self.low[i, 0], self.high[i, n_bins - 1] = -math.inf, math.inf

    def encode(self, x_num: Tensor):
        """Return the encoding (2203.05556, equation 1): 1 for each bin below x, x's share of its own bin, 0 above; (B, Fn, bins).

        The outermost bins go on beyond their edges.
        """
        return torch.clamp((x_num.unsqueeze(-1) - self.left) * self.slope, self.low, self.high)

    def forward(self, x_num):
        with torch.autocast(x_num.device.type, enabled=False):
            pieces = self.activation(self.linear(self.encode(x_num)))
        return pieces if self.line is None else pieces + self.line(x_num)


class OneHot(nn.Module):
    """Columns of zeros and ones, one for each value that training rows have; none of them for any other value.

    Shape: (B, Fc) codes to (B, sum of (cardinality - 1)).
    """

    def __init__(self, cardinalities):
        super().__init__()
        self.cardinalities = tuple(cardinalities)
        self.widths = [size - 1 for size in cardinalities]
        self.d_out = sum(self.widths)
        for name in ("feature", "code"):
            self.register_buffer(name, torch.empty(self.d_out, dtype=torch.int32))

    def fill(self, generator):
        """Set which feature and which code each column stands for."""
        sizes = torch.tensor(self.cardinalities) - 1
        self.feature.copy_(torch.repeat_interleave(torch.arange(len(sizes)), sizes))
        self.code.copy_(torch.cat([torch.arange(size) for size in sizes.tolist()]))

    def forward(self, x_cat):
        return x_cat.index_select(-1, self.feature) == self.code


def split_by_size(cardinalities, one_hot_max_size):
    """Return which features have at most so many known codes, and which have more: two lists of numbers."""
    hot = [i for i, size in enumerate(cardinalities) if size - 1 <= one_hot_max_size]
    return hot, [i for i in range(len(cardinalities)) if i not in hot]


class FlatEmbedding(nn.Module):
    """Numbers, as they are or embedded, beside the categories' columns and vectors, in one row: the input of MLP-like networks.

    Shape: (B, Fn), (B, Fc) to (B, d_out).

    Parameters
    ----------
    schema : Schema
    d_embedding : int
        Width of the vector of a category that is not one-hot.
    one_hot_max_size : int
        Features of at most so many values are one-hot.
    num : Module or None
        The numbers' embedding, (B, Fn) to (B, Fn, D), with an attribute ``d_out`` = D.
    one_hot : Module, optional
        Instead of :class:`OneHot`, for the features that :func:`split_by_size` returns first.

    Attributes
    ----------
    widths : list of int
        How many of the ``d_out`` numbers each feature has, in their order.
    n_channels : int or None
        How many channels can be mixed between rows; None where there is a number without a vector, or no vector at all.
    """

    def __init__(self, schema, d_embedding, one_hot_max_size=0, num=None, one_hot=None):
        super().__init__()
        sizes = schema.cardinalities
        self.hot, self.embedded = split_by_size(sizes, one_hot_max_size)
        self.num, self.n_num = num, schema.n_num
        self.one_hot = one_hot or OneHot([sizes[i] for i in self.hot]) if self.hot else None
        self.cat = self._vectors(sizes, d_embedding) if self.embedded else None
        self.widths = (
            [1 if num is None else num.d_out] * schema.n_num
            + (self.one_hot.widths if self.hot else [])
            + [d_embedding] * len(self.embedded)
        )
        self.d_out = sum(self.widths)
        widths = ([] if num is None else [num.d_out]) + [d_embedding] * bool(self.embedded)
        self.n_channels = max(widths) if widths and (num is not None or schema.n_num == 0) else None

    def own_weight(self, share, own):
        """Return how much of each column stays a row's own, (B, d_out), when channels are mixed between rows.

        A one-hot column has no channels: there the two rows are averaged by the share.

        Parameters
        ----------
        share : Tensor of shape (B,)
        own : Tensor of shape (B, n_channels), 1 or 0
        """
        parts = [] if self.num is None else [own[:, : self.num.d_out].repeat(1, self.n_num)]
        if self.one_hot is not None:
            parts.append(share.unsqueeze(1).expand(-1, self.one_hot.d_out))
        if self.cat is not None:
            parts.append(own[:, : self.cat.weight.shape[1]].repeat(1, len(self.embedded)))
        return torch.cat(parts, 1)

    def _vectors(self, sizes, d_embedding):
        return CategoryEmbedding([sizes[i] for i in self.embedded], d_embedding, bias=False, features=self.embedded)

    def forward(self, x_num, x_cat):
        parts = [x_num if self.num is None else self.num(x_num).flatten(1)]
        if self.one_hot is not None:
            parts.append(self.one_hot(self._of(x_cat, self.hot)).to(x_num.dtype))
        if self.cat is not None:
            parts.append(self.cat(self._of(x_cat, self.embedded)).flatten(1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _of(self, x_cat, features):
        # Not by a list, which would be copied to the device: no CUDA graph can record that.
        return x_cat if len(features) == x_cat.shape[1] else torch.stack([x_cat[:, i] for i in features], 1)
