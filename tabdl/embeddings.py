"""Numerical embeddings: a vector for each number, with more shape than a straight line.

Gorishniy, Rubachev, Babenko: "On Embeddings for Numerical Features in Tabular Deep Learning"
(NeurIPS 2022, 2203.05556); Holzmüller, Grinsztajn, Steinwart: "Better by Default" (NeurIPS 2024,
2407.04491), for PBLD; Gorishniy, Kotelnikov, Babenko: "TabM" (ICLR 2025, 2410.24210), for version
"B" of the piecewise-linear embedding.

The classes :class:`Linear`, :class:`Periodic`, :class:`PBLD` and :class:`PiecewiseLinear` are
settings, to be given as an estimator's ``numeric_embedding``; each builds its network module from
the training rows.
"""

from dataclasses import dataclass

import torch
from sklearn.base import is_classifier

from tabdl.network.bins import quantile_edges, tree_edges
from tabdl.network.embeddings import (
    FlatEmbedding,
    LinearEmbedding,
    LinearReLUEmbedding,
    PBLDEmbedding,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
)
from tabdl.params import Float, Int, OneOf, Predicate, check_params, param


class _Settings:
    """A numerical embedding's settings, checked when they are made."""

    uses_target = False

    def __post_init__(self):
        check_params(self)


@dataclass(frozen=True, kw_only=True)
class Linear(_Settings):
    """``x_j * w_j + b_j``, a ReLU behind it if ``activation`` (LR of 2203.05556; 2106.11959,
    section 3.3).

    Parameters
    ----------
    d_embedding : int or None
        Width of a number's vector; None: the Transformer's width, else 32.
    activation : bool
    """

    d_embedding: int | None = param(
        OneOf(None), Int(1), default=None, doc="Width of a number's vector."
    )
    activation: bool = param(OneOf(True, False), default=False, doc="A ReLU at the end.")

    def build(self, train_table, is_classification, d_embedding):
        """Return the module for the training rows, a Table."""
        sizes = train_table.x_num.shape[1], d_embedding or self.d_embedding or 32
        return LinearReLUEmbedding(*sizes) if self.activation else LinearEmbedding(*sizes)


@dataclass(frozen=True, kw_only=True)
class Periodic(_Settings):
    """``ReLU(linear_j([cos, sin](2 pi c_j x_j)))`` with trained frequencies c_j (PLR; 2203.05556,
    section 3.3).

    Parameters
    ----------
    d_embedding : int or None
        Width of a number's vector; None: the Transformer's width, else 24.
    n_frequencies : int
        Frequencies a number.
    frequency_scale : float
        Standard deviation of the initial frequencies: the parameter to tune, in 0.01 to 10, with
        numbers near a standard normal.
    lite : bool
        One linear layer for all numbers instead of one each.
    activation : bool
        The ReLU at the end.
    """

    d_embedding: int | None = param(
        OneOf(None), Int(1), default=None, doc="Width of a number's vector."
    )
    n_frequencies: int = param(Int(1), default=48, doc="Frequencies a number.")
    frequency_scale: float = param(
        Float("(0, inf)"), default=0.1, doc="Standard deviation of the initial frequencies."
    )
    lite: bool = param(OneOf(True, False), default=False, doc="One linear layer for all numbers.")
    activation: bool = param(OneOf(True, False), default=True, doc="A ReLU at the end.")

    def build(self, train_table, is_classification, d_embedding):
        """Return the module for the training rows, a Table."""
        sizes = (
            train_table.x_num.shape[1],
            self.n_frequencies,
            d_embedding or self.d_embedding or 24,
        )
        return PeriodicEmbedding(*sizes, self.frequency_scale, self.lite, self.activation)


@dataclass(frozen=True, kw_only=True)
class PBLD(_Settings):
    """``[x_j, linear_j(cos(2 pi w_j x_j + b_j))]``: periodic, bias, linear, dense (2407.04491,
    section 3.2).

    Parameters
    ----------
    d_embedding : int or None
        Width of a number's vector, of which the first is the number; None: the Transformer's width,
        else 4.
    n_frequencies : int
        Frequencies a number.
    frequency_scale : float
        Standard deviation of the initial frequencies.
    """

    d_embedding: int | None = param(
        OneOf(None), Int(2), default=None, doc="Width of a number's vector."
    )
    n_frequencies: int = param(Int(1), default=16, doc="Frequencies a number.")
    frequency_scale: float = param(
        Float("(0, inf)"), default=0.1, doc="Standard deviation of the initial frequencies."
    )

    def build(self, train_table, is_classification, d_embedding):
        """Return the module for the training rows, a Table."""
        sizes = train_table.x_num.shape[1], self.n_frequencies, d_embedding or self.d_embedding or 4
        return PBLDEmbedding(*sizes, self.frequency_scale)


