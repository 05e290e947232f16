"""The harness on its real tables: runs, continues, compares with the paper, refuses what it does
not know."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import run
from benchmarks.models.registry import MODELS, network_names
from benchmarks.runs.results import PAPER
from benchmarks.speed import __main__ as speed, import_time
from benchmarks.tables.datasets import DATASETS

SHARED = Path(__file__).parent.parent.parent.parent / "shared" / "data"
SIZES = {"california_housing": (13209, 3303, 4128), "adult": (26048, 6513, 16281)}


@pytest.mark.parametrize("name", DATASETS)
def test_datasets_have_the_papers_sizes(name):
    dataset = DATASETS[name]()
    assert tuple(len(X) for X, _ in (dataset.train, dataset.val, dataset.test)) == SIZES[name]
    assert "target" not in dataset.train[0].columns and "split" not in dataset.train[0].columns


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.skipif(
    not SHARED.exists(), reason="the source of the shipped tables is not beside the project"
)
def test_datasets_are_the_source(name):
    pd.testing.assert_frame_equal(
        pd.read_parquet(SHARED / f"{name}.parquet"),
        pd.read_parquet(Path(run.__file__).parent / "tables" / "shipped" / f"{name}.parquet"),
    )


def test_california_split_is_the_rule():
    """``train_test_split(test_size=0.2, random_state=0)`` twice."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(20640)
    train_val, test = train_test_split(rows, test_size=0.2, random_state=0)
    train, val = train_test_split(train_val, test_size=0.2, random_state=0)
    assert (len(train), len(val), len(test)) == SIZES["california_housing"]


def test_runs_continues_and_reports(tmp_path, capsys):
    common = ["--datasets", "adult", "--out", str(tmp_path), "--device", "cpu"]
    command = [*common, "--models", "mlp", "--time-limit", "1"]
    assert run.main([*common, "--models", "xgboost", "--time-limit", "0"]) == 0
    assert "0.8741 ± 0.0000" in capsys.readouterr().out  # the paper's XGBoost
    assert run.main(command) == 0
    assert "cut: training ended with its time limit of 1 s" in capsys.readouterr().out
    mlp, xgboost = (json.loads(path.read_text()) for path in sorted(tmp_path.rglob("report.json")))
    assert (mlp["identity"]["model"], xgboost["identity"]["model"]) == ("mlp", "xgboost")
    paper = PAPER["scores"]["adult"]["xgboost"]["default"]["mean"]
    assert xgboost["metrics"]["test"]["score"] == pytest.approx(paper, abs=0.006)
    assert mlp["hit_time_limit"] and 0.7 < mlp["metrics"]["test"]["accuracy"] < 0.87
    assert not xgboost["hit_time_limit"] and xgboost["n_iter"] > xgboost["best_iter"] > 10
    assert run.main([*command, "--markdown"]) == 0
    out = capsys.readouterr().out
    assert out.count("found") == 1
    assert f"| adult | mlp | default | 1 | {mlp['metrics']['test']['score']:.4f} cut |" in out


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", DATASETS)
def test_every_model_fits_every_dataset(name, model):
    """On a few rows, with a short time limit."""
    dataset = DATASETS[name]()
    small = {
        part: tuple(table.iloc[:150] for table in getattr(dataset, part))
        for part in ("train", "val", "test")
    }
    small = type(dataset)(dataset.name, dataset.task, **small)
    if MODELS[model].missing():
        pytest.skip(MODELS[model].missing())
    parameters = MODELS[model].parameters(small, "default", "paper")
    if model in ("blend", "student"):
        parameters |= {"networks": ["resnet"], "cv": 2}
    if model == "node":
        parameters["d_block"] = 8  # of hundreds of trees, whose first step takes minutes
    fit = MODELS[model].fit(small, parameters, 0, "cpu", 0.2)
    predictions = np.asarray(fit.predict(small.test[0])).ravel()
    assert predictions.shape == (150,) and fit.n_parameters > 0 and fit.n_iter >= fit.best_iter > 0
    if dataset.is_regression:
        assert np.isfinite(predictions.astype(float)).all()
    else:
        assert set(predictions) <= set(dataset.train[1])


@pytest.mark.parametrize("name", ["california_housing", "adult"])
def test_tuned_configurations_are_accepted(name):
    X, y = speed.table(40)
    for model, config in PAPER["tuned_configs"][name].items():
        if model in network_names():
            fitted = MODELS[model].regressor(**config, max_epochs=1).fit(X, y)
            assert fitted.n_iter_ == 1


def test_an_interrupt_ends_the_harness_not_the_fit_alone(tmp_path, monkeypatch, capsys):
    import tabdl

    original = tabdl.TabMLPClassifier.fit

    def fit(self, *args, **kwargs):
        def interrupt(record):
            raise KeyboardInterrupt

        return original(self.set_params(callbacks=[interrupt]), *args, **kwargs)

    monkeypatch.setattr(tabdl.TabMLPClassifier, "fit", fit)
    with pytest.warns(UserWarning, match="interrupted"):
        assert run.main(["--datasets", "adult", "--models", "mlp", "--out", str(tmp_path)]) == 130
    assert "the same command continues from here" in capsys.readouterr().out
    assert list(tmp_path.rglob("report.json")) == []


@pytest.mark.parametrize(
    "argument, message",
    [
        (["--models", "catbost"], "'catbost' is unknown .* did you mean catboost"),
        (["--datasets", "housing"], "'housing' is unknown .there are: california_housing, adult"),
        (["--device", "gpu"], "'gpu' is no device"),
        (["--config", "best"], "'best' is unknown .there are: default, paper-tuned, tuned"),
        (
            ["evalute"],
            (
                "stage 'evalute' is unknown .there are: all, tune, evaluate, ensemble, report, "
                "study.; did you mean evaluate"
            ),
        ),
        (["--preset", "papers"], "'papers' is unknown .* did you mean paper"),
        (["--workers", "0"], "--workers: must be an int >= 1, got '0'"),
        (["--time-limit", "nan"], "--time-limit: must be a number >= 0, got 'nan'"),
        (["--data", "my.csv"], "--data FILE needs --target COLUMN"),
        (["--out", __file__], "nothing can be written there"),
    ],
)
def test_unknown_arguments(argument, message, capsys):
    with pytest.raises(SystemExit) as stop:
        run.main(argument)
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_import_time_prints_a_ratio(monkeypatch, capsys):
    """Of packages that load at once; tests/test_imports.py says what tabdl loads."""
    monkeypatch.setattr(import_time, "OURS", "import json")
    monkeypatch.setattr(import_time, "BELOW", "import re")
    import_time.main(repeats=1)
    assert "ratio" in capsys.readouterr().out
