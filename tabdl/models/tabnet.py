"""TabNet: steps of a decision, each of which sees the features that a sparse mask chooses.

Arik, Pfister: "TabNet: Attentive Interpretable Tabular Learning" (AAAI 2021, 1908.07442), section
3; what it says nothing of is as in the code of Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting
Deep Learning Models for Tabular Data" (NeurIPS 2021, 2106.11959).
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tabdl.base.estimator import TabularEstimator
from tabdl.base.mixins import ClassifierTask, RegressorTask
from tabdl.embeddings import OPTIONAL_NUMERIC_EMBEDDINGS, VECTOR_DOC, flat_embedding
from tabdl.network.contract import TabularNet
from tabdl.network.entmax import sparsemax
from tabdl.params import Float, Int, OneOf, param

# Those of TensorFlow's batch normalisation, and of the logarithm of the entropy.
_NORM_EPSILON = 1e-3
_ENTROPY_EPSILON = 1e-5


class GlorotLinear(nn.Module):
    """A linear layer that begins as TensorFlow's do. Shape: (B, d_in) to (B, d_out).

    Parameters
    ----------
    d_in, d_out : int
    bias : bool
    is_exact : bool
        Whether it never computes in 16 bits, of which the numbers of a table would keep three
        digits.
    """

    decayed = ("weight",)

    def __init__(self, d_in: int, d_out: int, bias: bool = False, is_exact: bool = False) -> None:
        super().__init__()
        self.in_features = d_in
        self.is_exact = is_exact
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        self.bias = nn.Parameter(torch.empty(d_out)) if bias else None

    def init_weights(self, generator: torch.Generator) -> None:
        """Fill with uniform numbers in +-sqrt(6 / (d_in + d_out)); biases are 0."""
        bound = math.sqrt(6 / sum(self.weight.shape))
        self.weight.uniform_(-bound, bound, generator=generator)
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        if not self.is_exact:
            return nn.functional.linear(x, self.weight, self.bias)
        with torch.autocast(x.device.type, enabled=False):
            return nn.functional.linear(x, self.weight, self.bias)


class GhostBatchNorm(nn.Module):
    """Batch normalisation over parts of a batch (1705.08741). Shape: (B, D) to (B, D).

    The running statistics take in the mean over the parts, once a step. A row that is a part alone
    is taken by the running statistics.

    Parameters
    ----------
    d : int
    n_rows : int
        Rows of a part; the last part has what is left.
    momentum : float in [0, 1)
        How much of the running statistics a step leaves.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, d: int, n_rows: int, momentum: float) -> None:
        super().__init__()
        self.n_rows = n_rows
        self.momentum = momentum
        self.weight = nn.Parameter(torch.empty(d))
        self.bias = nn.Parameter(torch.empty(d))
        self.register_buffer("running_mean", torch.empty(d))
        self.register_buffer("running_var", torch.empty(d))

    def init_weights(self, generator: torch.Generator) -> None:
        """Begin with the mean 0 and the variance 1, in and out."""
        for tensor in (self.bias, self.running_mean):
            tensor.zero_()
        for tensor in (self.weight, self.running_var):
            tensor.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised rows, in the dtype of the weights."""
        x = x.to(self.weight.dtype)
        normed = self._over_parts(x) if self.training else self._by_running(x)
        return torch.addcmul(self.bias, normed, self.weight)

    def _by_running(self, x: Tensor) -> Tensor:
        return (x - self.running_mean) * torch.rsqrt(self.running_var + _NORM_EPSILON)

    def _over_parts(self, x: Tensor) -> Tensor:
        n_whole = len(x) // self.n_rows
        whole, rest = x.split([n_whole * self.n_rows, len(x) % self.n_rows])
        normed, statistics = [], []
        parts = [whole.unflatten(0, (n_whole, -1))] if n_whole else []
        for part in parts + ([rest.unsqueeze(0)] if len(rest) else []):
            if part.shape[1] == 1:
                normed.append(self._by_running(part[:, 0]))
                continue
            var, mean = torch.var_mean(part, 1, correction=0, keepdim=True)
            normed.append(((part - mean) * torch.rsqrt(var + _NORM_EPSILON)).flatten(0, 1))
            statistics.append(torch.stack([mean, var]).detach())
        if statistics:
            mean, var = torch.cat(statistics, 1).mean((1, 2))
            # torch.vmap has no rule for lerp_.
            self.running_mean.mul_(self.momentum).add_(mean * (1 - self.momentum))
            self.running_var.mul_(self.momentum).add_(var * (1 - self.momentum))
        return torch.cat(normed)


class GatedLayer(nn.Module):
    """A linear layer, ghost batch normalisation and a gated linear unit.

    The linear layer may be that of all steps; the normalisation is each step's own. Shape:
    (B, d_in) to (B, width).
    """

    def __init__(self, linear: nn.Module | None, norm: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.norm = norm

    def forward(self, x: Tensor, shared: nn.Module | None = None) -> Tensor:
        """Return the outputs, of a layer that is shared where there is no own one."""
        linear: Any = self.linear or shared
        return nn.functional.glu(self.norm(linear(x)))


class AttentiveMask(nn.Module):
    """``sparsemax(prior * norm(W a))`` (1908.07442, section 3, equation 1)."""

    def __init__(self, d_attention: int, d_in: int, norm: nn.Module) -> None:
        super().__init__()
        self.linear = GlorotLinear(d_attention, d_in)
        self.norm = norm

    def forward(self, attention: Tensor, prior: Tensor) -> Tensor:
        """Return the mask of each row, (B, d_in)."""
        return sparsemax(prior * self.norm(self.linear(attention)))


class ConstantMask(nn.Module):
    """``sparsemax(prior * bias)``: what the code of 2106.11959 computes.

    There nothing is left of a step's output for the mask. A linear layer of nothing is 0, and batch
    normalisation of 0 is its bias.
    """

    def __init__(self, d_in: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(d_in))

    def init_weights(self, generator: torch.Generator) -> None:
        """Begin with equal shares."""
        self.bias.zero_()

    def forward(self, attention: Tensor, prior: Tensor) -> Tensor:
        """Return the mask of all rows, (1, d_in)."""
        return sparsemax(prior * self.bias)


class TabNetBackbone(nn.Module):
    """The steps of the decision (1908.07442, figure 4a). Shape: (B, d_in) to (B, d_block).

    Parameters
    ----------
    d_in, d_block : int
    n_blocks : int
        Number of the steps that decide; one before them makes the first mask.
    relaxation_factor : float
    virtual_batch_size : int
    momentum : float
    masks_see_rows : bool
    """

    def __init__(
        self,
        d_in: int,
        *,
        d_block: int,
        n_blocks: int,
        relaxation_factor: float,
        virtual_batch_size: int,
        momentum: float,
        masks_see_rows: bool,
    ) -> None:
        super().__init__()
        self.d_block = d_block
        self.relaxation_factor = relaxation_factor
        width = 2 * d_block if masks_see_rows else d_block

        def norm(d):
            return GhostBatchNorm(d, virtual_batch_size, momentum)

        def step():
            linears = [None, None, GlorotLinear(width, 2 * width), GlorotLinear(width, 2 * width)]
            return nn.ModuleList(GatedLayer(linear, norm(2 * width)) for linear in linears)

        def mask():
            if masks_see_rows:
                return AttentiveMask(d_block, d_in, norm(d_in))
            return ConstantMask(d_in)

        self.shared: Any = nn.ModuleList(
            [GlorotLinear(d_in, 2 * width, is_exact=True), GlorotLinear(width, 2 * width)]
        )
        # Nothing of it would reach masks that do not see the rows.
        self.first: Any = step() if masks_see_rows else None
        self.steps: Any = nn.ModuleList(step() for _ in range(n_blocks))
        self.masks: Any = nn.ModuleList(mask() for _ in range(n_blocks))

    def transformed(self, x: Tensor, step: Any) -> Tensor:
        """Return what the feature transformer of a step makes of its features (figure 4c)."""
        first, *others = step
        x = first(x, self.shared[0])
        for i, layer in enumerate(others):
            x = (layer(x, self.shared[1] if i == 0 else None) + x) * math.sqrt(0.5)
        return x

    def decide(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the representations, (B, d_block), and the entropies of the masks, (B,)."""
        prior = torch.ones_like(x[:1])
        decision = torch.zeros_like(x[:, :1])
        entropy = torch.zeros_like(x[:, 0])
        attention = x if self.first is None else self.transformed(x, self.first)[:, self.d_block :]
        for mask_of, step in zip(self.masks, self.steps, strict=True):
            mask = mask_of(attention, prior)
            prior = prior * (self.relaxation_factor - mask)
            entropy = entropy - (mask * (mask + _ENTROPY_EPSILON).log()).sum(1)
            features = self.transformed(mask * x, step)
            decision = decision + features[:, : self.d_block].relu()
            attention = features[:, self.d_block :]
        return decision, entropy / len(self.steps)

    def forward(self, x: Tensor) -> Tensor:
        """Return the representations."""
        return self.decide(x)[0]


