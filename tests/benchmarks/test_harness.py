"""The harness's promises: a run is a directory, whole or not there; killed commands go on; what
differs is refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import run
from benchmarks.errors import HarnessError
from benchmarks.files import locked
from benchmarks.report import figures, pages as report
from benchmarks.report.ranking import (
    complete_scores,
    leaderboard,
    not_worse_than_the_best,
    win_rates,
)
from benchmarks.report.table import collect, label, summary
from benchmarks.runs import ensemble, provenance
from benchmarks.runs.evaluate import evaluate, folder_of, read_predictions
from benchmarks.runs.executors import Executor
from benchmarks.runs.results import Experiment, done, read, write
from benchmarks.tables.datasets import Source, load
from benchmarks.tables.sources import dataset_name

ROOT = Path(__file__).parent.parent.parent
HOUSING = Source("smoke_housing")


def experiment(out, model="xgboost", config="default", source=HOUSING):
    return Experiment(source, model, config, "cpu", None, str(out))


def start(arguments, out, **environment):
    """Start the command line in a process of its own, in a group that can be killed as a whole."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.run",
        *arguments,
        "--out",
        str(out),
        "--device",
        "cpu",
    ]
    settings = {
        "cwd": ROOT,
        "env": os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        "start_new_session": True,
    }
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **settings
    )


