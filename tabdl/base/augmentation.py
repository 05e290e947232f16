"""What noise of training rows needs of the parameters, the network and the encoder of a fit."""

from typing import Any

import torch
from sklearn.base import is_classifier

from tabdl.data.neighbours import MOST_DONORS, labels_of, with_neighbours
from tabdl.data.table import Table
from tabdl.training.augmentation import FeatureDropout
from tabdl.training.devices import threads
from tabdl.training.run import TrainingRun


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


def swaps_with_neighbours(estimator: Any) -> bool:
    """Return whether swapped cells have the values of similar rows of the same label."""
    return estimator.swap_noise > 0 and estimator.swap_noise_from == "nearest"


def find_neighbours(estimator: Any, runs: list[TrainingRun], device: torch.device) -> Table | None:
    """Give the rows of runs their neighbours, and return the donors; None where nobody asks.

    The runs of a fit share a table on the CPU, and train on all of its rows. The device computes
    the distances.
    """
    if not swaps_with_neighbours(estimator):
        return None
    table = runs[0].table
    assert table.y is not None
    labels = labels_of(table.y, is_classifier(estimator))
    generator = torch.Generator().manual_seed(runs[0].seed)
    with threads(estimator.n_jobs, len(table) * min(len(table), MOST_DONORS)):
        table, donors = with_neighbours(table, labels, generator, device)
    for run in runs:
        run.table = table
    return donors
