"""GrowNet: shallow networks that are added one by one, as trees are in gradient boosting.

Badirli, Liu, Xing, Bhowmik, Doan, Keerthi: "Gradient Boosting Neural Networks: GrowNet" (2020,
2002.07971); the details are those of the code of Gorishniy, Rubachev, Khrulkov, Babenko:
"Revisiting Deep Learning Models for Tabular Data" (NeurIPS 2021, 2106.11959).
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tabdl.base.estimator import TabularEstimator
from tabdl.base.mixins import ClassifierTask, RegressorTask
from tabdl.base.params import LR_SCHEDULES
from tabdl.embeddings import OPTIONAL_NUMERIC_EMBEDDINGS, VECTOR_DOC, flat_embedding
from tabdl.network.contract import Phase, TabularNet
from tabdl.network.layers import BatchNorm, InputLinear
from tabdl.params import Float, Int, OneOf, param

# What the corrective step divides the learning rate by, and after how many stages that rate and
# weight decay are halved (the code of 2106.11959).
_CORRECTIVE_DIVISOR = 3
_HALVING = 15
# Beyond it the derivatives of the logistic loss are numbers that float32 cannot divide by.
_LARGEST_LOGIT = 15.0


class WeakNet(nn.Module):
    """A network with two hidden layers; the second one is what the next network sees as well.

    Shape: (B, d_in) and, but for the first network, (B, d_block), to the second hidden layer
    (B, d_block) and to the outputs (B, C).

    Parameters
    ----------
    d_in, d_block, n_outputs : int
    is_first : bool
    """

    def __init__(self, d_in: int, d_block: int, n_outputs: int, is_first: bool) -> None:
        super().__init__()
        self.norm_in = None if is_first else BatchNorm(d_in + d_block)
        self.linear_in = (
            InputLinear(d_in, d_block) if is_first else nn.Linear(d_in + d_block, d_block)
        )
        self.norm = BatchNorm(d_block)
        self.hidden = nn.Linear(d_block, d_block)
        self.linear_out = nn.Linear(d_block, n_outputs)

    def forward(self, x: Tensor, below: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the second hidden layer and the outputs."""
        if self.norm_in is not None and below is not None:
            x = self.norm_in(torch.cat([x, below.to(x.dtype)], 1))
        hidden = self.hidden(self.norm(nn.functional.leaky_relu(self.linear_in(x), 0.1)))
        return hidden, self.linear_out(hidden.relu())


