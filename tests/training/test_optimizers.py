"""Muon, moving averages of the weights and factors of learning rates, beside torch's own or a
formula."""

import copy

import pytest
import torch
from conftest import ARCHITECTURES, make, some_rows
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import tabdl.training.optimizers as optimizers
from tabdl.data.table import Schema, Table
from tabdl.network.contract import TabularNet, hidden_matrix_names, init_weights, lr_factors
from tabdl.training.devices import Precision
from tabdl.training.epoch import clip_gradients
from tabdl.training.loop import train
from tabdl.training.optimizers import Muon, WeightAverage, orthogonalized
from tabdl.training.run import TrainingConfig, TrainingRun
from tabdl.training.schedules import SCHEDULES

SCHEMA = Schema(("a", "b", "c"), ("d",), (4,))


def squared(outputs, y):
    return (outputs - y.unsqueeze(1)).square().mean((1, 2))


class Numbers(nn.Module):
    def forward(self, x_num, x_cat):
        return x_num


def small_net(seed=0):
    net = TabularNet(
        Numbers(),
        nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 5)),
        nn.Sequential(nn.Linear(5, 1)),
    )
    init_weights(net, torch.Generator().manual_seed(seed))
    return net


def small_table(dtype=torch.float32):
    x = torch.randn(90, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return Table(x, torch.empty(90, 0, dtype=torch.uint8), x[:, :1] * x[:, 1:2])


def train_nets(nets, rows, val=None, **changes):
    values = {
        "lr": 0.01,
        "weight_decay": 0.1,
        "batch_size": 32,
        "max_epochs": 3,
        "patience": None,
        "time_limit": None,
    }
    settings = TrainingConfig(**{**values, "precision": Precision(rows.x_num.dtype), **changes})
    members = [
        TrainingRun(net, rows, val, None if val is None else lambda outputs, loss: -loss, 7)
        for net in nets
    ]
    return train(members, loss=squared, val_loss=squared, config=settings)


def batches(n_epochs, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return [
        index
        for _ in range(n_epochs)
        for index in torch.randperm(90, generator=generator).split(32)
    ]


# --- Muon


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (9, 9)])
def test_orthogonal(shape):
    matrix = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = torch.linalg.svdvals(orthogonalized(matrix))
    assert values.min() > 0.3 and values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    # Same singular vectors: between them stands a diagonal matrix.
    middle = u.mT @ orthogonalized(matrix) @ v.mT
    torch.testing.assert_close(
        middle, torch.diag_embed(middle.diagonal(dim1=1, dim2=2)), atol=1e-8, rtol=0
    )


@pytest.mark.parametrize("has_instructions", [True, False])
def test_products_are_of_numbers_that_the_processor_multiplies(has_instructions, monkeypatch):
    monkeypatch.setattr(optimizers, "multiplies_bfloat16", lambda _: has_instructions)
    matrix = torch.randn(30, 40, generator=torch.Generator().manual_seed(0))
    exact = orthogonalized(matrix.double())
    error = (orthogonalized(matrix).double() - exact).abs().max().item()
    assert (1e-4 < error < 0.1) if has_instructions else error < 1e-5


