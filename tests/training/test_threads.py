"""Parts of a step, and chunks of a table, side by side: the same numbers to the bit."""

import time

import numpy as np
import pytest
import torch
from conftest import make, numbers

from tabdl.training import parts
from tabdl.training.parts import part_rows
from tabdl.training.threads import Faster, Team, one_or_all


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_workers_share_out_the_threads(four_threads):
    seen = []
    for n_tasks in (1, 2, 3, 9):
        with Team(n_tasks) as team, team.share():
            threads = list(team.map(lambda _: torch.get_num_threads(), range(n_tasks)))
            seen.append((team.n_workers, {torch.get_num_threads(), *threads}))
        assert torch.get_num_threads() == 4
    assert seen == [(1, {4}), (2, {2}), (3, {1}), (4, {1})]


def test_results_come_in_order_and_errors_go_up(four_threads):
    with Team(3) as team:
        assert list(team.map(lambda i, j: 10 * i + j, [1, 2, 3], [4, 5, 6])) == [14, 25, 36]
        with pytest.raises(ZeroDivisionError):
            list(team.map(lambda i: 1 // i, [1, 0]))
    assert torch.get_num_threads() == 4


def test_a_batch_has_a_part_for_each_thread(monkeypatch):
    X, y = numbers()
    net = make("TabM", "Regressor", max_epochs=1).fit(X, y).module_
    monkeypatch.setattr(parts, "_PART_MACS", 1)
    assert part_rows(net, 64, 1) == min(net.cpu_step_rows, 64 * net.k)
    assert part_rows(net, 64, 3) == 22 * net.k, "each prediction has the same rows"
    monkeypatch.setattr(parts, "_PART_MACS", 3 * net.n_macs * 32)
    assert part_rows(net, 64, 8) == 32 * net.k, "no part is too small"
    net.cpu_step_rows = 4 * net.k
    assert part_rows(net, 64, 8) == 4 * net.k
    net.cpu_step_rows = None
    assert part_rows(net, 64, 8) is None, "batch normalisation needs all rows"


@pytest.mark.parametrize(
    "architecture, options",
    [
        *(("TabM", {}), ("TabM", {"n_members": 2}), ("FTTransformer", {}), ("TabMLP", {})),
        *(("GMLP", {}), ("SNN", {"dropout": 0.3}), ("DCNv2", {}), ("NODE", {})),
    ],
)
def test_parts_at_once_are_parts_in_turn(architecture, options, four_threads, monkeypatch):
    """Dropout and the sums of gradients, with a last batch and a last part that are shorter."""
    X, y = numbers(140)
    monkeypatch.setattr(parts, "_PART_MACS", 1)
    model = make(architecture, "Regressor", n_jobs=3, max_epochs=3, batch_size=23, **options)
    at_once = model.fit(X, y)
    predictions = at_once.predict(X)
    monkeypatch.setattr(parts, "Team", lambda *_, **__: Team(1, n_threads_each=1))
    in_turn = make(architecture, "Regressor", **at_once.get_params()).fit(X, y)
    np.testing.assert_array_equal(predictions, in_turn.predict(X))
    assert predictions.std() > 0.01
    losses = [[record["train_loss"] for record in fit.history_] for fit in (at_once, in_turn)]
    assert losses[0] == losses[1]


def test_several_threads_train_what_one_trains(four_threads, monkeypatch):
    """But for the last digits: gradients are added in another order."""
    X, y = numbers(140)
    monkeypatch.setattr(parts, "_PART_MACS", 1)
    fits = [
        make("TabM", "Regressor", n_jobs=n_jobs, precision="float64", max_epochs=3).fit(X, y)
        for n_jobs in (1, 3)
    ]
    np.testing.assert_allclose(fits[0].predict(X), fits[1].predict(X), rtol=1e-6)


@pytest.mark.two_networks
def test_chunks_at_once_are_chunks_in_turn(architecture):
    X, y = numbers(2000)
    model = make(architecture, "Regressor", max_epochs=1).fit(X[:100], y[:100])
    model.module_.cpu_chunk_rows = 64
    several, one = (model.set_params(n_jobs=n_jobs).predict(X) for n_jobs in (3, 1))
    np.testing.assert_array_equal(several, one)


@pytest.mark.parametrize("slow", [True, False])
def test_the_faster_way_is_taken_and_looked_at_again(slow):
    faster = Faster()
    taken = []
    for _ in range(60):
        with faster.timed(10) as way:
            time.sleep(0.02 if way == slow else 0.0)
        taken.append(way)
    assert taken[:6] == taken[50:56] == [True, False] * 3
    assert set(taken[6:50]) == {not slow}


@pytest.mark.parametrize("slow", [1, 4])
def test_one_thread_or_all_by_their_seconds(slow, four_threads):
    faster, taken = Faster(), []
    for _ in range(20):
        with one_or_all(faster, 10):
            taken.append(torch.get_num_threads())
            time.sleep(0.02 if taken[-1] == slow else 0.0)
        assert torch.get_num_threads() == 4
    assert taken[:6] == [4, 1] * 3 and set(taken[6:]) == {5 - slow}
    with pytest.raises(ZeroDivisionError), one_or_all(Faster(), 1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 4


def test_a_limited_fit_that_cannot_be_parted_leaves_the_threads_alone(four_threads):
    X, y = numbers(300)
    model = make("TabResNet", "Regressor", n_jobs=2, max_epochs=4, time_limit=60.0).fit(X, y)
    assert model.n_iter_ == 4 and torch.get_num_threads() == 4
