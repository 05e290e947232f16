"""Swapped cells, and the losses of outputs that say what was there."""

import pytest
import torch
from torch.nn import functional

from tabdl.data.table import Schema, Table
from tabdl.training.swap_noise import (
    PretrainingLoss,
    SupervisedLoss,
    known_targets,
    swap_cells,
)

OBJECTIVES = ("reconstruction", "mask", "both")
SCHEMA = Schema(("a", "b"), ("c", "d"), (3, 40))


def batch(n_networks=2, n_rows=500):
    generator = torch.Generator().manual_seed(0)
    shape = (n_networks, n_rows)
    x_num = torch.randn(*shape, 2, generator=generator)
    x_num[..., 1] = torch.randint(2, shape, generator=generator) * 10.0
    codes = [torch.randint(size - 1, shape, generator=generator) for size in SCHEMA.cardinalities]
    weight = torch.rand(shape, generator=generator)
    return Table(x_num, torch.stack(codes, 2).to(torch.uint8), weight=weight)


def generators(n=2):
    return [torch.Generator().manual_seed(seed) for seed in range(n)]


def test_swapped_cells_have_values_of_their_column_and_others_their_own():
    clean = batch()
    swapped = swap_cells(clean, 0.2, generators())
    numbers, codes, is_other = swapped.y.split([2, 2, 4], 2)
    assert torch.equal(numbers, clean.x_num) and torch.equal(codes, clean.x_cat.float())
    for before, after, other in (
        (clean.x_num, swapped.x_num, is_other[..., :2]),
        (clean.x_cat, swapped.x_cat, is_other[..., 2:]),
    ):
        assert after.dtype == before.dtype
        assert torch.equal(before != after, other.bool())
        for network in range(2):
            for column in range(2):
                values = before[network, :, column].unique()
                assert torch.isin(after[network, :, column], values).all()
    # Nearly every number that is swapped differs, and half of those with two equally likely values.
    shares = is_other.mean((0, 1))
    assert shares[0] == pytest.approx(0.2, abs=0.03)
    assert shares[1] == pytest.approx(0.1, abs=0.03)
    assert swapped.weight is clean.weight


def test_all_cells_at_a_rate_of_one_keep_the_marginals():
    clean = batch(1, 20_000)
    swapped = swap_cells(clean, 1.0, generators(1))
    assert (swapped.x_num[..., 0] != clean.x_num[..., 0]).all()
    torch.testing.assert_close(swapped.x_num.mean(1), clean.x_num.mean(1), atol=0.15, rtol=0)
    both = torch.stack([swapped.x_num[0, :, 0], clean.x_num[0, :, 0]])
    assert abs(both.corrcoef()[0, 1]) < 0.03


def test_each_network_draws_as_it_would_alone():
    clean = batch()
    swapped = swap_cells(clean, 0.2, generators())
    alone = Table(clean.x_num[1:], clean.x_cat[1:])
    assert torch.equal(swap_cells(alone, 0.2, generators()[1:]).y[0], swapped.y[1])


def test_a_row_alone_stays_as_it_is():
    clean = batch(1, 1)
    swapped = swap_cells(clean, 1.0, generators(1))
    assert torch.equal(swapped.x_num, clean.x_num)
    assert not swapped.y[..., 4:].any()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_are_means_over_features_and_predictions(objective):
    swapped = swap_cells(batch(1, 30), 0.3, generators(1))
    y = swapped.y[0]
    loss = PretrainingLoss(SCHEMA, objective)
    outputs = torch.randn(30, 4, loss.n_outputs, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(30, 4)
    parts = list(outputs.split([2, 3, 40, 4] if objective == "both" else [loss.n_outputs], 2))
    if objective == "reconstruction":
        parts = list(outputs.split([2, 3, 40], 2))
    for k in range(4):
        if objective != "mask":
            squares = (parts[0][:, k] - y[:, :2]).square().sum(1)
            crosses = [
                functional.cross_entropy(parts[1 + i][:, k], y[:, 2 + i].long(), reduction="none")
                for i in range(2)
            ]
            expected[:, k] += (squares + sum(crosses)) / 4
        if objective != "reconstruction":
            shares = parts[-1][:, k].sigmoid()
            expected[:, k] += functional.binary_cross_entropy(
                shares, y[:, 4:], reduction="none"
            ).mean(1)
    torch.testing.assert_close(loss(outputs, y), expected.mean(1))


@pytest.mark.parametrize("schema", [Schema(("a",), (), ()), Schema((), ("c",), (4,))])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_tables_of_one_kind_of_feature(schema, objective):
    table = Table(
        torch.randn(1, 8, schema.n_num), torch.randint(3, (1, 8, len(schema.cat_names))).short()
    )
    swapped = swap_cells(table, 0.5, generators(1))
    loss = PretrainingLoss(schema, objective)
    losses = loss(torch.zeros(8, 1, loss.n_outputs), swapped.y[0])
    assert losses.shape == (8,) and losses.isfinite().all()


# --- supervised


def squared(outputs, y):
    return (outputs - y.unsqueeze(1)).square().mean((1, 2))


def cross_entropy(outputs, y):
    return functional.cross_entropy(outputs[:, 0], y, reduction="none")


@pytest.mark.parametrize(
    "y, supervised",
    [
        (torch.linspace(-1, 1, 20).unsqueeze(1), SupervisedLoss(squared, 1, False)),
        (torch.arange(20) % 3, SupervisedLoss(cross_entropy, 3, True)),
    ],
)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_labelled_rows_add_the_loss_of_the_target(objective, y, supervised):
    clean = batch(1, 30)
    known = known_targets(y, 10).float()
    swapped = swap_cells(Table(clean.x_num, clean.x_cat, known[None]), 0.3, generators(1)).y[0]
    plain = PretrainingLoss(SCHEMA, objective)
    loss = PretrainingLoss(SCHEMA, f"{objective}+supervised", supervised)
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn(30, 1, loss.n_outputs, generator=generator)
    n_own = plain.n_outputs
    assert loss.n_outputs == n_own + supervised.n_outputs
    added = loss(outputs, swapped) - plain(outputs[:, :, :n_own], swapped[:, :8])
    expected = supervised.loss(outputs[:20, :, n_own:], y)
    torch.testing.assert_close(added[:20], expected, atol=1e-5, rtol=1e-4)
    assert added[20:].abs().max() < 1e-6
