"""What comes before any network: held-out rows, and what is learned of those that train."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from torch import Tensor

from tabdl.base.params import NetworkParams
from tabdl.base.post_training import wanted_steps
from tabdl.base.pretraining import pretrained_encoder
from tabdl.base.seeds import MemberSeeds
from tabdl.data.dataset import Subset
from tabdl.data.encoding import FeatureEncoder
from tabdl.data.splitting import train_val_split
from tabdl.data.statistics import needs_target
from tabdl.data.table import Table
from tabdl.data.validation import read_X
from tabdl.tasks.targets import Target
from tabdl.training.batches import on_device
from tabdl.training.devices import choose_device, choose_dtype


def split_off_validation(
    estimator: NetworkParams, rows: Subset, seeds: MemberSeeds
) -> tuple[Subset, Subset | None]:
    """Return the rows that train, and the rows that early stopping holds out or None.

    Parameters
    ----------
    estimator : TabularEstimator
    rows : Subset
    seeds : MemberSeeds

    Raises
    ------
    ValueError
        When no rows are held out and a post-training step needs some.
    """
    if estimator.early_stopping:
        name, fraction = type(estimator).__name__, estimator.validation_fraction
        is_stratified = is_classifier(estimator) and rows.y.ndim == 1
        return train_val_split(rows, fraction, seeds.split, name, stratify=is_stratified)
    for step in wanted_steps(estimator):
        raise ValueError(
            f"{type(estimator).__name__}: {step.parameter}=True needs validation rows: "
            "early_stopping=True, or X_val and y_val; got neither."
        )
    return rows, None


class Preparation:
    """What is learned of training rows before any network; fits of one training share it.

    Parameters
    ----------
    estimator : TabularEstimator
    train : Subset
        The rows from which quantiles, categories and the mean of y are learned.
    start : float
        When the fit began, by ``time.perf_counter``; a time limit counts from there.
    order : int
        Seed of the order of the training rows for statistics of the target.
    target : BinaryTarget, MulticlassTarget, MultilabelTarget or RegressionTarget
    encoder : FeatureEncoder, optional
        That of an earlier fit; None: that of ``tabdl.pretrain``, or one that learns of the rows.
    X_unlabelled : table, optional
        Rows that take part in pretraining only.

    Attributes
    ----------
    device : torch.device
    dtype : torch.dtype
        The dtype of weights and tables.
    target : BinaryTarget, MulticlassTarget, MultilabelTarget or RegressionTarget
    encoder : FeatureEncoder
    table : Table
        The training rows on the CPU. Their statistics of categories do not know their targets.
    unlabelled : Table or None
        The rows that take part in pretraining only, encoded, without y.
    """

    def __init__(
        self,
        estimator: NetworkParams,
        train: Subset,
        start: float,
        order: int,
        target: Target,
        encoder: FeatureEncoder | None = None,
        X_unlabelled: Any = None,
    ) -> None:
        name = type(estimator).__name__
        self.estimator = estimator
        self.train = train
        self.start = start
        self.device = choose_device(estimator.device, name)
        self.dtype = choose_dtype(estimator.precision, self.device, name)
        self.target = target
        encoder = encoder or pretrained_encoder(estimator)
        if encoder is not None:
            self.encoder = encoder
            self.table = self.encode(train)
        else:
            self.encoder = FeatureEncoder(
                estimator.numeric_transform,
                name,
                estimator.numeric_missing,
                estimator.categorical_statistics,
            )
            self.table = self._learned(train, order)
        self.unlabelled = None if X_unlabelled is None else self._encode_unlabelled(X_unlabelled)

    def _encode_unlabelled(self, X: Any) -> Table:
        encoder = self.encoder
        fitted = {"kinds": encoder.kinds, "column_names": encoder.column_names}
        try:
            columns = read_X(self.estimator, X, **fitted, name="X_unlabelled")
        except (ValueError, TypeError) as error:
            name = type(self.estimator).__name__
            raise ValueError(f"{name}: X_unlabelled cannot be read as X: {error}") from error
        x_num, x_cat = encoder.transform(columns, dtype=numpy_dtype(self.dtype))
        return Table(torch.from_numpy(x_num), torch.from_numpy(x_cat))

    def _learned(self, train: Subset, order: int) -> Table:
        """Fit the encoder to the training rows, and return these as a Table on the CPU."""
        has_target = needs_target(self.estimator.categorical_statistics)
        x_num, x_cat = self.encoder.fit_transform(
            train.dataset.columns,
            train.indices,
            train.weight,
            self._outputs_of(train) if has_target else None,
            order,
            numpy_dtype(self.dtype),
        )
        return self._table(x_num, x_cat, train)

    def _outputs_of(self, subset: Subset) -> np.ndarray:
        """Return the targets as numbers, (n, C): of several classes one for each."""
        y = self.target.encode(subset.y, np.float64)
        return y if y.ndim == 2 else np.eye(self.target.n_outputs)[y]

    def encode(self, subset: Subset) -> Table:
        """Return rows that do not train as a Table on the CPU; those that train are ``table``."""
        columns = list(subset.dataset.columns)
        x_num, x_cat = self.encoder.transform(columns, subset.indices, numpy_dtype(self.dtype))
        return self._table(x_num, x_cat, subset)

    def _table(self, x_num: np.ndarray, x_cat: np.ndarray, subset: Subset) -> Table:
        """Return features with the targets and weights of their rows."""
        dtype = numpy_dtype(self.dtype)
        y = self.target.encode(subset.y, dtype)
        with np.errstate(over="ignore"):
            weight = subset.weight * self.target.row_weight(subset.y)
            total = weight.sum()
        if not 0 < total < np.inf:
            raise ValueError(
                f"{type(self.estimator).__name__}: the weights of the rows, sample_weight times "
                f"class_weight, must have a sum that is positive and finite, got {total}; scale "
                "the weights."
            )
        # Equal weights are no weights; the loss expects a mean of 1.
        is_equal = np.ptp(weight) == 0
        weight = None if is_equal else torch.from_numpy((weight / weight.mean()).astype(dtype))
        return Table(torch.from_numpy(x_num), torch.from_numpy(x_cat), torch.from_numpy(y), weight)

    @cached_property
    def shared_table(self) -> Table:
        """The table on the device, where its memory is large enough."""
        return on_device(self.table, self.device)

    def positions(self, subset: Subset) -> np.ndarray:
        """Return the positions of rows in the table, whose rows are in ascending order."""
        return np.searchsorted(self.train.indices, subset.indices)

    def index(self, subset: Subset) -> Tensor:
        """Return :meth:`positions` as a tensor beside the shared table."""
        return torch.from_numpy(self.positions(subset)).to(self.shared_table.x_num.device)


def numpy_dtype(dtype: torch.dtype) -> type[np.floating]:
    return np.float64 if dtype == torch.float64 else np.float32
