"""Less work for a fit on a CPU whose time is short: larger batches, fewer predictions.

Where the calls of torch outlast the products, a step takes a processor nearly as long as one of
twice the rows. A fit that has its time learns more from small batches. One that is cut learns more
from more rows. The same holds for a network that predicts k times: with fewer predictions it sees
the rows more often.

Malladi et al.: "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", NeurIPS 2022,
2205.10287: with Adam the learning rate grows with the square root of the batch.
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tabdl.training.epoch import EpochRunner
from tabdl.training.pace import shortest_fit
from tabdl.training.run import Loss, TrainingConfig, TrainingRun

# Multiplications of a step, forward and backward: of more, the products take most of its time.
_MOST_MACS = 150e6
_MOST_TIMES = 4
# What a step of twice the rows may take, in times of a step.
_MOST_SECONDS = 1.6
_WARM_UP_STEPS, _MEASURED_STEPS = 2, 3
_N_STEPS = _WARM_UP_STEPS + _MEASURED_STEPS
_FEWEST_STEPS = 8  # of an epoch
_FEWEST_PREDICTIONS = 8
_TRIAL_ROWS = 32  # of a network whose steps are products: seconds grow with the rows
# Predictions are dropped until so many times the shortest fit has its time.
_ROOM = 2
# The share of the limit that trials may take.
_SHARE_OF_TRIALS = 0.05


def with_batches_for_time(
    runs: Sequence[TrainingRun],
    loss: Loss,
    config: TrainingConfig,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainingConfig:
    """Return a config with larger batches, where its time limit asks for them.

    The runs are as before, but for the time that is gone.

    Parameters
    ----------
    runs : list of TrainingRun
    loss : callable
        ``(outputs (B, K, C), y) -> (B,)``.
    config : TrainingConfig
        Its ``epoch_rows`` is a number.
    clock : callable
        Returns seconds.
    """
    limit, n_rows = config.time_limit, config.epoch_rows
    if limit is None or n_rows is None or not _may_grow(runs[0].net, config):
        return config
    start = clock()
    n_batch = config.batch_size
    seconds = _seconds_of_step(runs, loss, config, clock)
    most = min(_MOST_TIMES * config.batch_size, n_rows // _FEWEST_STEPS)
    if seconds * n_rows / n_batch * shortest_fit(config) > limit:
        while 2 * n_batch <= most and _N_STEPS * seconds <= _SHARE_OF_TRIALS * limit:
            larger = replace(config, batch_size=2 * n_batch)
            longer = _seconds_of_step(runs, loss, larger, clock)
            if longer > _MOST_SECONDS * seconds:
                break
            n_batch, seconds = 2 * n_batch, longer
    left = limit - (clock() - start)
    lr = config.lr * (n_batch / config.batch_size) ** 0.5
    return replace(config, batch_size=n_batch, lr=lr, time_limit=left)


def with_fewer_predictions(
    runs: Sequence[TrainingRun],
    loss: Loss,
    config: TrainingConfig,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainingConfig:
    """Drop predictions of new networks that predict k times, where the time limit asks for it.

    All networks keep the same ones.

    Parameters
    ----------
    runs : list of TrainingRun
    loss : callable
        ``(outputs (B, K, C), y) -> (B,)``.
    config : TrainingConfig
    clock : callable
        Returns seconds.

    Returns
    -------
    TrainingConfig
        With the time that is left.
    """
    nets: list[Any] = [run.net for run in runs]
    net = nets[0]
    if config.time_limit is None or not hasattr(net, "keep") or not _is_on_cpu(net):
        return config
    start = clock()
    trial = replace(config, batch_size=min(config.batch_size, _TRIAL_ROWS))
    n_steps = math.ceil(min(run.n_rows for run in runs) / trial.batch_size)
    seconds = len(runs) * n_steps * _seconds_of_step(runs[:1], loss, trial, clock)
    n_epochs, shortest = config.time_limit / max(seconds, 1e-9), shortest_fit(config)
    k = int(net.k)
    if n_epochs < shortest:
        while k > _FEWEST_PREDICTIONS and n_epochs < _ROOM * shortest:
            k, n_epochs = max(k // 2, _FEWEST_PREDICTIONS), 2 * n_epochs
        for net in nets:
            net.keep(list(range(k)))
    return replace(config, time_limit=config.time_limit - (clock() - start))


def _is_on_cpu(net):
    """Return whether trials say something: recorded steps of a GPU take another time."""
    return next(net.parameters()).device.type == "cpu"


def _may_grow(net, config):
    is_small = 3 * net.n_macs * config.batch_size <= _MOST_MACS
    return config.adapts_batch and is_small and _is_on_cpu(net) and not net.phases(0)


def _seconds_of_step(runs, loss, config, clock):
    """Return the seconds of a step by trial; the networks stay as they are."""
    before = [copy.deepcopy(run.net.state_dict()) for run in runs]
    trial = replace(config, time_limit=None, checkpoint=None, is_compiled=False)
    trial = replace(trial, epoch_rows=_WARM_UP_STEPS * config.batch_size)
    with EpochRunner(runs, loss, trial) as runner:
        runner.run_round()
    trial = replace(trial, epoch_rows=_MEASURED_STEPS * config.batch_size)
    with EpochRunner(runs, loss, trial) as runner:
        start = clock()
        runner.run_round()
        seconds = (clock() - start) / _MEASURED_STEPS
    for run, state in zip(runs, before, strict=True):
        run.net.load_state_dict(state)
    return seconds
