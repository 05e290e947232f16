"""How far training is, and when it ends: after its epochs, or well within its seconds.

A fit with a time limit has no length that is known before. The first steps say how long a step
takes, and so how many epochs fit. There are three ways on:

- All epochs fit: nothing changes.
- Early stopping may come in time. The rate stays as it is in the first half of the time, and falls
  to zero in the second. A fit that stops in the first half is the same as without a limit.
- It cannot come in time. A small learning rate is for fits that take their time. It grows, and
  falls to zero from then on.

From the turn on, the share of the limit that is gone stands for the share of training that is done.
So the rate is zero when the time is over, however fast the machine is then.

Hägele et al.: "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", NeurIPS
2024, 2405.18392, for a rate that is constant and then falls; Bergsma et al.: "Straight to Zero",
ICLR 2025, 2502.15938, for one that falls along a line from the start.
"""

import time
from collections.abc import Callable
from typing import Any

import torch

from tabdl.training.cooldown import n_cooldown_epochs
from tabdl.training.run import TrainingConfig
from tabdl.training.schedules import FLAT

# Steps before a step takes its usual time: memory is taken, a CUDA device records.
_WARM_UP_STEPS = {"cpu": 2, "cuda": 5, "mps": 3}
_MEASURED_STEPS = 4
# Seconds, and share of the limit, that are measured at least: a busy machine slows some steps down.
_SHORTEST_SECONDS = 0.03
_SHORTEST_MEASUREMENT = 0.01
# Share of the limit after which one step is measure enough.
_LONGEST_MEASUREMENT = 0.05
# Share of the limit in which a constant learning rate falls to zero.
_DECAY = 0.5
# What a constant learning rate is multiplied with where early stopping cannot come in time, up to
# which rate, and the share of the limit in which it grows.
_PEAK = 4.0
_HIGHEST_RATE = 8e-3
_GROWTH = 0.05
# Evaluations within the limit, where an epoch is too long for as many.
_N_ROUNDS = 10
# A round takes at least so many times as long as the evaluation after it.
_ROUND_PER_EVALUATION = 5


class Pace:
    """The way through ``max_epochs`` epochs; each is a round, which an evaluation follows.

    Parameters
    ----------
    config : TrainingConfig
    n_steps_epoch : int
        Number of the steps of an epoch.

    Attributes
    ----------
    n_steps : int
        Number of the steps of all epochs.
    n_done : int
        Number of the steps so far.
    lr_factor : float
        What the learning rate is multiplied with, beside its schedule.
    has_patience : bool
        Whether epochs without a better score may end training.
    follows_clock : bool
        Whether training depends on the seconds that steps take, from now on.
    plan : dict or None
        See :class:`TrainingResult`.
    """

    lr_factor = 1.0
    has_patience = True
    follows_clock = False
    plan: dict[str, Any] | None = None

    def __init__(self, config: TrainingConfig, n_steps_epoch: int) -> None:
        self.n_steps_epoch = n_steps_epoch
        self.n_steps = config.max_epochs * n_steps_epoch
        self.n_done = 0

    @property
    def position(self) -> float:
        """The place in the schedules, from 0 to ``n_steps``."""
        return self.n_done

    def begin_round(self) -> None:
        """Note that steps follow."""

    def step_done(self) -> bool:
        """Count a step; return whether an evaluation comes before the epoch is through."""
        self.n_done += 1
        return False

    def ends_with_epoch(self) -> bool:
        """Return whether a round ends where an epoch ends."""
        return True

    def end_round(self) -> None:
        """Note that an evaluation follows."""

    @property
    def stop_reason(self) -> str:
        """Why no round follows: "max_epochs", or an empty string while one follows."""
        return "max_epochs" if self.n_done >= self.n_steps else ""


def shortest_fit(config: TrainingConfig) -> float:
    """Return the number of epochs before which early stopping cannot end training."""
    if config.patience is None:
        return config.max_epochs / 4
    n_cooldown = n_cooldown_epochs(1, config.patience, config.max_epochs)
    return config.patience + (n_cooldown if config.has_cooldown else 0)


