"""TabM: one MLP that predicts k times, as k MLPs that share most of their weights would.

Gorishniy, Kotelnikov, Babenko: "TabM: Advancing Tabular Deep Learning with Parameter-Efficient
Ensembling" (ICLR 2025, 2410.24210).
"""

from typing import Any

import torch
from torch import Tensor, nn

from tabdl.base.estimator import TabularEstimator
from tabdl.base.mixins import ClassifierTask, RegressorTask
from tabdl.base.params import LR_SCHEDULE_DOC, LR_SCHEDULES
from tabdl.embeddings import OPTIONAL_NUMERIC_EMBEDDINGS, VECTOR_DOC, flat_embedding
from tabdl.network.contract import TabularNet
from tabdl.network.functional import without_autocast
from tabdl.network.layers import Dropout, SeparateLinear
from tabdl.params import Float, Int, OneOf, param

ARCHITECTURES = ("tabm", "tabm-mini", "tabm-packed")


class Adapter(nn.Module):
    """``x * r`` with k vectors r, one for each prediction (section 3.3).

    Within a feature r begins as one random number. Shape: (B, K, D) to (B, K, D).

    Parameters
    ----------
    k : int
    widths : list of int
        How many of the D numbers each feature has.
    signs : bool
        Begin with random signs instead of normal numbers: for numbers that have no embedding.
    """

    decayed = ("weight",)

    def __init__(self, k: int, widths: list[int], signs: bool) -> None:
        super().__init__()
        self.widths = widths
        self.signs = signs
        self.weight = nn.Parameter(torch.empty(k, sum(widths)))

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw a number for each prediction and feature."""
        drawn = torch.empty(len(self.weight), len(self.widths)).normal_(generator=generator)
        drawn = torch.where(drawn < 0, -1.0, 1.0) if self.signs else drawn
        self.weight.copy_(drawn.repeat_interleave(torch.tensor(self.widths), dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Return a vector for each prediction."""
        return x * self.weight


