"""FT-Transformer: every column becomes a token, and a Transformer works on the tokens.

Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular Data" (NeurIPS
2021), section 3.3.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn

from tabdl.base.estimator import TabularEstimator
from tabdl.base.mixins import ClassifierTask, RegressorTask
from tabdl.base.params import LR_SCHEDULE_DOC, LR_SCHEDULES, MEMBERS_DOC
from tabdl.embeddings import NUMERIC_EMBEDDINGS, TOKEN_DOC, numeric_embedding
from tabdl.network.attention import (
    COMPRESSION_DOC,
    Attention,
    CompressedAttention,
    new_attention,
)
from tabdl.network.contract import TabularNet, power_of_two_rows
from tabdl.network.embeddings import FeatureTokenizer
from tabdl.network.functional import reglu
from tabdl.network.layers import Dropout, StochasticDepth
from tabdl.params import Float, Int, OneOf, param


class Block(nn.Module):
    """A Transformer block.

    PreNorm: ``x + branch(norm(x))``; the very first block of a network has no norm before its
    attention (section 3.3). PostNorm: ``norm(x + branch(x))``, as in Vaswani et al. 2017.
    """

    def __init__(
        self,
        attention: Attention,
        d_block: int,
        d_hidden: int,
        ffn_dropout: float,
        residual_dropout: float,
        depth: StochasticDepth,
        is_postnorm: bool,
        first: bool,
    ) -> None:
        super().__init__()
        self.is_postnorm = is_postnorm
        self.attention_norm = nn.Identity() if first and not is_postnorm else nn.LayerNorm(d_block)
        self.attention = attention
        self.ffn_norm = nn.LayerNorm(d_block)
        self.ffn = ReGLUFeedForward(d_block, d_hidden, ffn_dropout)
        self.residual_dropout = nn.Sequential(Dropout(residual_dropout), depth)

    def forward(self, x: Tensor, qkv: Tensor | None = None) -> Tensor:
        """Return the tokens after this block, (B, T, D); ``qkv`` where it is known already."""
        if qkv is None:
            branch = self.attention.of_tokens(self._before(self.attention_norm, x))
        else:
            branch = self.attention(qkv)
        return self._feed_forward(self._add(self.attention_norm, x, branch))

    def first_token(self, x: Tensor) -> Tensor:
        """Return the first token after this block, (B, D)."""
        branch = self.attention.first_token(self._before(self.attention_norm, x))
        return self._feed_forward(self._add(self.attention_norm, x[:, 0], branch))

    def first_row(self, x: Tensor) -> Tensor:
        """Return the attention of the first token in this block, (B, H, T)."""
        return self.attention.first_row(self._before(self.attention_norm, x))

    def _feed_forward(self, x):
        return self._add(self.ffn_norm, x, self.ffn(self._before(self.ffn_norm, x)))

    def _before(self, norm, x):
        return x if self.is_postnorm else norm(x)

    def _add(self, norm, x, branch):
        x = x + self.residual_dropout(branch)
        return norm(x) if self.is_postnorm else x


class ReGLUFeedForward(nn.Module):
    """``linear(dropout(a * relu(b)))`` of the two halves a and b of ``linear(x)``.

    Shazeer 2020, "GLU Variants". Shape: (B, ..., D) to (B, ..., D).
    """

    def __init__(self, d_block: int, d_hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear_in = nn.Linear(d_block, 2 * d_hidden)
        self.dropout = Dropout(dropout)
        self.linear_out = nn.Linear(d_hidden, d_block)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branch of the block."""
        x = self.linear_in(x)
        return self.linear_out(reglu(x, self.dropout.kept(x.chunk(2, -1)[0]), self.dropout.scale))


class FTTransformerBackbone(nn.Module):
    """Transformer blocks; the last one computes only the [CLS] token that the head reads.

    ``make_attention`` makes the attention of a block.
    """

    def __init__(
        self,
        make_attention: Callable[[], Attention],
        *,
        n_blocks: int,
        d_block: int,
        ffn_hidden_multiplier: float,
        stochastic_depth: float = 0.0,
        norm: str = "pre",
        **dropouts: float,
    ) -> None:
        super().__init__()
        settings: Any = {
            **dropouts,
            "d_hidden": int(d_block * ffn_hidden_multiplier),
            "is_postnorm": norm == "post",
        }
        depths = [StochasticDepth(stochastic_depth, i, n_blocks) for i in range(n_blocks)]
        self.blocks: Any = nn.ModuleList(
            Block(make_attention(), d_block, **settings, depth=depth, first=i == 0)
            for i, depth in enumerate(depths)
        )

    @property
    def is_compressed(self) -> bool:
        """Whether attention is to mixtures of the tokens."""
        return isinstance(self.blocks[0].attention, CompressedAttention)

    def forward(self, x: Tensor, qkv: Tensor | None = None) -> Tensor:
        """Return [CLS] after the last block, (B, D).

        Parameters
        ----------
        x : Tensor of shape (B, T, D)
            The tokens.
        qkv : Tensor of shape (B, T, 3 D) or None
            Their queries, keys and values in the first block, where they are known.
        """
        for block in self.blocks[:-1]:
            x, qkv = block(x, qkv), None
        return self.blocks[-1].first_token(x)

    def attention_maps(self, x: Tensor) -> Tensor:
        """Return how much [CLS] attends to each of the tokens ``x``, (B, blocks, H, T)."""
        maps = [self.blocks[0].first_row(x)]
        for block, following in pairwise(self.blocks):
            x = block(x)
            maps.append(following.first_row(x))
        return torch.stack(maps, 1)


