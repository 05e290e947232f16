"""The comparison of untuned estimators: it resumes, its report is right, and it says why it has
nothing to do."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import numbers
from sklearn.metrics import log_loss

import tabdl
from benchmarks import patience
from benchmarks.after_training import calibration, pruning
from benchmarks.defaults import main, report
from benchmarks.missing import errors, remove_large


def tables(folder):
    """Write two small tables, a regression and a classification, as the development tables are."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=150), "b": rng.choice(["x", "y", None], 150)})
    frame.assign(target=frame["a"] * 2).to_parquet(folder / "line.parquet")
    frame.assign(target=(frame["a"] > 0).map({True: "yes", False: "no"}), split="train").to_parquet(
        folder / "sign.parquet"
    )
    (folder / "datasets.json").write_text(
        json.dumps({"line": {"task": "regression"}, "sign": {"task": "binary"}})
    )


def test_each_fit_is_made_once(tmp_path, capsys):
    tables(tmp_path)
    command = [
        "--data",
        str(tmp_path),
        "--tables",
        "line",
        "sign",
        "--configurations",
        "catboost",
        "mlp",
        "--rows",
        "60",
    ]
    command += [
        "--results",
        str(tmp_path / "results.jsonl"),
        "--report",
        str(tmp_path / "report.md"),
    ]
    main([*command, "--seeds", "1"])
    first = (tmp_path / "results.jsonl").read_text()
    records = [json.loads(line) for line in first.splitlines()]
    assert {(r["table"], r["configuration"], r["seed"]) for r in records} == {
        (table, configuration, 0)
        for table in ("line", "sign")
        for configuration in ("catboost", "mlp")
    }
    assert all(
        0 < record["error"] < 3 and 0 < record["val_error"] < 3 and record["cpu_s"] > 0
        for record in records
    )
    main([*command, "--seeds", "2"])
    both = (tmp_path / "results.jsonl").read_text()
    assert both.startswith(first) and len(both.splitlines()) == 8
    capsys.readouterr()
    main([*command, "--seeds", "2"])
    assert (tmp_path / "results.jsonl").read_text() == both
    assert "seed" not in capsys.readouterr().out
    assert "| line |" in (tmp_path / "report.md").read_text()


def test_a_shorter_patience_is_read_from_the_curves():
    record = {"val": [3.0, 2.0, 2.5, 2.5, 1.0, 4.0], "test": [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]}
    assert patience.stopped(record, 2) == (8.0, 4)
    assert patience.stopped(record, 3) == (
        5.0,
        6,
    )  # the better epoch comes in time; the curve ends before the patience does


def test_patience_report(tmp_path):
    tables(tmp_path)
    results = tmp_path / "new" / "results.jsonl"
    command = [
        "--data",
        str(tmp_path),
        "--tables",
        "line",
        "sign",
        "--networks",
        "mlp",
        "--rows",
        "60",
        "--seeds",
        "1",
    ]
    patience.main([*command, "--results", str(results), "--report", str(tmp_path / "report.md")])
    records = [json.loads(line) for line in results.read_text().splitlines()]
    assert [record["n_steps"] for record in records] == [2, 2]
    for record in records:
        assert (
            len(record["val"])
            == len(record["test"])
            == min(500, int(np.argmin(record["val"])) + 1 + patience.LONGEST)
        )
    text = (tmp_path / "report.md").read_text()
    error, _ = patience.stopped(records[0], 16)
    assert f"| mlp | line | 60 | 2 | {error:.4g} |" in text and "| mlp | 60 | 2 | " in text


def test_ranks_and_relative_errors():
    errors = {
        "t1": {"catboost": [1.0, 3.0], "mlp": [4.0, 4.0]},
        "t2": {"catboost": [1.5, 1.5], "mlp": [1.0, 1.0]},
    }
    records = [
        {"table": table, "configuration": name, "seed": seed, "rows": 60, "error": error}
        | {"val_error": -error, "cpu_s": 1.0 + seed}
        for table, by_name in errors.items()
        for name, both in by_name.items()
        for seed, error in enumerate(both)
    ]
    text = report(records, "a command")
    # MLP: ranks 2 and 1; twice as large as the smallest error of the first table, and the smallest
    # of the second.
    assert "| mlp | TabMLP, defaults | 1.50 | 50.0% | 1 | 1 of 2 | 1.50 | 1.5 |" in text
    assert (
        "| catboost | 2,000 trees, early stopping after 50 | 1.50 | 25.0% | 1 | – | 1.50 | 1.5 |"
        in text
    )
    assert (
        "**2 ± 1.4**, 1.5 s" in text
        and "4 ± 0, 1.5 s" in text
        and "2 seeds" in text
        and "`a command`" in text
    )


def test_pytabkit_needs_its_python(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path), "--configurations", "pytabkit-ftt"])
    assert "need --python" in capsys.readouterr().err


def test_without_the_tables(tmp_path, capsys):
    main(["--data", str(tmp_path / "nothing"), "--results", str(tmp_path / "results.jsonl")])
    assert "Nothing to do: no development tables" in capsys.readouterr().out
    assert not (tmp_path / "results.jsonl").exists()


def test_the_log_loss_before_scaling_is_that_of_an_unscaled_fit():
    X, y = numbers(300)
    X, y = pd.DataFrame(X), pd.Series(np.where(y > 0, "yes", "no"))
    train, val, test = ((X[i : i + 100], y[i : i + 100]) for i in (0, 100, 200))
    parameters = {"n_blocks": 1, "d_block": 16, "max_epochs": 8}
    before, after, temperature = calibration(
        train, val, test, 0, tabdl.TabMLPClassifier, parameters
    )
    plain = tabdl.TabMLPClassifier(**parameters, random_state=0).fit(
        *train, X_val=val[0], y_val=val[1]
    )
    assert before == pytest.approx(log_loss(test[1], plain.predict_proba(test[0])), rel=1e-5)
    assert after != before and temperature > 0


def test_pruning_is_measured_on_two_fits():
    X, y = numbers(300)
    train, val, test = (
        (pd.DataFrame(X)[i : i + 100], pd.Series(y)[i : i + 100]) for i in (0, 100, 200)
    )
    error, n_weights, ms, pruned_error, n_pruned_weights, pruned_ms, n_kept = pruning(
        train, val, test, 0
    )
    assert error > 0 and pruned_error > 0 and ms > 0 and pruned_ms > 0
    assert n_pruned_weights < n_weights and n_kept < 32


def test_large_numbers_are_removed_more_often():
    X = pd.DataFrame({"a": np.arange(2000), "b": np.arange(2000.0), "c": ["x"] * 2000})
    removed = remove_large(X, ["a", "b"], np.random.default_rng(0))
    missing = removed[["a", "b"]].isna()
    assert (
        missing[1200:].mean().between(0.55, 0.65).all()
        and missing[:1200].mean().between(0.03, 0.07).all()
    )
    assert not X.isna().any().any() and not removed["c"].isna().any()
    rows = X.assign(target=X["a"] / 100 + (X["a"] % 7))
    found = errors(rows, {"task": "regression", "numerical": ["a", "b"]}, 0, 100, True)
    assert len(found) == 2 and found[0] != found[1] and min(found) > 0