class GrowNetBackbone(nn.Module):
    """Weak networks, each of which sees the row and the network below (2002.07971, figure 1).

    Shape: (B, d_in) to the sum of their outputs, (B, C).

    Parameters
    ----------
    d_in, d_block, n_outputs : int
    n_blocks : int
        The most networks.

    Attributes
    ----------
    n_used : int or None
        How many networks there are so far; None: all.
    n_trained : int64 Tensor of no dimension
        The same for the state of a network.
    """

    n_trained: Tensor

    def __init__(self, d_in: int, d_block: int, n_outputs: int, n_blocks: int) -> None:
        super().__init__()
        self.n_used: int | None = None
        self.nets: Any = nn.ModuleList(
            WeakNet(d_in, d_block, n_outputs, is_first=i == 0) for i in range(n_blocks)
        )
        self.register_buffer("n_trained", torch.empty((), dtype=torch.int64))

    def init_weights(self, generator: torch.Generator) -> None:
        """Count no trained network; their layers fill themselves."""
        self.n_trained.zero_()

    def use(self, n: int) -> None:
        """Let ``n`` networks be all from now on."""
        self.n_used = n
        self.n_trained.fill_(n)

    def drop_untrained(self) -> None:
        """Drop the networks that no stage has reached, for good."""
        self.nets = self.nets[: int(self.n_trained)]
        self.n_used = None

    def adapt_to(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Take the number of networks from a state; see ``network/rebuilding.py``."""
        n_kept = sum(f"nets.{i}.linear_out.weight" in shapes for i in range(len(self.nets)))
        self.nets = self.nets[: max(1, n_kept)]

    def parts(self, x: Tensor, n: int | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the hidden layer of the n-th network, and the sum of n outputs; None for n = 0."""
        below: Tensor | None = None
        total: Tensor | None = None
        for net in self.nets[:n]:
            below, added = net(x, below)
            total = added if total is None else total + added
        return below, total

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the outputs."""
        total = self.parts(x, self.n_used)[1]
        assert total is not None, "there is one network at least"
        return total


class BoostedOutput(nn.Module):
    """``prior + boost_rate * sum`` (2002.07971, equation 1). Shape: (B, C) to (B, C).

    Parameters
    ----------
    n_outputs : int
        C.
    learns_rate : bool
    """

    prior: Tensor
    boost_rate: Tensor

    def __init__(self, n_outputs: int, learns_rate: bool) -> None:
        super().__init__()
        self.register_buffer("prior", torch.empty(n_outputs))
        if learns_rate:
            self.boost_rate = nn.Parameter(torch.empty(()))
        else:
            self.register_buffer("boost_rate", torch.empty(()))

    def init_weights(self, generator: torch.Generator) -> None:
        """Begin with the rate 1; the prior waits for the training rows."""
        self.prior.zero_()
        self.boost_rate.fill_(1)

    def forward(self, total: Tensor) -> Tensor:
        """Return the outputs."""
        return self.prior + self.boost_rate * total


class GrowNetNet(TabularNet):
    """Embedding, weak networks and their boosted sum.

    In training a network that is new is trained alone first. Then K = 2: what the networks below
    it say, and what it adds.

    Parameters
    ----------
    embedding : FlatEmbedding
    backbone : GrowNetBackbone
    head : BoostedOutput
    n_passes_alone, n_passes_together : int
        How often a phase goes through the rows.
    is_classification : bool
    """

    n_adapt_rows = 0

    def __init__(
        self,
        embedding: nn.Module,
        backbone: GrowNetBackbone,
        head: BoostedOutput,
        *,
        n_passes_alone: int,
        n_passes_together: int,
        is_classification: bool,
    ) -> None:
        super().__init__(embedding, backbone, head)
        self.n_passes_alone = n_passes_alone
        self.n_passes_together = n_passes_together
        self.is_classification = is_classification
        self.is_new_alone = False
        # As in the code of 2106.11959, where weight decay is a part of the gradient.
        self.decayed = tuple(name for name, _ in self.named_parameters())

    @torch.no_grad()
    def init_from_data(self, train_table: Any, generator: torch.Generator) -> None:
        """Set the prior to what predicts the training rows best: a mean, or logits of shares."""
        y, weight = train_table.y, train_table.weight
        if y.ndim == 1:
            y = nn.functional.one_hot(y, len(self.head.prior))
        y = y.to(self.head.prior.dtype)
        mean = y.mean(0) if weight is None else (y * weight.unsqueeze(1)).mean(0)
        if not self.is_classification:
            self.head.prior.copy_(mean)
            return
        share = mean.clamp(0.5 / len(y), 1 - 0.5 / len(y))
        self.head.prior.copy_(share.log() if train_table.y.ndim == 1 else share.logit())

    def phases(self, epoch: int) -> list[Phase]:
        """Return the phases of an epoch, which is a stage."""
        n_blocks = len(self.backbone.nets)
        n_used = min(epoch + 1, n_blocks)
        phases = []
        if epoch < n_blocks:
            factor = 0.5 ** (max(epoch - 1, 0) // _HALVING)
            begin = functools.partial(GrowNetNet.begin_phase, n_used=n_used, is_new_alone=True)
            phases.append(Phase(begin, self.n_passes_alone, factor, factor))
        if epoch > 0:
            factor = 0.5 ** (epoch // _HALVING)
            begin = functools.partial(GrowNetNet.begin_phase, n_used=n_used, is_new_alone=False)
            phases.append(
                Phase(begin, self.n_passes_together, factor / _CORRECTIVE_DIVISOR, factor)
            )
        return phases

    def begin_phase(self, n_used: int, is_new_alone: bool) -> None:
        """Let ``n_used`` networks be all, and train the last of them alone, or all of them."""
        self.backbone.use(n_used)
        self.is_new_alone = is_new_alone

    def from_embedding(self, x: Tensor) -> Tensor:
        """Return the outputs, (B, 1, C); of a new network in training, (B, 2, C)."""
        if not (self.training and self.is_new_alone):
            return super().from_embedding(x)
        n_below = self.backbone.n_used - 1
        with torch.no_grad():
            x = x.detach()
            below, total = self.backbone.parts(x, n_below)
            before = self.head.prior.expand(len(x), -1)
            before = before if total is None else self.head(total.to(before.dtype))
        _, added = self.backbone.nets[n_below](x, below)
        return torch.stack([before, self.head.boost_rate.detach() * added.to(before.dtype)], 1)


class StageLoss:
    """The loss of a stage: that of all networks, or of one that is new and alone.

    The new one minimises the loss of what it adds to the others. With ``labels`` it minimises the
    second-order expansion of the logistic loss instead (2002.07971, section 3.1):
    ``h (added + g / h)^2`` with the derivatives g and h at what the others say.

    Parameters
    ----------
    loss : callable
        ``(outputs (B, K, C), y) -> (B,)``.
    labels : {"signed", "binary"} or None
        What y stands for in the expansion.
    smoothing : float
        Share of y that is spread over both classes.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        labels: str | None = None,
        smoothing: float = 0.0,
    ) -> None:
        self.loss = loss
        self.labels = labels
        self.smoothing = smoothing

    def __call__(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each row, (B,)."""
        if outputs.shape[1] == 1:
            return self.loss(outputs, y)
        before, added = outputs.unbind(1)
        if self.labels is None:
            return self.loss((before + added).unsqueeze(1), y)
        curvature, target = self._expansion(before, y)
        return (curvature * (added - target).square()).mean(1)

    def _expansion(self, before: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return h and -g / h, each (B, C)."""
        y = y * (1 - self.smoothing) + self.smoothing / 2
        before = before.clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)
        if self.labels == "binary":
            target = y * (1 + (-y * before).exp())
            return 1 / ((1 + (y * before).exp()) * (1 + (-y * before).exp())), target
        probability = before.sigmoid()
        curvature = probability * (1 - probability)
        return curvature, (y - probability) / curvature


