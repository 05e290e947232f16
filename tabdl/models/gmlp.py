"""gMLP over feature tokens: learned sums over the tokens stand where attention would.

Liu, Dai, So, Le: "Pay Attention to MLPs" (NeurIPS 2021, 2105.08050); the tokens are
FT-Transformer's (2106.11959, section 3.3).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from tabdl.base.estimator import TabularEstimator
from tabdl.base.mixins import ClassifierTask, RegressorTask
from tabdl.embeddings import NUMERIC_EMBEDDINGS, TOKEN_DOC, numeric_embedding
from tabdl.network.contract import TabularNet, power_of_two_rows
from tabdl.network.embeddings import FeatureTokenizer
from tabdl.network.functional import attention
from tabdl.network.layers import Dropout, StochasticDepth, ZeroBiasLinear
from tabdl.params import Float, Int, param


class SpatialGate(nn.Module):
    """``W norm(v) + b`` over the tokens, the factor of the other half of the hidden numbers.

    See equation 2. W begins near zero and b at one, so that the block begins as a plain
    feed-forward layer.

    Shape: (B, T, D) to (B, T, D), or (B, 1, D) for the first token alone.
    """

    decayed = ("weight",)

    def __init__(self, n_tokens: int, d_hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_hidden)
        self.weight = nn.Parameter(torch.empty(n_tokens, n_tokens))
        self.bias = nn.Parameter(torch.empty(n_tokens))

    def init_weights(self, generator: torch.Generator) -> None:
        """Begin with a gate of one."""
        self.weight.normal_(std=1e-6, generator=generator)
        self.bias.fill_(1)

    def forward(self, v: Tensor, first_only: bool = False) -> Tensor:
        """Return the factor of all tokens, or of the first one."""
        n_tokens = 1 if first_only else len(self.weight)
        # "@" would transpose all of v, and again in the backward pass.
        mixed = torch.bmm(self.weight[:n_tokens].expand(v.shape[0], -1, -1), self.norm(v))
        return mixed + self.bias[:n_tokens, None]


class TinyAttention(nn.Module):
    """Self-attention with a single narrow head, whose output joins the gate (aMLP, section 5.2).

    Shape: (B, T, D) to (B, T, d_out).
    """

    def __init__(self, d_block: int, d_attention: int, d_out: int) -> None:
        super().__init__()
        self.qkv = ZeroBiasLinear(d_block, 3 * d_attention)
        self.out = ZeroBiasLinear(d_attention, d_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to the gate."""
        return self.out(attention(self.qkv(x), 1))


class Block(nn.Module):
    """``x + linear(u * gate(v))`` of the halves u and v of ``gelu(linear(norm(x)))``.

    See section 2, figure 1.
    """

    def __init__(
        self,
        n_tokens: int,
        d_block: int,
        d_hidden: int,
        d_attention: int,
        ffn_dropout: float,
        residual_dropout: float,
        depth: StochasticDepth,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_block)
        self.linear_in = nn.Linear(d_block, 2 * d_hidden)
        self.gate = SpatialGate(n_tokens, d_hidden)
        self.attention = TinyAttention(d_block, d_attention, d_hidden) if d_attention else None
        self.ffn_dropout = Dropout(ffn_dropout)
        self.linear_out = nn.Linear(d_hidden, d_block)
        self.residual_dropout = nn.Sequential(Dropout(residual_dropout), depth)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens after this block, (B, T, D)."""
        normed = self.norm(x)
        u, v = gelu(self.linear_in(normed)).chunk(2, -1)
        gate = self.gate(v)
        if self.attention is not None:
            gate = gate + self.attention(normed)
        return x + self._out(u * gate)

    def first_token(self, x: Tensor) -> Tensor:
        """Return the first token after this block, (B, D).

        It needs no u of other tokens, and no other row of the gate.
        """
        normed = self.norm(x)
        weight_u, weight_v = self.linear_in.weight.chunk(2)
        bias_u, bias_v = self.linear_in.bias.chunk(2)
        gate = self.gate(gelu(linear(normed, weight_v, bias_v)), first_only=True)
        if self.attention is not None:
            gate = gate + self.attention(normed)[:, :1]
        u = gelu(linear(normed[:, :1], weight_u, bias_u))
        return (x[:, :1] + self._out(u * gate)).squeeze(1)

    def _out(self, hidden):
        return self.residual_dropout(self.linear_out(self.ffn_dropout(hidden)))


class GMLPBackbone(nn.Module):
    """gMLP blocks, from tokens (B, T, D) to [CLS], (B, D).

    The last block computes nothing else.
    """

    def __init__(self, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.blocks: Any = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Return [CLS] after the last block."""
        for block in self.blocks[:-1]:
            x = block(x)
        return self.blocks[-1].first_token(x)