class TimedPace(Pace):
    """The way through a time limit, which begins now.

    Parameters
    ----------
    config : TrainingConfig
        Its ``time_limit`` is a number.
    n_steps_epoch : int
    device : torch.device
    n_val_epochs : float
        Number of the validation rows, in epochs.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self,
        config: TrainingConfig,
        n_steps_epoch: int,
        device: torch.device,
        n_val_epochs: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(config, n_steps_epoch)
        assert config.time_limit is not None
        self.clock = clock
        self.start = clock()
        self.limit = config.time_limit
        self.config = config
        self.device = device
        self.n_val_epochs = n_val_epochs
        self.n_warm_up = _WARM_UP_STEPS.get(device.type, 1)
        self.warm_up_seconds = 0.0
        self.seconds_step: float | None = None
        self.seconds_evaluation = 0.0
        self.n_rounds: int | None = None
        # The number of steps, and the seconds, at the latest moment when the device had no work.
        self.mark = (0, 0.0)
        self.round_end: float | None = None
        # Position and share from which the time that is left stands for the steps that are left.
        self.turn: tuple[float, float] | None = None
        self.peak = 1.0

    # --- the clock

    def _elapsed(self) -> float:
        """Return the seconds so far; on a device that works by itself, as steps say."""
        if self.device.type == "cpu" or self.seconds_step is None:
            return self.clock() - self.start
        n_marked, seconds = self.mark
        return seconds + (self.n_done - n_marked) * self.seconds_step

    def _set_mark(self) -> None:
        """Wait for the device and look at the clock."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        self.mark = self.n_done, self.clock() - self.start

    def _measure(self) -> None:
        """Set the seconds of a step by those since the mark."""
        n_before, before = self.mark
        self._set_mark()
        n_now, now = self.mark
        if n_now > n_before:
            self.seconds_step = (now - before) / (n_now - n_before)

    @property
    def share(self) -> float:
        """The share of training that is done, at most about 1."""
        seconds = self.limit - self.seconds_evaluation
        gone = self._elapsed() / seconds if seconds > 0 else 1.0
        return max(gone, self.n_done / self.n_steps)

    # --- the rounds

    def begin_round(self) -> None:
        """Note that steps follow."""
        self._set_mark()
        if self.round_end is not None:
            self.seconds_evaluation = self.mark[1] - self.round_end

    def step_done(self) -> bool:
        """Count a step; return whether an evaluation comes before the epoch is through."""
        self.n_done += 1
        if self.n_done == self.n_warm_up:
            self._set_mark()
            self.warm_up_seconds = self.mark[1]
        elif self.plan is None and self._has_measured():
            self._measure()
            self._make_plan()
        share = self.share
        # Without a plan, nothing says that the epochs do not fit.
        may_turn = self.turn is None and self.plan is not None
        if may_turn and share >= 1 - _DECAY and not self._all_epochs_fit():
            self._turn()
        self._set_lr_factor(share)
        return share >= 1 or (self.n_rounds is not None and share >= self.next_evaluation)

    def ends_with_epoch(self) -> bool:
        """Return whether a round ends where an epoch ends."""
        return self.n_rounds is None or self.n_done >= self.n_steps

    def end_round(self) -> None:
        """Note that an evaluation follows."""
        self._measure()
        self.round_end = self.mark[1]
        if self.n_rounds is not None:
            done = int(self.share * self.n_rounds + 1e-9)
            self.next_evaluation = (done + 1) / self.n_rounds

    @property
    def stop_reason(self) -> str:
        """Why no round follows: "max_epochs" or "time_limit"; else an empty string."""
        if self.n_done >= self.n_steps:
            return "max_epochs"
        return "time_limit" if self.share >= 1 else ""

    # --- the plan

    def _has_measured(self) -> bool:
        """Return whether the steps since the warm-up say enough of how long a step takes."""
        n_measured = self.n_done - self.n_warm_up
        if n_measured <= 0:
            return False
        elapsed = self._elapsed()
        least = min(_SHORTEST_SECONDS, _SHORTEST_MEASUREMENT * self.limit)
        is_enough = elapsed - self.warm_up_seconds >= least
        is_late = elapsed > _LONGEST_MEASUREMENT * self.limit
        return is_late or (n_measured >= _MEASURED_STEPS and is_enough)

    def _make_plan(self) -> None:
        """Choose how long a round is, and whether the schedules run by the clock from now on."""
        assert self.seconds_step is not None
        seconds_epoch = self.seconds_step * self.n_steps_epoch
        # A prediction is about a third of a step.
        self.seconds_evaluation = seconds_epoch * self.n_val_epochs / 3
        n_epochs = self.limit / (seconds_epoch + self.seconds_evaluation)
        self.plan = {"seconds_step": self.seconds_step, "n_epochs": n_epochs, "turn": None}
        self.plan |= {"lr_factor": 1.0, "batch_size": self.config.batch_size}
        if self._all_epochs_fit():
            return
        round_seconds = max(self.limit / _N_ROUNDS, _ROUND_PER_EVALUATION * self.seconds_evaluation)
        if seconds_epoch > round_seconds:
            self.n_rounds = max(1, int(self.limit / round_seconds))
            self.next_evaluation = 1 / self.n_rounds
            self.has_patience = False
        config = self.config
        schedules = {config.lr_schedule, config.weight_decay_schedule, config.dropout_schedule}
        is_short = n_epochs <= shortest_fit(config)
        if is_short and config.lr_schedule in FLAT:
            self.peak = max(1.0, min(_PEAK, _HIGHEST_RATE / config.lr))
            self.plan["lr_factor"] = self.peak
        if is_short or not schedules <= FLAT or config.warmup_epochs:
            self._turn()

    def _all_epochs_fit(self) -> bool:
        if self.seconds_step is None:
            return False
        n_left = self.n_steps - self.n_done
        seconds_epoch = self.seconds_step * self.n_steps_epoch + self.seconds_evaluation
        return self._elapsed() + n_left / self.n_steps_epoch * seconds_epoch <= self.limit

    def _turn(self) -> None:
        self.turn = self.n_done, min(self.share, 1.0)
        self.follows_clock = True
        self.has_patience = False
        if self.plan is not None:
            self.plan["turn"] = self.n_done / self.n_steps_epoch

    @property
    def position(self) -> float:
        """The place in the schedules, from 0 to ``n_steps``."""
        if self.turn is None:
            return self.n_done
        n_before, before = self.turn
        t = (self.share - before) / (1 - before) if before < 1 else 1.0
        # The share falls a little where an evaluation took longer than the one before.
        return n_before + (self.n_steps - n_before) * min(max(t, 0.0), 1.0)

    def _set_lr_factor(self, share: float) -> None:
        if self.turn is None or self.config.lr_schedule not in FLAT:
            return
        since_turn = max(share - self.turn[1], 0.0)
        left = 1 - self.turn[1]
        if self.peak > 1:
            growth = 1 + (self.peak - 1) * min(since_turn / _GROWTH, 1.0)
        else:
            growth = 1.0
            left = min(left, _DECAY)
        self.lr_factor = growth * min(1.0, max(1 - share, 0.0) / left) if left > 0 else 0.0
