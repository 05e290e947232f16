"""Multilayer perceptron for tables.

Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular Data" (NeurIPS
2021), section 3.1.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from tabdl.base.estimator import TabularEstimator
from tabdl.base.mixins import ClassifierTask, RegressorTask
from tabdl.base.params import LR_SCHEDULE_DOC, LR_SCHEDULES
from tabdl.embeddings import OPTIONAL_NUMERIC_EMBEDDINGS, VECTOR_DOC, flat_embedding
from tabdl.network.contract import TabularNet
from tabdl.network.layers import Dropout, InputLinear
from tabdl.params import Float, Int, ListOf, OneOf, param


def hidden_widths(estimator: Any) -> list[int]:
    """Return the width of each of the ``n_blocks`` hidden layers that ``d_block`` asks for.

    Raises
    ------
    ValueError
        When ``d_block`` has another number of widths.
    """
    widths = estimator.d_block
    # A search may give sizes as numpy's integers.
    if not isinstance(widths, Sequence):
        return [widths] * estimator.n_blocks
    if len(widths) != estimator.n_blocks:
        raise ValueError(
            f"{type(estimator).__name__}: d_block must be an int or one width for each of the "
            f"n_blocks={estimator.n_blocks} layers, got {len(widths)} widths: {widths!r}."
        )
    return list(widths)


class TabMLP(TabularEstimator):
    """The hyper-parameters of the MLP.

    The paper has no defaults for it; width, depth and dropout are near those of the example in the
    authors' package. Theirs has ``numeric_embedding=None`` and ``lr_schedule="constant"``. With
    an embedding the error is smaller (``python -m benchmarks.run study defaults``). With a cooldown
    it is the same after half of the time.
    """

    n_blocks: int = param(Int(1), default=3, doc="Number of hidden layers.")
    d_block: int | Sequence[int] = param(
        Int(1),
        ListOf(Int(1)),
        default=384,
        doc="Width of every hidden layer, or one width a layer.",
    )
    dropout: float = param(Float("[0, 1)"), default=0.1, doc="Dropout of every hidden layer.")
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
        embedding = flat_embedding(self, schema, train_table)
        widths = [embedding.d_out, *hidden_widths(self)]
        linears = [
            (InputLinear if i == 0 else nn.Linear)(*sizes)
            for i, sizes in enumerate(pairwise(widths))
        ]
        layers = [nn.Sequential(linear, nn.ReLU(), Dropout(self.dropout)) for linear in linears]
        head = nn.Sequential(nn.Linear(widths[-1], n_outputs))
        return TabularNet(embedding, nn.Sequential(*layers), head, cpu_step_rows=4096)


class TabMLPClassifier(ClassifierTask, TabMLP):
    """Multilayer perceptron for binary, multiclass and multilabel classification of table rows.

    Numbers stand beside learned vectors of the categories in one row; ``n_blocks`` layers of
    linear, ReLU and dropout follow.

    Use it where seconds count, and as a member of a blend.

    {parameters}

    {attributes}

    See Also
    --------
    TabMClassifier : The best default, at a higher cost.
    TabResNetClassifier : With residual blocks.

    References
    ----------
    Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular Data",
    NeurIPS 2021, section 3.1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tabdl import TabMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> TabMLPClassifier(max_epochs=20, random_state=0).fit(X, y).predict_proba(X).shape
    (150, 3)
    """


class TabMLPRegressor(RegressorTask, TabMLP):
    """Multilayer perceptron for regression on one or several targets of table rows.

    Numbers stand beside learned vectors of the categories in one row; ``n_blocks`` layers of
    linear, ReLU and dropout follow.

    Use it where seconds count, and as a member of a blend.

    {parameters}

    {attributes}

    See Also
    --------
    TabMRegressor : The best default, at a higher cost.
    TabResNetRegressor : With residual blocks.

    References
    ----------
    Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular Data",
    NeurIPS 2021, section 3.1.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from tabdl import TabMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> TabMLPRegressor(max_epochs=20, random_state=0).fit(X, y).predict(X).shape
    (442,)
    """
