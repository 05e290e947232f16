"""Larger batches: where a limit is short, and nowhere else; the networks stay as they are."""

import copy
import itertools

import pytest
import torch
from conftest import make, numbers
from test_loop import linear_net, linear_table, settings, squared

from tabdl.data.table import Table
from tabdl.training.larger_batches import with_batches_for_time
from tabdl.training.run import TrainingRun

SHORT = {
    "batch_size": 8,
    "adapts_batch": True,
    "epoch_rows": 1000,
    "max_epochs": 10**6,
    "time_limit": 1000.0,
}


def run_of(net):
    rows = linear_table()
    y = rows.y.repeat(10, 1)
    return TrainingRun(
        net, Table(rows.x_num.repeat(10, 1), rows.x_cat.repeat(10, 1), y), None, None, 7
    )


def found_of(config, seconds=lambda trial: 1.0):
    """Return the config for a clock that says so many seconds for the steps of each trial."""
    net = linear_net()
    before = copy.deepcopy(net.state_dict())
    trials = itertools.count()
    ticks = (tick for trial in trials for tick in (10.0 * trial, 10.0 * trial + seconds(trial)))
    # The first tick is the beginning.
    clock = itertools.chain([0.0], ticks).__next__
    found = with_batches_for_time([run_of(net)], squared, config, clock)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    return found


@pytest.mark.parametrize(
    "seconds, times",
    [([1, 1, 1], 4), ([1, 1.5, 2.3], 4), ([1, 1.5, 2.5], 2), ([1, 1.7, 1], 1)],
)
def test_a_short_fit_whose_steps_are_calls_takes_more_rows(seconds, times):
    config = settings(**SHORT)
    found = found_of(config, lambda trial: seconds[trial] if trial < 3 else 0.0)
    assert found.batch_size == 8 * times and found.lr == pytest.approx(times**0.5 * config.lr)
    assert found.time_limit < config.time_limit


@pytest.mark.parametrize(
    "changes",
    [
        {"adapts_batch": False},
        {"time_limit": None},
        {"max_epochs": 4},  # which the limit has room for
        {"epoch_rows": 100},  # of which four times the rows would be a third
    ],
)
def test_other_fits_keep_their_batches(changes):
    config = settings(**SHORT | changes)
    found = found_of(config)
    assert (found.batch_size, found.lr) == (8, config.lr)


def test_a_batch_size_that_was_asked_for_stays():
    X, y = numbers(300)
    make("TabMLP", "Regressor", max_epochs=1).fit(X, y)  # imports what a fit needs
    model = make("TabMLP", "Regressor", batch_size=16, time_limit=1.0, max_epochs=10**5).fit(X, y)
    assert model.member_results_[0].plan["batch_size"] == 16