def test_muon_is_torchs_for_each_matrix_of_a_stack():
    generator = torch.Generator().manual_seed(0)
    stack = torch.randn(2, 3, 12, 7, generator=generator)
    singles = [stack[i, j].clone().requires_grad_() for i in range(2) for j in range(3)]
    stack.requires_grad_()
    theirs = torch.optim.Muon(singles, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    ours = Muon([{"params": [stack], "lr": torch.tensor(0.02), "weight_decay": 0.1}])
    for _ in range(5):
        gradient = torch.randn(2, 3, 12, 7, generator=generator)
        stack.grad = gradient.clone()
        for single, part in zip(singles, gradient.flatten(0, 1), strict=True):
            single.grad = part.clone()
        theirs.step()
        ours.step()
    expected = torch.stack(singles).unflatten(0, (2, 3))
    # bfloat16 has three digits, and a step moves a weight by about 0.2 * 0.02.
    assert (stack - expected).abs().mean() < 0.02 * 5 * 0.004


def test_muon_in_the_loop_beside_adamw(monkeypatch):
    """Beside a plain loop with torch.optim.Muon for the backbone's matrices and torch.optim.AdamW
    for the rest."""
    # torch's multiplies bfloat16 numbers everywhere.
    monkeypatch.setattr(optimizers, "multiplies_bfloat16", lambda _: True)
    net, plain, rows = small_net(), small_net(), small_table()
    train_nets([net], rows, optimizer="muon")
    matrices = [plain.backbone[0].weight, plain.backbone[2].weight]
    head = plain.head[0]
    biases = [plain.backbone[0].bias, plain.backbone[2].bias, head.bias]
    muon = torch.optim.Muon(matrices, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(
        [{"params": [head.weight], "weight_decay": 0.1}, {"params": biases}],
        lr=0.01,
        weight_decay=0.0,
    )
    for index in batches(3):
        loss = squared(plain(rows.x_num[index], rows.x_cat), rows.y[index]).mean()
        for optimizer in (muon, adamw):
            optimizer.zero_grad()
        loss.backward()
        for optimizer in (muon, adamw):
            optimizer.step()
    start = small_net().state_dict()
    for name, weight in net.state_dict().items():
        moved = (plain.state_dict()[name] - start[name]).abs().mean()
        assert (weight - plain.state_dict()[name]).abs().mean() < 0.05 * moved, name


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "NODE"])
def test_hidden_matrices(architecture):
    net = make(architecture, "Regressor", numeric_embedding="periodic")._build_net(
        SCHEMA, 1, some_rows(SCHEMA)
    )
    names, parameters = hidden_matrix_names(net), dict(net.named_parameters())
    assert names and all(
        parameters[name].ndim >= 2 and name.startswith("backbone.") for name in names
    )
    # No other matrix of the backbone than TabM's vectors side by side and gMLP's gates over the
    # tokens.
    others = {
        name for name, p in parameters.items() if name.startswith("backbone.") and p.ndim >= 2
    } - names
    assert {name.rpartition(".")[2] for name in others} <= {"r", "s", "bias"} or architecture in (
        "TabM",
        "GMLP",
    )


# --- moving average


@pytest.mark.parametrize("n_members", [1, 3])
def test_average_is_torchs(n_members):
    rows, decay = small_table(torch.float64), 0.8
    nets = [small_net(seed).double() for seed in range(n_members)]
    plains = copy.deepcopy(nets)
    train_nets(nets, rows, ema_decay=decay)
    for net, plain in zip(nets, plains, strict=True):
        averaged = AveragedModel(plain, multi_avg_fn=get_ema_multi_avg_fn(decay))
        averaged.n_averaged.fill_(1)  # the initial weights count
        groups = [{"params": [p for p in plain.parameters() if p.ndim == 2], "weight_decay": 0.1}]
        groups.append(
            {"params": [p for p in plain.parameters() if p.ndim == 1], "weight_decay": 0.0}
        )
        optimizer = torch.optim.AdamW(groups, lr=0.01)
        for index in batches(3):
            optimizer.zero_grad()
            squared(plain(rows.x_num[index], rows.x_cat), rows.y[index]).mean().backward()
            optimizer.step()
            averaged.update_parameters(plain)
        torch.testing.assert_close(
            net.state_dict(), averaged.module.state_dict(), rtol=1e-9, atol=1e-9
        )
        assert not torch.allclose(net.head[0].weight, plain.head[0].weight)


def test_averages_are_evaluated_and_the_weights_go_on():
    """With a validation table the course of the weights is the same, and the losses are those of
    the averages."""
    rows = small_table(torch.float64)
    net, watched = small_net().double(), small_net().double()
    train_nets([net], rows, ema_decay=0.9)
    [result] = train_nets([watched], rows, rows, ema_decay=0.9)
    torch.testing.assert_close(net.state_dict(), watched.state_dict(), rtol=0, atol=0)
    loss = squared(watched(rows.x_num, rows.x_cat), rows.y).mean().item()
    assert result.history[-1]["val_loss"] == pytest.approx(loss)


def test_weights_come_back_behind_an_exception():
    weight = torch.zeros(2, 2)
    average = WeightAverage([weight], 0.5)
    weight.add_(1)
    average.update()
    with pytest.raises(RuntimeError), average.in_place():
        assert weight.eq(0.5).all()
        raise RuntimeError
    assert weight.eq(1).all() and average.averages[0].eq(0.5).all()


# -------------------------------------------------------------------------------------------------
# factors, scheduled decay