def kill(process):
    """SIGKILL a command with its workers."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def run_here(arguments, out):
    """Run the command line in this process."""
    assert run.main([*arguments, "--out", str(out), "--device", "cpu"]) == 0


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def results_of(out):
    """Return what must be the same for every way to the results: scores and parameters by
    directory."""
    reports = {
        path.parent.relative_to(out): json.loads(path.read_text())
        for path in sorted(Path(out).rglob("report.json"))
    }
    return {
        str(name): (r.get("metrics"), r.get("parameters"), r.get("weights"), r.get("best"))
        for name, r in reports.items()
    }


def test_smoke_preset_runs_every_stage(tmp_path, capsys):
    assert run.main(["--preset", "smoke", "--out", str(tmp_path), "--device", "cpu"]) == 0
    names = set(
        map(str, (path.parent.relative_to(tmp_path) for path in tmp_path.rglob("report.json")))
    )
    for dataset in ("smoke_housing", "smoke_adult"):
        for model in ("mlp", "xgboost"):
            assert {f"{dataset}/{model}/tuning", f"{dataset}/{model}/ensemble/0"} <= names
            assert {f"{dataset}/{model}/evaluation/{seed}" for seed in range(5)} <= names
        assert f"{dataset}/greedy/ensemble/0" in names
    table = pd.read_parquet(tmp_path / "report" / "table.parquet")
    assert table["stage"].value_counts().to_dict() == {"evaluation": 20, "trial": 12, "ensemble": 6}
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and not re.search(
        r"(src|href)=\"(?!data:)", page
    )
    assert "smoke_housing" in (tmp_path / "report" / "report.md").read_text()
    assert not list(tmp_path.rglob(".*.new"))
    capsys.readouterr()
    assert run.main(["--preset", "smoke", "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.count("found") == 20


def test_what_a_fit_leaves_of_its_time_is_the_others(tmp_path, capsys):
    asked = ["evaluate", "--datasets", "smoke_housing", "--models", "lightgbm", "xgboost"]
    run_here(asked, tmp_path)
    assert "2 tasks, at most 2 min of training" in capsys.readouterr().out.replace("\n", " ")
    reports = {
        model: read(tmp_path / "smoke_housing" / f"{model}-default" / "evaluation" / "0")
        for model in ("lightgbm", "xgboost")
    }
    limits = {model: report["time_limit"] for model, report in reports.items()}
    assert limits["xgboost"] == pytest.approx(0.9 * 90 / 3, abs=1)  # the first, of half the weight
    assert limits["lightgbm"] > 2 * limits["xgboost"] + 10
    assert all(report["identity"]["shares_time"] for report in reports.values())
    table = collect(tmp_path).set_index("model")["time_limit"]
    assert table.to_dict() == pytest.approx(limits)
    assert run.main([*asked, "--time-limit", "45", "--out", str(tmp_path), "--device", "cpu"]) == 1
    assert "shares_time is True there" in capsys.readouterr().err.replace("\n", " ")


def test_what_a_report_says(tmp_path):
    result = evaluate(experiment(tmp_path, source=Source("smoke_adult")), 3)
    held = read(tmp_path / "smoke_adult" / "xgboost-default" / "evaluation" / "3")
    assert held["identity"]["seed"] == 3 and set(held["identity"]["checksums"]) == {"data", "split"}
    assert set(held["metrics"]) == {"train", "val", "test"}
    assert set(held["metrics"]["test"]) == {"score", "accuracy", "log_loss", "roc_auc"}
    assert (
        held["seconds"]["fit"] > 0
        and held["peak_memory"]["host_mb"] > 50
        and held["peak_memory"]["gpu_mb"] is None
    )
    assert (
        held["versions"]["xgboost"]
        and held["device"] == "cpu"
        and re.fullmatch(r"[0-9a-f]{40}\+?|None", str(held["commit"]))
    )
    arrays = read_predictions(folder_of(experiment(tmp_path, source=Source("smoke_adult")), 3))
    assert arrays["test"].shape == (80, 2) and arrays["classes"].dtype.kind in "iU"
    y = load(Source("smoke_adult")).test[1].to_numpy()
    assert (
        np.mean(arrays["classes"][arrays["test"].argmax(1)] == y)
        == result["metrics"]["test"]["accuracy"]
    )


def test_a_package_that_is_not_installed_costs_no_fit(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "no-such-package"))
    versions = provenance.provenance()["versions"]
    assert versions["torch"] == metadata.version("torch") and versions["no-such-package"] is None


def test_killed_anywhere_it_ends_the_same(tmp_path):
    command = [
        "--datasets",
        "smoke_housing",
        "--models",
        "xgboost",
        "--config",
        "tuned",
        "--trials",
        "4",
    ]
    command += ["--seeds", "0", "1", "2", "--time-limit", "0"]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    run_here(command, undisturbed)
    for n_reports in (0, 2):  # in the search, and in an evaluation
        process = start(command, killed)
        wait_for(
            lambda n=n_reports: (
                (killed / "smoke_housing").exists() and len(list(killed.rglob("report.json"))) >= n
            ),
            process,
        )
        kill(process)
    process = start(command, killed)
    assert process.wait(600) == 0, process.communicate()[0]
    process.communicate()
    assert results_of(killed) == results_of(undisturbed)
    trials = pd.read_parquet(killed / "smoke_housing" / "xgboost" / "tuning" / "trials.parquet")
    assert len(trials) == 4 and trials["config"].nunique() == 4


def test_two_commands_share_a_folder(tmp_path):
    command = [
        "evaluate",
        "--datasets",
        "smoke_housing",
        "--models",
        "catboost",
        "--seeds",
        *map(str, range(6)),
        "--time-limit",
        "0",
    ]
    first, second = start(command, tmp_path), start(command, tmp_path)
    outputs = [process.communicate(timeout=600)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    lines = [line for output in outputs for line in output.splitlines() if " seed " in line]
    assert len(lines) == 12 and sum(line.endswith("found") for line in lines) == 6


def test_workers_give_the_same_directories(tmp_path):
    command = [
        "evaluate",
        "--datasets",
        "smoke_housing",
        "--models",
        "xgboost",
        "--seeds",
        "0",
        "1",
        "2",
        "--time-limit",
        "0",
    ]
    for name, workers in (("one", "1"), ("two", "2")):
        run_here([*command, "--workers", workers], tmp_path / name)
    assert results_of(tmp_path / "one") == results_of(tmp_path / "two")


def die_once(path):
    """A task whose process dies the first time."""
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def square(x):
    return x * x


def fail():
    raise HarnessError("one failed")


def share_of_gpu():
    return os.environ["TABDL_GPU_SHARE"]


def test_workers_share_a_gpu(monkeypatch):
    assert [result for _, result, _ in Executor(workers=2).run([share_of_gpu])] == ["0.5"]
    assert [Executor("ray", gpus=gpus).gpu_share for gpus in (0, 0.5, 2.0)] == [1, 0.5, 1]
    monkeypatch.setenv("TABDL_GPU_SHARE", "0.2")
    assert [result for _, result, _ in Executor(workers=2).run([share_of_gpu])] == ["0.2"]
    for wrong in ("much", "0", "1.5", ""):
        monkeypatch.setenv("TABDL_GPU_SHARE", wrong)
        with pytest.raises(HarnessError, match="TABDL_GPU_SHARE: must be a number > 0 and <= 1"):
            list(Executor(workers=4).run([share_of_gpu]))


def test_a_killed_worker_is_replaced(tmp_path):
    from functools import partial

    tasks = [partial(square, i) for i in range(4)] + [partial(die_once, tmp_path / "died"), fail]
    outcomes = {i: (result, error) for i, result, error in Executor(workers=2).run(tasks)}
    assert outcomes == {
        0: (0, None),
        1: (1, None),
        2: (4, None),
        3: (9, None),
        4: ("survived", None),
        5: (None, "one failed"),
    }


def test_ray_gives_the_same_directories(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    command = [
        "--datasets",
        "smoke_housing",
        "--models",
        "xgboost",
        "--config",
        "tuned",
        "--trials",
        "2",
        "--seeds",
        "0",
        "--time-limit",
        "0",
    ]
    run_here(command, tmp_path / "local")
    ray = start([*command, "--executor", "ray", "--cpus", "2"], tmp_path / "ray")
    output = ray.communicate(timeout=600)[0]
    assert ray.returncode == 0, output
    local_results, ray_results = results_of(tmp_path / "local"), results_of(tmp_path / "ray")
    assert local_results.keys() == ray_results.keys()


@pytest.mark.parametrize("what", ["cpus", "gpus"])
def test_ray_does_not_wait_for_what_is_not_there(what, tmp_path, capsys):
    pytest.importorskip("ray", reason="Ray is not installed")
    command = [
        "evaluate",
        "--datasets",
        "smoke_housing",
        "--models",
        "xgboost",
        "--out",
        str(tmp_path),
        "--device",
        "cpu",
    ]
    assert run.main([*command, "--executor", "ray", f"--{what}", "999"]) == 1
    assert f"--{what} 999 is more than this machine has" in capsys.readouterr().err


def test_another_run_is_refused(tmp_path, capsys):
    evaluate(experiment(tmp_path), 0)
    command = [
        "evaluate",
        "--datasets",
        "smoke_housing",
        "--models",
        "xgboost",
        "--out",
        str(tmp_path),
        "--device",
        "cpu",
    ]
    assert run.main([*command, "--time-limit", "5"]) == 1
    assert (
        "time_limit is None there, 5.0 here. Use another --out, or --force"
        in capsys.readouterr().err
    )
    path = folder_of(experiment(tmp_path), 0) / "report.json"
    held = json.loads(path.read_text())
    held["identity"]["checksums"]["data"], held["identity"]["tabdl"] = "0" * 64, "0.0.9"
    path.write_text(json.dumps(held))
    with pytest.raises(
        HarnessError, match=r"checksums.data is 0{64} there, .* tabdl is 0.0.9 there"
    ):
        evaluate(experiment(tmp_path), 0)
    assert run.main([*command, "--time-limit", "0", "--force"]) == 0
    assert read(path.parent)["identity"]["tabdl"] != "0.0.9"


def test_damaged_files_are_named_and_made_again(tmp_path, capsys):
    here = experiment(tmp_path)
    folder = folder_of(here, 0)
    whole = evaluate(here, 0)["metrics"]
    (folder / "predictions.npz").write_bytes(b"PK")
    assert evaluate(here, 0)["metrics"] == whole
    assert "evaluation/0/predictions.npz is damaged (" in capsys.readouterr().err
    for damage in ("", '{"identity": ', "[]", '{"identity": {"format": 4, "stage": "evaluation"}}'):
        (folder / "report.json").write_text(damage)
        assert len(collect(tmp_path)) == 0
        assert evaluate(here, 0)["metrics"] == whole
    assert "evaluation/0/report.json is damaged (ValueError: " in capsys.readouterr().err
    assert len(collect(tmp_path)) == 1 and not list(tmp_path.rglob(".0.*w"))


def test_strangers_reports_are_left_out(tmp_path, capsys):
    evaluate(experiment(tmp_path), 0)
    folder = folder_of(experiment(tmp_path), 0)
    whole = json.loads((folder / "report.json").read_text())
    identity = whole["identity"]
    for place, changed, line in (
        ("1", {"format": 1}, "has a report of layout 1, this is layout 4: left out"),
        ("2", {"model": "../../x"}, "identity.model '../../x' is no name"),
        ("3", {"model": "catboost"}, "has a report that does not belong there"),
        ("four", {}, "has a report that does not belong there"),
        ("5", {"time_limit": "soon"}, "identity.time_limit is 'soon'"),
    ):
        (folder.parent / place).mkdir()
        report_file = folder.parent / place / "report.json"
        report_file.write_text(json.dumps(whole | {"identity": identity | changed}))
        assert collect(tmp_path)["index"].tolist() == [0]
        assert line in capsys.readouterr().err
    assert run.main(["report", "--out", str(tmp_path)]) == 0


def test_what_cannot_work_is_said_before_training(tmp_path, capsys):
    common = ["--datasets", "smoke_housing", "--models", "xgboost", "--device", "cpu"]
    storage = ["--config", "tuned", "--storage", "postgresql://host:port/db"]
    for options, line in (
        (["--out", str(tmp_path), *storage], "--storage takes the URL of a database"),
        (["--out", str(tmp_path), "--data", "no.csv", "--target", "y"], "there is no such file"),
    ):
        assert run.main([*common, *options]) == 1
        assert line in capsys.readouterr().err
    assert not list(tmp_path.rglob("report.json"))


def test_a_full_disk_marks_nothing_done(tmp_path):
    """The system refuses to write more than some bytes to a file: what a full disk does."""
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)); from "
        "benchmarks import run; import sys; "
    )
    arguments = [
        "evaluate",
        "--datasets",
        "smoke_adult",
        "--models",
        "xgboost",
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    script += f"sys.exit(run.main({arguments}))"
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert (
        process.returncode == 1
        and "could not be written" in process.stderr
        and "not marked done" in process.stderr
    )
    assert not list(tmp_path.rglob("report.json")) and not list(tmp_path.rglob(".0.new"))


def test_directories_are_whole_or_not_there(tmp_path):
    def fails(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    folder = tmp_path / "a" / "0"
    with locked(folder), pytest.raises(HarnessError, match="No space left on device"):
        write(folder, {}, {"x": fails})
    assert not folder.exists() and done(folder, {}) is None
    (tmp_path / "a" / ".0.new").mkdir()  # of a command that was killed
    with locked(folder):
        write(folder, {"identity": {"a": 1}}, {"x": lambda path: path.write_text("whole")})
    assert (
        done(folder, {"a": 1})["commit"] == provenance.commit()
        and (folder / "x").read_text() == "whole"
    )


@pytest.fixture
def evaluated(tmp_path):
    """Two models with five seeds each."""
    for model in ("xgboost", "lightgbm"):
        for seed in range(5):
            evaluate(experiment(tmp_path, model), seed)
    return tmp_path


def test_ensembles_are_means(evaluated):
    both = [experiment(evaluated, model) for model in ("xgboost", "lightgbm")]
    result = ensemble.average(both[0], 0, range(5))
    mean = np.mean(
        [read_predictions(folder_of(both[0], seed))["test"] for seed in range(5)], axis=0
    )
    y = load(HOUSING).test[1].to_numpy()
    assert result["metrics"]["test"]["rmse"] == pytest.approx(np.sqrt(np.mean((y - mean) ** 2)))
    greedy = ensemble.greedy(both, 0, range(5))
    singles = [evaluate(e, seed)["metrics"]["val"]["rmse"] for e in both for seed in range(5)]
    assert greedy["metrics"]["val"]["rmse"] <= min(singles)
    assert sum(greedy["weights"].values()) == pytest.approx(1)
    assert ensemble.groups(list(range(15))) == [
        (0, 1, 2, 3, 4),
        (5, 6, 7, 8, 9),
        (10, 11, 12, 13, 14),
    ]
    with pytest.raises(
        HarnessError, match=r"needs .*evaluation/5, .*: run the stage evaluate first"
    ):
        ensemble.average(both[0], 1, range(5, 10))
    # Members that are not those any more are noticed.
    shutil.copy(folder_of(both[1], 0) / "predictions.npz", folder_of(both[0], 0))
    with pytest.raises(HarnessError, match="members"):
        ensemble.average(both[0], 0, range(5))


def table_of(scores):
    """Return a table of single fits from {(dataset, model): scores}."""
    rows = [
        {
            "dataset": dataset,
            "model": model,
            "name": label(model, "paper-tuned"),
            "config": "paper-tuned",
            "variant": "",
            "protocol": "paper",
            "stage": "evaluation",
            "index": i,
            "test_score": score,
        }
        | {
            "fit_s": 1.0 + i,
            "predict_s": 0.1,
            "n_parameters": 10,
            "n_iter": 3,
            "hit_time_limit": False,
            "device": "cpu",
        }
        for (dataset, model), values in scores.items()
        for i, score in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=list(collect("/nowhere").columns)).astype(
        collect("/nowhere").dtypes.to_dict()
    )


def test_summary_is_beside_the_paper():
    table = table_of({("california_housing", "mlp"): [-0.49, -0.50], ("adult", "mine"): [0.8]})
    mine, mlp = summary(table).set_index("model").loc[["mine", "mlp"]].itertuples()
    assert mlp.mean == pytest.approx(-0.495) and mlp.std == pytest.approx(0.005)
    assert mlp.paper_mean == -0.49855 and mlp.difference == pytest.approx(
        (-0.495 + 0.49855) / 0.00295
    )
    assert np.isnan(mine.paper_mean) and np.isnan(mine.std) and mine.device == "cpu"


def test_wins_ranks_and_missing_cells(tmp_path):
    table = table_of(
        {
            (dataset, model): [(base + i) / 10 for i in range(2)]
            for i, dataset in enumerate("abc")
            for base, model in enumerate("xyz")
        }
        | {("a", "catboost"): [0.1, 0.1], ("a", "w"): [0.5]}
    )
    rates = win_rates(table).set_index("name")["rate"]
    assert [rates[f"{name} (paper-tuned)"] for name in "wxy"] == [1.0, 0.25, 0.75]
    assert list(complete_scores(table).columns) == [
        "x (paper-tuned)",
        "y (paper-tuned)",
        "z (paper-tuned)",
    ]
    board = leaderboard(table).set_index("name")
    assert list(board.index) == [f"{name} (paper-tuned)" for name in "zyx"]
    assert board["rank"].tolist() == [1, 2, 3] and board["winrate"].tolist() == [1, 0.5, 0]
    report.write(table, tmp_path)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| catboost (paper-tuned) | 0 | missing |" in text and "ranks.png" in text
    assert (tmp_path / "report" / "ranks.png").stat().st_size > 5000
    assert "No critical-difference figure" not in text
    assert figures.draw(table_of({("a", "x"): [1.0]}), tmp_path).keys() == {
        "scores.png",
        "time.png",
    }


def test_seeds_decide_who_is_not_worse():
    """The paper's test: fifteen seeds that all point one way are a difference, three are not."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=15) / 100
    scores = {"a": 0.9 + noise, "b": 0.9 + noise[::-1], "c": 0.8 + noise}
    table = table_of({("t", name): values for name, values in scores.items()})
    assert not_worse_than_the_best(table, "t") == {"a (paper-tuned)", "b (paper-tuned)"}
    few = table[table["index"] < 3]
    assert len(not_worse_than_the_best(few, "t")) == 3
    assert not_worse_than_the_best(table, "other") == set()