class TabNetNet(TabularNet):
    """Embedding, steps and a linear head; in training the entropy stands behind the outputs."""

    def from_embedding(self, x: Tensor) -> Tensor:
        """Return the outputs, (B, 1, C); in training (B, 1, C + 1)."""
        if not self.training:
            return super().from_embedding(x)
        decision, entropy = self.backbone.decide(x)
        outputs = self.outputs(decision)
        return torch.cat([outputs, entropy.to(outputs.dtype).view(-1, 1, 1)], -1)


class SparseLoss:
    """The loss of a task plus the weighted entropy of the masks (1908.07442, section 3).

    Parameters
    ----------
    loss : callable
        ``(outputs (B, K, C), y) -> (B,)``.
    weight : float
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], weight: float) -> None:
        self.loss = loss
        self.weight = weight

    def __call__(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each row, (B,), of outputs (B, 1, C + 1)."""
        return self.loss(outputs[..., :-1], y) + self.weight * outputs[:, 0, -1]


class TabNet(TabularEstimator):
    """The hyper-parameters of TabNet.

    DIFF: an epoch visits the rows in a new random order, as for all networks. The code of
    2106.11959 draws from the next 50 rows.
    """

    n_blocks: int = param(
        Int(1),
        default=4,
        doc="Number of steps that decide; the code of the authors counts one more, which only "
        "makes the first mask.",
    )
    d_block: int = param(Int(1), default=16, doc="Width of a decision, and of what makes a mask.")
    relaxation_factor: float = param(
        Float("[1, inf)"),
        default=1.5,
        doc="With 1 a feature serves one step alone; the larger, the more.",
    )
    sparsity_loss_weight: float = param(
        Float("[0, inf)"), default=1e-4, doc="Weight of the entropy of the masks in the loss."
    )
    # DIFF: the default is the paper's. The figures of 2106.11959 need False: in its code the width
    # of a step is that of the decision, so that no numbers are left for the mask.
    masks_see_rows: bool = param(
        OneOf(True, False),
        default=True,
        doc="Whether each row has masks of its own, as in the paper. False: the masks are learned, "
        "and the same for all rows, as in the code of 2106.11959.",
    )
    virtual_batch_size: int = param(
        Int(2), default=256, doc="Rows of a part of a batch that are normalised together."
    )
    momentum: float = param(
        Float("[0, 1)"),
        default=0.95,
        doc="How much of the statistics for predictions each step leaves as it is.",
    )
    d_embedding: int = param(Int(1), default=16, doc="Width of the vector of a category.")
    one_hot_max_size: int = param(
        Int(0),
        default=0,
        doc="Categorical features of at most so many values are one-hot, without a vector.",
    )
    numeric_embedding: Any = param(*OPTIONAL_NUMERIC_EMBEDDINGS, default=None, doc=VECTOR_DOC)
    lr: float = param(Float("(0, inf)"), default=1e-2, doc="Learning rate of AdamW, at first.")
    lr_decay_rate: float = param(
        Float("(0, 1]"),
        default=0.95,
        doc="What the learning rate is multiplied with in every ``lr_decay_steps`` steps, a little "
        "in each.",
    )
    lr_decay_steps: int = param(Int(1), default=500, doc="Number of steps; see ``lr_decay_rate``.")
    weight_decay: float = param(
        Float("[0, inf)"), default=0.0, doc="Weight decay of AdamW, of the linear layers' matrices."
    )
    clip_value: float | None = param(
        OneOf(None),
        Float("(0, inf)"),
        default=2000.0,
        doc="Largest size of a number in the gradient; larger ones are cut to it. None: no limit.",
    )

    def _build_net(self, schema, n_outputs, train_table):
        embedding = flat_embedding(self, schema, train_table)
        backbone = TabNetBackbone(
            embedding.d_out,
            d_block=self.d_block,
            n_blocks=self.n_blocks,
            relaxation_factor=self.relaxation_factor,
            virtual_batch_size=self.virtual_batch_size,
            momentum=self.momentum,
            masks_see_rows=self.masks_see_rows,
        )
        # As in the code of 2106.11959.
        has_bias = n_outputs == 1 or not self._has_classes
        return TabNetNet(embedding, backbone, GlorotLinear(self.d_block, n_outputs, has_bias))

    def _training_config(self, n_rows, device, precision, callbacks):
        return replace(
            super()._training_config(n_rows, device, precision, callbacks),
            lr_decay=(self.lr_decay_rate, self.lr_decay_steps),
            clip_value=self.clip_value,
            drop_last=True,
        )