@dataclass(frozen=True, kw_only=True)
class PiecewiseLinear(_Settings):
    """A piecewise-linear curve in each dimension (PLE; 2203.05556, section 3.2; version "B" of
    2410.24210, appendix D.8).

    Parameters
    ----------
    d_embedding : int or None
        Width of a number's vector; None: the Transformer's width, else 16.
    n_bins : int
        Pieces a number, at most; a number of few distinct values has fewer.
    bins : {"quantile", "tree"}
        Where the pieces meet: at quantiles of the training rows, or where a decision tree of the
        target on this number alone splits.
    min_samples_leaf, min_impurity_decrease : int, float
        Of the decision tree.
    version : {"A", "B"}
        "B": plus a linear embedding, and the pieces begin at zero, so that training begins with a
        straight line.
    activation : bool
        A ReLU behind the pieces.
    """

    d_embedding: int | None = param(
        OneOf(None), Int(1), default=None, doc="Width of a number's vector."
    )
    n_bins: int = param(Int(2), default=48, doc="Pieces a number, at most.")
    bins: str = param(OneOf("quantile", "tree"), default="quantile", doc="Where the pieces meet.")
    min_samples_leaf: int = param(Int(1), default=64, doc="Of the decision tree.")
    min_impurity_decrease: float = param(
        Float("[0, inf)"), default=1e-4, doc="Of the decision tree."
    )
    version: str = param(OneOf("A", "B"), default="B", doc="Version of the embedding.")
    activation: bool = param(OneOf(True, False), default=False, doc="A ReLU behind the pieces.")

    @property
    def uses_target(self):
        """Whether the bins come from the target of the training rows."""
        return self.bins == "tree"

    def build(self, train_table, is_classification, d_embedding):
        """Return the module for the training rows, a Table; its bins come from them."""
        if self.bins == "quantile":
            edges = quantile_edges(train_table.x_num, train_table.weight, self.n_bins)
        else:
            options = {
                "min_samples_leaf": self.min_samples_leaf,
                "min_impurity_decrease": self.min_impurity_decrease,
            }
            edges = tree_edges(
                train_table.x_num,
                train_table.y,
                train_table.weight,
                self.n_bins,
                is_classification,
                options,
            )
        return PiecewiseLinearEmbedding(
            edges, d_embedding or self.d_embedding or 16, self.version, self.activation
        )


_BY_NAME = {
    "linear": Linear(),
    "periodic": Periodic(),
    "periodic_lite": Periodic(lite=True),
    "pbld": PBLD(),
    "piecewise": PiecewiseLinear(),
    "piecewise_tree": PiecewiseLinear(bins="tree"),
}
NUMERIC_EMBEDDINGS = (
    OneOf(*_BY_NAME),
    Predicate("one of tabdl.embeddings' settings", lambda value: isinstance(value, _Settings)),
)


OPTIONAL_NUMERIC_EMBEDDINGS = OneOf(None), *NUMERIC_EMBEDDINGS


def flat_embedding(estimator, schema, train_table):
    """Return the :class:`FlatEmbedding` that the parameters of an estimator ask for.

    Parameters
    ----------
    estimator : TabularEstimator
        With ``numeric_embedding``, ``d_embedding`` and ``one_hot_max_size``.
    schema : Schema
    train_table : Table
        The training rows, on the CPU.
    """
    num = None
    if estimator.numeric_embedding is not None:
        num = numeric_embedding(estimator, train_table)
    return FlatEmbedding(schema, estimator.d_embedding, estimator.one_hot_max_size, num)


def numeric_embedding(estimator, train_table, d_block=None):
    """Return the module ``(B, Fn) -> (B, Fn, D)`` that ``numeric_embedding`` asks for.

    Parameters
    ----------
    estimator : TabularEstimator
        Its ``numeric_embedding`` is not None.
    train_table : Table
        The training rows, on the CPU.
    d_block : int, optional
        D, where the architecture prescribes it.

    Returns
    -------
    Module, or None where the table has no numbers

    Raises
    ------
    ValueError
        When the settings ask for another width than ``d_block``.
    """
    if train_table.x_num.shape[1] == 0:
        return None
    settings = _settings(estimator.numeric_embedding)
    if d_block is not None and settings.d_embedding not in (None, d_block):
        raise ValueError(
            f"{type(estimator).__name__}: numeric_embedding must have d_embedding=None or "
            f"d_embedding=d_block={d_block}, as tokens have one width; got {settings!r}."
        )
    with torch.device("cpu"):  # bins are numbers, also where modules are made without
        return settings.build(train_table, is_classifier(estimator), d_block)


def uses_target(estimator):
    """Return whether an estimator's ``numeric_embedding`` is made from the target."""
    settings = getattr(estimator, "numeric_embedding", None)
    return settings is not None and _settings(settings).uses_target


def _settings(given):
    return _BY_NAME[given] if isinstance(given, str) else given
