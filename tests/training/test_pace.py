"""A time limit: what a fit makes of it, by a clock of the test, and what stays as without one."""

import numpy as np
import pytest
import torch
from conftest import make, numbers

from tabdl.training.devices import Precision
from tabdl.training.pace import TimedPace
from tabdl.training.run import TrainingConfig

CPU = torch.device("cpu")
STEP = 1 / 64


class Machine:
    """Walks through a limit with steps and evaluations of known length; its clock is the test's."""

    def __init__(self, time_limit, n_steps_epoch, n_val_epochs=0.0, **changes):
        values = {
            "lr": 1e-3,
            "weight_decay": 0.0,
            "batch_size": 1,
            "max_epochs": 1000,
            "patience": 5,
        }
        precision = Precision(torch.float32)
        config = TrainingConfig(**values | changes, time_limit=time_limit, precision=precision)
        self.now = 0.0
        self.pace = TimedPace(config, n_steps_epoch, CPU, n_val_epochs, lambda: self.now)
        self.rates = []
        self.positions = []
        self.round_ends = []

    def run(self, seconds_step, seconds_evaluation=0.0):
        pace = self.pace
        while not self.round_ends or not pace.stop_reason:
            pace.begin_round()
            while True:
                self.rates.append(pace.lr_factor)
                self.positions.append(pace.position / pace.n_steps)
                self.now += seconds_step(pace.n_done)
                if pace.step_done() or (
                    pace.n_done % pace.n_steps_epoch == 0 and pace.ends_with_epoch()
                ):
                    break
            pace.end_round()
            self.round_ends.append(self.now)
            self.now += seconds_evaluation
        return pace


def test_the_rate_reaches_zero_when_the_time_is_over():
    machine = Machine(10.0, n_steps_epoch=20)
    pace = machine.run(lambda step: STEP)
    assert pace.stop_reason == "time_limit" and machine.now == 10.0
    assert machine.rates[:321] == [1.0] * 321
    np.testing.assert_allclose(machine.rates[320:], np.arange(320, 0, -1) / 320)
    assert machine.round_ends == [20 * STEP * epoch for epoch in range(1, 33)]
    assert not pace.has_patience
    expected = {"seconds_step": STEP, "n_epochs": 32.0, "turn": 16.0, "lr_factor": 1.0}
    assert pace.plan == expected | {"batch_size": 1}


def test_a_machine_that_gets_slower_still_ends_in_time_with_a_rate_of_zero():
    machine = Machine(10.0, n_steps_epoch=20)
    machine.run(lambda step: STEP if step < 200 else 5 * STEP)
    assert machine.now == pytest.approx(10.0, abs=5 * STEP) and machine.rates[-1] < 0.03


def test_what_fits_into_the_time_is_as_without_a_limit():
    machine = Machine(10.0, n_steps_epoch=20, max_epochs=30, lr_schedule="cosine")
    pace = machine.run(lambda step: STEP)
    assert pace.stop_reason == "max_epochs" and set(machine.rates) == {1.0} and pace.has_patience
    assert machine.positions == [step / 600 for step in range(600)]
    assert pace.plan is not None and pace.plan["turn"] is None


def test_a_long_epoch_is_evaluated_several_times_within_the_limit():
    machine = Machine(10.0, n_steps_epoch=10_000)
    pace = machine.run(lambda step: STEP)
    np.testing.assert_allclose(machine.round_ends, np.arange(1, 11), atol=0.02)
    assert pace.stop_reason == "time_limit" and not pace.has_patience


@pytest.mark.parametrize(
    "seconds, schedule, is_short",
    [
        (3.75, "constant", True),
        (5.0, "constant", True),
        (6.25, "constant", False),
        (7.5, "cooldown", True),
        (8.5, "cooldown", False),
    ],
)
def test_where_early_stopping_cannot_come_in_time_the_rate_grows_and_falls(
    seconds, schedule, is_short
):
    """An epoch takes a second, early stopping five epochs at least, and a cooldown three."""
    machine = Machine(seconds, n_steps_epoch=64, patience=5, lr_schedule=schedule)
    pace = machine.run(lambda step: STEP)
    assert pace.plan["lr_factor"] == (4.0 if is_short else 1.0)
    assert machine.rates[:6] == [1.0] * 6 and machine.rates[-1] < 0.03
    if is_short:
        top = int(np.argmax(machine.rates))
        assert 3.5 < machine.rates[top] < 4.0 and top < 0.1 * len(machine.rates)
        assert np.all(np.diff(machine.rates[top:]) < 0)
    else:
        assert max(machine.rates) == 1.0