class TabNetClassifier(ClassifierTask, TabNet):
    """TabNet for binary, multiclass and multilabel classification of table rows.

    Steps that decide one after the other, each by few features that a sparse mask chooses.

    {parameters}

    {attributes}

    See Also
    --------
    FTTransformerClassifier : Attention over columns.

    References
    ----------
    Arik, Pfister: "TabNet: Attentive Interpretable Tabular Learning", AAAI 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import TabNetClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> TabNetClassifier(max_epochs=20, random_state=0).fit(X, y).predict_proba(X).shape
    (150, 3)
    """

    def _train_loss(self, target):
        return SparseLoss(super()._train_loss(target), self.sparsity_loss_weight)


class TabNetRegressor(RegressorTask, TabNet):
    """TabNet for regression on one or several targets of table rows.

    Steps that decide one after the other, each by few features that a sparse mask chooses.

    {parameters}

    {attributes}

    See Also
    --------
    FTTransformerRegressor : Attention over columns.

    References
    ----------
    Arik, Pfister: "TabNet: Attentive Interpretable Tabular Learning", AAAI 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import TabNetRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> TabNetRegressor(max_epochs=20, random_state=0).fit(X, y).predict(X).shape
    (442,)
    """

    def _train_loss(self, target):
        return SparseLoss(super()._train_loss(target), self.sparsity_loss_weight)
