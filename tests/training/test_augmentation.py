"""Noise of training rows: swapped cells, hidden columns and mixed rows, in every network."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make, numbers, people, some_rows, target

from tabdl import CrossValEnsembleRegressor
from tabdl.data.table import Schema, Table
from tabdl.data.validation import read_X
from tabdl.network.contract import init_weights
from tabdl.training.augmentation import FeatureDropout, augmented, mixup_shares
from tabdl.training.devices import Precision
from tabdl.training.epoch import EpochRunner
from tabdl.training.loop import train
from tabdl.training.run import TrainingConfig, TrainingRun
from tabdl.training.swap_noise import swapped

SCHEMA = Schema(("a", "b"), ("c", "d"), (3, 40))
# The second number and the second category are of one column.
COLUMNS = torch.tensor([0, 1, 2, 1])
BLANK = torch.tensor([7.0, 8.0]), torch.tensor([2, 39]).byte()
HIDDEN = FeatureDropout(0.5, *BLANK, COLUMNS, n_columns=3)
OPTIONS = {"mixup": 0.4, "swap_noise": 0.3, "feature_dropout": 0.3}


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


def settings(**options):
    hidden = HIDDEN if "feature_dropout" in options else None
    return TrainingConfig(
        lr=0.01,
        weight_decay=0.0,
        batch_size=8,
        max_epochs=2,
        patience=None,
        time_limit=None,
        precision=Precision(torch.float64),
        **options | {"feature_dropout": hidden},
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


def test_members_are_what_each_is_alone(architecture):
    def run(seeds, together):
        nets = [net_of(architecture, seed) for seed in seeds]
        pairs = zip(nets, seeds, strict=True)
        members = [TrainingRun(net, table(), None, None, seed) for net, seed in pairs]
        train(
            members,
            loss=squared,
            val_loss=squared,
            config=settings(**OPTIONS),
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


def test_two_ways_of_mixing_are_refused():
    X, y = numbers(40)
    with pytest.raises(ValueError, match=r"TabMLPRegressor: hidden_mix=True and mixup=0\.2"):
        make("TabMLP", "Regressor", hidden_mix=True, mixup=0.2).fit(X, y)
