"""RealMLP: an MLP whose details were tuned together on many datasets, so that it needs no tuning.

Holzmüller, Grinsztajn, Steinwart: "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on
Tabular Data" (NeurIPS 2024, 2407.04491), section 3 and table A.1.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tabdl.base.estimator import TabularEstimator
from tabdl.base.mixins import ClassifierTask, RegressorTask
from tabdl.base.params import LR_SCHEDULE_DOC, LR_SCHEDULES, PRECISION_CHOICES
from tabdl.data.scales import RobustClip
from tabdl.embeddings import OPTIONAL_NUMERIC_EMBEDDINGS, VECTOR_DOC, numeric_embedding
from tabdl.network.contract import TabularNet
from tabdl.network.embeddings import CategoryEmbedding, FlatEmbedding, split_by_size
from tabdl.network.functional import mish
from tabdl.network.layers import Dropout
from tabdl.params import Float, Int, OneOf, param

ACTIVATIONS = {"selu": nn.functional.selu, "mish": mish, "relu": nn.functional.relu}
_LR_DOC = (
    "Learning rate of AdamW. The scale has 6 times as much; biases, embeddings of numbers and "
    "activations have a tenth."
)
_SCHEDULES = OneOf("constant", "flat_cosine")
# DIFF: the authors' code takes all rows that fit into a gigabyte; so many give the same spread.
_ADAPT_ROWS = 20_000


class RobustOneHot(nn.Module):
    """One-hot columns that are scaled and clipped as numbers are (section 3).

    A feature of two values is one column, 1 and -1. A code that no training row has is 0 in all
    columns before the scaling. Shape: (B, Fc) codes to (B, columns).

    Parameters
    ----------
    cardinalities : list of int, length Fc
    """

    values: Tensor
    feature: Tensor
    offset: Tensor

    def __init__(self, cardinalities: Sequence[int]) -> None:
        super().__init__()
        self.cardinalities = tuple(cardinalities)
        self.widths = [1 if size == 3 else size - 1 for size in cardinalities]
        self.d_out = sum(self.widths)
        # The values of all codes stand in one line, a column behind the other.
        sizes = zip(self.widths, cardinalities, strict=True)
        self.register_buffer("values", torch.empty(sum(width * size for width, size in sizes)))
        for name in ("feature", "offset"):
            empty = torch.empty(self.d_out, dtype=torch.int32)
            self.register_buffer(name, empty, persistent=False)

    def init_weights(self, generator: torch.Generator) -> None:
        """Set which feature and which values each column stands for; the values are zeros."""
        self.values.zero_()
        sizes = np.repeat(self.cardinalities, self.widths)
        feature = np.repeat(np.arange(len(self.cardinalities)), self.widths)
        self.feature.copy_(torch.from_numpy(feature))
        self.offset.copy_(torch.from_numpy(np.cumsum(sizes) - sizes))

    @torch.no_grad()
    def init_from_codes(self, x_cat: np.ndarray, weight: np.ndarray | None) -> None:
        """Set the values of each code.

        Parameters
        ----------
        x_cat : integer ndarray of shape (N, Fc)
            The training rows.
        weight : ndarray of shape (N,) or None
        """
        columns = [
            _columns(codes, size, weight).ravel()
            for codes, size in zip(x_cat.T, self.cardinalities, strict=True)
        ]
        self.values.copy_(torch.from_numpy(np.concatenate(columns)))

    def forward(self, x_cat: Tensor) -> Tensor:
        """Return the columns."""
        return self.values[x_cat.index_select(-1, self.feature) + self.offset]


def _columns(codes, cardinality, weight):
    """Return the columns of a feature for each of its codes, (columns, cardinality)."""
    n_known = cardinality - 1
    raw = np.eye(n_known, cardinality) if n_known != 2 else np.array([[1.0, -1.0, 0.0]])
    # DIFF: a missing value of the training rows is a value like others; the authors' code leaves
    # its row without a one.
    mass = np.bincount(codes, weight, minlength=cardinality)
    is_seen = mass > 0
    columns = np.zeros_like(raw)
    for column, numbers in zip(columns, raw, strict=True):
        seen = numbers[is_seen]
        # A constant says nothing.
        if seen.min() < seen.max():
            column[:] = RobustClip().fit(seen, mass[is_seen]).transform(numbers)
    return columns


class RealMLPEmbedding(FlatEmbedding):
    """Embedded numbers, scaled one-hot columns, and vectors of categories with more values."""

    def _vectors(self, sizes, d_embedding):
        return NormalVectors(
            [sizes[i] for i in self.embedded], d_embedding, bias=False, features=self.embedded
        )


class NormalVectors(CategoryEmbedding):
    """Vectors of categories that begin with a standard normal distribution."""

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw the vectors, and set where each feature begins."""
        self.weight.normal_(generator=generator)
        self.set_offsets()