class GrowNet(TabularEstimator):
    """The hyper-parameters of GrowNet.

    An epoch is a stage: one more network is trained alone, and then all of them together, the
    corrective step. When there are ``n_blocks`` networks, only the latter.
    """

    n_blocks: int = param(Int(1), default=40, doc="Number of weak networks, at most.")
    d_block: int = param(Int(1), default=128, doc="Width of both hidden layers of a network.")
    _goes_on = False

    epochs_per_stage: int = param(
        Int(1), default=1, doc="Passes through the rows that train a new network alone."
    )
    correct_epochs: int = param(
        Int(1),
        default=1,
        doc="Passes of the corrective step, which trains all networks; the first stage has none.",
    )
    # DIFF: the paper learns the rate always. The default is what the figures of 2106.11959 come
    # from, where the rate belongs to the optimizer only beside embeddings of categories.
    learn_boost_rate: bool | str = param(
        OneOf("with_categories", True, False),
        default="with_categories",
        doc="Whether the corrective step learns the factor of the networks' outputs, which begins "
        "with 1; 'with_categories': where the table has categories, as the code of 2106.11959.",
    )
    d_embedding: int = param(Int(1), default=16, doc="Width of the vector of a category.")
    one_hot_max_size: int = param(
        Int(0),
        default=0,
        doc="Categorical features of at most so many values are one-hot, without a vector.",
    )
    numeric_embedding: Any = param(*OPTIONAL_NUMERIC_EMBEDDINGS, default=None, doc=VECTOR_DOC)
    patience: int | str = param(
        OneOf("auto"),
        Int(1),
        default="auto",
        doc="Stages without a better validation score before training stops. 'auto': 16 (as in "
        "2106.11959), on small tables as many as 832 steps take, at most 48.",
    )
    warm_start: bool = param(
        OneOf(True, False),
        default=False,
        doc="GrowNet does not go on: with True, ``fit`` of a fitted network raises ValueError.",
    )
    lr: float = param(
        Float("(0, inf)"),
        default=3e-3,
        doc="Learning rate of Adam. The corrective step has a third. After every 15 stages the "
        "rate and weight decay are halved.",
    )
    lr_schedule: str = param(
        OneOf(*(name for name in LR_SCHEDULES if name != "cooldown")),
        default="constant",
        doc="Further course of the learning rate over ``max_epochs``: 'constant', 'cosine' or "
        "'coslog4', as of the other networks.",
    )
    optimizer: str = param(
        OneOf("adam", "adamw", "muon"),
        default="adam",
        doc="'adam': weight decay is a part of the gradient (1412.6980). 'adamw' and 'muon' as of "
        "the other networks. Each phase of a stage begins anew.",
    )
    weight_decay: float = param(
        Float("[0, inf)"), default=1e-5, doc="Weight decay, of all parameters."
    )
    max_epochs: int = param(
        Int(1),
        default=40,
        doc="Largest number of stages; the number of stages with ``early_stopping=False``.",
    )

    def _build_net(self, schema, n_outputs, train_table):
        embedding = flat_embedding(self, schema, train_table)
        learns = self.learn_boost_rate
        if learns == "with_categories":
            learns = len(schema.cardinalities) > 0
        backbone = GrowNetBackbone(embedding.d_out, self.d_block, n_outputs, self.n_blocks)
        return GrowNetNet(
            embedding,
            backbone,
            BoostedOutput(n_outputs, bool(learns)),
            n_passes_alone=self.epochs_per_stage,
            n_passes_together=self.correct_epochs,
            is_classification=self._has_classes,
        )

    def _keep(self, nets, encoder, target, results):
        for net in nets:
            net.backbone.drop_untrained()
        super()._keep(nets, encoder, target, results)


