"""Folds on several devices. Without a GPU: the assignment, and the threads with the CPU as each of
two devices. Not measured on a GPU yet."""

import contextlib
import threading

import numpy as np
import pytest
import torch
from conftest import make, numbers
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tabdl import CrossValEnsembleRegressor
from tabdl.ensemble import cross_val
from tabdl.ensemble.several_devices import SideBySide, devices_for, placed


@pytest.fixture
def three_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


@pytest.mark.parametrize("device, n_devices", [("auto", 3), ("cuda", 3), ("cuda:1", 1), ("cpu", 1)])
def test_devices_of_a_network(device, n_devices, three_gpus):
    for estimator in (make("TabMLP", "Regressor", device=device), Ridge()):
        pipeline = make_pipeline(StandardScaler(), estimator)
        several = ["cuda:0", "cuda:1", "cuda:2"][:n_devices] if estimator is not pipeline else []
        expected = several if n_devices > 1 and not isinstance(estimator, Ridge) else [None]
        assert devices_for(estimator) == devices_for(pipeline) == expected


def test_one_gpu_is_where_the_estimator_says(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert devices_for(make("TabMLP", "Regressor")) == [None]


def test_tasks_go_to_devices_in_turn_and_run_at_once():
    meeting = threading.Barrier(2, timeout=30)

    def task(i, device):
        meeting.wait()  # passes only where two tasks run at once
        return i, device

    with SideBySide(task, ["a", "b"], 4) as tasks:
        assert [tasks.result(i) for i in range(4)] == [(0, "a"), (1, "b"), (2, "a"), (3, "b")]


def test_an_exception_stops_what_runs():
    begun = threading.Event()

    def task(i, device):
        watch = tasks.watched(None)
        begun.set()
        while not watch({}):
            pass

    tasks = SideBySide(task, ["a", "b"], 2)
    with pytest.raises(KeyboardInterrupt), tasks:
        begun.wait(30)
        raise KeyboardInterrupt


@pytest.fixture
def two_devices(monkeypatch):
    """Let the CPU be two devices."""
    monkeypatch.setattr(cross_val, "devices_for", lambda estimator: ["cpu", "cpu:0"])
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())


@pytest.mark.parametrize("together", [True, False])
def test_two_devices_train_what_one_trains(together, request):
    X, y = numbers(200)
    estimator = make("TabMLP", "Regressor", device="auto", max_epochs=3, precision="float64")
    model = CrossValEnsembleRegressor(estimator, cv=3, random_state=0, together=together)
    expected = model.fit(X, y).oof_prediction_
    request.getfixturevalue("two_devices")
    model.fit(X, y)
    np.testing.assert_allclose(model.oof_prediction_, expected, rtol=1e-6, atol=1e-6)
    assert [fitted.device for fitted in model.estimators_] == ["auto"] * 3


def test_a_fold_that_fails_is_named(two_devices):
    X, y = numbers(200)
    estimator = make("TabMLP", "Regressor", lr=1e30, max_epochs=50)
    for together in (True, False):
        model = CrossValEnsembleRegressor(estimator, cv=3, random_state=0, together=together)
        with pytest.raises(FloatingPointError) as caught:
            model.fit(X, y)
        assert "in fold" in caught.value.__notes__[0]


def test_the_parameter_comes_back(two_devices):
    estimator = make("TabMLP", "Regressor", device="auto")
    with pytest.raises(ZeroDivisionError), placed([estimator], "cuda:1"):
        assert estimator.device == "cuda:1"
        raise ZeroDivisionError
    assert estimator.device == "auto"
