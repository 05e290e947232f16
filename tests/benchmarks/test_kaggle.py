"""The worked example of a competition, from files to a submission, and the comparison of a blend
with its members."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import numbers

pytest.importorskip("lightgbm")

from benchmarks import blend, kaggle


@pytest.fixture
def files(tmp_path):
    """Write train.csv and test.csv, with an id, a date, text and missing values, and return their
    folder."""
    X, y = numbers(160)
    table = pd.DataFrame(X, columns=list("abcd")).assign(row_id=np.arange(1000, 1160), constant=1)
    table["day"] = (
        pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(160), unit="D")
    ).strftime("%Y-%m-%d")
    table["city"] = np.where(X[:, 2] > 0, "Oslo", None)
    table["price"], table["kind"] = (
        np.exp(y),
        np.array(["low", "mid", "high"])[np.digitize(y, [-0.5, 0.5])],
    )
    table[:120].to_csv(tmp_path / "train.csv", index=False)
    table[120:].drop(columns=["price", "kind"]).to_csv(tmp_path / "test.csv", index=False)
    return tmp_path


def run(files, target, metric, drop, *more):
    """Run the example on ``files`` without the other target, and return the submission."""
    train = pd.read_csv(files / "train.csv").drop(columns=drop)
    train.to_csv(files / f"{target}.csv", index=False)
    paths = [str(files / f"{target}.csv"), str(files / "test.csv")]
    options = [
        "--folds",
        "2",
        "--n-jobs",
        "1",
        "--device",
        "cpu",
        "--time-limit",
        "0.05",
        "--out",
        str(files / "sub.csv"),
    ]
    kaggle.main([*paths, "--target", target, "--metric", metric, *options, *more])
    return pd.read_csv(files / "sub.csv")


@pytest.mark.parametrize(
    "target, metric, columns",
    [
        ("price", "rmsle", ["price"]),
        ("kind", "logloss", ["kind_high", "kind_low", "kind_mid"]),
        ("kind", "accuracy", ["kind"]),
    ],
)
def test_files_to_submission(files, target, metric, columns, capsys):
    drop = {"price": "kind", "kind": "price"}[target]
    submission = run(files, target, metric, drop, "--models", "lightgbm", "resnet")
    assert list(submission.columns) == ["row_id", *columns] and list(submission["row_id"]) == list(
        range(1120, 1160)
    )
    assert "120 rows to train on, 40 to predict, 9 columns, id: row_id" in capsys.readouterr().out
    assert (
        len(pd.read_csv(files / "sub" / "oof_blend.csv")) == 120
        and len(pd.read_csv(files / "sub" / "test_resnet.csv")) == 40
    )
    page = (files / "sub" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and "lightgbm" in page
    if target == "price":
        assert (submission["price"] > 0).all()


def test_a_second_start_goes_on(files, capsys):
    first = run(files, "price", "rmse", "kind", "--models", "lightgbm")
    assert "lightgbm: out-of-fold" in capsys.readouterr().out
    second = run(files, "price", "rmse", "kind", "--models", "lightgbm")
    assert "lightgbm: out-of-fold" not in capsys.readouterr().out
    pd.testing.assert_frame_equal(first, second)
    with pytest.raises(SystemExit, match="holds a run of other files or settings"):
        run(files, "price", "mae", "kind", "--models", "lightgbm")


def test_wrong_files(files):
    with pytest.raises(SystemExit, match="has no column 'prize'"):
        run(files, "prize", "rmse", "kind")
    with pytest.raises(SystemExit, match="--metric rmse needs numbers; the target 'kind'"):
        run(files, "kind", "rmse", "price")
    with pytest.raises(SystemExit, match=r"test.csv lacks the column\(s\) kind"):
        run(files, "price", "rmse", [])
    with pytest.raises(SystemExit, match="--models: nonsense is unknown"):
        run(files, "price", "rmse", "kind", "--models", "nonsense")


def test_a_blend_beside_its_members(tmp_path):
    pytest.importorskip("pyarrow")
    X, y = numbers(200)
    pd.DataFrame(X, columns=list("abcd")).assign(target=y).to_parquet(tmp_path / "some.parquet")
    command = [
        str(tmp_path),
        "--tables",
        "some",
        "--rows",
        "100",
        "--folds",
        "2",
        "--time-limit",
        "0.2",
        "--out",
        str(tmp_path),
    ]
    blend.main(command)
    [result] = json.loads((tmp_path / "blend.json").read_text())["results"]
    assert list(result["members"]) == [
        "tabm",
        "ft_transformer",
        "resnet",
        "catboost",
        "xgboost",
        "lightgbm",
    ]
    assert result["n_rows"] == [100, 40] and 0 < result["blend"] < 2
    before = (tmp_path / "blend.md").read_text()
    assert "| some | 100, 40 | 4 (0) | – | RMSE |" in before
    blend.main(command)
    assert (tmp_path / "blend.md").read_text() == before
    for other in (["--rows", "90"], ["--networks", "resnet"]):
        with pytest.raises(SystemExit, match="has results of other settings"):
            blend.main([*command, *other])
    blend.main([*command, "--networks", "resnet", "--out", str(tmp_path / "without")])
    [result] = json.loads((tmp_path / "without" / "blend.json").read_text())["results"]
    assert list(result["members"]) == ["resnet", "catboost", "xgboost", "lightgbm"]