class BatchEnsembleLinear(nn.Module):
    """``(W (x * r)) * s + b`` with one matrix W and k vectors r, s and b.

    Section 3.2, equation 1; Wen et al. 2020. Shape: (B, K, d_in) to (B, K, d_out).

    Parameters
    ----------
    d_in, d_out, k : int
    first : bool
        Whether it is the first layer of the network, where an :class:`Adapter` stands for r.
    """

    decayed = ("weight", "r", "s")

    def __init__(self, d_in: int, d_out: int, k: int, first: bool) -> None:
        super().__init__()
        self.in_features = d_in
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        self.r = None if first else nn.Parameter(torch.empty(k, d_in))
        self.s = nn.Parameter(torch.empty(k, d_out))
        self.bias = nn.Parameter(torch.empty(k, d_out))

    def init_weights(self, generator: torch.Generator) -> None:
        """Begin as one linear layer, the same for each of the k."""
        bound = self.in_features**-0.5
        self.weight.uniform_(-bound, bound, generator=generator)
        bias = torch.empty_like(self.bias[0]).uniform_(-bound, bound, generator=generator)
        self.bias.copy_(bias.expand_as(self.bias))
        for scale in (self.r, self.s):
            if scale is not None:
                scale.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return a vector for each prediction."""
        x = x if self.r is None else x * self.r
        x = nn.functional.linear(x, self.weight).to(self.bias.dtype)
        return torch.addcmul(self.bias, x, self.s)


# The parameters that have a row for each of the k predictions.
_OF_EACH_PREDICTION = {
    Adapter: ("weight",),
    BatchEnsembleLinear: ("r", "s", "bias"),
    SeparateLinear: ("weight", "bias"),
}


class TabMNet(TabularNet):
    """A network that predicts K times.

    Parameters
    ----------
    k : int
        K.
    separate_batches : bool
        In training, row i goes through the (i mod K)-th prediction alone; the rows of a batch are K
        batches in turn.
    """

    def __init__(
        self,
        embedding: nn.Module,
        backbone: nn.Module,
        head: nn.Module,
        *,
        k: int,
        separate_batches: bool,
        **sizes: Any,
    ) -> None:
        super().__init__(embedding, backbone, head, n_vectors_per_row=k, **sizes)
        self.k = k
        self.n_batch_streams = k if separate_batches else 1

    def forward(
        self, x_num: Tensor, x_cat: Tensor, mix: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        """Return the outputs, (B, K, C); in training with separate batches, (B, 1, C).

        ``mix`` is that of :meth:`mixed`.
        """
        x = self.mixed(self.embedding(x_num, x_cat), mix)
        if self.training and self.n_batch_streams > 1:
            return self.predictions(x.unflatten(0, (-1, self.k))).flatten(0, 1).unsqueeze(1)
        return self.from_embedding(x)

    def from_embedding(self, x: Tensor) -> Tensor:
        """Return the outputs, (B, K, C), of what the embedding returns."""
        return self.predictions(x.unsqueeze(1).expand(-1, self.k, -1))

    @torch.no_grad()
    def keep(self, chosen: list[int]) -> None:
        """Drop the weights of all predictions but the ``chosen`` ones, by number."""
        for module in [*self.backbone.modules(), self.head]:
            for name in _OF_EACH_PREDICTION.get(type(module), ()):
                parameter = getattr(module, name)
                if parameter is not None:
                    setattr(module, name, nn.Parameter(parameter[chosen].clone()))
        self.k = self.n_vectors_per_row = len(chosen)
        self.n_batch_streams = min(self.n_batch_streams, self.k)
        self.cpu_chunk_rows = _chunk_rows(self.k)

    def predictions(self, x: Tensor) -> Tensor:
        """Return the outputs, (B, K, C), of representations (B, K, D)."""
        x = self.backbone(x)
        with without_autocast(x.device.type):
            return self.head(x.to(self.head.weight.dtype))


def _chunk_rows(k):
    return max(1, 2048 // k)


class TabM(TabularEstimator):
    """The hyper-parameters of TabM.

    The defaults differ from those of the authors' package in the width, which is 512 there, the
    learning rate and its course, and the bins of the embedding. They were measured by ``python -m
    benchmarks.run study cost`` and ``study defaults``.
    """

    arch: str = param(
        OneOf(*ARCHITECTURES),
        default="tabm-mini",
        doc="What the k networks share: 'tabm', all matrices, with vectors of their own in every "
        "layer; 'tabm-mini', everything but one vector in front and the heads; 'tabm-packed',"
        " nothing.",
    )
    k: int = param(
        Int(1),
        default=32,
        doc="Number of predictions. On a CPU a time limit that is short leaves fewer, 8 at least.",
    )
    n_blocks: int = param(Int(1), default=3, doc="Number of hidden layers.")
    d_block: int = param(Int(1), default=128, doc="Width of the hidden layers.")
    dropout: float = param(Float("[0, 1)"), default=0.1, doc="Dropout of every hidden layer.")
    share_training_batches: bool = param(
        OneOf(True, False),
        default=False,
        doc="All k see the same batches: quicker, and a little less accurate.",
    )
    prune: bool = param(
        OneOf(True, False),
        default=False,
        doc="After training keep only the predictions whose mean is best on the validation rows, "
        "chosen greedily: a smaller network, and quicker to predict with. Needs validation "
        "rows.",
    )
    d_embedding: int = param(
        Int(1), default=16, doc="Width of the vector of a category that is not one-hot."
    )
    one_hot_max_size: int = param(
        Int(0),
        default=128,
        doc="Categorical features of at most so many values are one-hot, without a vector.",
    )
    numeric_embedding: Any = param(
        *OPTIONAL_NUMERIC_EMBEDDINGS,
        default="piecewise_tree",
        doc=VECTOR_DOC,
    )
    lr: float = param(Float("(0, inf)"), default=4e-3, doc="Learning rate of AdamW.")
    lr_schedule: str = param(OneOf(*LR_SCHEDULES), default="cooldown", doc=LR_SCHEDULE_DOC)
    weight_decay: float = param(
        Float("[0, inf)"),
        default=3e-4,
        doc="Weight decay of AdamW, on matrices and scaling vectors: not on embeddings' lines and"
        " biases.",
    )
    clip_norm: float | None = param(
        OneOf(None),
        Float("(0, inf)"),
        default=1.0,
        doc="Largest norm of the gradient of all weights; a longer one is shortened to it.",
    )

    def _build_net(self, schema, n_outputs, train_table):
        embedding = flat_embedding(self, schema, train_table)
        widths = [embedding.d_out] + [self.d_block] * self.n_blocks
        layers: list[nn.Module] = []
        if self.arch != "tabm-packed":
            layers.append(Adapter(self.k, embedding.widths, signs=embedding.num is None))
        for i in range(self.n_blocks):
            layers += [
                self._linear(widths[i], widths[i + 1], first=i == 0),
                nn.ReLU(),
                Dropout(self.dropout),
            ]
        head = SeparateLinear(self.k, self.d_block, n_outputs)
        # So many rows at once keep the activations of a step in the caches of a processor.
        step_rows = self.k * max(1, 2048 // self.k)
        return TabMNet(
            embedding,
            nn.Sequential(*layers),
            head,
            k=self.k,
            separate_batches=not self.share_training_batches,
            cpu_chunk_rows=_chunk_rows(self.k),
            cpu_step_rows=step_rows // self.k if self.share_training_batches else step_rows,
        )

    def _linear(self, d_in, d_out, first):
        if self.arch == "tabm-mini":
            return nn.Linear(d_in, d_out)
        if self.arch == "tabm":
            return BatchEnsembleLinear(d_in, d_out, self.k, first)
        return SeparateLinear(self.k, d_in, d_out)


class TabMClassifier(ClassifierTask, TabM):
    """TabM for binary, multiclass and multilabel classification of table rows.

    An MLP with ``k`` predictions, trained as k networks that share most of their weights, each on
    batches of its own; the answer is the mean of their probabilities.

    It is the first network to try. Its default has the best mean rank, and costs more than an MLP.

    {parameters}

    {attributes}

    See Also
    --------
    TabMLPClassifier : Quicker, and a little worse.

    References
    ----------
    Gorishniy, Kotelnikov, Babenko: "TabM: Advancing Tabular Deep Learning with Parameter-Efficient
    Ensembling", ICLR 2025.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import TabMClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = TabMClassifier(d_block=64, max_epochs=20, random_state=0)
    >>> model.fit(X, y).predict_proba(X).shape
    (150, 3)
    """


class TabMRegressor(RegressorTask, TabM):
    """TabM for regression on one or several targets of table rows.

    An MLP with ``k`` predictions, trained as k networks that share most of their weights, each on
    batches of its own; the answer is their mean.

    It is the first network to try. Its default has the best mean rank, and costs more than an MLP.

    {parameters}

    {attributes}

    See Also
    --------
    TabMLPRegressor : Quicker, and a little worse.

    References
    ----------
    Gorishniy, Kotelnikov, Babenko: "TabM: Advancing Tabular Deep Learning with Parameter-Efficient
    Ensembling", ICLR 2025.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import TabMRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = TabMRegressor(d_block=64, max_epochs=20, random_state=0)
    >>> model.fit(X, y).predict(X).shape
    (442,)
    """
