"""Settings of numerical embeddings: a vector for each number, and not only a straight line.

Gorishniy, Rubachev, Babenko: "On Embeddings for Numerical Features in Tabular Deep Learning"
(NeurIPS 2022, 2203.05556); Holzmüller, Grinsztajn, Steinwart: "Better by Default" (NeurIPS 2024,
2407.04491), for PBLD; Gorishniy, Kotelnikov, Babenko: "TabM" (ICLR 2025, 2410.24210), for version
"B" of the piecewise-linear embedding.

The classes :class:`Linear`, :class:`Periodic`, :class:`PBLD` and :class:`PiecewiseLinear` are
settings, to be given to an estimator as ``numeric_embedding``; each builds its module from
the training rows.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from sklearn.base import is_classifier

from tabdl.data.table import Schema, Table
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

_WIDTH = "Width of the vector of a number."


class _Settings:
    """The settings of a numerical embedding, checked when they are made."""

    d_embedding: int | None

    @property
    def uses_target(self) -> bool:
        """Whether the embedding is made from the target of the training rows."""
        return False

    def __post_init__(self) -> None:
        check_params(self)

    def build(self, train_table: Table, is_classification: bool, d_embedding: int | None) -> Any:
        """Return the module for the training rows.

        Parameters
        ----------
        train_table : Table
            On the CPU.
        is_classification : bool
            Whether the target has classes; trees of the target need it.
        d_embedding : int or None
            Width D of the vector of a number, where the architecture prescribes it.

        Returns
        -------
        Module
            From numbers (B, Fn) to vectors (B, Fn, D).
        """
        raise NotImplementedError(f"{type(self).__name__} has no module")


@dataclass(frozen=True, kw_only=True)
class Linear(_Settings):
    """``x_j * w_j + b_j``, and perhaps a ReLU (2106.11959, section 3.3; LR of 2203.05556).

    Parameters
    ----------
    d_embedding : int or None, default=None
        Width of the vector of a number. None: the width of a token, else 32.
    activation : bool, default=False
        A ReLU at the end.
    bias : bool, default=True
        Whether there is b_j.
    """

    d_embedding: int | None = param(OneOf(None), Int(1), default=None, doc=_WIDTH)
    activation: bool = param(OneOf(True, False), default=False, doc="A ReLU at the end.")
    bias: bool = param(OneOf(True, False), default=True, doc="Whether there is b_j.")

    def build(self, train_table: Table, is_classification: bool, d_embedding: int | None) -> Any:
        sizes = (train_table.x_num.shape[1], d_embedding or self.d_embedding or 32)
        return (LinearReLUEmbedding if self.activation else LinearEmbedding)(*sizes, self.bias)


@dataclass(frozen=True, kw_only=True)
class Periodic(_Settings):
    """``ReLU(linear_j([cos, sin](2 pi c_j x_j)))`` (PLR of 2203.05556, section 3.3).

    The frequencies c_j are trained.

    Parameters
    ----------
    d_embedding : int or None, default=None
        Width of the vector of a number. None: the width of a token, else 24.
    n_frequencies : int, default=48
        Frequencies a number.
    frequency_scale : float, default=0.1
        Standard deviation of the initial frequencies. It is the parameter to tune, between 0.01 and
        10 where numbers are near a standard normal.
    lite : bool, default=False
        One linear layer for all numbers instead of one each.
    activation : bool, default=True
        The ReLU at the end.
    """

    d_embedding: int | None = param(OneOf(None), Int(1), default=None, doc=_WIDTH)
    n_frequencies: int = param(Int(1), default=48, doc="Frequencies a number.")
    frequency_scale: float = param(
        Float("(0, inf)"), default=0.1, doc="Standard deviation of the initial frequencies."
    )
    lite: bool = param(OneOf(True, False), default=False, doc="One linear layer for all numbers.")
    activation: bool = param(OneOf(True, False), default=True, doc="A ReLU at the end.")

    def build(self, train_table: Table, is_classification: bool, d_embedding: int | None) -> Any:
        sizes = (
            train_table.x_num.shape[1],
            self.n_frequencies,
            d_embedding or self.d_embedding or 24,
        )
        return PeriodicEmbedding(*sizes, self.frequency_scale, self.lite, self.activation)


@dataclass(frozen=True, kw_only=True)
class PBLD(_Settings):
    """``[x_j, linear_j(cos(2 pi w_j x_j + b_j))]`` (2407.04491, section 3.2).

    The name stands for periodic, bias, linear, dense.

    Parameters
    ----------
    d_embedding : int or None, default=None
        Width of the vector of a number, which begins with the number. None: the width of a token,
        else 4.
    n_frequencies : int, default=16
        Frequencies a number.
    frequency_scale : float, default=0.1
        Standard deviation of the initial frequencies.
    """

    d_embedding: int | None = param(OneOf(None), Int(2), default=None, doc=_WIDTH)
    n_frequencies: int = param(Int(1), default=16, doc="Frequencies a number.")
    frequency_scale: float = param(
        Float("(0, inf)"), default=0.1, doc="Standard deviation of the initial frequencies."
    )

    def build(self, train_table: Table, is_classification: bool, d_embedding: int | None) -> Any:
        width = d_embedding or self.d_embedding or 4
        n_features = train_table.x_num.shape[1]
        return PBLDEmbedding(n_features, self.n_frequencies, width, self.frequency_scale)


@dataclass(frozen=True, kw_only=True)
class PiecewiseLinear(_Settings):
    """A piecewise-linear curve in each dimension (PLE of 2203.05556, section 3.2).

    Version "B" is that of 2410.24210, appendix D.8.

    Parameters
    ----------
    d_embedding : int or None, default=None
        Width of the vector of a number. None: the width of a token, else 16.
    n_bins : int, default=48
        Pieces a number at most. A number of few distinct values has fewer.
    bins : {"quantile", "tree"}, default="quantile"
        Where the pieces meet: at quantiles of the training rows, or where a decision tree of the
        target on this number alone splits.
    min_samples_leaf : int, default=64
        Fewest rows of a leaf of the decision tree.
    min_impurity_decrease : float, default=1e-4
        Smallest gain of a split of the decision tree.
    version : {"A", "B"}, default="B"
        "B": plus a linear embedding, and the pieces begin at zero, so that training begins with a
        straight line.
    activation : bool, default=False
        A ReLU behind the pieces.
    """

    d_embedding: int | None = param(OneOf(None), Int(1), default=None, doc=_WIDTH)
    n_bins: int = param(Int(2), default=48, doc="Pieces a number, at most.")
    bins: str = param(OneOf("quantile", "tree"), default="quantile", doc="Where the pieces meet.")
    min_samples_leaf: int = param(Int(1), default=64, doc="Fewest rows of a leaf of the tree.")
    min_impurity_decrease: float = param(
        Float("[0, inf)"), default=1e-4, doc="Smallest gain of a split of the tree."
    )
    version: str = param(OneOf("A", "B"), default="B", doc="Version of the embedding.")
    activation: bool = param(OneOf(True, False), default=False, doc="A ReLU behind the pieces.")

    @property
    def uses_target(self) -> bool:
        """Whether the bins come from the target of the training rows."""
        return self.bins == "tree"

    def build(self, train_table: Table, is_classification: bool, d_embedding: int | None) -> Any:
        # Bins are numbers, also where modules are made without memory.
        with torch.device("cpu"):
            edges = self._edges(train_table, is_classification)
        return PiecewiseLinearEmbedding(
            edges, d_embedding or self.d_embedding or 16, self.version, self.activation
        )

    def _edges(self, train_table: Table, is_classification: bool) -> list[torch.Tensor]:
        if len(train_table) == 0:
            # The module of a fitted network takes its bins from the state.
            return [torch.tensor([0.0, 1.0])] * train_table.x_num.shape[1]
        if self.bins == "quantile":
            return quantile_edges(train_table.x_num, train_table.weight, self.n_bins)
        options = {
            "min_samples_leaf": self.min_samples_leaf,
            "min_impurity_decrease": self.min_impurity_decrease,
        }
        assert train_table.y is not None, "training rows have a target"
        return tree_edges(
            train_table.x_num,
            train_table.y,
            train_table.weight,
            self.n_bins,
            is_classification,
            options,
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
_CHOICES = (
    "'linear', 'periodic', 'periodic_lite', 'pbld', 'piecewise' (bins by quantiles), "
    "'piecewise_tree' (bins by a tree of the target), or an object of ``tabdl.embeddings`` with "
    "settings, such as ``PiecewiseLinear(n_bins=30)``."
)
TOKEN_DOC = f"How a number becomes a token: {_CHOICES}"
VECTOR_DOC = f"How a number becomes a vector: None (it stays a number), {_CHOICES}"


def flat_embedding(estimator: Any, schema: Schema, train_table: Table) -> FlatEmbedding:
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


def numeric_embedding(
    estimator: Any, train_table: Table, d_block: int | None = None, bias: bool = True
) -> Any:
    """Return the module ``(B, Fn) -> (B, Fn, D)`` that ``numeric_embedding`` asks for.

    Parameters
    ----------
    estimator : TabularEstimator
        Its ``numeric_embedding`` is not None.
    train_table : Table
        The training rows, on the CPU.
    d_block : int, optional
        D, where the architecture prescribes it.
    bias : bool
        False: the linear embedding is without b_j.

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
    if not bias and isinstance(settings, Linear):
        settings = replace(settings, bias=False)
    return settings.build(train_table, is_classifier(estimator), d_block)


def uses_target(estimator: Any) -> bool:
    """Return whether ``numeric_embedding`` of an estimator is made from the target."""
    settings = getattr(estimator, "numeric_embedding", None)
    return settings is not None and _settings(settings).uses_target


def _settings(given: str | _Settings) -> _Settings:
    return _BY_NAME[given] if isinstance(given, str) else given
