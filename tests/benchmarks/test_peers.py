"""The benchmarks of peers and of training options, on small tables: what they read, fit on our
side, and sum up."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import options, peers


def small_tables(folder):
    """Write a table of numbers and one of classes, and return a path of each."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=150), "b": rng.choice(["x", "y", None], 150)})
    noise = rng.normal(size=150) / 10
    X.assign(target=X["a"] + noise).to_parquet(folder / "numbers.parquet")
    X.assign(target=np.where(X["a"] > noise, "yes", "no")).to_parquet(folder / "classes.parquet")
    return folder / "numbers.parquet", folder / "classes.parquet"


@pytest.mark.parametrize("model", peers.PARAMETERS)
def test_our_side_of_peers(model, tmp_path):
    for path in small_tables(tmp_path):
        is_classification, parts = peers.read(path, 64, seed=0)
        assert is_classification == (path.stem == "classes") and [len(X) for X, _ in parts] == [
            64,
            16,
            20,
        ]
        assert all("target" not in X and X.index.equals(pd.RangeIndex(len(X))) for X, _ in parts)
        predictions, seconds = peers.fit_ours(model, is_classification, parts, 0, epochs=2)
        found = peers.scores(is_classification, predictions, parts[0][1], parts[2][1])
        assert (
            list(found) == (["log loss", "accuracy"] if is_classification else ["rmse"])
            and min(seconds) > 0
        )


def test_peers_keeps_to_a_split_and_to_rows():
    is_classification, parts = peers.read(peers.SHIPPED / "california_housing.parquet", 500, seed=0)
    assert not is_classification and [len(X) for X, _ in parts] == [500, 3303, 4128]
    assert "split" not in parts[0][0]


def test_peers_summary():
    def record(seed, ours, theirs, seconds):
        common = {"table": "t", "model": "tabm", "seed": seed, "rows": 64}
        return common | {
            "ours": {"rmse": ours, "seconds": 1.0, "cpu": 1.0},
            "theirs": {"rmse": theirs, "seconds": seconds, "cpu": 2.0},
        }

    line = peers.summary(
        [record(0, 0.5, 0.7, 2.0), record(1, 0.6, 0.7, 3.0), record(2, 0.7, 0.7, 1.5)]
    ).splitlines()[2]
    assert line == (
        "| t | tabm | 64 | rmse | 0.6000 ± 0.1000 | 0.7000 ± 0.0000 | 1.0 | 2.2 | 2.00 "
        "(1.50–3.00) | 2.00 (2.00–2.00) |"
    )


def test_options_are_measured_and_summed_up(tmp_path, monkeypatch, capsys):
    small_tables(tmp_path)
    monkeypatch.setitem(
        options.OPTIONS, "resnet", {"stochastic_depth=0.1": {"stochastic_depth": 0.1}}
    )
    command = [
        "--data",
        str(tmp_path),
        "--tables",
        "numbers",
        "classes",
        "--networks",
        "resnet",
        "--rows",
        "64",
    ]
    options.main([*command, "--seeds", "0", "1", "--out", str(tmp_path / "runs.jsonl")])
    printed = capsys.readouterr().out
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 8
    options.main(["--read", str(tmp_path / "runs.jsonl")])
    assert capsys.readouterr().out == printed and "| resnet | stochastic_depth=0.1 | 2 |" in printed


def test_options_summary_is_the_mean_of_the_tables():
    def record(table, option, seed, error):
        return {
            "network": "mlp",
            "table": table,
            "option": option,
            "seed": seed,
            "error": error,
            "seconds": 2.0 if option else 1.0,
        }

    records = [record("a", None, s, 1.0) for s in (0, 1)] + [
        record("b", None, s, 2.0) for s in (0, 1)
    ]
    records += [
        record("a", "o", 0, 0.9),
        record("a", "o", 1, 0.9),
        record("b", "o", 0, 2.2),
        record("b", "o", 1, 1.9),
    ]
    assert (
        options.summary(records).splitlines()[2]
        == "| mlp | o | 2 | -3.75 % (-10.0 to +2.5) | 1 / 1 / 0 | 2.00 |"
    )