class Factored(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.lr_factors = nn.Linear(3, 5), {"inner": 2.0, "inner.bias": 0.25}

    def forward(self, x):
        return self.inner(x)


def test_factors_multiply():
    net = TabularNet(Numbers(), Factored(), nn.Sequential(nn.Linear(5, 1)))
    assert lr_factors(net) == {
        "backbone.inner.weight": 2.0,
        "backbone.inner.bias": 0.5,
        "head.0.weight": 1.0,
        "head.0.bias": 1.0,
    }


@pytest.mark.parametrize("decay_schedule", ["constant", "flat_cosine"])
def test_factors_and_schedules_are_torchs(decay_schedule):
    """Beside a plain loop with torch.optim.AdamW whose rates and decay are set by hand, times the
    factors, before each step."""
    net = TabularNet(Numbers(), Factored(), nn.Sequential(nn.Linear(5, 1))).double()
    init_weights(net, torch.Generator().manual_seed(0))
    plain, rows = copy.deepcopy(net), small_table(torch.float64)
    changes = {
        "lr_schedule": "coslog4",
        "weight_decay_schedule": decay_schedule,
        "beta2": 0.95,
        "weight_decay": 2.0,
    }
    train_nets([net], rows, **changes)
    inner, head = plain.backbone.inner, plain.head[0]
    factors = {inner.weight: 2.0, inner.bias: 0.5, head.weight: 1.0, head.bias: 1.0}
    groups = [{"params": [p]} for p in factors]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    for step, index in enumerate(batches(3)):
        for group, (parameter, factor) in zip(optimizer.param_groups, factors.items(), strict=True):
            group["lr"] = 0.01 * factor * SCHEDULES["coslog4"](step / 9)
            group["weight_decay"] = (
                2.0 * factor * SCHEDULES[decay_schedule](step / 9) * (parameter.ndim == 2)
            )
        optimizer.zero_grad()
        squared(plain(rows.x_num[index], rows.x_cat), rows.y[index]).mean().backward()
        optimizer.step()
    torch.testing.assert_close(net.state_dict(), plain.state_dict(), rtol=1e-9, atol=1e-9)


def test_no_step_takes_what_is_left():
    rows, net, plain = small_table(torch.float64), small_net().double(), small_net().double()
    [result] = train_nets([net], rows, drop_last=True, max_epochs=1, weight_decay=0.0)
    optimizer, losses = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.0), []
    for index in batches(1)[:2]:
        loss = squared(plain(rows.x_num[index], rows.x_cat), rows.y[index]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    torch.testing.assert_close(net.state_dict(), plain.state_dict(), rtol=1e-9, atol=1e-9)
    assert result.history[0]["train_loss"] == pytest.approx(sum(losses) / 2)
    [result] = train_nets([small_net().double()], rows, drop_last=True, batch_size=1000)
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]


@pytest.mark.parametrize("takes_last_best, best", [(False, 2), (True, 4)])
def test_the_best_of_equal_epochs(takes_last_best, best):
    """Of two epochs with the best score the second has the lower loss, the fourth is the later
    one."""
    rows, losses = small_table(), iter([4.0, 1.0, 3.0, 2.0, 5.0])
    scores = iter([1.0, 3.0, 2.0, 3.0, 2.0])
    member = TrainingRun(small_net(), rows, rows, lambda outputs, loss: next(scores), 7)
    values = {
        "lr": 1e-3,
        "weight_decay": 0.0,
        "batch_size": 90,
        "max_epochs": 5,
        "patience": 5,
        "time_limit": None,
    }
    settings = TrainingConfig(
        **values, precision=Precision(torch.float32), takes_last_best=takes_last_best
    )
    [result] = train(
        [member],
        loss=squared,
        val_loss=lambda outputs, y: torch.full((90,), next(losses)),
        config=settings,
    )
    assert result.best_epoch == best


def test_each_network_is_clipped_as_it_would_be_alone():
    """Also where no output depends on a parameter, which then has no gradient."""
    generator = torch.Generator().manual_seed(0)
    stacked = [torch.nn.Parameter(torch.zeros(2, *shape)) for shape in ((3, 4), (3,), (5,))]
    for parameter in stacked[:2]:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        parameter.grad[0] *= 0.01
    alone = [[torch.nn.Parameter(p[i].detach().clone()) for p in stacked] for i in range(2)]
    for i, parameters in enumerate(alone):
        for mine, parameter in zip(stacked[:2], parameters, strict=False):
            parameter.grad = mine.grad[i].clone()
        clip_gradients(parameters, 1.0, 1)
    clip_gradients(stacked, 1.0, 2)
    for mine, first, second in zip(stacked[:2], *alone, strict=False):
        torch.testing.assert_close(mine.grad, torch.stack([first.grad, second.grad]))