def test_slow_evaluations_are_few_and_within_the_limit():
    machine = Machine(10.0, n_steps_epoch=1000, n_val_epochs=0.15)
    machine.run(lambda step: STEP, seconds_evaluation=0.75)
    assert len(machine.round_ends) == 2 and machine.now == pytest.approx(10.0, abs=0.05)
    assert machine.rates[-1] < 0.01


def test_schedules_end_with_the_time():
    machine = Machine(10.0, n_steps_epoch=20, lr_schedule="cosine")
    machine.run(lambda step: STEP)
    assert machine.positions[-1] == pytest.approx(1.0, abs=0.01)
    assert np.all(np.diff(machine.positions) >= 0) and set(machine.rates) == {1.0}


def test_short_rounds_are_measured_too():
    machine = Machine(100.0, n_steps_epoch=3, max_epochs=20)
    pace = machine.run(lambda step: 1 / 512)
    assert pace.plan is not None and pace.plan["seconds_step"] == 1 / 512


def test_epochs_that_end_before_a_step_is_measured_keep_their_rate():
    machine = Machine(300.0, n_steps_epoch=8, max_epochs=2)
    pace = machine.run(lambda step: 0.001)
    assert pace.stop_reason == "max_epochs" and set(machine.rates) == {1.0}


def test_one_step_is_taken_in_any_case():
    machine = Machine(-1.0, n_steps_epoch=20)
    pace = machine.run(lambda step: 1.0)
    assert pace.n_done == 1 and pace.stop_reason == "time_limit" and pace.plan is None


# --- a fit


def fitted(**changes):
    X, y = numbers(150)
    return make("TabMLP", "Regressor", batch_size=32, **changes).fit(X, y)


def test_a_limit_that_is_long_enough_changes_nothing():
    free, limited = (
        fitted(max_epochs=60, patience=60),
        fitted(max_epochs=60, patience=60, time_limit=600),
    )
    timeless = [
        [{**record, "seconds": 0} for record in model.history_] for model in (free, limited)
    ]
    assert timeless[0] == timeless[1] and free.stop_reason_ == limited.stop_reason_
    X, _ = numbers(50)
    np.testing.assert_array_equal(free.predict(X), limited.predict(X))
    assert free.member_results_[0].plan is None
    assert limited.member_results_[0].plan["turn"] is None


@pytest.mark.parametrize("n_members", [1, 2])
def test_a_short_limit_is_kept_and_ends_with_a_small_rate(n_members):
    # The first fit imports what it needs, and that counts.
    fitted(max_epochs=1)
    options = {"max_epochs": 10**6, "early_stopping": False, "n_members": n_members}
    model = fitted(time_limit=2.0, **options)
    for result in model.member_results_:
        assert result.stop_reason == "time_limit" and result.plan["n_epochs"] > 0
        # A process beside this one may make a step long.
        assert sum(record["seconds"] for record in result.history) < 4.0
        assert result.history[-1]["lr"] < 0.5 * result.history[0]["lr"]


@pytest.mark.parametrize("lr_schedule", ["constant", "cosine"])
def test_evaluations_that_take_less_time_than_expected(lr_schedule):
    """The share that is done falls then, but never below where the plan began."""
    machine = Machine(1.5, n_steps_epoch=2, n_val_epochs=100.0, lr_schedule=lr_schedule)
    machine.run(lambda step: STEP)
    assert min(machine.positions) >= 0 and max(machine.positions) <= 1
    assert min(machine.rates) >= 0 and max(machine.rates) <= 4
