"""DCN V2: explicit products of features in cross layers, beside a multilayer perceptron.

Wang, Shivanna, Cheng, Jain, Lin, Hong, Chi: "DCN V2: Improved Deep & Cross Network" (WWW 2021,
2008.13535); its parallel structure, as in Gorishniy et al.: "Revisiting Deep Learning Models for
Tabular Data" (NeurIPS 2021, 2106.11959), section 3.4.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tabdl.base.estimator import TabularEstimator
from tabdl.base.mixins import ClassifierTask, RegressorTask
from tabdl.embeddings import OPTIONAL_NUMERIC_EMBEDDINGS, VECTOR_DOC, flat_embedding
from tabdl.network.contract import TabularNet, decay_all
from tabdl.network.layers import Dropout, InputLinear
from tabdl.params import Float, Int, param


class CrossLayer(nn.Module):
    """``dropout(x0 * (W x + b)) + x`` (2008.13535, equation 1). Shape: (B, D) to (B, D)."""

    def __init__(self, d_block: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(d_block, d_block)
        self.dropout = Dropout(dropout)

    def forward(self, x0: Tensor, x: Tensor) -> Tensor:
        """Return the next ``x``; ``x0`` is the first one."""
        return self.dropout(x0 * self.linear(x)) + x


class DCNv2Backbone(nn.Module):
    """A projection, from which cross layers and hidden layers go on side by side.

    See 2008.13535, section 3.4 and figure 1b. Shape: (B, d_in) to (B, 2 D).
    """

    def __init__(
        self,
        *,
        d_in: int,
        d_block: int,
        n_cross_layers: int,
        n_blocks: int,
        cross_dropout: float,
        hidden_dropout: float,
    ) -> None:
        super().__init__()
        # DIFF: 2008.13535 crosses the embedded features themselves; 2106.11959 projects them first.
        self.projection = InputLinear(d_in, d_block)
        self.cross = nn.ModuleList(
            CrossLayer(d_block, cross_dropout) for _ in range(n_cross_layers)
        )
        self.deep = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(d_block, d_block), nn.ReLU(), Dropout(hidden_dropout))
                for _ in range(n_blocks)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return what both sides end with, the crossed one first."""
        x0 = self.projection(x)
        crossed = x0
        for layer in self.cross:
            crossed = layer(x0, crossed)
        return torch.cat([crossed, self.deep(x0)], -1)


class DCNv2(TabularEstimator):
    """The hyper-parameters of DCN V2.

    The papers have no defaults for it. Width and depth are near those of the tuned configurations
    of 2106.11959; weight decay acts on all parameters, as in its authors' code. Products of
    numbers grow fast: extreme numbers need ``numeric_transform="quantile"`` or "robust".
    """

    n_cross_layers: int = param(Int(1), default=3, doc="Number of cross layers.")
    n_blocks: int = param(Int(1), default=3, doc="Number of hidden layers beside the cross layers.")
    d_block: int = param(Int(1), default=256, doc="Width of every layer.")
    cross_dropout: float = param(
        Float("[0, 1)"), default=0.2, doc="Dropout of what a cross layer adds."
    )
    hidden_dropout: float = param(
        Float("[0, 1)"), default=0.2, doc="Dropout of every hidden layer."
    )
    d_embedding: int = param(Int(1), default=16, doc="Width of the vector of a category.")
    one_hot_max_size: int = param(
        Int(0),
        default=0,
        doc="Categorical features of at most so many values are one-hot, without a vector.",
    )
    numeric_embedding: Any = param(
        *OPTIONAL_NUMERIC_EMBEDDINGS,
        default=None,
        doc=VECTOR_DOC,
    )
    lr: float = param(Float("(0, inf)"), default=2e-4, doc="Learning rate of AdamW.")
    weight_decay: float = param(
        Float("[0, inf)"), default=1e-5, doc="Weight decay of AdamW, of all parameters."
    )

    def _build_net(self, schema, n_outputs, train_table):
        embedding = flat_embedding(self, schema, train_table)
        backbone = DCNv2Backbone(
            d_in=embedding.d_out,
            d_block=self.d_block,
            n_cross_layers=self.n_cross_layers,
            n_blocks=self.n_blocks,
            cross_dropout=self.cross_dropout,
            hidden_dropout=self.hidden_dropout,
        )
        head = nn.Sequential(nn.Linear(2 * self.d_block, n_outputs))
        return decay_all(TabularNet(embedding, backbone, head, cpu_step_rows=4096))


class DCNv2Classifier(ClassifierTask, DCNv2):
    """DCN V2 for binary, multiclass and multilabel classification of table rows.

    Numbers stand beside learned vectors of the categories in one row. Cross layers multiply its
    projection with sums of itself, hidden layers stand beside them, and the head reads both.

    {parameters}

    {attributes}

    See Also
    --------
    TabMLPClassifier : The deep part alone, with embeddings of numbers.

    References
    ----------
    Wang, Shivanna, Cheng, Jain, Lin, Hong, Chi: "DCN V2: Improved Deep & Cross Network and
    Practical Lessons for Web-scale Learning to Rank Systems", WWW 2021, section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import DCNv2Classifier
    >>> X, y = load_iris(return_X_y=True)
    >>> DCNv2Classifier(max_epochs=20, random_state=0).fit(X, y).predict_proba(X).shape
    (150, 3)
    """


class DCNv2Regressor(RegressorTask, DCNv2):
    """DCN V2 for regression on one or several targets of table rows.

    Numbers stand beside learned vectors of the categories in one row. Cross layers multiply its
    projection with sums of itself, hidden layers stand beside them, and the head reads both.

    {parameters}

    {attributes}

    See Also
    --------
    TabMLPRegressor : The deep part alone, with embeddings of numbers.

    References
    ----------
    Wang, Shivanna, Cheng, Jain, Lin, Hong, Chi: "DCN V2: Improved Deep & Cross Network and
    Practical Lessons for Web-scale Learning to Rank Systems", WWW 2021, section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import DCNv2Regressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> DCNv2Regressor(max_epochs=20, random_state=0).fit(X, y).predict(X).shape
    (442,)
    """
