"""NODE: layers of soft oblivious decision trees, each layer on top of all before it.

Popov, Morozov, Babenko: "Neural Oblivious Decision Ensembles for Deep Learning on Tabular Data"
(ICLR 2020, 1909.06312), section 3; its defaults and its use are those of Gorishniy, Rubachev,
Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular Data" (NeurIPS 2021, 2106.11959).
"""

from typing import Any

import torch
from torch import Tensor, nn

from tabdl.base.estimator import TabularEstimator
from tabdl.base.mixins import ClassifierTask, RegressorTask
from tabdl.embeddings import OPTIONAL_NUMERIC_EMBEDDINGS, VECTOR_DOC, flat_embedding
from tabdl.network.contract import TabularNet
from tabdl.network.entmax import entmax15, entmoid15
from tabdl.params import Float, Int, OneOf, param

# As in the code of 2106.11959; more rows change nothing that matters.
_ADAPT_ROWS = 2048
# So that a temperature is never zero, as in the code of 1909.06312.
_EPSILON = 1e-6


class ObliviousTrees(nn.Module):
    """Differentiable oblivious decision trees (1909.06312, section 3.1, equations 2 to 5).

    A tree of depth D has D splits. A split compares a mix of the features, whose weights are
    1.5-entmax of learned logits, with a threshold. A 1.5-entmax of two says how far it goes to
    either side, and a row takes a mean of the 2^D responses of a tree. Rows are the last dimension,
    of which processors take several at once. Shape: (d_in, B) to (n_trees, channels, B).

    Parameters
    ----------
    d_in : int
    n_trees, depth : int
    d_tree : int
        Numbers of a response.
    """

    decayed = ("response",)

    def __init__(self, d_in: int, n_trees: int, depth: int, d_tree: int) -> None:
        super().__init__()
        self.depth = depth
        self.feature_selection_logits = nn.Parameter(torch.empty(n_trees, depth, d_in))
        self.feature_thresholds = nn.Parameter(torch.empty(n_trees, depth))
        self.log_temperatures = nn.Parameter(torch.empty(n_trees, depth))
        self.response = nn.Parameter(torch.empty(n_trees, d_tree, 2**depth))

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw logits and responses; thresholds and temperatures wait for the training rows."""
        self.feature_selection_logits.uniform_(generator=generator)
        self.response.normal_(generator=generator)
        self.feature_thresholds.zero_()
        self.log_temperatures.zero_()

    @torch.no_grad()
    def init_from_rows(self, x: Tensor, generator: torch.Generator) -> None:
        """Put thresholds among the values of rows (d_in, B), none of them beyond a soft split.

        A threshold is a random quantile of its values. The temperature is the largest distance of a
        value to it, so that each row goes to both sides a little.
        """
        values = (entmax15(self.feature_selection_logits).flatten(0, 1) @ x).sort(-1).values
        place = torch.rand(len(values), 1, generator=generator, dtype=x.dtype) * (x.shape[1] - 1)
        below = place.long()
        above = (below + 1).clamp(max=x.shape[1] - 1)
        low, high = values.gather(1, below), values.gather(1, above)
        thresholds = torch.lerp(low, high, place - below)
        farthest = (values - thresholds).abs().amax(1)
        self.feature_thresholds.copy_(thresholds.view_as(self.feature_thresholds))
        self.log_temperatures.copy_((farthest + _EPSILON).log().view_as(self.log_temperatures))

    def splits(self, x: Tensor) -> Tensor:
        """Return the share of each row that goes to the right, (n_trees, depth, B).

        It never computes in 16 bits, of which the numbers of a table would keep three digits.
        """
        with torch.autocast(x.device.type, enabled=False):
            scale = torch.exp(-self.log_temperatures)
            weight = entmax15(self.feature_selection_logits) * scale.unsqueeze(-1)
            offset = (self.feature_thresholds * -scale).view(-1, 1)
            distance = torch.addmm(offset, weight.flatten(0, 1), x.to(weight.dtype))
        return entmoid15(distance).unflatten(0, scale.shape)

    def forward(self, x: Tensor, n_channels: int) -> Tensor:
        """Return the first ``n_channels`` numbers of the trees' responses."""
        right = self.splits(x)
        # The mean over the leaves is one over the last splits of means over the first splits, so
        # that the 2^D weights of all leaves are never made.
        n_first = (self.depth + 2) // 2
        first, last = _leaf_weights(right[:, :n_first]), _leaf_weights(right[:, n_first:])
        response = self.response[:, :n_channels].reshape(len(right), -1, first.shape[1])
        means = torch.bmm(response, first).unflatten(1, (n_channels, -1))
        return (means * last.unsqueeze(1)).sum(2)


def _leaf_weights(right: Tensor) -> Tensor:
    """Return the weights of the leaves, (n_trees, 2^D, B), of splits (n_trees, D, B).

    A leaf that the i-th split sends to the left has the bit i in its number.
    """
    weights = right.new_ones(len(right), 1, right.shape[2])
    for split in right.unbind(1):
        goes_right = weights * split.unsqueeze(1)
        weights = torch.cat([goes_right, weights - goes_right], 1)
    return weights


