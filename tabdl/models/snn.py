"""SNN: a multilayer perceptron whose activations keep mean zero and variance one by themselves.

Klambauer, Unterthiner, Mayr, Hochreiter: "Self-Normalizing Neural Networks" (NeurIPS 2017,
1706.02515); as in Gorishniy et al.: "Revisiting Deep Learning Models for Tabular Data" (NeurIPS
2021, 2106.11959), section 3.4.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from tabdl.base.estimator import TabularEstimator
from tabdl.base.mixins import ClassifierTask, RegressorTask
from tabdl.embeddings import OPTIONAL_NUMERIC_EMBEDDINGS, VECTOR_DOC, flat_embedding
from tabdl.models.mlp import hidden_widths
from tabdl.network.contract import TabularNet, decay_all
from tabdl.network.layers import Dropout, InputLinear
from tabdl.params import Float, Int, ListOf, param

# SELU of a large negative number is minus this: lambda times alpha of 1706.02515, equation 2.
_FLOOR = 1.7580993408473766


class NormalLinear(nn.Linear):
    """A linear layer with normal weights of variance 1 / fan_in, and biases of zero.

    So mean zero and variance one go through (1706.02515, section 2).
    """

    def init_weights(self, generator: torch.Generator) -> None:
        """Fill the weight with normal numbers, the bias with zeros."""
        self.weight.normal_(std=self.in_features**-0.5, generator=generator)
        self.bias.zero_()


class NormalInputLinear(NormalLinear, InputLinear):
    """The same for the numbers of a table, never in 16 bits."""


class AlphaDropout(Dropout):
    """Dropout to the lowest value of SELU that keeps mean zero and variance one.

    With the share p, and v the lowest value, the result is ``a (x or v) + b``, where
    a = ((1 - p)(1 + p v²))^(-1/2) and b = -a p v (1706.02515, section 3).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with random elements at the lowest value in training, in its own shape."""
        kept = self.kept(x)
        if kept is None:
            return x
        keep = 1 / self.scale
        a = (keep * (1 + (1 - keep) * _FLOOR**2)) ** -0.5
        # The gradient passes over one product only.
        slope = kept * a
        return torch.addcmul(slope * _FLOOR - _FLOOR * keep * a, x, slope)


class SNN(TabularEstimator):
    """The hyper-parameters of the SNN.

    The papers have no defaults for it. Width and depth are near those of the tuned configurations
    of 2106.11959; weight decay acts on all parameters, as in its authors' code.
    """

    n_blocks: int = param(Int(1), default=4, doc="Number of hidden layers.")
    d_block: int | Sequence[int] = param(
        Int(1),
        ListOf(Int(1)),
        default=256,
        doc="Width of every hidden layer, or one width a layer.",
    )
    dropout: float = param(
        Float("[0, 1)"), default=0.02, doc="Alpha dropout of every hidden layer."
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
    lr: float = param(Float("(0, inf)"), default=5e-4, doc="Learning rate of AdamW.")
    weight_decay: float = param(
        Float("[0, inf)"), default=1e-5, doc="Weight decay of AdamW, of all parameters."
    )

    def _build_net(self, schema, n_outputs, train_table):
        embedding = flat_embedding(self, schema, train_table)
        widths = [embedding.d_out, *hidden_widths(self)]
        linears = [
            (NormalLinear if i else NormalInputLinear)(*sizes)
            for i, sizes in enumerate(pairwise(widths))
        ]
        layers = [
            nn.Sequential(linear, nn.SELU(), AlphaDropout(self.dropout)) for linear in linears
        ]
        head = nn.Sequential(NormalLinear(widths[-1], n_outputs))
        return decay_all(TabularNet(embedding, nn.Sequential(*layers), head, cpu_step_rows=4096))


class SNNClassifier(ClassifierTask, SNN):
    """Self-normalizing network for binary, multiclass and multilabel classification of table rows.

    Numbers stand beside learned vectors of the categories in one row; ``n_blocks`` layers of
    linear, SELU and alpha dropout follow.

    {parameters}

    {attributes}

    See Also
    --------
    TabMLPClassifier : The same layers with ReLU, and embeddings of numbers.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter: "Self-Normalizing Neural Networks", NeurIPS 2017,
    sections 2 and 3.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import SNNClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> SNNClassifier(max_epochs=20, random_state=0).fit(X, y).predict_proba(X).shape
    (150, 3)
    """


class SNNRegressor(RegressorTask, SNN):
    """Self-normalizing network for regression on one or several targets of table rows.

    Numbers stand beside learned vectors of the categories in one row; ``n_blocks`` layers of
    linear, SELU and alpha dropout follow.

    {parameters}

    {attributes}

    See Also
    --------
    TabMLPRegressor : The same layers with ReLU, and embeddings of numbers.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter: "Self-Normalizing Neural Networks", NeurIPS 2017,
    sections 2 and 3.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import SNNRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> SNNRegressor(max_epochs=20, random_state=0).fit(X, y).predict(X).shape
    (442,)
    """
