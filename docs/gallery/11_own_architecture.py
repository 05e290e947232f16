"""
Your own architecture
=====================

An architecture is a class with parameters and one method. Everything else comes with the base
class: tables, training, early stopping, ensembles, pickles.
"""

# %%
# A parameter is declared with its legal values, its default and its meaning. ``_build_net`` returns
# a network of three parts: embedding, backbone, head.

from torch import nn

from tabdl.base import ClassifierTask, RegressorTask, TabularEstimator
from tabdl.embeddings import OPTIONAL_NUMERIC_EMBEDDINGS, flat_embedding
from tabdl.network.contract import TabularNet
from tabdl.network.layers import Dropout
from tabdl.params import Float, Int, param


class Residual(nn.Module):
    """``x + f(x)``."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


class Gated(TabularEstimator):
    """Blocks whose second half gates the first."""

    n_blocks: int = param(Int(1), default=2, doc="Number of blocks.")
    d_block: int = param(Int(1), default=64, doc="Width of every block.")
    dropout: float = param(Float("[0, 1)"), default=0.1, doc="Dropout of every block.")
    d_embedding: int = param(Int(1), default=8, doc="Width of the vector of a category.")
    one_hot_max_size: int = param(Int(0), default=4, doc="Up to so many values: one-hot.")
    numeric_embedding: object = param(
        *OPTIONAL_NUMERIC_EMBEDDINGS, default="piecewise", doc="How a number becomes a vector."
    )
    lr: float = param(Float("(0, inf)"), default=3e-3, doc="Learning rate of AdamW.")

    def _build_net(self, schema, n_outputs, train_table):
        embedding = flat_embedding(self, schema, train_table)
        width = self.d_block
        blocks = [
            Residual(
                nn.LayerNorm(width),
                nn.Linear(width, 2 * width),
                nn.GLU(),
                Dropout(self.dropout),
            )
            for _ in range(self.n_blocks)
        ]
        backbone = nn.Sequential(nn.Linear(embedding.d_out, width), *blocks)
        return TabularNet(embedding, backbone, nn.Linear(width, n_outputs))


# %%
# A task says what the outputs are. The docstring is completed with the parameters.


class GatedClassifier(ClassifierTask, Gated):
    """A gated network for classes.

    {parameters}

    {attributes}
    """


class GatedRegressor(RegressorTask, Gated):
    """A gated network for numbers.

    {parameters}

    {attributes}
    """


# %%
# It is an estimator like the others.

import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import cross_val_score

from tabdl import TabMLPClassifier, TabMLPRegressor

scores = {}
for name, classifier, regressor in [
    ("Gated", GatedClassifier, GatedRegressor),
    ("TabMLP", TabMLPClassifier, TabMLPRegressor),
]:
    settings = {"n_blocks": 2, "d_block": 64, "max_epochs": 20, "random_state": 0}
    scores[name] = {
        "accuracy, breast cancer": cross_val_score(
            classifier(**settings), *load_breast_cancer(return_X_y=True), cv=3
        ).mean(),
        "R², diabetes": cross_val_score(
            regressor(**settings), *load_diabetes(return_X_y=True), cv=3
        ).mean(),
    }
scores = pd.DataFrame(scores)
scores.round(3)

# %%

from matplotlib import pyplot as plt

figure, ax = plt.subplots(figsize=(5, 2.5), layout="constrained")
scores.plot.barh(ax=ax, xlabel="mean score of three folds")
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))

# %%
# Wrong values are refused with the sentence that the parameter declares.

try:
    GatedClassifier(dropout=1.5).fit([[0.0], [1.0]], [0, 1])
except ValueError as error:
    print(error)

# %%
# :doc:`/development/adding-an-architecture` says where the files go, and which tests find it.
