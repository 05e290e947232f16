"""Studies: run directories of variants on drawn tables, one store, one command."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import run
from benchmarks.models.registry import MODELS
from benchmarks.runs.evaluate import folder_of
from benchmarks.runs.results import Experiment, Variant, read
from benchmarks.studies import SHIPPED, changes_of, find_study, frame_of, runs_of, study_names
from benchmarks.tables.datasets import DATA, Source, load, sample, tables_of
from benchmarks.tables.splits import split_rows

TINY = '{"d_block": 8, "max_epochs": 3}'


@pytest.fixture
def folder(tmp_path):
    """A regression and a classification, as the development tables are."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=150), "b": rng.choice(["x", "y", None], 150)})
    (tmp_path / "tables").mkdir()
    frame.assign(target=frame["a"] * 2).to_parquet(tmp_path / "tables" / "line.parquet")
    sign = (frame["a"] > 0).map({True: "yes", False: "no"})
    frame.assign(target=sign, split="train").to_parquet(tmp_path / "tables" / "sign.parquet")
    tasks = {"line": {"task": "regression"}, "sign": {"task": "binary"}}
    (tmp_path / "tables" / "datasets.json").write_text(json.dumps(tasks))
    return tmp_path / "tables"


def test_a_drawn_table(folder):
    one, again, other = (load(sample("sign", folder, 60, draw)) for draw in (0, 0, 1))
    assert [len(X) for X, _ in one.train_val_test] == [48, 12, 90]
    assert list(one.train[0].columns) == ["a", "b"] and one.task == "binary"
    assert one.checksums == again.checksums != other.checksums
    assert one.checksums["data"] == other.checksums["data"] or len(one.test[0]) < 150 - 60
    assert sample("sign", folder, 60, 1).name == "sign.60.draw1"
    holes = load(sample("line", folder, 60, 0, "holes")).train[0]["a"]
    assert (
        0 < holes.isna().mean() < 0.5
        and not load(sample("line", folder)).train[0]["a"].isna().any()
    )


def test_classes_are_stratified_in_the_order_of_numbers():
    """Sorted as text, class 10 would come before class 2, and other rows would be drawn."""
    from sklearn.model_selection import train_test_split

    y = np.repeat(np.arange(12), 20)
    train, val, test = split_rows(y, "multiclass")
    rest, expected = train_test_split(np.arange(240), test_size=0.2, random_state=0, stratify=y)
    assert test.tolist() == expected.tolist()
    assert sorted([*train, *val]) == sorted(rest)


def test_a_variant_is_a_part_of_a_run(tmp_path, capsys):
    common = Source("smoke_housing"), "mlp", "default", "cpu", 0.5, str(tmp_path)
    wide = Experiment(*common, Variant("tiny", json.loads(TINY)))
    command = ["evaluate", "--datasets", "smoke_housing", "--models", "mlp", "--device", "cpu"]
    command += ["--out", str(tmp_path), "--time-limit", "0.5", "--variant"]
    assert run.main([*command, f"tiny={TINY}"]) == 0
    report, plain = read(folder_of(wide, 0)), read(folder_of(Experiment(*common), 0))
    assert folder_of(wide, 0).parts[-3] == "mlp-default.tiny"
    assert report["identity"]["variant"] == "tiny" and plain["identity"]["variant"] is None
    assert report["identity"]["parameters"] == {"d_block": 8, "max_epochs": 3}
    assert report["n_iter"] == len(report["history"]["val_score"]) <= 3
    assert report["history"]["epoch"][0] == 1 and report["seconds"]["cpu"] > 0
    assert run.main([*command, 'tiny={"d_block": 9}']) == 1
    assert "parameters.d_block is 8 there, 9 here" in capsys.readouterr().err


@pytest.mark.parametrize(
    "variant, line",
    [
        ("wide", "'wide' is no variant: NAME="),
        ("wide=[1]", "no JSON object follows its name"),
        ('../x={"a": 1}', "cannot name a variant"),
    ],
)
def test_what_is_no_variant(variant, line, capsys):
    with pytest.raises(SystemExit):
        run.main(["--variant", variant])
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("model", ["tabm", "catboost", "xgboost", "lightgbm"])
def test_an_unknown_parameter_of_a_variant(model, tmp_path, capsys):
    MODELS[model].check_parameters(Variant("v", {"random_state": 0} if model != "catboost" else {}))
    command = ["--datasets", "smoke_housing", "--models", model, "--out", str(tmp_path)]
    assert run.main([*command, "--variant", 'v={"d_blocks": 1}']) == 1
    assert (
        f"variant v of {MODELS[model].label}: the parameter 'd_blocks'" in capsys.readouterr().err
    )
    assert not list(tmp_path.rglob("report.json"))


