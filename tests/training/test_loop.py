"""The loop alone: an epoch visits every row once, weights are exact, the step is torch's, stopping
rules."""

import math

import pytest
import torch
from torch import nn

from tabdl.data.table import Table
from tabdl.network.contract import TabularNet
from tabdl.training.devices import Precision
from tabdl.training.epoch import weighted_mean
from tabdl.training.inference import net_outputs
from tabdl.training.loop import train
from tabdl.training.run import TrainingConfig, TrainingRun

NO_CATEGORIES = torch.empty(100, 0, dtype=torch.int32)


class FirstNumber(nn.Module):
    def forward(self, x_num, x_cat):
        return x_num


def linear_net(dtype=torch.float64):
    net = TabularNet(FirstNumber(), nn.Identity(), nn.Sequential(nn.Linear(3, 1))).to(dtype)
    with torch.no_grad():
        net.head[0].weight.copy_(torch.tensor([[0.1, 0.2, 0.3]]))
        net.head[0].bias.zero_()
    return net


def linear_table(weight=None):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 3, generator=generator, dtype=torch.float64)
    return Table(
        x, NO_CATEGORIES, x @ torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64), weight
    )


def squared(outputs, y):
    return (outputs - y.unsqueeze(1)).square().mean((1, 2))


def settings(**changes):
    values = {
        "lr": 0.1,
        "weight_decay": 0.5,
        "batch_size": 32,
        "max_epochs": 3,
        "patience": None,
        "time_limit": None,
    }
    return TrainingConfig(**{**values, "precision": Precision(torch.float64), **changes})


def train_one(net, rows, val=None, score=None, seed=7, **changes):
    [result] = train(
        [TrainingRun(net, rows, val, score, seed)],
        loss=squared,
        val_loss=squared,
        config=settings(**changes),
    )
    return result


def test_the_steps_are_torchs():
    """Beside a plain loop with torch.optim.AdamW over the same order of rows."""
    rows, net, plain = linear_table(), linear_net(), linear_net()
    result = train_one(net, rows)
    groups = [
        {"params": [plain.head[0].weight]},
        {"params": [plain.head[0].bias], "weight_decay": 0.0},
    ]
    optimizer, generator = (
        torch.optim.AdamW(groups, lr=0.1, weight_decay=0.5),
        torch.Generator().manual_seed(7),
    )
    for record in result.history:
        total = 0.0
        for index in torch.randperm(100, generator=generator).split(32):
            loss = squared(plain(rows.x_num[index], NO_CATEGORIES), rows.y[index]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(index)
        assert record["train_loss"] == pytest.approx(total / 100, rel=1e-12)
    torch.testing.assert_close(net.state_dict(), plain.state_dict(), rtol=1e-12, atol=1e-12)


class Spy(nn.Module):
    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, x_num, x_cat):
        self.seen.append(x_num[:, 0].tolist())
        return x_num


def one_number_table(n_rows, first=0):
    numbers = torch.arange(first, first + n_rows, dtype=torch.float32)
    return Table(
        numbers[:, None], torch.empty(n_rows, 0, dtype=torch.int32), torch.zeros(n_rows, 1)
    )


def test_an_epoch_visits_every_row_once():
    seen = []
    net = TabularNet(Spy(seen), nn.Identity(), nn.Sequential(nn.Linear(1, 1)))
    train_one(net, one_number_table(100), max_epochs=1, precision=Precision(torch.float32))
    assert [len(batch) for batch in seen] == [32, 32, 32, 4]
    visited = sum(seen, [])
    assert sorted(visited) == list(range(100)) and visited != list(range(100))


def test_a_batch_in_parts_is_the_batch():
    """The parts' gradients add up, also those of a last part that is shorter."""
    whole, parts = linear_net(), linear_net()
    parts.cpu_step_rows = 10
    table = linear_table(torch.linspace(0, 2, 100, dtype=torch.float64))
    histories = [train_one(net, table).history for net in (whole, parts)]
    torch.testing.assert_close(whole.state_dict(), parts.state_dict(), rtol=1e-12, atol=1e-12)
    assert [r["train_loss"] for r in histories[0]] == pytest.approx(
        [r["train_loss"] for r in histories[1]], rel=1e-12
    )


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
    result = train_one(net, table, table, score, patience=2, max_epochs=50, lr=1e-3)
    # Epoch 4 has epoch 2's score and a lower loss, which counts as better.
    assert (result.best_epoch, len(result.history), result.stop_reason) == (4, 6, "patience")
    torch.testing.assert_close(net.state_dict(), states[3], rtol=0, atol=0)


@pytest.mark.parametrize(
    "value, message",
    [(math.nan, "the validation score became nan in epoch 1. Try another scoring")],
)
def test_a_score_that_is_no_number(value, message):
    table = linear_table()
    with pytest.raises(FloatingPointError, match=message):
        train_one(linear_net(), table, table, lambda outputs, val_loss: value)


def test_bfloat16_runs_under_autocast_and_leaves_float32_weights():
    table = linear_table()
    table = Table(table.x_num.float(), NO_CATEGORIES, table.y.float())
    torch.manual_seed(0)
    net = TabularNet(FirstNumber(), nn.Linear(3, 8), nn.Sequential(nn.Linear(8, 1)))
    bfloat16 = Precision(torch.float32, half=torch.bfloat16)
    full = net_outputs(net, table, Precision(torch.float32))
    half = net_outputs(net, table, bfloat16)
    assert half.dtype == torch.float32 and not torch.equal(full, half)
    torch.testing.assert_close(half, full, rtol=0.02, atol=0.02)
    train_one(net, table, precision=bfloat16)
    assert net.head[0].weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
