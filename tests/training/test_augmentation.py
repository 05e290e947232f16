"""Noise of training rows: swapped cells, hidden columns and mixed rows, in every network."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make, numbers, people, some_rows, target

from tabdl import CrossValEnsembleClassifier, CrossValEnsembleRegressor
from tabdl.base.augmentation import find_neighbours
from tabdl.data.neighbours import labels_of
from tabdl.data.table import Schema, Table
from tabdl.data.validation import read_X
from tabdl.network.contract import init_weights
from tabdl.training.augmentation import FeatureDropout, augmented, mixup_shares
from tabdl.training.devices import Precision
from tabdl.training.epoch import EpochRunner
from tabdl.training.loop import train
from tabdl.training.run import TrainingConfig, TrainingRun
from tabdl.training.swap_noise import swapped, swapped_with_neighbours

SCHEMA = Schema(("a", "b"), ("c", "d"), (3, 40))
# The second number and the second category are of one column.
COLUMNS = torch.tensor([0, 1, 2, 1])
BLANK = torch.tensor([7.0, 8.0]), torch.tensor([2, 39]).byte()
HIDDEN = FeatureDropout(0.5, *BLANK, COLUMNS, n_columns=3)
OPTIONS = {"mixup": 0.4, "swap_noise": 0.3, "feature_dropout": 0.3}
NEAREST = {"swap_noise": 0.5, "swap_noise_from": "nearest"}


def batch(n_networks=2, n_rows=60):
    generator = torch.Generator().manual_seed(0)
    x_num = torch.randn(n_networks, n_rows, 2, generator=generator)
    x_cat = torch.randint(2, (n_networks, n_rows, 2), generator=generator).byte()
    y = torch.arange(n_networks * n_rows).view(n_networks, n_rows, 1)
    return Table(x_num, x_cat, y, torch.rand(n_networks, n_rows, generator=generator))


def generators(n=2):
    return [torch.Generator().manual_seed(seed) for seed in range(n)]


# --- batches


def test_without_options_a_batch_stays_what_it_is():
    rows = batch()
    assert augmented(rows, 0.0, None, 1, generators()) is rows


def test_swap_noise_leaves_targets_and_weights():
    rows = batch()
    noisy = augmented(rows, 0.3, None, 1, generators())
    assert torch.equal(noisy.x_num, swapped(rows, 0.3, generators()).x_num)
    assert not torch.equal(noisy.x_num, rows.x_num)
    assert noisy.y is rows.y and noisy.weight is rows.weight


@pytest.mark.parametrize("n_streams", [1, 3])
def test_hidden_columns_are_hidden_from_all_rows_of_a_stream(n_streams):
    rows, seen = batch(), set()
    own = generators()
    for _ in range(20):
        noisy = HIDDEN.hide(rows, n_streams, own)
        assert noisy.x_cat.dtype == rows.x_cat.dtype and noisy.y is rows.y
        before = torch.cat([rows.x_num, rows.x_cat], 2)
        after = torch.cat([noisy.x_num, noisy.x_cat], 2)
        blank = torch.cat([HIDDEN.x_num, HIDDEN.x_cat])
        for network in range(2):
            for stream in range(n_streams):
                part = network, slice(stream, None, n_streams)
                is_hidden = (after[part] == blank).all(0)
                assert torch.equal(after[part], torch.where(is_hidden, blank, before[part]))
                assert is_hidden[1] == is_hidden[3]  # features of one column
                seen.add((network, stream, *is_hidden.tolist()))
    assert len(seen) > 4 * 2 * n_streams  # of 8 patterns for each


def test_each_network_draws_as_it_would_alone():
    rows = batch()
    both = augmented(rows, 0.3, HIDDEN, 1, generators())
    alone = Table(rows.x_num[1:], rows.x_cat[1:])
    alone = augmented(alone, 0.3, HIDDEN, 1, generators()[1:])
    assert torch.equal(alone.x_num[0], both.x_num[1])
    assert torch.equal(alone.x_cat[0], both.x_cat[1])


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 20.0])
def test_shares_of_mixup_are_beta_distributed(alpha):
    shares = mixup_shares(alpha, torch.empty(1, 20_000, 3, dtype=torch.float64), generators(1))
    assert shares.shape == (1, 20_000) and shares.min() >= 0 and shares.max() <= 1
    expected = torch.distributions.Beta(alpha, alpha)
    assert shares.mean().item() == pytest.approx(0.5, abs=0.01)
    assert shares.var().item() == pytest.approx(expected.variance.item(), rel=0.03)
    # The distribution function of Beta(1, 1), and of Beta(1/2, 1/2).
    if alpha in (0.5, 1.0):
        share = (shares < 0.1).double().mean().item()
        assert share == pytest.approx({0.5: 0.2048, 1.0: 0.1}[alpha], abs=0.01)


# --- cells of neighbours


def known_neighbours(rows):
    """Return a batch of (M, B, ...) whose rows know three of 50 donors, and the donors."""
    generator = torch.Generator().manual_seed(3)
    shape = (*rows.x_num.shape[:2], 3)
    neighbours = torch.randint(50, shape, generator=generator).int()
    donors = batch(1, 50)._map(lambda tensor: tensor[0])
    return replace(rows, neighbours=neighbours), replace(donors, x_num=donors.x_num + 10)


def test_swapped_cells_are_those_of_the_neighbours():
    rows, donors = known_neighbours(batch(2, 2000))
    noisy = augmented(rows, 0.3, None, 1, generators(), donors)
    assert noisy.y is rows.y and noisy.weight is rows.weight
    assert noisy.x_cat.dtype == rows.x_cat.dtype
    is_swapped = noisy.x_num != rows.x_num
    assert is_swapped.float().mean().item() == pytest.approx(0.3, abs=0.02)
    for name in ("x_num", "x_cat"):
        offered = getattr(donors, name)[rows.neighbours.long()]
        taken = getattr(noisy, name).unsqueeze(2) == offered
        kept = getattr(noisy, name) == getattr(rows, name)
        assert (taken.any(2) | kept).all()
    # Each of the three is drawn as often, and the two numbers of a row draw apart.
    taken = noisy.x_num.unsqueeze(2) == donors.x_num[rows.neighbours.long()]
    of_first = taken[..., 0][is_swapped[..., 0]].float().mean(0)
    assert of_first.tolist() == pytest.approx([1 / 3] * 3, abs=0.05)
    is_same = taken[is_swapped.all(2)].all(2).any(1)
    assert is_same.float().mean().item() == pytest.approx(1 / 3, abs=0.1)


def test_each_network_draws_its_neighbours_as_alone():
    rows, donors = known_neighbours(batch())
    both = swapped_with_neighbours(rows, 0.5, generators(), donors)
    alone = rows._map(lambda tensor: tensor[1:])
    alone = swapped_with_neighbours(alone, 0.5, generators()[1:], donors)
    assert torch.equal(alone.x_num[0], both.x_num[1])
    assert torch.equal(alone.x_cat[0], both.x_cat[1])


@pytest.mark.parametrize("task", ["Classifier", "Regressor"])
def test_swapped_rows_stay_with_their_label(task):
    """The classes, or the tenths of the target, do not overlap: each cell says whose it is."""
    y = torch.randn(200, 1, generator=torch.Generator().manual_seed(0)).double()
    labels = labels_of(y, False)
    rows = Table(labels.view(-1, 1) + torch.rand(200, 2) / 2, labels.view(-1, 1).byte(), y)
    rows = replace(rows, y=labels) if task == "Classifier" else rows
    run = TrainingRun(None, rows, None, None, 0)
    donors = find_neighbours(make("TabMLP", task, **NEAREST), [run], torch.device("cpu"))
    noisy = run.table._map(lambda tensor: tensor.unsqueeze(0))
    noisy = augmented(noisy, 0.5, None, 1, generators(1), donors)
    assert (noisy.x_num[0] != rows.x_num).any(0).all()
    assert (noisy.x_num[0].int() == labels.view(-1, 1)).all()
    assert torch.equal(noisy.x_cat[0], rows.x_cat)


# --- mixed rows


def net_of(architecture, seed=0, **parameters):
    rows = some_rows(SCHEMA, 64)
    net = make(architecture, "Regressor", **parameters)._build_net(SCHEMA, 1, rows)
    init_weights(net, torch.Generator().manual_seed(seed))
    return net.double()


def table(n_rows=64):
    rows = some_rows(SCHEMA, n_rows)
    return Table(rows.x_num.double(), rows.x_cat, rows.x_num[:, :1].double())


def squared(outputs, y):
    return (outputs - y.unsqueeze(1)).square().mean((1, 2))


def settings(donors=None, **options):
    hidden = HIDDEN if "feature_dropout" in options else None
    return TrainingConfig(
        lr=0.01,
        weight_decay=0.0,
        batch_size=8,
        max_epochs=2,
        patience=None,
        time_limit=None,
        precision=Precision(torch.float64),
        **options | {"feature_dropout": hidden, "donors": donors},
    )


def test_whole_rows_stay_or_go(architecture):
    """A share of one is the row itself, of zero the row before."""
    net, rows = net_of(architecture).eval(), table()
    outputs = net(rows.x_num, rows.x_cat)
    for share, expected in ((1.0, outputs), (0.0, outputs.roll(net.n_batch_streams, 0))):
        mix = (torch.full((64,), share, dtype=torch.float64),)
        found = net(rows.x_num, rows.x_cat, mix)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_inputs_and_losses_of_mixup_have_the_same_shares():
    net, rows = net_of("TabMLP", numeric_embedding=None, dropout=0.0), table()
    with EpochRunner(
        [TrainingRun(net, rows, None, None, 0)], squared, settings(mixup=0.4)
    ) as steps:
        part = rows._map(lambda tensor: tensor.unsqueeze(0))
        state = steps.noise[0].get_state()
        losses = steps._losses(steps.networks, part)[0]
        steps.noise[0].set_state(state)
        share = mixup_shares(0.4, part.x_num, steps.noise)[0]
    x = net.embedding(rows.x_num, rows.x_cat)
    outputs = net.from_embedding(torch.lerp(x.roll(1, 0), x, share.unsqueeze(1)))
    own, other = squared(outputs, rows.y), squared(outputs, rows.y.roll(1, 0))
    torch.testing.assert_close(losses, share * own + (1 - share) * other)


@pytest.mark.parametrize(
    "has_neighbours", [False, pytest.param(True, marks=pytest.mark.two_networks)]
)
def test_members_are_what_each_is_alone(architecture, has_neighbours):
    rows, donors = table(), None
    if has_neighbours:
        neighbours = torch.arange(64 * 2).view(64, 2).int() % 50
        rows, donors = replace(rows, neighbours=neighbours), rows.take(slice(50))

    def run(seeds, together):
        nets = [net_of(architecture, seed) for seed in seeds]
        pairs = zip(nets, seeds, strict=True)
        members = [TrainingRun(net, rows, None, None, seed) for net, seed in pairs]
        train(
            members,
            loss=squared,
            val_loss=squared,
            config=settings(donors, **OPTIONS),
            together=together,
        )
        return nets

    alone = run([0], True) + run([1], True)
    for one, other in zip(run([0, 1], False), alone, strict=True):
        assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
    for one, other in zip(run([0, 1], True), alone, strict=True):
        # AdamW enlarges what is left of a gradient that is zero.
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-4, atol=5e-4)


# --- estimators


@pytest.fixture(scope="module")
def plain():
    X, y = people(100)
    return make("TabMLP", "Regressor", max_epochs=2).fit(X, y), X, y


@pytest.mark.parametrize("name", OPTIONS)
def test_a_fit_repeats_itself_and_predictions_have_no_noise(plain, name):
    without, X, y = plain
    model, again = (
        make("TabMLP", "Regressor", max_epochs=2, **{name: OPTIONS[name]}).fit(X, y)
        for _ in range(2)
    )
    found = model.predict(X)
    np.testing.assert_array_equal(found, again.predict(X))
    np.testing.assert_array_equal(found, model.predict(X))
    assert not np.allclose(found, without.predict(X))
    assert len(without.history_) == len(model.history_) == 2


@pytest.mark.parametrize("architecture", ["TabMLP", "TabM"])
def test_networks_learn_with_all_options(architecture):
    X, y = people(300)
    options = {"mixup": 0.2, "swap_noise": 0.1, "feature_dropout": 0.1}
    options |= {"max_epochs": 30, "batch_size": 64, "lr": 0.02}
    model = make(architecture, "Classifier", **options).fit(X, target(y - 3, "Classifier"))
    assert model.score(X, target(y - 3, "Classifier")) > 0.85


def test_hidden_columns_are_missing_numbers_and_unknown_categories():
    X, y = people(100)
    X["age"] = X["age"].fillna(50.0)
    X["age2"] = X["age"].where(np.arange(100) % 9 > 0)
    model = make("TabMLP", "Regressor", numeric_missing="indicator", max_epochs=1)
    encoder = model.fit(X, y).encoder_
    x_num, x_cat = encoder.hidden_row()
    blank = X.iloc[:1].astype(object).copy()
    blank.loc[:] = None
    blank = pd.DataFrame({name: blank[name].astype(X[name].dtype) for name in X})
    columns = read_X(model, blank, kinds=encoder.kinds, column_names=encoder.column_names, name="X")
    expected_num, _ = encoder.transform(columns)
    np.testing.assert_array_equal(x_num, expected_num[0])
    np.testing.assert_array_equal(x_cat, np.array(encoder.schema.cardinalities) - 1)


@pytest.mark.parametrize("name", OPTIONS)
def test_folds_that_share_a_training_have_noise(name):
    X, y = numbers(60)
    first, second = (
        CrossValEnsembleRegressor(make("TabMLP", "Regressor", max_epochs=1, **options), cv=2)
        for options in ({}, {name: OPTIONS[name]})
    )
    first.set_params(random_state=0).fit(X, y)
    second.set_params(random_state=0).fit(X, y)
    assert not np.allclose(first.predict(X), second.predict(X))


# --- estimators that swap with neighbours


def near(task="Classifier", **options):
    return make("TabMLP", task, **{"max_epochs": 2} | NEAREST | options)


@pytest.fixture(scope="module")
def labelled():
    X, y = people(120)
    return X, target(y - 3, "Classifier")


def test_a_fit_with_neighbours_repeats_itself_and_keeps_no_rows(labelled):
    X, y = labelled
    model, again, other = (near(**options).fit(X, y) for options in ({}, {}, {"random_state": 1}))
    found = model.predict_proba(X)
    np.testing.assert_array_equal(found, again.predict_proba(X))
    assert not np.allclose(found, other.predict_proba(X))
    plain = near(swap_noise_from="batch").fit(X, y)
    assert not np.allclose(found, plain.predict_proba(X))
    assert abs(len(pickle.dumps(model)) - len(pickle.dumps(plain))) < 20


def test_rows_of_no_weight_are_no_neighbours(labelled):
    X, y = labelled
    weight = (np.arange(120) % 3 > 0).astype(float)
    kept = weight > 0
    options = {"early_stopping": False, "batch_size": 16}
    found = near(**options).fit(X, y, sample_weight=weight).predict_proba(X)
    expected = near(**options).fit(X[kept], y[kept]).predict_proba(X)
    np.testing.assert_array_equal(found, expected)


def test_a_fold_sees_no_neighbours_among_its_test_rows(labelled):
    """Each network is that of its training rows alone."""
    X, y = labelled
    rows = np.arange(120)
    folds = [(rows[rows % 2 != i], rows[rows % 2 == i]) for i in range(2)]
    model = near(n_members=2)
    ensemble = CrossValEnsembleClassifier(model, cv=folds, together=True, random_state=0).fit(X, y)
    for (train_rows, _), own in zip(folds, ensemble.estimators_, strict=True):
        alone = near(n_members=2, random_state=own.random_state)
        alone.fit(X.iloc[train_rows], y[train_rows])
        np.testing.assert_array_equal(own.predict_proba(X), alone.predict_proba(X))


@pytest.mark.parametrize("case", ["targets", "labels", "members", "on", "stream", "pretrained"])
def test_neighbours_of_any_fit(labelled, case):
    X, y = labelled
    both = np.stack([y, np.arange(120) % 2], 1)
    model = near(
        "Regressor" if case == "targets" else "Classifier",
        n_members=2 if case == "members" else 1,
        warm_start=case == "on",
        pretrain="both" if case == "pretrained" else None,
        pretrain_epochs=1,
    )
    if case == "stream":
        model.partial_fit(X[:60], y[:60], classes=[0, 1]).partial_fit(X[60:], y[60:])
    else:
        model.fit(X, both if case in ("targets", "labels") else y)
        model.fit(X, both if case in ("targets", "labels") else y)
    assert np.isfinite(model.predict(X)).all()


def test_another_source_of_cells_is_refused():
    X, y = numbers(40)
    message = r"TabMLPRegressor: swap_noise_from must be 'batch', 'nearest', got 'any'"
    with pytest.raises(ValueError, match=message):
        near("Regressor", swap_noise_from="any").fit(X, y)


def test_two_ways_of_mixing_are_refused():
    X, y = numbers(40)
    with pytest.raises(ValueError, match=r"TabMLPRegressor: hidden_mix=True and mixup=0\.2"):
        make("TabMLP", "Regressor", hidden_mix=True, mixup=0.2).fit(X, y)
