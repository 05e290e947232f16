"""Displays, the text of a fit, and the examples of the docstrings."""

import doctest
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from conftest import make, numbers, people
from matplotlib import pyplot
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tabdl
import tabdl.inspection
from tabdl.inspection import (
    EnsembleDisplay,
    HistoryDisplay,
    ImportanceDisplay,
    Importances,
    estimate_memory,
    summary,
)

PUBLIC = [name for name in vars(tabdl.inspection) if not name.startswith("_")]


@pytest.fixture(autouse=True)
def no_window():
    matplotlib.use("agg")
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def table():
    return numbers(80)


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring_examples(name):
    thing = getattr(tabdl.inspection, name)
    if isinstance(thing, type(sys)):
        return
    for test in doctest.DocTestFinder().find(thing, name, globs={}):
        assert doctest.DocTestRunner().run(test).failed == 0


# --- history


def test_history_of_one_network(table):
    model = make("TabMLP", "Regressor", max_epochs=6).fit(*table)
    display = HistoryDisplay.from_estimator(model)
    losses, score, rate = display.ax_
    lines = {line.get_label(): line.get_xydata() for line in losses.get_lines()}
    history = model.history_
    np.testing.assert_array_equal(
        lines["validation"], [[r["epoch"], r["val_loss"]] for r in history]
    )
    assert lines["kept"].tolist() == [
        [model.best_epoch_, history[model.best_epoch_ - 1]["val_loss"]]
    ]
    assert score.get_lines()[0].get_ydata().tolist() == [r["val_score"] for r in history]
    assert rate.get_lines()[0].get_ydata().tolist() == [r["lr"] for r in history]
    assert display.figure_ is losses.figure and rate.get_xlabel() == "epoch"


def test_history_of_members_and_folds_has_bands(table):
    net = make("TabMLP", "Regressor", n_members=2, max_epochs=4)
    model = tabdl.CrossValEnsembleRegressor(net, cv=2).fit(*table)
    display = HistoryDisplay.from_estimator(model)
    assert len(display.histories) == 4 and len(display.ax_[0].collections) == 2
    all_losses = [[r["val_loss"] for r in history] for history in display.histories]
    line = next(line for line in display.ax_[0].get_lines() if line.get_label() == "validation")
    np.testing.assert_allclose(line.get_ydata(), np.mean(all_losses, 0))


def test_history_of_networks_that_stop_apart():
    record = {"train_loss": 1.0, "val_loss": 2.0, "val_score": -np.inf, "lr": 0.1}
    histories = [[record], [record, record | {"train_loss": 3.0, "val_score": 5.0}]]
    display = HistoryDisplay(histories, [1, 2]).plot()
    assert display.ax_[0].get_lines()[0].get_ydata().tolist() == [1.0, 3.0]
    assert display.ax_[1].get_lines()[0].get_ydata()[1] == 5.0


def test_history_without_validation_rows_on_given_axes(table):
    model = make("TabMLP", "Regressor", early_stopping=False, max_epochs=2).fit(*table)
    _, axes = pyplot.subplots(2)
    assert HistoryDisplay.from_estimator(model, ax=axes).ax_ == list(axes)
    with pytest.raises(ValueError, match="HistoryDisplay.plot: ax must hold 2 axes, got 1"):
        HistoryDisplay.from_estimator(model, ax=axes[0])
    with pytest.raises(NotFittedError):
        HistoryDisplay.from_estimator(make("TabMLP", "Regressor"))
    with pytest.raises(TypeError, match="LinearRegression has no history of epochs"):
        HistoryDisplay.from_estimator(LinearRegression().fit(*table))


# --- importances and ensembles


def test_importances_as_bars():
    names = ("price in $ and $", "<b>", "a" * 60, "d")
    found = Importances(names, np.array([0.1, 3.0, -1.0, 2.0]), "permutation")
    display = ImportanceDisplay(found).plot(max_columns=3)
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == [r"price in \$ and \$", "d", "<b>"]
    assert [bar.get_width() for bar in display.bars_] == [0.1, 2.0, 3.0]
    assert display.ax_.get_title() == "3 of 4 columns"
    display.plot()
    assert display.ax_.get_yticklabels()[0].get_text() == "a" * 27 + "…"
    display.figure_.canvas.draw()


