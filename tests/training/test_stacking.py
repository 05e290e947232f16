"""Several networks trained together are what each is alone."""

import copy

import pytest
import torch
from conftest import make, some_rows

from tabdl.data.table import Schema, Table, TableView
from tabdl.network.contract import init_weights
from tabdl.training.devices import Precision
from tabdl.training.loop import train
from tabdl.training.run import TrainingConfig, TrainingRun

SCHEMA = Schema(("a", "b", "c"), ("d", "e"), (4, 6))


def table(n_rows, seed, weighted=False):
    generator = torch.Generator().manual_seed(seed)
    x_num = torch.randn(n_rows, 3, generator=generator, dtype=torch.float64)
    x_cat = torch.stack(
        [torch.randint(c - 1, (n_rows,), generator=generator) for c in SCHEMA.cardinalities], 1
    )
    weight = torch.rand(n_rows, generator=generator, dtype=torch.float64) * 2 if weighted else None
    return Table(
        x_num, x_cat.to(torch.uint8), x_num[:, :1] * x_num[:, 1:2] + (x_cat[:, :1] == 2), weight
    )


def squared(outputs, y):
    return (outputs - y.unsqueeze(1)).square().mean((1, 2))


def net(architecture, seed, **parameters):
    built = (
        make(architecture, "Regressor", **parameters)
        ._build_net(SCHEMA, 1, some_rows(SCHEMA))
        .double()
    )
    init_weights(built, torch.Generator().manual_seed(seed))
    return built


def members(architecture, tables, vals):
    return [
        TrainingRun(net(architecture, seed), rows, val, lambda outputs, loss: -loss, seed)
        for seed, (rows, val) in enumerate(zip(tables, vals, strict=True))
    ]


def run(chosen, together=True, **changes):
    values = {
        "lr": 1e-2,
        "weight_decay": 1e-3,
        "batch_size": 16,
        "max_epochs": 6,
        "patience": 2,
        "time_limit": None,
    }
    settings = TrainingConfig(**{**values, "precision": Precision(torch.float64), **changes})
    return train(chosen, loss=squared, val_loss=squared, config=settings, together=together)


