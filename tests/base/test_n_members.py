"""A seed ensemble: ``n_members`` networks on the same rows, each as it would be alone, their
predictions averaged."""

import pickle

import numpy as np
import pytest
import torch
from conftest import make, people, target

from tabdl.base.seeds import MemberSeeds


def state(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


@pytest.mark.two_networks
@pytest.mark.parametrize("n_members", [2, 3])
def test_members_are_those_of_smaller_ensembles(architecture, task, n_members):
    X, y = people()
    y = target(y - 2, task)
    alone = make(architecture, task, precision="float64").fit(X, y)
    model = make(architecture, task, precision="float64", n_members=n_members).fit(X, y)
    assert (
        len(model.module_.nets) == n_members
        and model.n_parameters_ == n_members * alone.n_parameters_
    )
    torch.testing.assert_close(
        state(model.module_.nets[0]), state(alone.module_), rtol=1e-4, atol=1e-4
    )
    assert not torch.allclose(
        *(torch.cat([p.flatten() for p in net.parameters()]) for net in model.module_.nets[:2])
    )


@pytest.mark.two_networks
def test_predictions_are_the_mean_over_the_members(architecture, task):
    X, y = people()
    model = make(architecture, task, n_members=3).fit(X, target(y - 2, task))
    response = "predict" if task == "Regressor" else "predict_proba"
    mean, members = getattr(model, response)(X), list(model.module_.nets)
    single = []
    for net in members:
        model.module_ = net
        single.append(getattr(model, response)(X))
    np.testing.assert_allclose(mean, np.mean(single, axis=0), rtol=1e-6, atol=1e-6)
    assert not np.allclose(single[0], single[1])


def test_records_say_whose_they_are():
    X, y = people()
    model = make("TabMLP", "Regressor", n_members=3, max_epochs=40, patience=2, lr=1e-2).fit(X, y)
    results = model.member_results_
    n_iters, bests = [r.n_iter for r in results], [r.best_epoch for r in results]
    assert [r["epoch"] for r in model.history_ if r["member"] == 2] == [*range(1, n_iters[2] + 1)]
    assert len(results) == 3 and sum(n_iters) == len(model.history_) and len(set(bests)) > 1
    for member, best in enumerate(bests):
        scores = [r["val_score"] for r in model.history_ if r["member"] == member]
        assert np.argmax(scores) + 1 == best
    assert (model.n_iter_, model.best_epoch_) == (max(n_iters), round(np.median(bests)))
    assert type(model.n_iter_) is type(model.best_epoch_) is int


def test_callbacks_stop_one_member():
    X, y = people()
    stop = [lambda record: record["member"] == 1 and record["epoch"] == 2]
    model = make("TabMLP", "Regressor", n_members=3, callbacks=stop).fit(X, y)
    reasons = [(result.n_iter, result.stop_reason) for result in model.member_results_]
    assert reasons == [(5, "max_epochs"), (2, "callback"), (5, "max_epochs")]
    assert (model.n_iter_, model.stop_reason_) == (5, "callback")


def test_pickle_and_progress(capsys):
    X, y = people()
    model = make("TabResNet", "Regressor", n_members=2, max_epochs=2, verbose=2).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and sum("member 1, epoch 2, train loss" in line for line in lines) == 1


def test_an_interrupt_keeps_what_had_an_epoch():
    X, y = people()

    def interrupt(record):
        if record["member"] == 1 and record["epoch"] == 3:
            raise KeyboardInterrupt

    model = make(
        "TabMLP", "Regressor", d_block=2048, n_members=4, callbacks=[interrupt]
    )  # so wide that they train in turn
    with pytest.warns(
        UserWarning,
        match="after epoch 3; fitted with the best weights so far of 2 of n_members=4 members",
    ):
        model.fit(X, y)
    reasons = [result.stop_reason for result in model.member_results_]
    assert reasons == ["max_epochs", "interrupted"] and model.stop_reason_ == "interrupted"
    assert np.isfinite(model.predict(X)).all()


def test_a_member_that_diverges_is_named():
    X, y = people()
    with pytest.raises(FloatingPointError, match=r"of member \d became"):
        make("TabMLP", "Regressor", n_members=2, lr=1e30, precision="float32").fit(X, y)


def test_the_time_limit_is_for_all_of_them():
    X, y = people()
    model = make("TabMLP", "Regressor", n_members=3, time_limit=1e-9, max_epochs=20).fit(X, y)
    assert [result.n_iter for result in model.member_results_] == [1, 1, 1]
    assert model.stop_reason_ == "time_limit"


def test_small_networks_train_together_and_large_ones_in_turn():
    """On a CPU; the order of the records tells which."""
    X, y = people(40)
    for d_block, order in ((8, [0, 1, 0, 1]), (2048, [0, 0, 1, 1])):
        seen = []
        record = [lambda record, seen=seen: seen.append(record["member"])]
        make(
            "TabMLP",
            "Regressor",
            d_block=d_block,
            n_members=2,
            max_epochs=2,
            callbacks=record,
            device="cpu",
        ).fit(X, y)
        assert seen == order


def test_seeds_are_all_different():
    seeds, few = MemberSeeds(0, 50), MemberSeeds(0, 1)
    assert len({seeds.split, *seeds.weights, *seeds.training}) == 101
    assert (few.split, few.weights, few.training) == (
        seeds.split,
        seeds.weights[:1],
        seeds.training[:1],
    )


def test_members_pruned_together():
    X, y = people()
    model = make("TabM", "Regressor", n_members=2, prune=True).fit(X, y)
    n_kept = sum(net.k for net in model.module_.nets)
    assert 1 <= n_kept < 6 and model.n_parameters_ == sum(
        p.numel() for p in model.module_.parameters()
    )
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", None, True])
def test_wrong_n_members(value):
    with pytest.raises(ValueError, match=r"TabMLPRegressor: n_members must be an int >= 1, got"):
        make("TabMLP", "Regressor", n_members=value).fit(*people())
