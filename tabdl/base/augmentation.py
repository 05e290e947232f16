"""What noise of training rows needs of the parameters, the network and the encoder of a fit."""

from typing import Any

import torch

from tabdl.data.table import Table
from tabdl.training.augmentation import FeatureDropout


def check_mixing(estimator: Any, net: Any) -> None:
    """Raise ValueError, by name, where rows cannot be mixed as the estimator asks.

    Parameters
    ----------
    estimator : TabularEstimator
    net : TabularNet
    """
    name = type(estimator).__name__
    if estimator.hidden_mix and estimator.mixup:
        raise ValueError(
            f"{name}: hidden_mix=True and mixup={estimator.mixup!r} both mix rows; set "
            "hidden_mix=False or mixup=0."
        )
    if estimator.hidden_mix and getattr(net.embedding, "n_channels", None) is None:
        raise ValueError(
            f"{name}: hidden_mix=True mixes channels of the features' vectors, and here numbers "
            "have none, or all features are one-hot; give numeric_embedding a value other than "
            "None, or set hidden_mix=False."
        )


def feature_dropout_of(estimator: Any, encoder: Any, table: Table) -> FeatureDropout | None:
    """Return how the columns of a table are hidden in training; None where they are not.

    Parameters
    ----------
    estimator : TabularEstimator
    encoder : FeatureEncoder
        Fitted.
    table : Table
        The training rows that it has encoded.
    """
    if not estimator.feature_dropout:
        return None
    dtype = table.x_num.numpy().dtype
    x_num, x_cat = map(torch.from_numpy, encoder.hidden_row(dtype))
    return FeatureDropout(
        estimator.feature_dropout,
        x_num,
        x_cat.to(table.x_cat.dtype),
        torch.tensor(encoder.columns_of_features()),
        len(encoder.column_names),
    )
