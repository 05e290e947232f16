"""FT-Transformer: every column becomes a token, and a Transformer works on the tokens.

Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular Data" (NeurIPS 2021), section 3.3.
"""

import torch
from torch import nn

from tabdl.base import TabularEstimator
from tabdl.nn import CategoryEmbedding, Dropout, LinearEmbedding, TabularNet
from tabdl.params import Float, Int, param
from tabdl.tasks import ClassifierTask, RegressorTask


class FeatureTokenizer(nn.Module):
    """The tokens of a row, [CLS] first (section 3.3, figure 2a).

    Shape: (B, Fn), (B, Fc) to (B, 1 + Fn + Fc, D).
    """

    def __init__(self, n_num, cardinalities, d_block):
        super().__init__()
        self.cls = nn.Parameter(torch.empty(d_block))
        self.num = LinearEmbedding(n_num, d_block) if n_num else None
        self.cat = CategoryEmbedding(cardinalities, d_block, bias=True) if cardinalities else None

    def forward(self, x_num, x_cat):
        tokens = [self.cls.expand(len(x_num), 1, -1)]
        if self.num is not None:
            tokens.append(self.num(x_num))
        if self.cat is not None:
            tokens.append(self.cat(x_cat))
        return torch.cat(tokens, 1)


class Attention(nn.Module):
    """Multi-head self-attention; on request only the first token asks.

    Shape: (B, T, D) to (B, T, D), or to (B, 1, D) with ``first_only``.
    """

    def __init__(self, d_block, n_heads, dropout):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_block, 3 * d_block)
        # One head has nothing to mix, as in the authors' package.
        self.out = nn.Linear(d_block, d_block) if n_heads > 1 else nn.Identity()
        self.dropout = Dropout(dropout)

    def _project(self, x, first_only):
        if not first_only:
            return self.qkv(x).chunk(3, -1)
        d_block = x.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        q = nn.functional.linear(x[:, :1], weight[:d_block], bias[:d_block])
        k, v = nn.functional.linear(x, weight[d_block:], bias[d_block:]).chunk(2, -1)
        return q, k, v

    def forward(self, x, first_only=False):
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in self._project(x, first_only))  # (B, H, T, D/H)
        probabilities = torch.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5, -1)  # (B, H, 1 or T, T)
        return self.out((self.dropout(probabilities) @ v).transpose(1, 2).flatten(-2))


class ReGLU(nn.Module):
    """``a * relu(b)`` of the two halves of the last dimension (Shazeer 2020, "GLU Variants Improve Transformer").

    Shape: (..., 2 D) to (..., D).
    """

    def forward(self, x):
        a, b = x.chunk(2, -1)
        return a * b.relu()


class Block(nn.Module):
    """A PreNorm Transformer block; the very first block of a network has no norm before its attention (section 3.3).

    Shape: (B, T, D) to (B, T, D), or to (B, 1, D) with ``first_only``.
    """

    def __init__(self, d_block, n_heads, d_hidden, attention_dropout, ffn_dropout, residual_dropout, first):
        super().__init__()
        self.attention_norm = nn.Identity() if first else nn.LayerNorm(d_block)
        self.attention = Attention(d_block, n_heads, attention_dropout)
        self.ffn_norm = nn.LayerNorm(d_block)
        self.ffn = nn.Sequential(nn.Linear(d_block, 2 * d_hidden), ReGLU(), Dropout(ffn_dropout), nn.Linear(d_hidden, d_block))
        self.residual_dropout = Dropout(residual_dropout)

    def forward(self, x, first_only=False):
        skip = x[:, :1] if first_only else x
        x = skip + self.residual_dropout(self.attention(self.attention_norm(x), first_only))
        return x + self.residual_dropout(self.ffn(self.ffn_norm(x)))