class NODEBackbone(nn.Module):
    """Layers of trees; each sees the input and the responses of all layers before it.

    The output is the mean of all trees (1909.06312, section 3.2). Shape: (B, d_in) to
    (B, n_outputs).

    Parameters
    ----------
    d_in, n_outputs : int
    n_blocks, n_trees, depth, d_tree : int
        ``d_tree`` is at least ``n_outputs``.
    """

    def __init__(
        self, d_in: int, n_outputs: int, *, n_blocks: int, n_trees: int, depth: int, d_tree: int
    ) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.d_tree = d_tree
        self.layers: Any = nn.ModuleList(
            ObliviousTrees(d_in + i * n_trees * d_tree, n_trees, depth, d_tree)
            for i in range(n_blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of the first ``n_outputs`` numbers of the responses."""
        x = x.T
        means = []
        for layer in self.layers[:-1]:
            responses = layer(x, self.d_tree)
            means.append(responses[:, : self.n_outputs].mean(0))
            x = torch.cat([x, responses.flatten(0, 1).to(x.dtype)])
        # Nobody takes the other numbers of the last layer.
        means.append(self.layers[-1](x, self.n_outputs).mean(0))
        return torch.stack(means).mean(0).T

    @torch.no_grad()
    def init_from_rows(self, x: Tensor, generator: torch.Generator) -> None:
        """Adapt layer after layer to rows (B, d_in)."""
        x = x.T
        for layer in self.layers:
            layer.init_from_rows(x, generator)
            x = torch.cat([x, layer(x, self.d_tree).flatten(0, 1)])


class NODENet(TabularNet):
    """Embedding and layers of trees, whose mean is the output."""

    n_adapt_rows = _ADAPT_ROWS

    @torch.no_grad()
    def init_from_data(self, train_table: Any, generator: torch.Generator) -> None:
        """Adapt thresholds and temperatures to some training rows."""
        order = torch.randperm(len(train_table), generator=generator)
        rows = train_table.take(order[: self.n_adapt_rows])
        dtype = self.backbone.layers[0].response.dtype
        self.backbone.init_from_rows(self.embedding(rows.x_num.to(dtype), rows.x_cat), generator)

    @property
    def n_macs(self) -> int:
        """Multiplications that the forward pass of a row needs, nearly."""
        layers = self.backbone.layers
        return super().n_macs + sum(
            layer.feature_selection_logits.numel() + layer.response.numel() for layer in layers
        )


class NODE(TabularEstimator):
    """The hyper-parameters of NODE; the defaults are those that 2106.11959 uses."""

    n_blocks: int = param(
        Int(1), default=1, doc="Number of layers; each sees the responses of all before it."
    )
    d_block: int = param(Int(1), default=1024, doc="Width of a layer: its number of trees.")
    depth: int = param(Int(1), default=6, doc="Number of splits of a tree, of 2^depth leaves.")
    d_tree: int = param(
        Int(1),
        default=2,
        doc="Numbers of a tree's response; with more classes or targets it is as many as these.",
    )
    d_embedding: int = param(Int(1), default=16, doc="Width of the vector of a category.")
    one_hot_max_size: int = param(
        Int(0),
        default=0,
        doc="Categorical features of at most so many values are one-hot, without a vector.",
    )
    numeric_embedding: Any = param(*OPTIONAL_NUMERIC_EMBEDDINGS, default=None, doc=VECTOR_DOC)
    lr: float = param(Float("(0, inf)"), default=1e-3, doc="Learning rate of AdamW.")
    optimizer: str = param(
        OneOf("adamw"),
        default="adamw",
        doc="AdamW; there is no matrix of a linear layer for Muon.",
    )
    weight_decay: float = param(
        Float("[0, inf)"),
        default=0.0,
        doc="Weight decay of AdamW, on the responses of the trees. The authors advise against it.",
    )

    def _build_net(self, schema, n_outputs, train_table):
        embedding = flat_embedding(self, schema, train_table)
        backbone = NODEBackbone(
            embedding.d_out,
            n_outputs,
            n_blocks=self.n_blocks,
            n_trees=self.d_block,
            depth=self.depth,
            d_tree=max(self.d_tree, n_outputs),
        )
        return NODENet(embedding, backbone, nn.Identity(), cpu_step_rows=4096)


class NODEClassifier(ClassifierTask, NODE):
    """NODE for binary, multiclass and multilabel classification of table rows.

    Layers of soft oblivious decision trees that are trained by gradients. On a CPU a fit with the
    default of 1,024 trees takes minutes.

    {parameters}

    {attributes}

    See Also
    --------
    GrowNetClassifier : Another ensemble of weak learners in one network.

    References
    ----------
    Popov, Morozov, Babenko: "Neural Oblivious Decision Ensembles for Deep Learning on Tabular
    Data", ICLR 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import NODEClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = NODEClassifier(d_block=64, max_epochs=20, random_state=0).fit(X, y)
    >>> model.predict_proba(X).shape
    (150, 3)
    """


class NODERegressor(RegressorTask, NODE):
    """NODE for regression on one or several targets of table rows.

    Layers of soft oblivious decision trees that are trained by gradients. On a CPU a fit with the
    default of 1,024 trees takes minutes.

    {parameters}

    {attributes}

    See Also
    --------
    GrowNetRegressor : Another ensemble of weak learners in one network.

    References
    ----------
    Popov, Morozov, Babenko: "Neural Oblivious Decision Ensembles for Deep Learning on Tabular
    Data", ICLR 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import NODERegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = NODERegressor(d_block=64, max_epochs=20, random_state=0)
    >>> model.fit(X, y).predict(X).shape
    (442,)
    """