class Scale(nn.Module):
    """``x * s``, which begins as x: how much each column counts.

    The scale s learns quickly, at six times the learning rate.

    Shape: (B, D) to (B, D).
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.lr_factors = {"weight": 6.0}
        self.weight = nn.Parameter(torch.empty(d))

    def init_weights(self, generator: torch.Generator) -> None:
        """Begin with ones."""
        self.weight.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled columns."""
        return x * self.weight


class NTKLinear(nn.Module):
    """``W x / sqrt(d_in) + b`` with W of about one: the neural tangent parametrisation.

    With it one learning rate suits all widths.

    Shape: (B, d_in) to (B, d_out).

    Parameters
    ----------
    d_in, d_out : int
    full : bool
        Whether it never computes in bfloat16, also under autocast: for the first and last layer.
    """

    def __init__(self, d_in: int, d_out: int, full: bool = False) -> None:
        super().__init__()
        self.lr_factors = {"bias": 0.1}
        self.in_features = d_in
        self.full = full
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        self.bias = nn.Parameter(torch.empty(d_out))

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw the weights from a standard normal distribution."""
        self.weight.normal_(generator=generator)
        self.bias.zero_()

    @torch.no_grad()
    def init_from_outputs(self, x: Tensor, generator: torch.Generator) -> None:
        """Give the outputs a standard deviation of 1 over rows, and draw the biases.

        This is "he+5" of section 3. A bias is minus a random convex combination of the output at
        five random rows, so that each unit bends among the data.

        Parameters
        ----------
        x : Tensor of shape (B, d_in)
        generator : torch.Generator
        """
        outputs = x @ self.weight.T * self.in_features**-0.5
        std = outputs.std(0, correction=0)
        std = torch.where(std > 0, std, 1.0)
        self.weight.div_(std[:, None])
        chosen = torch.randint(len(x), (5, len(std)), generator=generator)
        # exponential_() draws other numbers in torch 2.5 than in 2.13.
        uniform = torch.rand(5, len(std), dtype=torch.float64, generator=generator)
        share = -torch.log1p(-uniform).to(outputs.dtype)
        self.bias.copy_(-(outputs.gather(0, chosen) / std * share / share.sum(0)).sum(0))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        is_autocast = torch.is_autocast_enabled(x.device.type) and not self.full
        with torch.autocast(x.device.type, enabled=is_autocast):
            x = x.to(self.weight.dtype) if self.full else x
            return torch.addmm(self.bias, x, self.weight.T, alpha=self.in_features**-0.5)


class ParametricActivation(nn.Module):
    """``x + a (f(x) - x)`` with a number a for each unit, which begins with 1.

    Shape: (B, D) to (B, D).
    """

    def __init__(self, d: int, name: str) -> None:
        super().__init__()
        self.lr_factors = {"weight": 0.1}
        self.function = ACTIVATIONS[name]
        self.weight = nn.Parameter(torch.empty(d))

    def init_weights(self, generator: torch.Generator) -> None:
        """Begin with the activation itself."""
        self.weight.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of the units."""
        return torch.lerp(x, self.function(x), self.weight.to(x.dtype))


