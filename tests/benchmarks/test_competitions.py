"""The competition tool beside AutoGluon, on a few rows."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import competitions
from benchmarks.files import read_json, write_json
from benchmarks.models import automl

RESULT = {
    "rows": [70, 30],
    "metric": "auc",
    "blend": 0.9,
    "kind": "greedy",
    "models": {"mlp": 0.8, "catboost": 0.85},
    "chosen": "mlp",
    "seconds": 3.0,
    "cut": {"mlp": 1, "catboost": 0},
}


def test_an_opponent_has_a_column_where_it_has_a_result():
    opponent = {"autogluon": {"score": 0.875, "seconds": 61.2}}
    text = competitions.report({"one": RESULT | opponent, "two": RESULT}, "command")
    assert "| CatBoost | AutoGluon (its seconds) | folds cut |" in text
    assert "| 0.85000 | 0.87500 (61) | 1 |" in text and "| 0.85000 | – | 1 |" in text
    assert "AutoGluon" not in competitions.report({"two": RESULT}, "command")


def test_the_best_model_is_named_out_of_fold_and_in_hindsight():
    text = competitions.report({"one": RESULT}, "command")
    assert "| 0.80000 (mlp) | 0.85000 (catboost) | 0.85000 |" in text


def test_what_a_training_on_all_rows_changes_is_a_table(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=200)})
    table["target"] = np.digitize(table["a"] + rng.normal(size=200), [-0.5, 0.5]) + 3
    table.to_parquet(tmp_path / "wine_quality.parquet")
    options = ["--tables", "wine_quality", "--out", str(tmp_path), "--folds", "2", "--refit"]
    competitions.main([str(tmp_path), *options, "--n-jobs", "1", "--models", "lightgbm"])
    result = read_json(tmp_path / "competitions.json", dict)["wine_quality"]
    folds, both = result["folds"]["lightgbm"], result["models"]["lightgbm"]
    assert result["chosen"] == "lightgbm"
    assert (tmp_path / "wine_quality/models/lightgbm/refit.npz").exists()
    text = (tmp_path / "competitions.md").read_text()
    assert f"| wine_quality | lightgbm | {folds:.5f} | {both:.5f} |" in text
    assert "--refit`" in text


def test_without_its_environment_the_commands_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(automl.PYTHON, raising=False)
    with pytest.raises(SystemExit):
        competitions.main([str(tmp_path), "--opponent", "autogluon"])
    assert "pip install" in capsys.readouterr().err


@pytest.mark.skipif(automl.missing() is not None, reason=str(automl.missing()))
def test_autogluon_predicts_the_hidden_rows(tmp_path):
    """Labels, whose predictions are 0 and 1, in the order of the classes."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=200), "b": rng.normal(size=200)})
    table["target"] = np.digitize(table["a"], [-0.5, 0.5]) + 3
    table.to_parquet(tmp_path / "wine_quality.parquet")
    options = ["--tables", "wine_quality", "--out", str(tmp_path), "--n-jobs", "1", "--folds", "2"]
    parsed = competitions.parser().parse_args([str(tmp_path), *options])
    rows = competitions.Rows.of(tmp_path, competitions.TASKS[-1], parsed)
    fit = {"hyperparameters": {"GBM": {"num_boost_round": 20}}, "num_cpus": 1}
    hidden = rows.hidden.drop(columns="target")
    found, facts = automl.train(rows.competition, rows.train, hidden, tmp_path / "ag", fit)
    assert found.shape == (60, 3) and set(np.unique(found)) == {0, 1}
    assert rows.score(found) > 0.7 and facts["n_models"] >= 1


def test_results_of_other_hidden_rows_are_not_taken_for_these(tmp_path, capsys):
    write_json(tmp_path / "competitions.json", {"fars": RESULT})
    with pytest.raises(SystemExit):
        competitions.main([str(tmp_path), "--out", str(tmp_path), "--seed", "1"])
    assert "name another folder" in capsys.readouterr().err
