"""Learning rates, weight decay and dropout that change while a network trains."""

import math

import numpy as np
import pytest
import torch
from conftest import make, numbers

from tabdl.network.layers import Dropout
from tabdl.training.schedules import SCHEDULES, DropoutSchedule, learning_rate_factor


@pytest.mark.parametrize(
    "name, values",
    [
        ("constant", {0: 1, 0.3: 1, 1: 1}),
        ("cosine", {0: 1, 0.25: (1 + math.sqrt(0.5)) / 2, 0.5: 0.5, 1: 0}),
        (
            "coslog4",
            {
                0: 0,
                1 / 15: 0,
                3 / 15: 0,
                7 / 15: 0,
                1: 0,
                (math.sqrt(2) - 1) / 15: 1,
                (math.sqrt(128) - 1) / 15: 1,
            },
        ),
        ("flat_cosine", {0: 1, 0.49: 1, 0.5: 1, 0.75: 0.5, 1: 0}),
    ],
)
def test_courses(name, values):
    for t, value in values.items():
        assert SCHEDULES[name](t) == pytest.approx(value, abs=1e-12)


def test_the_cosine_is_torchs():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    for step in range(20):
        assert learning_rate_factor("cosine", step, 20, 0) == pytest.approx(
            optimizer.param_groups[0]["lr"]
        )
        optimizer.step()
        scheduler.step()


def test_warm_up_is_linear_and_the_schedule_follows():
    factors = [learning_rate_factor("cosine", step, 24, 4) for step in range(24)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4:] == [learning_rate_factor("cosine", step, 20, 0) for step in range(20)]
    assert learning_rate_factor("constant", 0, 10, 0.5) == 1.0  # half a step
    assert learning_rate_factor("cosine", 30, 24, 40) == 31 / 40  # never done with warming up


@pytest.mark.parametrize("schedule", ["constant", "cosine", "coslog4"])
@pytest.mark.parametrize("warmup_epochs", [0, 1.5])
def test_history_has_the_rates(schedule, warmup_epochs):
    X, y = numbers(100)
    parameters = {"lr": 0.01, "max_epochs": 4, "batch_size": 20, "early_stopping": False}
    model = make(
        "TabMLP", "Regressor", lr_schedule=schedule, warmup_epochs=warmup_epochs, **parameters
    ).fit(X, y)
    # Five steps an epoch; the last step of the epoch counts.
    expected = [
        0.01 * learning_rate_factor(schedule, step, 20, 5 * warmup_epochs)
        for step in (4, 9, 14, 19)
    ]
    assert [r["lr"] for r in model.history_] == pytest.approx(expected)


def test_a_course_over_all_epochs_whatever_stops_before():
    X, y = numbers(100)
    parameters = {
        "lr": 0.01,
        "batch_size": 20,
        "early_stopping": False,
        "lr_schedule": "cosine",
        "max_epochs": 40,
    }
    stopped = make("TabMLP", "Regressor", callbacks=[lambda r: r["epoch"] == 3], **parameters).fit(
        X, y
    )
    assert stopped.history_[-1]["lr"] == pytest.approx(0.01 * SCHEDULES["cosine"](14 / 200))


def test_scheduled_dropout():
    layer = Dropout(0.5)
    layer.generators = (torch.Generator().manual_seed(0),)
    schedule = DropoutSchedule([layer], torch.device("cpu"))
    x = torch.ones(200, 500)
    for factor in (1.0, 0.4, 0.0):
        schedule.set(factor)
        out = layer(x)
        assert (out == 0).float().mean().item() == pytest.approx(0.5 * factor, abs=0.01)
        assert out.max().item() == pytest.approx(1 / (1 - 0.5 * factor), rel=1e-4)
    schedule.release()
    assert (layer(x) == 0).float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_warm_up_longer_than_training_is_allowed():
    X, y = numbers(60)
    model = make("TabMLP", "Regressor", warmup_epochs=100, lr=0.1, lr_schedule="constant")
    model.fit(X, y)
    assert np.isfinite(model.predict(X)).all() and model.history_[-1]["lr"] == pytest.approx(
        0.1 * 5 / 100
    )
