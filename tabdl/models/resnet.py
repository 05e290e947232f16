"""ResNet for tables: residual blocks of two linear layers behind batch normalisation.

Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular Data" (NeurIPS
2021), section 3.2.
"""

from typing import Any

from torch import Tensor, nn

from tabdl.base.estimator import TabularEstimator
from tabdl.base.mixins import ClassifierTask, RegressorTask
from tabdl.base.params import LR_SCHEDULE_DOC, LR_SCHEDULES
from tabdl.embeddings import OPTIONAL_NUMERIC_EMBEDDINGS, VECTOR_DOC, flat_embedding
from tabdl.network.contract import TabularNet
from tabdl.network.layers import BatchNorm, Dropout, InputLinear, StochasticDepth
from tabdl.params import Float, Int, OneOf, param


class ResNetBackbone(nn.Module):
    """A projection, then blocks ``x + dropout(linear(dropout(relu(linear(norm(x))))))``.

    See section 3.2. Shape: (B, d_in) to (B, D).
    """

    def __init__(
        self,
        *,
        d_in: int,
        n_blocks: int,
        d_block: int,
        d_hidden_multiplier: float,
        hidden_dropout: float,
        residual_dropout: float,
        stochastic_depth: float,
    ) -> None:
        super().__init__()
        d_hidden = int(d_block * d_hidden_multiplier)
        self.projection = InputLinear(d_in, d_block)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                BatchNorm(d_block),
                nn.Linear(d_block, d_hidden),
                nn.ReLU(),
                Dropout(hidden_dropout),
                nn.Linear(d_hidden, d_block),
                Dropout(residual_dropout),
                StochasticDepth(stochastic_depth, i, n_blocks),
            )
            for i in range(n_blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the representations."""
        x = self.projection(x)
        for block in self.blocks:
            x = x + block(x)
        return x


class TabResNet(TabularEstimator):
    """The hyper-parameters of the ResNet.

    The paper has no defaults for it; width, depth and dropout are those of the example in the
    authors' package. Its network has ``numeric_embedding=None`` and ``lr_schedule="constant"``.
    With an embedding the error is smaller (``python -m benchmarks.run study defaults``). With a
    cooldown it is the same after less than half of the time.
    """

    n_blocks: int = param(Int(1), default=2, doc="Number of residual blocks.")
    d_block: int = param(Int(1), default=192, doc="Width of a block's input and output.")
    d_hidden_multiplier: float = param(
        Float("(0, inf)"), default=2.0, doc="Hidden width of a block, in ``d_block``."
    )
    hidden_dropout: float = param(
        Float("[0, 1)"), default=0.3, doc="Dropout of a block's hidden layer."
    )
    residual_dropout: float = param(
        Float("[0, 1)"), default=0.0, doc="Dropout of a block's output."
    )
    stochastic_depth: float = param(
        Float("[0, 1)"),
        default=0.0,
        doc="Share of the rows that skip the last block in training; earlier blocks "
        "proportionally less (1603.09382, section 3).",
    )
    d_embedding: int = param(Int(1), default=16, doc="Width of the vector of a category.")
    one_hot_max_size: int = param(
        Int(0),
        default=0,
        doc="Categorical features of at most so many values are one-hot, without a vector.",
    )
    numeric_embedding: Any = param(
        *OPTIONAL_NUMERIC_EMBEDDINGS,
        default="piecewise",
        doc=VECTOR_DOC,
    )
    lr: float = param(Float("(0, inf)"), default=1e-3, doc="Learning rate of AdamW.")
    lr_schedule: str = param(OneOf(*LR_SCHEDULES), default="cooldown", doc=LR_SCHEDULE_DOC)

    def _build_net(self, schema, n_outputs, train_table):
        if int(self.d_block * self.d_hidden_multiplier) < 1:
            raise ValueError(
                f"{type(self).__name__}: d_hidden_multiplier must leave a hidden width of at least "
                f"1, got d_hidden_multiplier={self.d_hidden_multiplier} with "
                f"d_block={self.d_block}."
            )
        embedding = flat_embedding(self, schema, train_table)
        backbone = ResNetBackbone(
            d_in=embedding.d_out,
            n_blocks=self.n_blocks,
            d_block=self.d_block,
            d_hidden_multiplier=self.d_hidden_multiplier,
            hidden_dropout=self.hidden_dropout,
            residual_dropout=self.residual_dropout,
            stochastic_depth=self.stochastic_depth,
        )
        head = nn.Sequential(BatchNorm(self.d_block), nn.ReLU(), nn.Linear(self.d_block, n_outputs))
        return TabularNet(embedding, backbone, head)


class TabResNetClassifier(ClassifierTask, TabResNet):
    """ResNet for binary, multiclass and multilabel classification of table rows.

    Numbers stand beside learned vectors of the categories in one row; ``n_blocks`` residual blocks
    follow. About ten times faster than FT-Transformer on a CPU, and a little less accurate in the
    paper.

    {parameters}

    {attributes}

    See Also
    --------
    TabMLPClassifier : Without residual blocks.
    TabMClassifier : The best default, at a higher cost.

    References
    ----------
    Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular Data",
    NeurIPS 2021, section 3.2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import TabResNetClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = TabResNetClassifier(max_epochs=20, random_state=0)
    >>> model.fit(X, y).predict_proba(X).shape
    (150, 3)
    """


class TabResNetRegressor(RegressorTask, TabResNet):
    """ResNet for regression on one or several targets of table rows.

    Numbers stand beside learned vectors of the categories in one row; ``n_blocks`` residual blocks
    follow. About ten times faster than FT-Transformer on a CPU, and a little less accurate in the
    paper.

    {parameters}

    {attributes}

    See Also
    --------
    TabMLPRegressor : Without residual blocks.
    TabMRegressor : The best default, at a higher cost.

    References
    ----------
    Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular Data",
    NeurIPS 2021, section 3.2.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import TabResNetRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> TabResNetRegressor(max_epochs=20, random_state=0).fit(X, y).predict(X).shape
    (442,)
    """