class RealMLPNet(TabularNet):
    """Embedding, scale, ``n_blocks`` times linear, activation and dropout, and a linear head.

    Parameters
    ----------
    embedding : RealMLPEmbedding
    n_outputs : int
        C.
    n_blocks, d_block : int
    activation : str
        A key of ``ACTIVATIONS``.
    dropout : float
    is_classification : bool
        If so, a single output is the difference of two, as if each class had one. Else outputs stay
        in the range of the training rows, except in training.
    """

    n_adapt_rows = _ADAPT_ROWS
    low: Tensor
    high: Tensor

    def __init__(
        self,
        embedding: RealMLPEmbedding,
        n_outputs: int,
        *,
        n_blocks: int,
        d_block: int,
        activation: str,
        dropout: float,
        is_classification: bool,
    ) -> None:
        layers: list[nn.Module] = [Scale(embedding.d_out)]
        for i in range(n_blocks):
            linear = NTKLinear(d_block if i else embedding.d_out, d_block, full=i == 0)
            layers += [linear, ParametricActivation(d_block, activation), Dropout(dropout)]
        is_difference = is_classification and n_outputs == 1
        head = NTKLinear(d_block, n_outputs + is_difference, full=True)
        super().__init__(embedding, nn.Sequential(*layers), head, cpu_step_rows=4096)
        self.is_difference = is_difference
        self.is_clamped = not is_classification
        for name in ("low", "high"):
            self.register_buffer(name, torch.empty(n_outputs if self.is_clamped else 0))
        self.lr_factors = {} if embedding.num is None else {"embedding.num": 0.1}
        # All but the linear layers' biases decay.
        biases = {
            f"{name}.bias" for name, module in self.named_modules() if isinstance(module, NTKLinear)
        }
        self.decayed = tuple(name for name, _ in self.named_parameters() if name not in biases)

    def init_weights(self, generator: torch.Generator) -> None:
        """Set no limits of the outputs."""
        self.low.fill_(-math.inf)
        self.high.fill_(math.inf)

    @torch.no_grad()
    def init_from_data(self, train_table: Any, generator: torch.Generator) -> None:
        """Adapt the weights, layer by layer, and the limits of the outputs to the training rows."""
        if self.embedding.hot:
            codes = train_table.x_cat[:, self.embedding.hot].numpy()
            weight = None if train_table.weight is None else train_table.weight.numpy()
            self.embedding.one_hot.init_from_codes(codes, weight)
        if self.is_clamped:
            self.low.copy_(train_table.y.amin(0))
            self.high.copy_(train_table.y.amax(0))
        if len(train_table) > self.n_adapt_rows:
            order = torch.randperm(len(train_table), generator=generator)
            train_table = train_table.take(order[: self.n_adapt_rows])
        x = self.embedding(train_table.x_num.to(self.head.weight.dtype), train_table.x_cat)
        for layer in [*self.backbone, self.head]:
            if isinstance(layer, NTKLinear):
                layer.init_from_outputs(x, generator)
            x = x if isinstance(layer, Dropout) else layer(x)

    def outputs(self, x: Tensor) -> Tensor:
        """Return the outputs, (B, 1, C), of representations (B, D)."""
        x = self.head(x)
        if self.is_difference:
            x = x[:, 1:] - x[:, :1]
        if self.is_clamped and not self.training:
            x = x.clamp(self.low, self.high)
        return x.unsqueeze(1)


class RealMLP(TabularEstimator):
    """The hyper-parameters of RealMLP; the defaults are the tuned ones of the paper (table A.1)."""

    n_blocks: int = param(Int(1), default=3, doc="Number of hidden layers.")
    d_block: int = param(Int(1), default=256, doc="Width of the hidden layers.")
    activation: str = param(
        OneOf(*ACTIVATIONS),
        default="selu",
        doc="The activation between a unit's input and its learned parameter.",
    )
    dropout: float = param(
        Float("[0, 1)"), default=0.15, doc="Dropout of every hidden layer, at first."
    )
    dropout_schedule: str = param(
        _SCHEDULES,
        default="flat_cosine",
        doc="The course of dropout over ``max_epochs``: 'flat_cosine' falls to 0 in the second "
        "half.",
    )
    d_embedding: int = param(
        Int(1), default=8, doc="Width of the vector of a category that is not one-hot."
    )
    one_hot_max_size: int = param(
        Int(0),
        default=8,
        doc="Categorical features of at most so many values are one-hot columns, scaled and "
        "clipped as numbers are.",
    )
    numeric_embedding: Any = param(
        *OPTIONAL_NUMERIC_EMBEDDINGS,
        default="pbld",
        doc=VECTOR_DOC,
    )
    numeric_transform: str = param(
        OneOf("quantile", "standard", "robust", "none"),
        default="robust",
        doc="What happens to numbers: 'quantile' to a normal distribution, 'standard', 'robust' "
        "(median, interquartile range, smooth clipping; the paper's) or 'none'.",
    )
    lr: float = param(
        Float("(0, inf)"),
        default=0.04,
        doc=_LR_DOC,
    )
    lr_schedule: str = param(OneOf(*LR_SCHEDULES), default="coslog4", doc=LR_SCHEDULE_DOC)
    beta2: float = param(
        Float("[0, 1)"), default=0.95, doc="Decay of AdamW's average of squared gradients."
    )
    weight_decay: float = param(
        Float("[0, inf)"),
        default=0.02,
        doc="Weight decay of AdamW, at first, of all parameters but the linear layers' biases.",
    )
    weight_decay_schedule: str = param(
        _SCHEDULES,
        default="flat_cosine",
        doc="The course of weight decay over ``max_epochs``: 'flat_cosine' falls to 0 in the "
        "second half.",
    )
    batch_size: int | str = param(
        OneOf("auto"),
        Int(1),
        default=256,
        doc="Rows a step; rows that do not fill the last step of an epoch wait. 'auto': as for the "
        "other estimators.",
    )
    max_epochs: int = param(
        Int(1), default=256, doc="Number of epochs, if ``patience`` does not end training."
    )
    patience: int | str = param(
        Int(1),
        default=256,
        doc="Epochs without a better validation score before training stops. The cycles of the "
        "learning rate need all epochs: the paper trains them all and keeps the weights of the "
        "best one, or of the last among equals.",
    )

    precision: str = param(
        PRECISION_CHOICES,
        default="float32",
        doc="Numbers of the network: 'float32', 'float64', 'bfloat16' or 'float16' (products of "
        "such numbers), or 'auto', by width and device as for the other estimators. bfloat16 "
        "costs accuracy here.",
    )

    def _build_net(self, schema, n_outputs, train_table):
        num = None
        if self.numeric_embedding is not None:
            num = numeric_embedding(self, train_table)
        sizes = schema.cardinalities
        hot, _ = split_by_size(sizes, self.one_hot_max_size)
        one_hot = RobustOneHot([sizes[i] for i in hot]) if hot else None
        return RealMLPNet(
            RealMLPEmbedding(schema, self.d_embedding, self.one_hot_max_size, num, one_hot),
            n_outputs,
            n_blocks=self.n_blocks,
            d_block=self.d_block,
            activation=self.activation,
            dropout=self.dropout,
            is_classification=self._has_classes,
        )

    def _training_config(self, n_rows, device, precision, callbacks):
        return replace(
            super()._training_config(n_rows, device, precision, callbacks),
            beta2=self.beta2,
            dropout_schedule=self.dropout_schedule,
            weight_decay_schedule=self.weight_decay_schedule,
            drop_last=True,
            takes_last_best=True,
        )


