"""The modules that turn features into vectors: numbers, categories, tokens, one flat row.

Gorishniy et al.: "Revisiting Deep Learning Models for Tabular Data" (NeurIPS 2021, 2106.11959), for
the tokens; Gorishniy, Rubachev, Babenko: "On Embeddings for Numerical Features in Tabular Deep
Learning" (NeurIPS 2022, 2203.05556); Holzmüller, Grinsztajn, Steinwart: "Better by Default"
(NeurIPS 2024, 2407.04491), for PBLD; Gorishniy, Kotelnikov, Babenko: "TabM" (ICLR 2025,
2410.24210), for version "B" of the piecewise-linear embedding.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tabdl.network.functional import without_autocast
from tabdl.network.layers import SeparateLinear

# Versions of torch before 2.7 do not say.
_is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", lambda: False)


def _fill_by_width(parameters: Iterable[Tensor], generator: torch.Generator) -> None:
    for parameter in parameters:
        bound = parameter.shape[-1] ** -0.5
        parameter.uniform_(-bound, bound, generator=generator)


def _through(bias: Tensor | None, linear: nn.Linear) -> Tensor | None:
    """Return what is added behind ``linear`` when ``bias`` is added before it."""
    return linear.bias if bias is None else linear(bias)


class LinearEmbedding(nn.Module):
    """A token for each number: ``x_j * W_j + b_j`` (Gorishniy et al. 2021, section 3.3).

    Without ``bias`` it is ``x_j * W_j``. Shape: (B, Fn) to (B, Fn, D).
    """

    def __init__(self, n_features: int, d_embedding: int, bias: bool = True) -> None:
        super().__init__()
        self.d_out = d_embedding
        self.weight = nn.Parameter(torch.empty(n_features, d_embedding))
        self.bias = nn.Parameter(torch.empty(n_features, d_embedding)) if bias else None

    def init_weights(self, generator: torch.Generator) -> None:
        """Fill with uniform numbers in +-1/sqrt(D)."""
        _fill_by_width(self.parameters(), generator)

    def forward(self, x_num: Tensor, linear: nn.Linear | None = None) -> Tensor:
        """Return the tokens, or ``linear`` of the tokens.

        With the weight A and the bias c the latter is ``x_j * (A W_j) + (A b_j + c)``.
        """
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if linear is not None:
            weight = nn.functional.linear(weight, linear.weight)
            bias = _through(bias, linear)
        x = x_num.unsqueeze(-1).to(weight.dtype)
        return x * weight if bias is None else torch.addcmul(bias.to(weight.dtype), x, weight)


class CategoryEmbedding(nn.Module):
    """A vector for each code of each categorical feature (Gorishniy et al. 2021, section 3.3).

    Shape: (B, Fc) integer codes to (B, Fc, D).

    Parameters
    ----------
    cardinalities : sequence of int, length Fc
        Number of codes of each feature; the last code is the one that no training row has.
    d_embedding : int
        D.
    bias : bool
        Add one more vector a feature, whatever its value, as FT-Transformer does.
    features : list of int, optional
        Which of the categorical features of a table these are, if not all.
    """

    offsets: Tensor

    def __init__(
        self,
        cardinalities: Sequence[int],
        d_embedding: int,
        bias: bool,
        features: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.features = list(range(len(cardinalities))) if features is None else features
        self.cardinalities = tuple(cardinalities)
        self.weight = nn.Parameter(torch.empty(sum(self.cardinalities), d_embedding))
        self.bias = (
            nn.Parameter(torch.empty(len(self.cardinalities), d_embedding)) if bias else None
        )
        # Known from the cardinalities, so that a state does not hold it.
        offsets = torch.empty(len(self.cardinalities), dtype=torch.int32)
        self.register_buffer("offsets", offsets, persistent=False)

    def init_weights(self, generator: torch.Generator) -> None:
        """Fill vectors with uniform numbers in +-1/sqrt(D), and set where each feature begins."""
        _fill_by_width(self.parameters(), generator)
        self.set_offsets()

    def set_offsets(self) -> None:
        """Set where the vectors of each feature begin."""
        sizes = torch.tensor((0, *self.cardinalities[:-1]), dtype=torch.int32)
        self.offsets.copy_(sizes.cumsum(0))

    def forward(self, x_cat: Tensor, linear: nn.Linear | None = None) -> Tensor:
        """Return the vectors, or ``linear`` of the vectors."""
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        # A graph that is exported serves any number of rows.
        few_codes = _is_exporting() or len(weight) <= x_cat.numel()
        if linear is not None and few_codes:
            weight = nn.functional.linear(weight, linear.weight)
            bias = _through(bias, linear)
        vectors = nn.functional.embedding(x_cat + self.offsets, weight)
        vectors = vectors if bias is None else vectors + bias
        return vectors if linear is None or few_codes else linear(vectors)

    @torch.no_grad()
    def code_frequencies(self, x_cat: Tensor, row_weight: Tensor | None) -> list[Tensor]:
        """Return the share of the training rows that each code of each feature has.

        Parameters
        ----------
        x_cat : Tensor of shape (N, Fc)
            The training rows, with all categorical features of the table.
        row_weight : Tensor of shape (N,) or None

        Returns
        -------
        list of Tensor of shape (codes of the feature - 1,)
        """
        frequencies = []
        for codes, cardinality in zip(
            x_cat[:, self.features].unbind(1), self.cardinalities, strict=True
        ):
            counts = torch.bincount(codes, row_weight, minlength=cardinality)[:-1].to(self.weight)
            # A fit that goes on may have rows of unknown categories alone.
            frequencies.append(counts / counts.sum().clamp(min=torch.finfo(counts.dtype).tiny))
        return frequencies

    @torch.no_grad()
    def set_unknown_to_mean(self, frequencies: list[Tensor]) -> None:
        """Give the last code of each feature the mean vector of the training rows.

        No training row has that code, so its vector has never been trained. The mean is what the
        network knows of a row whose category says nothing.

        Parameters
        ----------
        frequencies : list of Tensor
            From :meth:`code_frequencies`.
        """
        for vectors, share in zip(self.weight.split(self.cardinalities), frequencies, strict=True):
            vectors[-1] = torch.where(share.any(), share @ vectors[:-1], vectors[-1])


class FeatureTokenizer(nn.Module):
    """The tokens of a row, [CLS] first (section 3.3, figure 2a).

    Shape: (B, Fn), (B, Fc) to (B, T, D), where T is 1 + Fn + Fc, or Fn + Fc without [CLS].

    Parameters
    ----------
    num : Module or None
        The embedding of the numbers, (B, Fn) to (B, Fn, D).
    cardinalities : sequence of int, length Fc
    d_block : int
        D.
    bias : bool
        Whether the tokens of a categorical feature have a vector in common.
    has_cls : bool
    """

    def __init__(
        self,
        num: nn.Module | None,
        cardinalities: Sequence[int],
        d_block: int,
        bias: bool = True,
        has_cls: bool = True,
    ) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.empty(d_block)) if has_cls else None
        self.num = num
        self.cat = CategoryEmbedding(cardinalities, d_block, bias) if cardinalities else None
        self.n_channels = d_block

    def init_weights(self, generator: torch.Generator) -> None:
        """Fill [CLS] with uniform numbers in +-1/sqrt(D)."""
        _fill_by_width([] if self.cls is None else [self.cls], generator)

    def mix_weight(self, share: Tensor, own: Tensor) -> Tensor:
        """Return how much of each token a row keeps, (B, 1, D), when channels are mixed.

        Parameters
        ----------
        share : Tensor of shape (B,)
        own : Tensor of shape (B, D), 1 or 0
        """
        return own.unsqueeze(1)

    def by_feature(self, x: Tensor) -> Tensor:
        """Return the sum over the token of each feature, (B, Fn + Fc), of ``x`` (B, T, D)."""
        return (x if self.cls is None else x[:, 1:]).sum(-1)

    def forward(self, x_num: Tensor, x_cat: Tensor, linear: nn.Linear | None = None) -> Tensor:
        """Return the tokens, or ``linear(tokens)``, (B, T, D').

        With the linear embedding the token of a number is ``x * w + b``, and that of a category is
        a row of a table plus ``b``. So ``linear`` (weight W, bias c) need not see every token:
        ``x * (W w) + (W b + c)``, and a row of the transformed table, are the same.
        """
        through: Callable[[Tensor], Tensor] = linear or nn.Identity()
        tokens = []
        if self.cls is not None:
            tokens.append(through(self.cls).expand(x_num.shape[0], 1, -1))
        if self.num is not None:
            is_linear = type(self.num) is LinearEmbedding
            tokens.append(self.num(x_num, linear) if is_linear else through(self.num(x_num)))
        if self.cat is not None:
            tokens.append(self.cat(x_cat, linear))
        return torch.cat(tokens, 1)


class LinearReLUEmbedding(LinearEmbedding):
    """A :class:`LinearEmbedding` and a ReLU. Shape: (B, Fn) to (B, Fn, D)."""

    def forward(self, x_num: Tensor, linear: nn.Linear | None = None) -> Tensor:
        """Return the tokens, or ``linear`` of the tokens."""
        tokens = super().forward(x_num).relu()
        return tokens if linear is None else linear(tokens)


class PeriodicEmbedding(nn.Module):
    """See :class:`tabdl.embeddings.Periodic`. Shape: (B, Fn) to (B, Fn, D)."""

    def __init__(
        self,
        n_features: int,
        n_frequencies: int,
        d_embedding: int,
        frequency_scale: float,
        lite: bool,
        activation: bool,
    ) -> None:
        super().__init__()
        self.frequency_scale = frequency_scale
        self.frequencies = nn.Parameter(torch.empty(n_features, n_frequencies))
        sizes = 2 * n_frequencies, d_embedding
        self.linear = nn.Linear(*sizes) if lite else SeparateLinear(n_features, *sizes)
        self.d_out = d_embedding
        self.activation = nn.ReLU() if activation else nn.Identity()

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw the frequencies from a normal distribution, cut at three standard deviations."""
        scale = self.frequency_scale
        nn.init.trunc_normal_(
            self.frequencies, std=scale, a=-3 * scale, b=3 * scale, generator=generator
        )

    def forward(self, x_num: Tensor) -> Tensor:
        """Return the vectors."""
        angle = 2 * math.pi * self.frequencies * x_num.unsqueeze(-1)
        with without_autocast(x_num.device.type):
            return self.activation(self.linear(torch.cat([angle.cos(), angle.sin()], -1)))


class PBLDEmbedding(nn.Module):
    """See :class:`tabdl.embeddings.PBLD`. Shape: (B, Fn) to (B, Fn, D)."""

    def __init__(
        self, n_features: int, n_frequencies: int, d_embedding: int, frequency_scale: float
    ) -> None:
        super().__init__()
        self.frequency_scale = frequency_scale
        self.frequencies = nn.Parameter(torch.empty(n_features, n_frequencies))
        self.phases = nn.Parameter(torch.empty(n_features, n_frequencies))
        self.linear = SeparateLinear(n_features, n_frequencies, d_embedding - 1)
        self.d_out = d_embedding

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw frequencies from a normal, phases from a uniform distribution over the circle."""
        self.frequencies.normal_(std=self.frequency_scale, generator=generator)
        self.phases.uniform_(-math.pi, math.pi, generator=generator)

    def forward(self, x_num: Tensor) -> Tensor:
        """Return the vectors."""
        x = x_num.unsqueeze(-1)
        with without_autocast(x_num.device.type):
            angle = torch.addcmul(self.phases, 2 * math.pi * self.frequencies, x)
            return torch.cat([x, self.linear(angle.cos())], -1)


class PiecewiseLinearEmbedding(nn.Module):
    """See :class:`tabdl.embeddings.PiecewiseLinear`. Shape: (B, Fn) to (B, Fn, D).

    Parameters
    ----------
    edges : list of Tensor, length Fn
        Increasing edges of the bins of each number, at least two.
    d_embedding : int
    version : {"A", "B"}
    activation : bool
    """

    left: Tensor
    slope: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self, edges: Sequence[Tensor], d_embedding: int, version: str, activation: bool
    ) -> None:
        super().__init__()
        self.edges = edges
        self.d_out = d_embedding
        n_features = len(edges)
        n_bins = max(len(e) for e in edges) - 1
        self.line = LinearEmbedding(n_features, d_embedding) if version == "B" else None
        self.linear = SeparateLinear(
            n_features, n_bins, d_embedding, bias=version == "A", zero=version == "B"
        )
        self.activation = nn.ReLU() if activation else nn.Identity()
        for name in ("left", "slope", "low", "high"):
            self.register_buffer(name, torch.empty(n_features, n_bins))

    def init_weights(self, generator: torch.Generator) -> None:
        """Set the constants of the encoding from the edges, with zeros where bins are fewer."""
        for buffer in (self.left, self.slope, self.low, self.high):
            buffer.zero_()
        for i, edges in enumerate(self.edges):
            n_bins = len(edges) - 1
            self.left[i, :n_bins] = edges[:-1]
            self.slope[i, :n_bins] = 1 / edges.diff()
            self.high[i, :n_bins] = 1
            self.low[i, 0] = -math.inf
            self.high[i, n_bins - 1] = math.inf

    def adapt_to(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Take the number of bins from the shapes of a state; see ``network/rebuilding.py``."""
        n_features = len(self.edges)
        shape = shapes.get("left", ())
        if n_features == 0 or len(shape) != 2 or shape[0] != n_features or shape[1] < 1:
            return
        for name in ("left", "slope", "low", "high"):
            setattr(self, name, torch.empty(shape, device="meta"))
        has_line = self.line is not None
        with torch.device("meta"):
            self.linear = SeparateLinear(
                n_features, shape[1], self.d_out, bias=not has_line, zero=has_line
            )

    def encode(self, x_num: Tensor) -> Tensor:
        """Return the encoding (2203.05556, equation 1), (B, Fn, bins).

        It is 1 for each bin below x, the share of the bin that x is in, and 0 for each bin above.
        The outermost bins go on beyond their edges.
        """
        return torch.clamp((x_num.unsqueeze(-1) - self.left) * self.slope, self.low, self.high)

    def forward(self, x_num: Tensor) -> Tensor:
        """Return the vectors."""
        with without_autocast(x_num.device.type):
            pieces = self.activation(self.linear(self.encode(x_num)))
        return pieces if self.line is None else pieces + self.line(x_num)


class OneHot(nn.Module):
    """Columns of zeros and ones, one for each value that training rows have.

    Another value is zero in all of them. Shape: (B, Fc) codes to (B, sum of (cardinality - 1)).
    """

    feature: Tensor
    code: Tensor

    def __init__(self, cardinalities: Sequence[int]) -> None:
        super().__init__()
        self.cardinalities = tuple(cardinalities)
        self.widths = [size - 1 for size in cardinalities]
        self.d_out = sum(self.widths)
        for name in ("feature", "code"):
            empty = torch.empty(self.d_out, dtype=torch.int32)
            self.register_buffer(name, empty, persistent=False)

    def init_weights(self, generator: torch.Generator) -> None:
        """Set which feature and which code each column stands for."""
        sizes = torch.tensor(self.cardinalities) - 1
        self.feature.copy_(torch.repeat_interleave(torch.arange(len(sizes)), sizes))
        self.code.copy_(torch.cat([torch.arange(size) for size in sizes.tolist()]))

    def forward(self, x_cat: Tensor) -> Tensor:
        """Return the columns, as booleans."""
        return x_cat.index_select(-1, self.feature) == self.code


def split_by_size(
    cardinalities: Sequence[int], one_hot_max_size: int
) -> tuple[list[int], list[int]]:
    """Return the features that have at most ``one_hot_max_size`` known codes, and the others."""
    hot = [i for i, size in enumerate(cardinalities) if size - 1 <= one_hot_max_size]
    return hot, [i for i in range(len(cardinalities)) if i not in hot]


class FlatEmbedding(nn.Module):
    """Numbers, as they are or embedded, beside the columns and vectors of categories, in one row.

    It is the input of networks like an MLP.

    Shape: (B, Fn), (B, Fc) to (B, d_out).

    Parameters
    ----------
    schema : Schema
    d_embedding : int
        Width of the vector of a category that is not one-hot.
    one_hot_max_size : int
        Features of at most so many values are one-hot.
    num : Module or None
        The embedding of the numbers, (B, Fn) to (B, Fn, D), with an attribute ``d_out`` = D.
    one_hot : Module, optional
        Instead of :class:`OneHot`, for the features that :func:`split_by_size` returns first.

    Attributes
    ----------
    widths : list of int
        How many of the ``d_out`` numbers each feature has, in their order.
    n_channels : int or None
        How many channels can be mixed between rows; None where there is a number without a vector,
        or no vector at all.
    """

    def __init__(
        self,
        schema: Any,
        d_embedding: int,
        one_hot_max_size: int = 0,
        num: Any = None,
        one_hot: nn.Module | None = None,
    ) -> None:
        super().__init__()
        sizes = schema.cardinalities
        self.hot, self.embedded = split_by_size(sizes, one_hot_max_size)
        self.num: Any = num
        self.n_num: int = schema.n_num
        self.one_hot: Any = one_hot or OneHot([sizes[i] for i in self.hot]) if self.hot else None
        self.cat = self._vectors(sizes, d_embedding) if self.embedded else None
        self.widths = (
            [1 if num is None else num.d_out] * schema.n_num
            + (self.one_hot.widths if self.hot else [])
            + [d_embedding] * len(self.embedded)
        )
        self.d_out = sum(self.widths)
        widths = ([] if num is None else [num.d_out]) + [d_embedding] * bool(self.embedded)
        self.n_channels = max(widths) if widths and (num is not None or schema.n_num == 0) else None

    def mix_weight(self, share: Tensor, own: Tensor) -> Tensor:
        """Return how much of each column a row keeps, (B, d_out), when channels are mixed.

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

    def by_feature(self, x: Tensor) -> Tensor:
        """Return the sum over the numbers of each feature, (B, Fn + Fc), of ``x`` (B, d_out)."""
        sums = torch.stack([part.sum(1) for part in x.split(self.widths, 1)], 1)
        order = [*range(self.n_num), *[self.n_num + i for i in (*self.hot, *self.embedded)]]
        return sums[:, torch.tensor(order).argsort()]

    def _vectors(self, sizes, d_embedding):
        return CategoryEmbedding(
            [sizes[i] for i in self.embedded], d_embedding, bias=False, features=self.embedded
        )

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Return the rows."""
        parts = [x_num if self.num is None else self.num(x_num).flatten(1)]
        if self.one_hot is not None:
            parts.append(self.one_hot(self._of(x_cat, self.hot)).to(x_num.dtype))
        if self.cat is not None:
            parts.append(self.cat(self._of(x_cat, self.embedded)).flatten(1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _of(self, x_cat, features):
        # Not by a list, which would be copied to the device: no CUDA graph can record that.
        return (
            x_cat
            if len(features) == x_cat.shape[1]
            else torch.stack([x_cat[:, i] for i in features], 1)
        )
