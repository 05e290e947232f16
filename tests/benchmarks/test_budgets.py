"""What searches had found within hours."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from benchmarks import budgets
from benchmarks.models.registry import MODELS
from benchmarks.runs.results import Experiment, read
from benchmarks.runs.tune import Search, finish, open_study, run_trial
from benchmarks.tables.datasets import Source

N_TRIALS = 4


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The results folders of two searches of four trials, with two seeds."""
    out = tmp_path_factory.mktemp("searches")
    space = MODELS["xgboost"].space
    few = replace(
        MODELS["xgboost"], space=lambda trial, data: space(trial, data) | {"n_estimators": 3}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "xgboost", few)
        for seed in range(2):
            search = Search(N_TRIALS, seed=seed)
            here = experiment(out / f"seed{seed}")
            open_study.cache_clear()
            while run_trial(here, search) is not None:
                pass
            finish(here, search)
    open_study.cache_clear()
    return out


@pytest.fixture
def folders(searched, tmp_path):
    """Copies of these folders, so that a test leaves the others none of its fits; each trial took a
    quarter of an hour there."""
    copies = [shutil.copytree(searched / name, tmp_path / name) for name in ("seed0", "seed1")]
    for folder in copies:
        path = experiment(folder).folder / "tuning" / "trials.parquet"
        pd.read_parquet(path).assign(seconds=900.0).to_parquet(path)
    return copies


def experiment(out):
    return Experiment(Source("smoke_housing"), "xgboost", "tuned", "cpu", None, str(out))


def table(*lines):
    return pd.DataFrame(lines, columns=["number", "state", "seconds", "value"])


def test_the_best_that_has_ended():
    hour = 3600.0
    trials = table(
        (0, "COMPLETE", 0.4 * hour, 0.5),
        (1, "FAIL", 0.2 * hour, float("nan")),
        (2, "COMPLETE", 0.4 * hour, 0.7),
        (3, "COMPLETE", 0.5 * hour, 0.7),
        (4, "COMPLETE", 0.6 * hour, 0.9),
    )
    found = {hours: budgets.best_within(trials, hours) for hours in (0.5, 1, 1.5, 2, 3)}
    assert {hours: n for hours, (n, _) in found.items()} == {0.5: 1, 1: 3, 1.5: 4, 2: 4, 3: 5}
    best = {hours: line["number"] for hours, (_, line) in found.items() if line is not None}
    assert best == {0.5: 0, 1: 2, 1.5: 2, 2: 2}  # the search took 2.1 hours


def test_nothing_has_ended():
    assert budgets.best_within(table((0, "COMPLETE", 7200.0, 0.5)), 1) == (0, None)
    assert budgets.best_within(table((0, "FAIL", 1800.0, 0.5)), 0.5) == (1, None)


def test_a_budget_of_a_whole_search_is_its_best(folders):
    """The fit again is that of the trial: the same validation score."""
    frame = budgets.frame_of(folders, [1])
    assert frame["seed"].tolist() == [0, 1] and frame["trials"].tolist() == [N_TRIALS] * 2
    for folder, score in zip(folders, frame["score"], strict=True):
        best = read(experiment(folder).folder / "tuning")["best"]
        fitted = read(experiment(folder).folder / "budgets" / str(best["number"]))
        assert fitted["metrics"]["val"]["score"] == best["val_score"]
        assert -fitted["metrics"]["test"]["score"] == score


def test_the_command_is_of_all_searches_and_goes_on(folders, tmp_path, capsys):
    command = [*map(str, folders), "--report", str(tmp_path / "budgets.md"), "--hours"]
    command += ["0.25", "1", "6"]
    assert budgets.main(command) == 0
    reports = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("budgets/*/report.json")}
    printed = capsys.readouterr().out
    assert budgets.main(command) == 0 and capsys.readouterr().out == printed
    assert 2 <= len(reports) <= 4
    assert reports == {path: path.stat().st_mtime_ns for path in reports}
    text = (tmp_path / "budgets.md").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("| smoke_housing")]
    first = [read(experiment(folder).folder / "budgets" / "0") for folder in folders]
    mean = -sum(report["metrics"]["test"]["score"] for report in first) / 2
    assert line.startswith(f"| smoke_housing | XGBoost | 2 | {mean:.4g} (1) | ")
    assert line.endswith(" (4) | – |")


def test_the_paper_s_figures_stand_below():
    """Where the searches were made by its protocol."""
    lines = [(s, h, 10 * h, 0.8 + s / 10) for s in (0, 1) for h in (0.25, 1.0)]
    frame = pd.DataFrame(lines, columns=["seed", "hours", "trials", "score"])
    frame = frame.assign(dataset="adult", model="xgboost", protocol="paper")
    assert len(budgets.table_of(frame.assign(protocol="plain"))) == 1
    ours, paper = budgets.table_of(frame).to_numpy().tolist()
    assert ours == ["adult", "XGBoost", "2", "0.85 (2)", "0.85 (10)"]
    assert paper == ["adult", "XGBoost", "paper, 5", "0.871 (165)", "0.872 (638)"]


def test_what_cannot_be_compared(folders, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert budgets.main([str(tmp_path / "empty")]) == 1
    assert "has no finished search" in capsys.readouterr().err
    assert budgets.main([str(folders[0]), str(folders[0])]) == 1
    assert "two folders hold a search of the same seed" in capsys.readouterr().err
    (experiment(folders[1]).folder / "tuning" / "trials.parquet").write_text("no table")
    assert budgets.main([str(folders[1])]) == 1
    assert "trials.parquet is damaged" in capsys.readouterr().err
    path = experiment(folders[0]).folder / "tuning" / "report.json"
    report = json.loads(path.read_text())
    report["identity"]["checksums"]["split"] = "other"
    path.write_text(json.dumps(report))
    assert budgets.main([str(folders[0])]) == 1
    assert "checksums.split is other there" in capsys.readouterr().err