class RealMLPClassifier(ClassifierTask, RealMLP):
    """RealMLP for binary, multiclass and multilabel classification of table rows.

    An MLP with periodic embeddings of the numbers, a learned scale of its inputs, initial weights
    from the data, and courses of the learning rate, dropout and weight decay that were tuned
    together: strong without tuning.

    Use it as a member of a blend, and where many configurations are tried.

    {parameters}

    {attributes}

    See Also
    --------
    TabMClassifier : The best default, at a higher cost.
    TabMLPClassifier : An MLP without tuned defaults.

    References
    ----------
    Holzmüller, Grinsztajn, Steinwart: "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees
    on Tabular Data", NeurIPS 2024.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import RealMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = RealMLPClassifier(d_block=64, max_epochs=20, random_state=0).fit(X, y)
    >>> model.predict_proba(X).shape
    (150, 3)
    """

    label_smoothing: Any = param(
        OneOf("auto"),
        Float("[0, 1)"),
        default="auto",
        doc="Share of the target that is spread evenly over all classes; 'auto': 0.1 with "
        "``scoring='accuracy'``, which the paper tuned it for, else 0, for it spoils "
        "probabilities.",
    )

    def _smoothing(self):
        return (
            0.1 * (self.scoring == "accuracy")
            if self.label_smoothing == "auto"
            else self.label_smoothing
        )


class RealMLPRegressor(RegressorTask, RealMLP):
    """RealMLP for regression on one or several targets of table rows.

    An MLP with periodic embeddings of the numbers, a learned scale of its inputs, initial weights
    from the data, and courses of the learning rate, dropout and weight decay that were tuned
    together: strong without tuning. Predictions stay between the smallest and the largest target of
    the training rows.

    Use it as a member of a blend, and where many configurations are tried.

    {parameters}

    {attributes}

    See Also
    --------
    TabMRegressor : The best default, at a higher cost.
    TabMLPRegressor : An MLP without tuned defaults.

    References
    ----------
    Holzmüller, Grinsztajn, Steinwart: "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees
    on Tabular Data", NeurIPS 2024.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import RealMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = RealMLPRegressor(d_block=64, max_epochs=20, random_state=0)
    >>> model.fit(X, y).predict(X).shape
    (442,)
    """

    activation: str = param(
        OneOf(*ACTIVATIONS),
        default="mish",
        doc="The activation between a unit's input and its learned parameter.",
    )
    lr: float = param(
        Float("(0, inf)"),
        default=0.2,
        doc=_LR_DOC,
    )
