"""The training loop: tables as tensors on the device, M networks at once.

An epoch waits once for the device.
"""

import copy
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from tabdl.exceptions import NonFiniteLossError
from tabdl.training.epoch import EpochRunner
from tabdl.training.monitor import TrainingMonitor
from tabdl.training.run import Loss, TrainingConfig, TrainingResult, TrainingRun
from tabdl.training.short_fits import with_batches_for_time
from tabdl.training.stacking import is_faster_together


def train_with_float32_fallback(
    runs: Sequence[TrainingRun], *, config: TrainingConfig, **losses: Any
) -> list[TrainingResult]:
    """Train like :func:`train`; where 16 bits lead to a loss that is not finite, begin anew.

    The second training is in float32, and a warning says so. The networks refuse bfloat16 and
    float16 from then on, also when they predict.
    """
    half = config.precision.half
    if half is None:
        return train(runs, config=config, **losses)
    start = time.perf_counter()
    beginnings = [copy.deepcopy(run.net.state_dict()) for run in runs]
    checkpoint = config.checkpoint
    try:
        if checkpoint is None or not checkpoint.has_overflowed:
            return train(runs, config=config, **losses)
    except NonFiniteLossError as error:
        name = str(half).removeprefix("torch.")
        message = f"With {name} {error.what}; training begins anew in float32."
        warnings.warn(message, stacklevel=3)
        if checkpoint is not None:
            checkpoint.begin_anew()
    for run, beginning in zip(runs, beginnings, strict=True):
        run.net.load_state_dict(beginning)
        run.net.allow_bfloat16 = False
    if config.time_limit is not None:
        elapsed = time.perf_counter() - start
        config = replace(config, time_limit=config.time_limit - elapsed)
    precision = replace(config.precision, half=None)
    return train(runs, config=replace(config, precision=precision), **losses)


def train(
    runs: Sequence[TrainingRun],
    *,
    loss: Loss,
    val_loss: Loss,
    config: TrainingConfig,
    together: bool | None = None,
) -> list[TrainingResult]:
    """Train the networks of ``runs`` in place and return the :class:`TrainingResult` of each.

    Parameters
    ----------
    runs : list of TrainingRun
        Networks of one shape on one device. An epoch visits as many rows of each as the smallest
        run has, so that all batches have one size. A larger run leaves some out, others each time.
    loss, val_loss : callable
        ``(outputs (B, K, C), y) -> (B,)``.
    config : TrainingConfig
    together : bool or None
        Whether each step is one for all runs, or one run is trained after the other. None: what is
        quicker. The choice costs time alone; what a network learns is the same.

    Raises
    ------
    NonFiniteLossError
        When a loss is no longer finite.
    KeyboardInterrupt
        When the interrupt comes before the first epoch is done. A later one ends training like a
        stop: a run that had no epoch yet has an empty history then.
    """
    numbers = range(len(runs)) if len(runs) > 1 else [None]
    monitors = [
        TrainingMonitor(number, run, config) for number, run in zip(numbers, runs, strict=True)
    ]
    config = replace(config, epoch_rows=min(run.n_rows for run in runs))
    if together is None:
        together = is_faster_together(runs[0].net, config.batch_size)
    start = time.perf_counter()
    if config.checkpoint is not None and config.checkpoint.training is not None:
        for monitor, state in zip(monitors, config.checkpoint.training["monitors"], strict=True):
            monitor.load_state(state)
    groups = [monitors] if together else [[monitor] for monitor in monitors]
    try:
        for i, group in enumerate(groups):
            share = _with_share(config, start, len(groups) - i)
            _train_together(group, loss, val_loss, share, monitors)
    except KeyboardInterrupt:
        if not any(monitor.result.history for monitor in monitors):
            raise
        for monitor in monitors:
            monitor.result.stop_reason = monitor.result.stop_reason or "interrupted"
    return [monitor.close() for monitor in monitors]


def _with_share(config, start, n_left):
    """Return the config of the next of ``n_left`` runs, which has its share of the time left."""
    if config.time_limit is None:
        return config
    time_left = config.time_limit - (time.perf_counter() - start)
    return replace(config, time_limit=time_left / n_left)


def _train_together(monitors, loss, val_loss, config, monitors_of_all):
    if _are_done(monitors):
        return
    config = with_batches_for_time([monitor.run for monitor in monitors], loss, config)
    with EpochRunner([monitor.run for monitor in monitors], loss, config) as runner:
        alone = monitors[0].run if len(monitors) == 1 else None
        if alone is not None and alone.optimizer_state is not None:
            runner.optimizer.load_state(copy.deepcopy(alone.optimizer_state))
        if config.checkpoint is not None:
            config.checkpoint.resume(runner)
        while not _are_done(monitors):
            epoch_start = time.perf_counter()
            train_losses = runner.run_round()
            with runner.kept_weights():
                val_losses = [monitor.evaluate(val_loss).to(train_losses) for monitor in monitors]
                # The epoch's one wait for the device.
                numbers = torch.stack([train_losses, torch.stack(val_losses)]).T.tolist()
                for i, (monitor, losses) in enumerate(zip(monitors, numbers, strict=True)):
                    monitor.finish_epoch(*losses, runner.lr(i), epoch_start, runner.pace)
            for i, monitor in enumerate(monitors):
                runner.cool_down(i, monitor.begin_cooldown(runner.pace))
            if config.checkpoint is not None:
                going_on = None if _are_done(monitors) else runner
                config.checkpoint.save_if_due(monitors_of_all, going_on)
        if alone is not None:
            alone.optimizer_state = runner.optimizer.state()


def _are_done(monitors):
    return all(monitor.result.stop_reason for monitor in monitors)