class FTTransformerNet(TabularNet):
    """FT-Transformer; queries, keys and values of the first block come straight from the features.

    On a CUDA device ``precision="auto"`` gives it numbers of 16 bits, and every other architecture
    TF32.
    """

    prefers_half = True

    def forward(
        self, x_num: Tensor, x_cat: Tensor, mix: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        """Return the outputs, (B, 1, C); ``mix`` is that of :meth:`mixed`."""
        tokens = self.mixed(self.embedding(x_num, x_cat), mix)
        blocks = self.backbone.blocks
        # Mixed tokens are the features of no row.
        has_qkv = len(blocks) > 1 and mix is None and not self.backbone.is_compressed
        qkv = self.embedding(x_num, x_cat, blocks[0].attention.qkv) if has_qkv else None
        return self.outputs(self.backbone(tokens, qkv))

    def attention_maps(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Return how much [CLS] attends to each token, (B, blocks, H, 1 + Fn + Fc); itself first.

        It is section 5.3 before any mean is taken.

        Raises
        ------
        ValueError
            Where attention is to mixtures of the tokens.
        """
        if self.backbone.is_compressed:
            raise ValueError(
                "with kv_compression FT-Transformer attends to mixtures of columns, and not to "
                "columns; set kv_compression=None, or use gradient_importances."
            )
        return self.backbone.attention_maps(self.embedding(x_num, x_cat))


_PAPER = {
    "n_blocks": 3,
    "d_block": 192,
    "n_heads": 8,
    "attention_dropout": 0.2,
    "ffn_hidden_multiplier": 4 / 3,
    "ffn_dropout": 0.1,
    "residual_dropout": 0.0,
    "norm": "pre",
    "stochastic_depth": 0.0,
    "numeric_embedding": "linear",
    "token_bias": True,
    "kv_compression": None,
    "numeric_transform": "quantile",
    "numeric_missing": "impute",
    "categorical_statistics": "none",
    "optimizer": "adamw",
    "lr": 1e-4,
    "lr_schedule": "constant",
    "warmup_epochs": 0.0,
    "weight_decay": 1e-5,
    "clip_norm": None,
    "ema_decay": None,
    "hidden_mix": False,
    "mixup": 0.0,
    "swap_noise": 0.0,
    "swap_noise_from": "batch",
    "feature_dropout": 0.0,
    "early_stopping": True,
    "patience": 16,
    "n_members": 1,
    "pretrain": None,
}


class FTTransformer(TabularEstimator):
    """The hyper-parameters of FT-Transformer.

    The defaults are two narrow networks with piecewise-linear tokens, whose error is smaller than
    that of the paper's default, in a third of the time (``python -m benchmarks.run study
    defaults``). :meth:`paper_config` is the paper's.
    """

    n_blocks: int = param(Int(1), default=2, doc="Number of Transformer blocks.")
    d_block: int = param(Int(1), default=96, doc="Width of a token; a multiple of ``n_heads``.")
    n_heads: int = param(Int(1), default=8, doc="Number of attention heads.")
    attention_dropout: float = param(
        Float("[0, 1)"), default=0.2, doc="Dropout of the attention probabilities."
    )
    ffn_hidden_multiplier: float = param(
        Float("(0, inf)"),
        default=4 / 3,
        doc="Hidden width of the feed-forward part, in ``d_block``.",
    )
    ffn_dropout: float = param(
        Float("[0, 1)"), default=0.1, doc="Dropout of the feed-forward part's hidden layer."
    )
    residual_dropout: float = param(
        Float("[0, 1)"), default=0.0, doc="Dropout of each residual branch."
    )
    norm: str = param(
        OneOf("pre", "post"),
        default="pre",
        doc="Where a block normalises: its branches' input ('pre', none before the very first "
        "attention), or each residual sum ('post', as in the paper's tuned configurations of "
        "California Housing and Jannis).",
    )
    stochastic_depth: float = param(
        Float("[0, 1)"),
        default=0.0,
        doc="Share of the rows that skip a residual branch of the last block in training; of "
        "earlier blocks proportionally less (1603.09382, section 3).",
    )
    lr: float = param(Float("(0, inf)"), default=1e-3, doc="Learning rate of AdamW.")
    lr_schedule: str = param(OneOf(*LR_SCHEDULES), default="cooldown", doc=LR_SCHEDULE_DOC)
    n_members: int = param(Int(1), default=2, doc=MEMBERS_DOC)
    numeric_embedding: Any = param(
        *NUMERIC_EMBEDDINGS,
        default="piecewise",
        doc=TOKEN_DOC,
    )
    token_bias: bool = param(
        OneOf(True, False),
        default=True,
        doc="Whether tokens of the linear embedding and of categories have the bias b_j of their "
        "feature. The paper's ablation is without (section 5.2).",
    )
    kv_compression: Any = param(
        OneOf(None),
        Float("(0, 1)"),
        default=None,
        doc=COMPRESSION_DOC,
    )

    @classmethod
    def paper_config(cls, **changes: Any) -> Self:
        """Return an estimator with the default configuration of the paper.

        That is supplementary E, table 13, of 2106.11959: the network, AdamW, early stopping after
        16 epochs without a better accuracy or squared error, and the quantile transform. It stays
        that when the defaults here change.

        Parameters
        ----------
        **changes : parameters
            Set instead of, or besides, those of the paper.

        Returns
        -------
        estimator
            Not fitted.

        Examples
        --------
        >>> from tabdl import FTTransformerClassifier, FTTransformerRegressor
        >>> FTTransformerClassifier.paper_config(random_state=0).scoring
        'accuracy'
        >>> FTTransformerRegressor.paper_config(n_blocks=2).d_block
        192
        """
        return cls(**{**_PAPER, "scoring": "accuracy" if cls._has_classes else None, **changes})

    def _build_net(self, schema, n_outputs, train_table):
        if int(self.d_block * self.ffn_hidden_multiplier) < 1:
            raise ValueError(
                f"{type(self).__name__}: ffn_hidden_multiplier must leave a hidden width of at "
                f"least 1, got ffn_hidden_multiplier={self.ffn_hidden_multiplier} with "
                f"d_block={self.d_block}."
            )
        n_tokens = 1 + schema.n_num + len(schema.cardinalities)
        num = numeric_embedding(self, train_table, self.d_block, self.token_bias)
        return FTTransformerNet(
            FeatureTokenizer(num, schema.cardinalities, self.d_block, self.token_bias),
            FTTransformerBackbone(
                lambda: new_attention(self, n_tokens),
                n_blocks=self.n_blocks,
                d_block=self.d_block,
                ffn_hidden_multiplier=self.ffn_hidden_multiplier,
                ffn_dropout=self.ffn_dropout,
                residual_dropout=self.residual_dropout,
                stochastic_depth=self.stochastic_depth,
                norm=self.norm,
            ),
            # With PostNorm the last sum is normalised already.
            nn.Sequential(
                nn.LayerNorm(self.d_block) if self.norm == "pre" else nn.Identity(),
                nn.ReLU(),
                nn.Linear(self.d_block, n_outputs),
            ),
            n_vectors_per_row=n_tokens,
            # As many numbers as 64 rows, and 256 in a step, have with 25 tokens of width 192.
            cpu_chunk_rows=power_of_two_rows(64 * 25 * 192, n_tokens * self.d_block),
            cpu_step_rows=power_of_two_rows(256 * 25 * 192, n_tokens * self.d_block),
        )


class FTTransformerClassifier(ClassifierTask, FTTransformer):
    """FT-Transformer for binary, multiclass and multilabel classification.

    Every column, numeric or categorical, becomes a token of width ``d_block``; a [CLS] token
    attends to them through ``n_blocks`` Transformer blocks. By default the predictions of two such
    networks are averaged; :meth:`paper_config` is the paper's network. Time and memory grow with
    the square of the number of columns; ``kv_compression`` is for many.

    {parameters}

    {attributes}

    See Also
    --------
    GMLPClassifier : The same tokens, without attention.
    TabMClassifier : Better by default, and quicker on a CPU.

    References
    ----------
    Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular Data",
    NeurIPS 2021, section 3.3.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import FTTransformerClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = FTTransformerClassifier(
    ...     n_blocks=1, d_block=32, max_epochs=20, random_state=0
    ... )
    >>> model = model.fit(X, y)
    >>> model.predict_proba(X).shape
    (150, 3)
    """


class FTTransformerRegressor(RegressorTask, FTTransformer):
    """FT-Transformer for regression on one or several targets.

    Every column, numeric or categorical, becomes a token of width ``d_block``; a [CLS] token
    attends to them through ``n_blocks`` Transformer blocks. By default the predictions of two such
    networks are averaged; :meth:`paper_config` is the paper's network. Time and memory grow with
    the square of the number of columns; ``kv_compression`` is for many.

    {parameters}

    {attributes}

    See Also
    --------
    GMLPRegressor : The same tokens, without attention.
    TabMRegressor : Better by default, and quicker on a CPU.

    References
    ----------
    Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular Data",
    NeurIPS 2021, section 3.3.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import FTTransformerRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = FTTransformerRegressor(
    ...     n_blocks=1, d_block=32, max_epochs=20, random_state=0
    ... )
    >>> model = model.fit(X, y)
    >>> model.predict(X).shape
    (442,)
    """
