"""Larger batches and fewer predictions: where a limit is short, and nowhere else."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from conftest import make, numbers
from test_loop import linear_net, linear_table, settings, squared

import tabdl
from tabdl.data.table import Table
from tabdl.training.devices import Precision
from tabdl.training.run import TrainingRun
from tabdl.training.short_fits import with_batches_for_time, with_fewer_predictions

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


def tabm_runs(n, k):
    X, y = numbers(200)
    nets = [make("TabM", "Regressor", k=k, max_epochs=1).fit(X, y).module_ for _ in range(n)]
    x_num = torch.randn(200, X.shape[1], generator=torch.Generator().manual_seed(0))
    table = Table(x_num, torch.empty(200, 0, dtype=torch.int32), x_num[:, :1])
    return [TrainingRun(net, table, None, None, 7) for net in nets]


def clock_of(seconds):
    """Return a clock by which the three steps of the trial take so many seconds."""
    return itertools.chain([0.0, 0.0, seconds], itertools.repeat(seconds)).__next__


@pytest.mark.parametrize(
    "limit, n_runs, before, after",
    [
        *((1000.0, 1, 32, 32), (30.0, 1, 32, 32), (28.0, 1, 32, 8), (28.0, 1, 64, 16)),
        *((14.0, 1, 64, 8), (1.0, 1, 10, 8), (1.0, 1, 4, 4), (58.0, 2, 32, 8)),
    ],
)
def test_a_short_fit_keeps_fewer_predictions(limit, n_runs, before, after):
    """An epoch of 20 steps takes 10 seconds, a shortest fit three epochs."""
    runs = tabm_runs(n_runs, before)
    heads = [run.net.head.weight.detach().clone() for run in runs]
    config = settings(
        batch_size=10, patience=3, time_limit=limit, precision=Precision(torch.float32)
    )
    found = with_fewer_predictions(runs, squared, config, clock_of(1.5))
    assert found.time_limit == limit - 1.5 and found.batch_size == 10
    for run, head in zip(runs, heads, strict=True):
        assert run.net.k == after
        torch.testing.assert_close(run.net.head.weight, head[:after], rtol=0, atol=0)


def test_a_fit_with_fewer_predictions_is_kept_and_read(tmp_path):
    X, y = numbers(400)
    make("TabM", "Regressor", max_epochs=1).fit(X, y)  # imports what a fit needs
    options = {"k": 32, "max_epochs": 10**5, "patience": 10**5, "time_limit": 1.0, "n_members": 2}
    model = make("TabM", "Regressor", **options).fit(X, y)
    assert {net.k for net in model.module_.nets} == {8}
    tabdl.save(model, tmp_path / "model.tabdl")
    loaded = tabdl.load(tmp_path / "model.tabdl")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    pickled = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(pickled.predict(X), model.predict(X))