def test_a_study_makes_what_is_not_there(folder, tmp_path, capsys):
    command = ["study", "defaults", "--folder", str(folder), "--tables", "line", "sign"]
    command += ["--rows", "60", "--only", "mlp", "--device", "cpu"]
    command += ["--out", str(tmp_path / "out"), "--time-limit", "0.1", "--seeds"]
    assert run.main([*command, "0"]) == 0
    assert run.main([*command, "0", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.count(", found") == 4 and "| mlp paper | " in printed
    text = (tmp_path / "out" / "report" / "defaults.md").read_text()
    assert "mean over 2 seeds" in text and "| line | " in text and "study defaults --folder" in text


def test_what_a_study_lacks(folder, tmp_path, capsys):
    common = ["--out", str(tmp_path / "out")]
    assert run.main(["study", "defaults", "--folder", str(folder), *common]) == 1
    lacks = "study defaults lacks california_housing, bike_sharing"
    assert lacks in capsys.readouterr().err
    assert run.main(["study", "default", *common]) == 1
    assert "did you mean defaults?" in capsys.readouterr().err
    assert run.main(["study", "defaults", "--only", "mpl", *common]) == 1
    assert "--only 'mpl' is unknown" in capsys.readouterr().err
    (folder / "datasets.json").unlink()
    assert run.main(["study", "defaults", "--folder", str(folder), *common]) == 1
    assert "is no folder of tables: it needs datasets.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", study_names())
def test_every_study_can_begin_with_what_is_shipped(name, tmp_path):
    options = run.arguments(["study", name, "--out", str(tmp_path)])
    study = find_study(name)
    runs = runs_of(study, name, options)
    there = SHIPPED if study.folder == DATA else tables_of(study.folder)
    assert {(e.source.table or e.source.name) for e, _ in runs} <= set(there)
    assert len(set(runs)) == len(runs) > 0
    for entry in study.compared:
        if entry.variant is not None:
            MODELS[entry.model].check_parameters(entry.variant)
    assert frame_of(runs).empty


def test_changes_are_means_of_tables():
    def line(table, name, seed, error):
        common = {"table": table, "rows": 60, "change": "", "seed": seed, "name": name}
        return common | {"error": error, "cpu_s": 2.0 if name == "o" else 1.0}

    lines = [line(t, "base", s, e) for t, e in (("a", 1.0), ("b", 2.0)) for s in (0, 1)]
    lines += [line("a", "o", 0, 0.9), line("a", "o", 1, 0.9)]
    lines += [line("b", "o", 0, 2.2), line("b", "o", 1, 1.9)]
    [found] = changes_of(pd.DataFrame(lines), "base").itertuples()
    assert found.change == pytest.approx(-0.0375) and found.seconds == 2
    assert (found.better, found.neither, found.worse) == (1, 1, 0)


def report_of(experiment, seed):
    """Return a report as a fit of a study leaves it, with numbers that say nothing."""
    rng = np.random.default_rng([seed, len(experiment.name), *map(ord, experiment.source.name)])
    is_regression = experiment.source.name.startswith(("california", "alpha"))
    error = rng.uniform(0.3, 0.6)
    metrics = {"rmse": error} if is_regression else {"log_loss": error, "accuracy": 0.8}
    metrics |= {} if is_regression else {"roc_auc": 0.9}
    names = ("tabm", "ft_transformer", "resnet", "catboost", "xgboost", "lightgbm")
    teacher = {"blend": metrics | {"predict_seconds": 1.0}, "mlp": dict.fromkeys(metrics, 2.0)}
    members = {"blend": dict.fromkeys(names, metrics), "student": teacher}.get(experiment.model, {})
    counted = {"n_parameters": 10, "n_iter": 7, "best_iter": 5, "hit_time_limit": False}
    seconds = {"fit": 1.0 + error, "cpu": 1.0 + error, "predict": 0.1}
    scores = {"metrics": {"test": metrics, "val": metrics}, "members": members}
    return scores | counted | {"seconds": seconds, "history": {}}


@pytest.mark.parametrize("name", study_names())
def test_every_study_answers(name, tmp_path, monkeypatch):
    """With reports that are made up, so that nothing is trained."""
    study = find_study(name)
    runs = runs_of(study, name, run.arguments(["study", name, "--out", str(tmp_path)]))
    made_up = {folder_of(*pair): report_of(*pair) for pair in runs}
    monkeypatch.setattr("benchmarks.studies.read", made_up.get)
    frame = frame_of(runs)
    assert len(frame) == len(runs)
    answer = study.answer(frame)
    lines = [line for line in answer.splitlines() if line.startswith("|")]
    assert len(lines) >= 3 and "nan" not in answer
    if name == "options":
        assert "mlp muon" in answer and "better" in lines[0]
    if name == "published":
        assert "0.4275" in answer
    if name == "synthetic":
        study.draw(frame, tmp_path / "figure.png")
        assert "0.468 ± 0.031" in answer and (tmp_path / "figure.png").stat().st_size > 5000
    if name == "blend":
        assert "better than its best member on 0 of 2" in answer
