"""A fit that is killed goes on from its checkpoint and ends as if nothing had happened."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import NETWORKS, make, people, target
from torch import nn

from tabdl import TabMLPRegressor
from tabdl.ensemble.cross_val import CrossValEnsembleRegressor

X, Y = people(60)


class Killed(Exception):
    pass


def kill_at(epoch, member=None):
    """Return a callback that ends a fit as a kill would, before the epoch is in the file."""

    def callback(record):
        if record["epoch"] == epoch and record.get("member") == member:
            raise Killed

    return callback


def split(name):
    task = "Classifier" if name.endswith("Classifier") else "Regressor"
    return name.removesuffix(task), task


def fit(name, **changes):
    architecture, task = split(name)
    return make(architecture, task, **changes).fit(X, target(Y - 3, task))


def course(model):
    return [
        {key: value for key, value in record.items() if key != "seconds"}
        for record in model.history_
    ]


def assert_same(model, expected):
    assert course(model) == course(expected)
    assert (model.best_epoch_, model.stop_reason_) == (expected.best_epoch_, expected.stop_reason_)
    states = [fitted.module_.state_dict() for fitted in (model, expected)]
    torch.testing.assert_close(*states, rtol=0, atol=0)


def resumed(path, name, *deaths, **changes):
    """Return the fit that is left to end after it has died some times."""
    for death in deaths:
        with pytest.raises(Killed):
            fit(name, checkpoint=path, callbacks=[death], **changes)
    return fit(name, checkpoint=path, **changes)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_goes_on(name, tmp_path):
    changes = {"max_epochs": 3}
    assert_same(resumed(tmp_path / "c", name, kill_at(3), **changes), fit(name, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "muon", "lr_schedule": "cosine", "warmup_epochs": 1.5},
        {"ema_decay": 0.9, "hidden_mix": True, "numeric_embedding": "linear"},
        {"early_stopping": False, "batch_size": 20},
        {"precision": "bfloat16"},
        {"precision": "float16"},
        {"lr_schedule": "cooldown", "patience": 1, "n_members": 2, "max_epochs": 9, "lr": 0.1},
    ],
    ids=["muon", "ema", "no early stopping", "bfloat16", "float16", "cooldown"],
)
def test_every_option_goes_on(changes, tmp_path):
    changes = {"max_epochs": 5} | changes
    member = 1 if "n_members" in changes else None
    deaths = [kill_at(epoch, member) for epoch in (2, 4)]
    model = resumed(tmp_path / "c", "TabMLPRegressor", *deaths, **changes)
    assert_same(model, fit("TabMLPRegressor", **changes))


@pytest.mark.parametrize("d_block, deaths", [(16, [2, 3]), (1024, [1, 2])])
def test_members_go_on_together_and_in_turn(d_block, deaths, tmp_path):
    changes = {"n_members": 2, "max_epochs": 3, "d_block": d_block, "batch_size": 60}
    name = "TabMLPRegressor"
    model = resumed(tmp_path / "c", name, *(kill_at(e, member=1) for e in deaths), **changes)
    assert_same(model, fit(name, **changes))


def test_a_fit_that_is_done_trains_nothing(tmp_path):
    first = fit("TabMLPClassifier", checkpoint=tmp_path / "c", calibrate=True)
    again = fit(
        "TabMLPClassifier", checkpoint=tmp_path / "c", calibrate=True, callbacks=[kill_at(1)]
    )
    assert_same(again, first)
    np.testing.assert_array_equal(first.predict_proba(X), again.predict_proba(X))


class Spike(nn.Module):
    """Adds nothing, by way of a product that float32 can hold and bfloat16 cannot."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.empty(1, 1))

    def init_weights(self, generator):
        self.weight.fill_(3.398e38)

    def forward(self, x):
        return x + 0 * nn.functional.linear(torch.ones_like(x[:, :1]), self.weight)


class Spiked(TabMLPRegressor):
    """{parameters}"""

    def _build_net(self, schema, n_outputs, rows):
        net = super()._build_net(schema, n_outputs, rows)
        net.backbone.append(Spike())
        return net


def test_training_anew_in_float32_goes_on(tmp_path):
    def fit_spiked(**more):
        options = {"d_block": 16, "max_epochs": 3, "random_state": 0, "precision": "bfloat16"}
        return Spiked(**options, **more).fit(X, Y)

    with pytest.warns(UserWarning, match="begins anew in float32"):
        expected = fit_spiked()
    with pytest.warns(UserWarning), pytest.raises(Killed):
        fit_spiked(checkpoint=tmp_path / "c", callbacks=[kill_at(2)])
    # No second warning: what has overflowed is not tried again.
    assert_same(fit_spiked(checkpoint=tmp_path / "c"), expected)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"lr": 0.5}, "lr was 0.003, is 0.5"),
        ({"random_state": 1}, "random_state was 0, is 1"),
        ({"random_state": None}, "needs an int as random_state"),
        ({"time_limit": 60}, "needs time_limit=None"),
    ],
)
def test_another_fit_is_refused(changes, message, tmp_path):
    fit("TabMLPRegressor", checkpoint=tmp_path / "c", max_epochs=1)
    with pytest.raises(ValueError, match=message):
        fit("TabMLPRegressor", checkpoint=tmp_path / "c", max_epochs=1, **changes)


def test_other_rows_versions_and_files_are_refused(tmp_path):
    path = tmp_path / "c"
    options = {"checkpoint": path, "max_epochs": 1}
    model = fit("TabMLPRegressor", **options)
    with pytest.raises(ValueError, match="the training rows was [0-9a-f]{16}, is"):
        model.fit(X, Y + np.arange(60))
    content = torch.load(path, weights_only=True)
    content["identity"]["torch"] = "1.0"
    torch.save(content, path)
    with pytest.raises(ValueError, match="torch was 1.0, is 2"):
        fit("TabMLPRegressor", **options)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="is no checkpoint of tabdl, or is damaged"):
        fit("TabMLPRegressor", **options)


@pytest.mark.parametrize("together", [True, False])
def test_folds_do_not_share_a_file(together, tmp_path):
    network = make("TabMLP", "Regressor", checkpoint=tmp_path / "c", max_epochs=1)
    ensemble = CrossValEnsembleRegressor(network, cv=2, together=together, random_state=0)
    with pytest.raises(ValueError, match="needs a fit alone|is that of another fit"):
        ensemble.fit(X, Y)


SCRIPT = """
import os, signal, sys, time
import numpy as np
from tabdl import TabMLPRegressor

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 4))


def fit(path):
    return TabMLPRegressor(
        d_block=16, max_epochs=50, early_stopping=False, batch_size=64, random_state=0,
        n_members=2, n_jobs=1, checkpoint=path,
    ).fit(X, X[:, 0])


fit(None)  # imports what it needs
start = time.perf_counter()
expected = fit(None)
seconds = time.perf_counter() - start
n_killed = 0
for delay in rng.uniform(0, 0.15 * seconds, 20):
    child = os.fork()
    if child == 0:
        fit(sys.argv[1])
        os._exit(0)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    n_killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
model = fit(sys.argv[1])
assert np.array_equal(model.predict(X), expected.predict(X))
assert [r["train_loss"] for r in model.history_] == [r["train_loss"] for r in expected.history_]
print(n_killed)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children begin without importing anew")
def test_twenty_kills_at_random_moments(tmp_path):
    """SIGKILL, whatever the process is doing; the next one goes on from the file."""
    command = [sys.executable, "-c", SCRIPT, tmp_path / "c"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 10
