"""AutoInt: every column becomes a token, layers of attention mix the tokens, the head reads all.

Song, Shi, Xiao, Duan, Xu, Zhang, Tang: "AutoInt: Automatic Feature Interaction Learning via
Self-Attentive Neural Networks" (CIKM 2019, 1810.11921); as in Gorishniy et al.: "Revisiting Deep
Learning Models for Tabular Data" (NeurIPS 2021, 2106.11959), section 3.4.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from tabdl.base.estimator import TabularEstimator
from tabdl.base.mixins import ClassifierTask, RegressorTask
from tabdl.embeddings import NUMERIC_EMBEDDINGS, TOKEN_DOC, numeric_embedding
from tabdl.network.attention import COMPRESSION_DOC, Attention, new_attention
from tabdl.network.contract import TabularNet, power_of_two_rows
from tabdl.network.embeddings import FeatureTokenizer
from tabdl.network.layers import Dropout
from tabdl.params import Float, Int, OneOf, param


class InteractingLayer(nn.Module):
    """``relu(norm(W x + dropout(attention(x))))``, from tokens (B, T, D) to tokens (B, T, D).

    See 1810.11921, equations 5 to 8. The norm, the dropouts, biases of queries, keys and values,
    and the factor of the logits are those of the code of 2106.11959.
    """

    def __init__(self, attention: Attention, d_block: int, residual_dropout: float) -> None:
        super().__init__()
        self.attention = attention
        self.residual = nn.Linear(d_block, d_block, bias=False)
        self.residual_dropout = Dropout(residual_dropout)
        self.norm = nn.LayerNorm(d_block)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens after this layer."""
        attended = self.residual_dropout(self.attention.of_tokens(x))
        return self.norm(self.residual(x) + attended).relu()


class AutoIntBackbone(nn.Module):
    """Interacting layers, then the tokens side by side: (B, T, D) to (B, T D)."""

    def __init__(self, layers: Iterable[InteractingLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the representations."""
        for layer in self.layers:
            x = layer(x)
        return x.flatten(-2)


class AutoInt(TabularEstimator):
    """The hyper-parameters of AutoInt.

    The numbers of blocks and heads are near those of 1810.11921, section 5.1; width, dropout and
    weight decay near those that 2106.11959 takes where it does not search.
    """

    n_blocks: int = param(Int(1), default=3, doc="Number of interacting layers.")
    d_block: int = param(Int(1), default=32, doc="Width of a token; a multiple of ``n_heads``.")
    n_heads: int = param(Int(1), default=2, doc="Number of attention heads.")
    attention_dropout: float = param(
        Float("[0, 1)"), default=0.1, doc="Dropout of the attention probabilities."
    )
    residual_dropout: float = param(
        Float("[0, 1)"), default=0.0, doc="Dropout of what attention adds."
    )
    numeric_embedding: Any = param(
        *NUMERIC_EMBEDDINGS,
        default="linear",
        doc=f"{TOKEN_DOC} 'linear' is without the bias b_j here.",
    )
    kv_compression: Any = param(OneOf(None), Float("(0, 1)"), default=None, doc=COMPRESSION_DOC)
    lr: float = param(Float("(0, inf)"), default=5e-4, doc="Learning rate of AdamW.")

    def _build_net(self, schema, n_outputs, train_table):
        n_tokens = schema.n_num + len(schema.cardinalities)
        num = numeric_embedding(self, train_table, self.d_block, bias=False)
        layers = [
            InteractingLayer(
                new_attention(self, n_tokens, projects=False), self.d_block, self.residual_dropout
            )
            for _ in range(self.n_blocks)
        ]
        return TabularNet(
            FeatureTokenizer(num, schema.cardinalities, self.d_block, bias=False, has_cls=False),
            AutoIntBackbone(layers),
            nn.Sequential(nn.Linear(n_tokens * self.d_block, n_outputs)),
            n_vectors_per_row=n_tokens,
            cpu_chunk_rows=power_of_two_rows(64 * 25 * 192, n_tokens * self.d_block),
            cpu_step_rows=power_of_two_rows(256 * 25 * 192, n_tokens * self.d_block),
        )


class AutoIntClassifier(ClassifierTask, AutoInt):
    """AutoInt for binary, multiclass and multilabel classification of table rows.

    Every column, numeric or categorical, becomes a token of width ``d_block``. In ``n_blocks``
    layers the tokens attend to each other; the head reads all of them side by side.

    {parameters}

    {attributes}

    See Also
    --------
    FTTransformerClassifier : Attention over the same tokens, better in the paper.

    References
    ----------
    Song, Shi, Xiao, Duan, Xu, Zhang, Tang: "AutoInt: Automatic Feature Interaction Learning via
    Self-Attentive Neural Networks", CIKM 2019, section 4.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import AutoIntClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> AutoIntClassifier(max_epochs=20, random_state=0).fit(X, y).predict_proba(X).shape
    (150, 3)
    """


class AutoIntRegressor(RegressorTask, AutoInt):
    """AutoInt for regression on one or several targets of table rows.

    Every column, numeric or categorical, becomes a token of width ``d_block``. In ``n_blocks``
    layers the tokens attend to each other; the head reads all of them side by side.

    {parameters}

    {attributes}

    See Also
    --------
    FTTransformerRegressor : Attention over the same tokens, better in the paper.

    References
    ----------
    Song, Shi, Xiao, Duan, Xu, Zhang, Tang: "AutoInt: Automatic Feature Interaction Learning via
    Self-Attentive Neural Networks", CIKM 2019, section 4.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import AutoIntRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> AutoIntRegressor(max_epochs=20, random_state=0).fit(X, y).predict(X).shape
    (442,)
    """