class GMLP(TabularEstimator):
    """The hyper-parameters of gMLP."""

    n_blocks: int = param(Int(1), default=3, doc="Number of gMLP blocks.")
    d_block: int = param(Int(1), default=128, doc="Width of a token.")
    ffn_hidden_multiplier: float = param(
        Float("(0, inf)"),
        default=2.0,
        doc="Width of either half of the hidden layer, in ``d_block``: half of the paper's d_ffn.",
    )
    d_attention: int = param(
        Int(0),
        default=0,
        doc="Width of the tiny attention whose output joins each gate; 0: none, which is gMLP; "
        "the paper's aMLP: 64.",
    )
    ffn_dropout: float = param(
        Float("[0, 1)"), default=0.1, doc="Dropout of the gated hidden layer."
    )
    residual_dropout: float = param(
        Float("[0, 1)"), default=0.0, doc="Dropout of each residual branch."
    )
    stochastic_depth: float = param(
        Float("[0, 1)"),
        default=0.0,
        doc="Share of the rows that skip the last block in training; earlier blocks "
        "proportionally less (1603.09382, section 3).",
    )
    lr: float = param(Float("(0, inf)"), default=1e-3, doc="Learning rate of AdamW.")
    numeric_embedding: Any = param(
        *NUMERIC_EMBEDDINGS,
        default="linear",
        doc=TOKEN_DOC,
    )

    def _build_net(self, schema, n_outputs, train_table):
        d_hidden = int(self.d_block * self.ffn_hidden_multiplier)
        if d_hidden < 1:
            raise ValueError(
                f"{type(self).__name__}: ffn_hidden_multiplier must leave a hidden width of at "
                f"least 1, got ffn_hidden_multiplier={self.ffn_hidden_multiplier} with "
                f"d_block={self.d_block}."
            )
        n_tokens = 1 + schema.n_num + len(schema.cardinalities)
        sizes = (
            n_tokens,
            self.d_block,
            d_hidden,
            self.d_attention,
            self.ffn_dropout,
            self.residual_dropout,
        )
        depths = [
            StochasticDepth(self.stochastic_depth, i, self.n_blocks) for i in range(self.n_blocks)
        ]
        num = numeric_embedding(self, train_table, self.d_block)
        return TabularNet(
            FeatureTokenizer(num, schema.cardinalities, self.d_block),
            GMLPBackbone(Block(*sizes, depth) for depth in depths),
            nn.Sequential(
                nn.LayerNorm(self.d_block), nn.ReLU(), nn.Linear(self.d_block, n_outputs)
            ),
            n_vectors_per_row=n_tokens,
            cpu_chunk_rows=power_of_two_rows(64 * 25 * 192, n_tokens * self.d_block),
            cpu_step_rows=power_of_two_rows(256 * 25 * 192, n_tokens * self.d_block),
        )


class GMLPClassifier(ClassifierTask, GMLP):
    """A gMLP for binary, multiclass and multilabel classification of table rows.

    Every column, numeric or categorical, becomes a token of width ``d_block``, as in
    FT-Transformer; in ``n_blocks`` blocks each token is multiplied with a learned sum over all
    tokens, in the place of attention.

    {parameters}

    {attributes}

    See Also
    --------
    FTTransformerClassifier : The same tokens, with attention.

    References
    ----------
    Liu, Dai, So, Le: "Pay Attention to MLPs", NeurIPS 2021, sections 2 and 5.2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import GMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = GMLPClassifier(n_blocks=1, d_block=32, max_epochs=20, random_state=0)
    >>> model = model.fit(X, y)
    >>> model.predict_proba(X).shape
    (150, 3)
    """


class GMLPRegressor(RegressorTask, GMLP):
    """A gMLP for regression on one or several targets of table rows.

    Every column, numeric or categorical, becomes a token of width ``d_block``, as in
    FT-Transformer; in ``n_blocks`` blocks each token is multiplied with a learned sum over all
    tokens, in the place of attention.

    {parameters}

    {attributes}

    See Also
    --------
    FTTransformerRegressor : The same tokens, with attention.

    References
    ----------
    Liu, Dai, So, Le: "Pay Attention to MLPs", NeurIPS 2021, sections 2 and 5.2.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import GMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GMLPRegressor(n_blocks=1, d_block=32, max_epochs=20, random_state=0)
    >>> model = model.fit(X, y)
    >>> model.predict(X).shape
    (442,)
    """
