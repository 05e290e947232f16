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

from tabdl.base.going_on import one_pass
from tabdl.data.table import Table
from tabdl.training.devices import threads
from tabdl.training.loop import train_with_float32_fallback
from tabdl.training.run import TrainingConfig, TrainingResult, TrainingRun
from tabdl.training.swap_noise import PretrainingLoss

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
    if estimator.pretrain is not None and estimator.checkpoint is not None:
        raise ValueError(
            f"{name}: pretrain={estimator.pretrain!r} needs checkpoint=None: a file holds no state "
            f"of pretraining; got {estimator.checkpoint!r}."
        )
    if X_unlabelled is None:
        return
    if estimator.pretrain is None:
        raise ValueError(
            f"{name}: X_unlabelled takes part in pretraining only, and pretrain=None; set pretrain "
            "to 'reconstruction', 'mask' or 'both', or leave X_unlabelled out."
        )
    if is_going_on:
        raise ValueError(
            f"{name}: X_unlabelled takes part in pretraining only, and a fit that goes on "
            "(warm_start=True) has none; leave X_unlabelled out, or fit anew."
        )


def pretrain_networks(fits: Sequence[Any]) -> None:
    """Pretrain the networks of fits in one training, where their estimators ask for it.

    The weights change in place. Each fit keeps the records of its networks.

    Parameters
    ----------
    fits : list of Fit
        Fits of one preparation, whose estimators differ in ``random_state`` alone.
    """
    first = fits[0]
    if first.estimator.pretrain is None or first.is_going_on:
        return
    loss = PretrainingLoss(first.preparation.encoder.schema, first.estimator.pretrain)
    table = _pretraining_table(first.preparation)
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


def _pretraining_table(preparation: Any) -> Table:
    """Return the training rows and those without labels, without y; weights do not heed y."""
    table, weight = preparation.table, preparation.train.weight
    rows = Table(table.x_num, table.x_cat)
    weight = weight / weight.mean()
    if (more := preparation.unlabelled) is not None:
        rows = Table(torch.cat([rows.x_num, more.x_num]), torch.cat([rows.x_cat, more.x_cat]))
        weight = np.concatenate([weight, np.ones(len(more))])
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
