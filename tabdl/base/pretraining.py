"""Pretraining: embeddings and backbones learn from rows without labels, before training.

A network for pretraining has a head of its own, and the embedding and the backbone of the network
that is trained afterwards. So nothing is copied from one to the other.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tabdl.base.going_on import changed_params, one_pass
from tabdl.base.pretrained import Pretrained, architecture_of
from tabdl.data.columns import check_listed_kinds
from tabdl.data.encoding import FeatureEncoder
from tabdl.data.table import Table
from tabdl.data.validation import check_X
from tabdl.training.devices import threads
from tabdl.training.loop import train_with_float32_fallback
from tabdl.training.run import TrainingConfig, TrainingResult, TrainingRun
from tabdl.training.swap_noise import (
    PretrainingLoss,
    SupervisedLoss,
    is_supervised,
    known_targets,
)

# The probability that a cell is swapped.
_SWAP_RATE = 0.2
# The share of the seconds that are left which pretraining may take.
_TIME_SHARE = 0.5
# What makes the seeds of pretraining others than those of the training after it.
_OTHER_SEEDS = 0x5851F42D4C957F2D


def check_pretraining(estimator: Any, X_unlabelled: Any, is_going_on: bool) -> None:
    """Raise ValueError, by name, for what does not go together with pretraining.

    Parameters
    ----------
    estimator : TabularEstimator
    X_unlabelled : table or None
    is_going_on : bool
        Whether the fit goes on from an earlier one.
    """
    name = type(estimator).__name__
    if isinstance(estimator.pretrain, str) and estimator.checkpoint is not None:
        raise ValueError(
            f"{name}: pretrain={estimator.pretrain!r} needs checkpoint=None: a file holds no state "
            f"of pretraining; got {estimator.checkpoint!r}."
        )
    if X_unlabelled is None:
        return
    if not isinstance(estimator.pretrain, str):
        raise ValueError(
            f"{name}: X_unlabelled takes part in pretraining only, and pretrain="
            f"{estimator.pretrain!r}; set pretrain to 'reconstruction', 'mask' or 'both', or leave "
            "X_unlabelled out."
        )
    if is_going_on:
        raise ValueError(
            f"{name}: X_unlabelled takes part in pretraining only, and a fit that goes on "
            "(warm_start=True) has none; leave X_unlabelled out, or fit anew."
        )


def pretrained_encoder(estimator: Any) -> FeatureEncoder | None:
    """Return the encoder that an estimator begins from; None where it learns one of its own.

    Parameters
    ----------
    estimator : TabularEstimator

    Raises
    ------
    ValueError
        By name, for a parameter with which it cannot begin from its pretraining.
    """
    pretrained = estimator.pretrain
    if not isinstance(pretrained, Pretrained):
        return None
    name, own = type(estimator).__name__, architecture_of(estimator)
    if own != pretrained.architecture:
        raise ValueError(
            f"{name}: pretrain was made by tabdl.pretrain for {pretrained.architecture}, and this "
            f"is a {own}; pretrain a {own}."
        )
    encoder = pretrained.encoder(name)
    for parameter, now, before in changed_params(estimator, pretrained.params, encoder):
        raise ValueError(
            f"{name}: {parameter}={now!r} was {before!r} in tabdl.pretrain, whose network and "
            f"encoder this fit begins from; set {parameter}={before!r}, or pretrain anew."
        )
    listed = estimator.categorical_features
    check_listed_kinds(listed, encoder.kinds, encoder.column_names, name)
    return encoder


def columns_of_pretraining(estimator: Any, X: Any) -> FeatureEncoder | None:
    """Return :func:`pretrained_encoder`, and check that X has its columns.

    Raises
    ------
    ValueError
        Also for other columns; the message names them.
    """
    encoder = pretrained_encoder(estimator)
    if encoder is None:
        return None
    estimator.pretrain.set_columns(estimator)
    try:
        check_X(estimator, X, reset=False)
    except ValueError as error:
        name = type(estimator).__name__
        raise ValueError(f"{name}: X must be a table as tabdl.pretrain had: {error}") from error
    return encoder


def pretrain_networks(fits: Sequence[Any]) -> None:
    """Pretrain the networks of fits in one training, where their estimators ask for it.

    The weights change in place. Each fit keeps the records of its networks.

    Parameters
    ----------
    fits : list of Fit
        Fits of one preparation, whose estimators differ in ``random_state`` alone.
    """
    first = fits[0]
    if not isinstance(first.estimator.pretrain, str) or first.is_going_on:
        return
    loss = _pretraining_loss(first)
    table = _pretraining_table(first.preparation, loss.supervised is not None)
    runs = [_pretraining_run(fit, run, table, loss) for fit in fits for run in fit.runs]
    config = _pretraining_config(first, runs, len(fits))
    with threads(first.estimator.n_jobs, 3 * runs[0].net.n_macs * config.batch_size):
        results = train_with_float32_fallback(runs, config=config, loss=loss, val_loss=loss)
    if any(result.stop_reason == "interrupted" for result in results):
        # No network has learned from labels yet.
        raise KeyboardInterrupt
    n_members = len(first.runs)
    for i, fit in enumerate(fits):
        own = slice(i * n_members, (i + 1) * n_members)
        fit.pretrain_history = _records(results[own])
        for run, pretrained in zip(fit.runs, runs[own], strict=True):
            run.net.allow_bfloat16 = pretrained.net.allow_bfloat16


def _pretraining_loss(fit: Any) -> PretrainingLoss:
    objective, target = fit.estimator.pretrain, fit.target
    supervised = None
    if is_supervised(objective):
        has_classes = fit.preparation.table.y.ndim == 1
        supervised = SupervisedLoss(target.loss, target.n_outputs, has_classes)
    return PretrainingLoss(fit.preparation.encoder.schema, objective, supervised)


def _pretraining_table(preparation: Any, has_targets: bool) -> Table:
    """Return the training rows and those without labels; weights do not heed y.

    Its ``y`` is that of ``known_targets`` where pretraining is supervised, else there is none.
    """
    table, weight, more = preparation.table, preparation.train.weight, preparation.unlabelled
    n_more = 0 if more is None else len(more)
    y = known_targets(table.y, n_more).to(table.x_num.dtype) if has_targets else None
    rows = Table(table.x_num, table.x_cat, y)
    weight = weight / weight.mean()
    if more is not None:
        x_num, x_cat = torch.cat([rows.x_num, more.x_num]), torch.cat([rows.x_cat, more.x_cat])
        rows = replace(rows, x_num=x_num, x_cat=x_cat)
        weight = np.concatenate([weight, np.ones(n_more)])
    if np.ptp(weight) == 0:
        return rows
    return replace(rows, weight=torch.from_numpy(weight).to(rows.x_num.dtype))


def _pretraining_run(
    fit: Any, run: TrainingRun, table: Table, loss: PretrainingLoss
) -> TrainingRun:
    """Return the run of a network with the embedding and the backbone of ``run.net``."""
    seed = run.seed ^ _OTHER_SEEDS
    if not any(weight.ndim >= 2 for weight in run.net.head.parameters()):
        raise ValueError(
            f"{type(fit.estimator).__name__}: pretrain={fit.estimator.pretrain!r} needs a network "
            "whose head alone makes the outputs, and the backbone of this one ends in them; set "
            "pretrain=None."
        )
    net = fit.initial_net(torch.Generator().manual_seed(seed), loss.n_outputs)
    net.embedding, net.backbone = run.net.embedding, run.net.backbone
    net.to(fit.preparation.device, fit.preparation.dtype)
    index = None if run.index is None else _with_rows_below(run.index, fit.preparation, table)
    return TrainingRun(net, table, None, None, seed, index)


def _with_rows_below(index: Tensor, preparation: Any, table: Table) -> Tensor:
    """Return the rows of a fit and all rows without labels, on the CPU."""
    return torch.cat([index.cpu(), torch.arange(len(preparation.table), len(table))])


def _pretraining_config(first: Any, runs: Sequence[TrainingRun], n_fits: int) -> TrainingConfig:
    """Return the config of pretraining: so many epochs at one learning rate."""
    config = first.config(min(run.n_rows for run in runs), runs[0].net, [])
    limit = config.time_limit
    if limit is not None:
        limit = _TIME_SHARE * (limit * n_fits - (time.perf_counter() - first.preparation.start))
    return replace(
        one_pass(config),
        max_epochs=first.estimator.pretrain_epochs,
        swap_rate=_SWAP_RATE,
        hidden_mix=False,
        mixup=0.0,
        swap_noise=0.0,
        feature_dropout=None,
        ema_decay=None,
        callbacks=(),
        time_limit=limit,
    )


def _records(results: Sequence[TrainingResult]) -> list[dict[str, Any]]:
    """Return the records of each epoch, with the number of the member where there are several."""
    names = ("epoch", "train_loss", "lr", "seconds")
    return [
        ({"member": i} if len(results) > 1 else {}) | {name: record[name] for name in names}
        for i, result in enumerate(results)
        for record in result.history
    ]