def test_weights_and_path_of_a_greedy_ensemble(table):
    members = [make("TabMLP", "Regressor", max_epochs=2), LinearRegression()]
    blend = tabdl.GreedyEnsembleRegressor(members, cv=2, n_rounds=4).fit(*table)
    display = EnsembleDisplay.from_estimator(blend)
    weights, path = display.ax_
    assert sorted(bar.get_width() for bar in weights.patches) == sorted(blend.weights_.values())
    assert path.get_lines()[0].get_ydata().tolist() == blend.score_path_
    with pytest.raises(TypeError, match="must be a greedy ensemble, got LinearRegression"):
        EnsembleDisplay.from_estimator(LinearRegression())


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    found = Importances(("a",), np.ones(1), "attention")
    with pytest.raises(ImportError, match=r"needs matplotlib; .* pip install 'tabdl\[plot\]'"):
        ImportanceDisplay(found).plot()


# --- text


def test_summary_and_html():
    X, y = people(100)
    X = X.rename(columns={"age": "<script>alert(1)</script>"})
    model = make("TabMLP", "Regressor", n_members=2, max_epochs=3)
    assert "tabdl-fit" not in model._repr_html_()
    model.fit(X, y)
    text = summary(model)
    assert f"{80} to train, {20} for validation" in text and "3, weights are those" in text
    assert f"{model.n_parameters_:,}, the mean of 2 networks" in text
    assert "3 (city, plan, active)" in text and "1 (joined)" in text and "cpu" in text
    page = model._repr_html_()
    assert "tabdl-fit" in page and "tabdl-fit" in model._repr_mimebundle_()["text/html"]
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert "max_epochs reached" in page
    many = make("TabMLP", "Regressor", max_epochs=1).fit(np.ones((9, 30)) * range(30), range(9))
    assert "30 (x0, x1" in summary(many) and "x11, and 18 more)" in summary(many)
    with pytest.raises(TypeError, match="ensemble has its networks"):
        summary(LinearRegression())
    with pytest.raises(NotFittedError):
        summary(make("TabMLP", "Regressor"))


def test_a_pipeline_has_a_picture(table):
    pipeline = make_pipeline(StandardScaler(), make("TabMLP", "Regressor", max_epochs=1))
    assert "n_train_rows_" in pipeline.fit(*table)._repr_html_()


# --- memory


def test_memory_is_estimated_for_every_network(architecture, task):
    state = torch.get_rng_state()
    model = make(architecture, task)
    small, large = (estimate_memory(model, n_rows, 5, 2) for n_rows in (1000, 1_000_000))
    table = 1_000_000 * (5 * 4 + 2)
    assert 2**20 < small < 2**30 and table < large - small < 40 * table
    assert torch.equal(state, torch.get_rng_state())
    wide = make(architecture, task, d_block=64, precision="float64")
    assert estimate_memory(wide, 1000, 5, n_outputs=3) > small
    with pytest.raises(TypeError, match="of an ensemble, ask for its members"):
        estimate_memory(LinearRegression(), 10, 2)


MEASURE = """
from pathlib import Path
import numpy as np
from tabdl import TabMLPRegressor
from tabdl.inspection import estimate_memory
def now(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
X = np.random.default_rng(0).normal(size=(6000, 100))
model = TabMLPRegressor(max_epochs=1, batch_size=4096, n_jobs=1)
Path("/proc/self/clear_refs").write_text("5")
before = now("VmRSS")
model.fit(X, X[:, 0])
print((now("VmHWM") - before) / estimate_memory(model, *X.shape))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read where Linux has it")
def test_memory_is_near_a_measured_peak():
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    assert 1 / 1.5 < float(done.stdout) < 1.5