class GrowNetClassifier(ClassifierTask, GrowNet):
    """GrowNet for binary, multiclass and multilabel classification of table rows.

    Shallow networks are added one by one, each on top of the one below, and corrected together.

    {parameters}

    {attributes}

    See Also
    --------
    NODEClassifier : Another ensemble of weak learners in one network.

    References
    ----------
    Badirli, Liu, Xing, Bhowmik, Doan, Keerthi: "Gradient Boosting Neural Networks: GrowNet", 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import GrowNetClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = GrowNetClassifier(d_block=32, max_epochs=5, random_state=0).fit(X, y)
    >>> model.predict_proba(X).shape
    (150, 3)
    """

    # DIFF: the default is the paper's equation. In the code of 2106.11959 labels are 0 and 1 there,
    # so that a row of the class 0 pulls what a network adds to 0; its figures need "binary".
    newton_labels: str | None = param(
        OneOf("signed", "binary", None),
        default="signed",
        doc="What a new network minimises alone, with two classes or several labels: the "
        "second-order expansion of the loss with labels of -1 and 1 ('signed', the paper's), with "
        "labels of 0 and 1 ('binary', the code of 2106.11959), or the loss itself (None). With "
        "more classes, of which the paper says nothing, it is the loss itself.",
    )

    def _train_loss(self, target):
        labels = None if target.kind == "multiclass" else self.newton_labels
        return StageLoss(super()._train_loss(target), labels, self._smoothing())


class GrowNetRegressor(RegressorTask, GrowNet):
    """GrowNet for regression on one or several targets of table rows.

    Shallow networks are added one by one, each on top of the one below, and corrected together.

    {parameters}

    {attributes}

    See Also
    --------
    NODERegressor : Another ensemble of weak learners in one network.

    References
    ----------
    Badirli, Liu, Xing, Bhowmik, Doan, Keerthi: "Gradient Boosting Neural Networks: GrowNet", 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import GrowNetRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GrowNetRegressor(d_block=32, max_epochs=5, random_state=0)
    >>> model.fit(X, y).predict(X).shape
    (442,)
    """

    def _train_loss(self, target):
        return StageLoss(super()._train_loss(target))