def test_the_last_lines_say_what_a_table_means():
    table = table_of({("adult", "tabm"): [0.87], ("adult", "catboost"): [0.86]})
    table.loc[table["model"] == "catboost", "fit_s"] = 0.1
    asked = [
        Experiment(Source("adult"), model, "paper-tuned", "cpu", None, "")
        for model in ("tabm", "catboost")
    ]
    text = report.footnote(table, asked)
    last = (
        "adult: tabm (paper-tuned) is best (0.8700, 1 s); catboost (paper-tuned) is 0.0100 behind"
    )
    assert last in text and "10 times as fast. Other seeds differ" in text


def test_an_empty_folder_has_an_empty_report(tmp_path, capsys):
    assert run.main(["report", "--out", str(tmp_path)]) == 0
    assert "missing" in capsys.readouterr().out
    assert "Nothing has been run" in (tmp_path / "report" / "report.html").read_text()


def test_ensembles_of_too_little(tmp_path, capsys):
    command = [
        "ensemble",
        "--datasets",
        "smoke_housing",
        "--out",
        str(tmp_path),
        "--models",
        "xgboost",
    ]
    assert run.main(command) == 1
    assert "an ensemble is of five seeds" in capsys.readouterr().err
    assert run.main([*command, "mlp"]) == 1
    assert (
        "no evaluation to make an ensemble of: run the stage evaluate first"
        in capsys.readouterr().err
    )


def test_a_table_called_like_one_of_the_papers(tmp_path):
    options = run.arguments(
        ["--data", str(tmp_path / "year.csv"), "--target", "y", "--models", "xgboost"]
    )
    [found], left_out = run.experiments(options)
    assert found.source.name == "my_year" and left_out == []
    assert dataset_name("openml:5") == "openml_5" and dataset_name("../..csv") == "table"


def test_evaluation_of_a_search_that_was_not_made(tmp_path, capsys):
    command = [
        "evaluate",
        "--config",
        "tuned",
        "--datasets",
        "smoke_housing",
        "--models",
        "xgboost",
        "--out",
        str(tmp_path),
    ]
    assert run.main(command) == 1
    assert "has no tuning/report.json: run the stage tune first" in capsys.readouterr().err