def comparable(result):
    return [
        {key: value for key, value in record.items() if key != "seconds"}
        for record in result.history
    ]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_together_is_alone(architecture, shared, weighted):
    common = table(50, 0, weighted)
    tables = [common if shared else table(50, seed, weighted) for seed in range(3)]
    vals = [table(30, 10 + seed) for seed in range(3)]
    together = members(architecture, tables, vals)
    results = run(together, max_epochs=4)
    for i, alone in enumerate(members(architecture, tables, vals)):
        [result] = run([alone], max_epochs=4)
        assert (result.best_epoch, result.stop_reason) == (
            results[i].best_epoch,
            results[i].stop_reason,
        )
        # torch's batch normalisation rounds its momentum to float32 on one of the two ways, and
        # AdamW enlarges what is left of a gradient that is zero.
        torch.testing.assert_close(comparable(result), comparable(results[i]), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(
            alone.net.state_dict(), together[i].net.state_dict(), rtol=1e-4, atol=1e-4
        )
    weights = [torch.cat([p.flatten() for p in member.net.parameters()]) for member in together]
    assert not torch.allclose(weights[0], weights[1])


def test_each_stops_for_itself():
    """The second member is told to stop after epoch 2, and what it had then it keeps."""
    chosen = members("TabMLP", [table(40, 0)] * 2, [table(20, 1)] * 2)
    kept = {}

    def callback(record):
        if record["member"] == 1 and record["epoch"] == 2:
            kept.update({name: value.clone() for name, value in chosen[1].net.state_dict().items()})
            return True

    first, second = run(chosen, patience=None, callbacks=[callback])
    assert (first.stop_reason, len(first.history), first.best_epoch) == ("max_epochs", 6, 6)
    assert (second.stop_reason, len(second.history), second.best_epoch) == ("callback", 2, 2)
    torch.testing.assert_close(chosen[1].net.state_dict(), kept, rtol=0, atol=0)


@pytest.mark.two_networks
def test_networks_are_their_own_again_afterwards(architecture):
    chosen = members(architecture, [table(40, 0)] * 2, [None] * 2)
    run(chosen, patience=None)
    for member in chosen:
        for tensor in member.net.state_dict().values():
            assert tensor.untyped_storage().nbytes() == tensor.nbytes
        assert all(p.grad is None and p.requires_grad for p in member.net.parameters())
        copy.deepcopy(member.net)


def test_tables_of_other_sizes():
    """Every member takes as many rows an epoch as the smallest table has, the last batch too."""
    chosen = members("TabResNet", [table(50, 0), table(53, 1)], [None] * 2)
    results = run(chosen, patience=None, max_epochs=2)
    assert all(len(result.history) == 2 for result in results)


@pytest.mark.two_networks
def test_rows_of_one_table(architecture):
    """Members that share a table train on their own rows of it, as members with tables of those
    rows do."""
    common = table(60, 0, weighted=True)
    indices = [torch.arange(0, 40), torch.arange(15, 55)]
    # A weight of a table has a mean of 1; here the members' own tables must have the common table's
    # weights.
    own = [
        TrainingRun(net(architecture, i), common.take(index), None, None, i)
        for i, index in enumerate(indices)
    ]
    shared = [
        TrainingRun(net(architecture, i), common, None, None, i, index)
        for i, index in enumerate(indices)
    ]
    for together in (True, False):
        for one in (*shared, *own):
            one.optimizer_state = None  # which a training of a run alone leaves there
        run(shared, patience=None, max_epochs=2, together=together)
        run(own, patience=None, max_epochs=2, together=False)
        for a, b in zip(own, shared, strict=True):
            torch.testing.assert_close(a.net.state_dict(), b.net.state_dict(), rtol=1e-4, atol=1e-4)


@pytest.mark.two_networks
def test_validation_rows_of_one_table(architecture):
    """Codes that a member's rows lack are to it as unseen ones, also where the table's other rows
    have them."""
    common, index = table(60, 0), torch.arange(20, 60)
    codes = [torch.arange(size) for size in SCHEMA.cardinalities]
    lacking = common.x_cat[:, 0] == 1
    index = index[~lacking[index]]
    codes[0][1] = SCHEMA.cardinalities[0] - 1
    rows = TableView(common, torch.arange(20), codes)
    as_unseen = common.take(slice(20)).x_cat.clone()
    as_unseen[as_unseen[:, 0] == 1, 0] = SCHEMA.cardinalities[0] - 1
    plain = Table(common.x_num[:20], as_unseen, common.y[:20])
    assert lacking[:20].any()
    results = [
        run([TrainingRun(net(architecture, 0), common, val, lambda o, loss: -loss, 0, index)])[0]
        for val in (rows, plain)
    ]
    assert comparable(results[0]) == comparable(results[1])


@pytest.mark.two_networks
@pytest.mark.parametrize("together", [True, False])
def test_one_after_the_other_is_together(architecture, together):
    tables = [table(50, 0), table(53, 1)]
    chosen, others = (members(architecture, tables, [table(30, 2)] * 2) for _ in range(2))
    results = zip(
        run(chosen, max_epochs=3, together=together), run(others, max_epochs=3), strict=True
    )
    for mine, theirs in results:
        torch.testing.assert_close(comparable(mine), comparable(theirs), rtol=1e-6, atol=1e-6)


def test_bfloat16_under_stacked_weights():
    """Wide Transformers train in bfloat16 by default, beside each other as alone; no order of sums
    is exact to three digits."""
    bfloat16, rows = (
        Precision(torch.float32, half=torch.bfloat16),
        table(40, 0).to("cpu", torch.float32),
    )

    def losses(together):
        chosen = [
            TrainingRun(net("FTTransformer", i).float(), rows, rows, lambda o, loss: -loss, i)
            for i in range(2)
        ]
        results = run(chosen, together=together, precision=bfloat16, max_epochs=2)
        return [record["val_loss"] for result in results for record in result.history]

    assert losses(True) == pytest.approx(losses(False), rel=0.05)