class FTTransformerBackbone(nn.Module):
    """Transformer blocks; the last one computes only the [CLS] token, which is all that the head reads.

    Shape: (B, T, D) to (B, D).
    """

    def __init__(self, *, n_blocks, d_block, n_heads, ffn_hidden_multiplier, attention_dropout, ffn_dropout, residual_dropout):
        super().__init__()
        d_hidden = int(d_block * ffn_hidden_multiplier)
        dropouts = (attention_dropout, ffn_dropout, residual_dropout)
        self.blocks = nn.ModuleList(Block(d_block, n_heads, d_hidden, *dropouts, first=i == 0) for i in range(n_blocks))

    def forward(self, x):
        for block in self.blocks[:-1]:
            x = block(x)
        return self.blocks[-1](x, first_only=True).squeeze(1)


class FTTransformer(TabularEstimator):
    """The hyper-parameters of FT-Transformer; the defaults are the paper's (supplementary E, table 13)."""

    n_blocks: int = param(3, Int(1), doc="Number of Transformer blocks.")
    d_block: int = param(192, Int(1), doc="Width of a token; a multiple of ``n_heads``.")
    n_heads: int = param(8, Int(1), doc="Number of attention heads.")
    attention_dropout: float = param(0.2, Float("[0, 1)"), doc="Dropout of the attention probabilities.")
    ffn_hidden_multiplier: float = param(4 / 3, Float("(0, inf)"), doc="Hidden width of the feed-forward part, in ``d_block``.")
    ffn_dropout: float = param(0.1, Float("[0, 1)"), doc="Dropout of the feed-forward part's hidden layer.")
    residual_dropout: float = param(0.0, Float("[0, 1)"), doc="Dropout of each residual branch.")
    lr: float = param(1e-4, Float("(0, inf)"), doc="Learning rate of AdamW.")

    def _build_net(self, schema, n_outputs):
        if self.d_block % self.n_heads:
            raise ValueError(
                f"{type(self).__name__}: d_block must be a multiple of n_heads, got d_block={self.d_block} and "
                f"n_heads={self.n_heads}."
            )
        if int(self.d_block * self.ffn_hidden_multiplier) < 1:
            raise ValueError(
                f"{type(self).__name__}: ffn_hidden_multiplier must leave a hidden width of at least 1, got "
                f"ffn_hidden_multiplier={self.ffn_hidden_multiplier} with d_block={self.d_block}."
            )
        return TabularNet(
            FeatureTokenizer(schema.n_num, schema.cardinalities, self.d_block),
            FTTransformerBackbone(
                n_blocks=self.n_blocks,
                d_block=self.d_block,
                n_heads=self.n_heads,
                ffn_hidden_multiplier=self.ffn_hidden_multiplier,
                attention_dropout=self.attention_dropout,
                ffn_dropout=self.ffn_dropout,
                residual_dropout=self.residual_dropout,
            ),
            nn.Sequential(nn.LayerNorm(self.d_block), nn.ReLU(), nn.Linear(self.d_block, n_outputs)),
            # Measured with 25 tokens: 64 rows as fast as 32 to 256, 1.9 times as fast as 2,048, and one row alone is quick.
            cpu_chunk_rows=64,
        )


class FTTransformerClassifier(ClassifierTask, FTTransformer):
    """FT-Transformer for binary, multiclass and multilabel classification.

    Every column, numeric or categorical, becomes a token of width ``d_block``; a [CLS] token attends to them through
    ``n_blocks`` Transformer blocks. Time and memory grow with the square of the number of columns.

    {parameters}

    {attributes}

    References
    ----------
    Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular Data", NeurIPS 2021, section 3.3.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import FTTransformerClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = FTTransformerClassifier(n_blocks=1, d_block=32, lr=1e-3, max_epochs=20, random_state=0).fit(X, y)
    >>> model.predict_proba(X).shape
    (150, 3)
    """


class FTTransformerRegressor(RegressorTask, FTTransformer):
    """FT-Transformer for regression on one or several targets.

    Every column, numeric or categorical, becomes a token of width ``d_block``; a [CLS] token attends to them through
    ``n_blocks`` Transformer blocks. Time and memory grow with the square of the number of columns.

    {parameters}

    {attributes}

    References
    ----------
    Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular Data", NeurIPS 2021, section 3.3.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import FTTransformerRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = FTTransformerRegressor(n_blocks=1, d_block=32, lr=1e-3, max_epochs=20, random_state=0).fit(X, y)
    >>> model.predict(X).shape
    (442,)
    """
