"""The loop alone: an epoch visits every row once, weights are exact, the step is torch's, stopping rules."""

import math

import pytest
import torch
from torch import nn

from tabdl.data import Table
from tabdl.inference import net_outputs
from tabdl.nn import TabularNet
from tabdl.training import Settings, run_epoch, train, weighted_mean

NO_CATEGORIES = torch.empty(100, 0, dtype=torch.int32)


class FirstNumber(nn.Module):
    def forward(self, x_num, x_cat):
        return x_num


def linear_net(dtype=torch.float64):
    net = TabularNet(FirstNumber(), nn.Identity(), nn.Linear(3, 1)).to(dtype)
    with torch.no_grad():
        net.head.weight.copy_(torch.tensor([[0.1, 0.2, 0.3]]))
        net.head.bias.zero_()
    return net


def linear_table(weight=None):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 3, generator=generator, dtype=torch.float64)
    return Table(x, NO_CATEGORIES, x @ torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64), weight)


def squared(outputs, y):
    return (outputs - y.unsqueeze(1)).square().mean((1, 2))


def settings(**changes):
    values = {"lr": 0.1, "weight_decay": 0.5, "batch_size": 32, "max_epochs": 3, "patience": None, "time_limit": None}
    return Settings(**{**values, "precision": torch.float64, **changes})


def test_the_steps_are_torchs():
    """Beside a plain loop with torch.optim.AdamW over the same order of rows."""
    rows, net, plain = linear_table(), linear_net(), linear_net()
    outcome = train(
        net,
        rows,
        None,
        loss=squared,
        val_loss=squared,
        score=None,
        settings=settings(),
        generator=torch.Generator().manual_seed(7),
    )
    groups = [{"params": [plain.head.weight]}, {"params": [plain.head.bias], "weight_decay": 0.0}]
    optimizer, generator = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.5), torch.Generator().manual_seed(7)
    for record in outcome.history:
        total = 0.0
        for index in torch.randperm(100, generator=generator).split(32):
            loss = squared(plain(rows.x_num[index], NO_CATEGORIES), rows.y[index]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(index)
        assert record["train_loss"] == pytest.approx(total / 100, rel=1e-12)
    torch.testing.assert_close(net.state_dict(), plain.state_dict(), rtol=1e-12, atol=1e-12)


def test_an_epoch_visits_every_row_once():
    seen = []

    class Spy(nn.Module):
        def forward(self, x_num, x_cat):
            seen.append(x_num[:, 0].tolist())
            return x_num

    rows = Table(torch.arange(100.0)[:, None], NO_CATEGORIES, torch.zeros(100, 1))
    net = TabularNet(Spy(), nn.Identity(), nn.Linear(1, 1))
    optimizer = torch.optim.AdamW(net.parameters())
    run_epoch(net, rows, optimizer, squared, settings(precision=torch.float32), torch.Generator().manual_seed(0))
    assert [len(batch) for batch in seen] == [32, 32, 32, 4]
    visited = sum(seen, [])
    assert sorted(visited) == list(range(100)) and visited != list(range(100))


def test_weights_scale_the_loss_not_the_batch():
    losses = torch.tensor([1.0, 3.0])
    assert weighted_mean(losses, None) == 2.0
    assert weighted_mean(losses, torch.tensor([2.0, 0.0])) == 1.0
    assert weighted_mean(losses, torch.tensor([0.0, 0.0])) == 0.0


def test_stops_without_a_better_score_and_keeps_the_best():
    scores = iter([1.0, 3.0, 2.0, 3.0, 2.0, 2.0])
    states = []
    net = linear_net()

    def score(outputs, val_loss):
        states.append({name: value.clone() for name, value in net.state_dict().items()})
        return next(scores)

    table = linear_table()
    outcome = train(
        net,
        table,
        table,
        loss=squared,
        val_loss=squared,
        score=score,
        settings=settings(patience=2, max_epochs=50, lr=1e-3),
        generator=torch.Generator().manual_seed(0),
    )
    # Epoch 4 has epoch 2's score and a lower loss, which counts as better.
    assert (outcome.best_epoch, len(outcome.history), outcome.stop_reason) == (4, 6, "patience")
    torch.testing.assert_close(net.state_dict(), states[3], rtol=0, atol=0)


@pytest.mark.parametrize("value, message", [(math.nan, "the validation score became nan in epoch 1. Try another eval_metric")])
def test_a_score_that_is_no_number(value, message):
    table = linear_table()
    with pytest.raises(FloatingPointError, match=message):
        train(
            linear_net(),
            table,
            table,
            loss=squared,
            val_loss=squared,
            score=lambda outputs, val_loss: value,
            settings=settings(),
            generator=torch.Generator(),
        )


def test_bfloat16_runs_under_autocast_and_leaves_float32_weights():
    table = linear_table()
    table = Table(table.x_num.float(), NO_CATEGORIES, table.y.float())
    net = linear_net(torch.float32)
    full = net_outputs(net, table, torch.float32)
    half = net_outputs(net, table, torch.bfloat16)
    assert half.dtype == torch.float32 and not torch.equal(full, half)
    torch.testing.assert_close(half, full, rtol=0.02, atol=0.02)
    train(
        net,
        table,
        None,
        loss=squared,
        val_loss=squared,
        score=None,
        settings=settings(precision=torch.bfloat16),
        generator=torch.Generator().manual_seed(0),
    )
    assert net.head.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
