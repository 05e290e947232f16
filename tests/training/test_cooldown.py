"""``lr_schedule="cooldown"``: when the learning rate falls, from which weights, and how far."""

import numpy as np
import pytest
import torch

from tabdl import TabMLPRegressor
from tabdl.training import loop
from tabdl.training.cooldown import Cooldown, n_cooldown_epochs
from tabdl.training.defaults import choose_patience


def numbers(n_rows=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, 3))
    return X, X @ [1.0, -2.0, 0.5] + rng.standard_normal(n_rows)


def network(scores=None, **params):
    """Return a small network; ``scores`` are those of its epochs."""
    if scores is not None:
        numbers = iter(scores)
        params["scoring"] = lambda *_: next(numbers)
    sizes = {"n_blocks": 1, "d_block": 8, "batch_size": 16, "lr": 0.01, "random_state": 0}
    return TabMLPRegressor(**sizes, lr_schedule="cooldown", **params)


def rates(model):
    return [record["lr"] / model.lr for record in model.history_]


def test_the_rate_is_constant_until_patience_ends_and_then_falls_to_zero():
    """The best epoch is the third; four epochs later the cooldown begins, of two epochs."""
    scores = [0, 1, 2, 3, *range(-1, -20, -1)]  # the first is of the check before training
    model = network(scores, patience=4, max_epochs=100).fit(*numbers())
    assert (model.best_epoch_, model.n_iter_, model.stop_reason_) == (3, 9, "patience")
    # 48 rows in batches of 16: three steps an epoch; the rate of an epoch is that of its last step.
    np.testing.assert_allclose(rates(model), [1] * 7 + [4 / 6, 1 / 6])


def test_the_cooldown_begins_with_the_best_weights():
    """The loss of its first epoch is that after the third epoch, not that after the seventh."""
    scores = [0, 1, 2, 3, *range(-1, -20, -1)]
    model = network(scores, patience=4, max_epochs=100).fit(*numbers())
    losses = [record["train_loss"] for record in model.history_]
    assert losses[6] < losses[4] < losses[3] and abs(losses[7] - losses[3]) < losses[7] - losses[6]


def test_a_better_epoch_of_the_cooldown_is_kept():
    scores = [0, 1, 2, 3, -1, -1, -1, -1, 4, 5]
    model = network(scores, patience=4, max_epochs=100).fit(*numbers())
    assert (model.best_epoch_, model.n_iter_) == (9, 9)


def test_max_epochs_leaves_room_for_the_cooldown():
    model = network(range(100), patience=4, max_epochs=20).fit(*numbers())
    assert (model.best_epoch_, model.n_iter_, model.stop_reason_) == (20, 20, "max_epochs")
    assert rates(model)[-1] < 0.1 and rates(model)[14] == 1
    assert sum(rate < 1 for rate in rates(model)) == 4


def test_without_early_stopping_the_last_quarter_falls():
    model = network(early_stopping=False, max_epochs=8).fit(*numbers())
    assert rates(model)[:6] == [1] * 6 and 1 > rates(model)[6] > rates(model)[7] > 0
    assert (model.stop_reason_, model.n_iter_) == ("max_epochs", 8)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_each_member_cools_down_for_itself(optimizer, ema_decay, monkeypatch):
    """Members that are trained together are those that are trained alone."""
    X, y = numbers(100)
    params = {"patience": 2, "max_epochs": 60, "precision": "float64", "optimizer": optimizer}
    params |= {"ema_decay": ema_decay, "weight_decay": 0.1, "n_members": 3}
    monkeypatch.setattr(loop, "is_faster_together", lambda *_: False)
    one = network(**params).fit(X, y)
    monkeypatch.setattr(loop, "is_faster_together", lambda *_: True)
    together = network(**params).fit(X, y)
    ends = [result.n_iter for result in together.member_results_]
    assert ends == [result.n_iter for result in one.member_results_] and len(set(ends)) > 1
    for a, b in zip(one.history_, together.history_, strict=True):
        assert a["lr"] == pytest.approx(b["lr"])
    np.testing.assert_allclose(one.predict(X), together.predict(X), rtol=1e-6, atol=1e-6)


def test_the_length_of_a_cooldown():
    assert n_cooldown_epochs(best_epoch=40, patience=8, n_left=100) == 12
    assert n_cooldown_epochs(best_epoch=3, patience=8, n_left=100) == 4
    assert n_cooldown_epochs(best_epoch=40, patience=8, n_left=5) == 5
    assert [Cooldown(10, 4).factor(step) for step in (10, 12, 14, 15)] == [1.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize("n_steps, patience", [(400, 8), (25, 8), (20, 10), (3, 48)])
def test_automatic_patience(n_steps, patience):
    assert choose_patience(n_steps, "cooldown") == patience


def test_a_time_limit_ends_the_rate_at_zero():
    model = network(patience=500, max_epochs=100_000, time_limit=1.0).fit(*numbers())
    assert model.stop_reason_ == "time_limit"
    assert rates(model)[0] == 1 and rates(model)[-1] < 0.5
    assert torch.isfinite(torch.tensor(rates(model))).all()
