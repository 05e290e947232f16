"""The worked example of a competition, from files to a submission, and the comparison of a blend
with its members."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import numbers
from filelock import FileLock
from sklearn.linear_model import LogisticRegression, Ridge

pytest.importorskip("lightgbm")

from benchmarks import blend, kaggle
from benchmarks.errors import HarnessError
from benchmarks.kaggle import submission, training
from benchmarks.kaggle.competition import read
from benchmarks.kaggle.options import parse

N = 60
RNG = np.random.default_rng(0)
A = RNG.normal(size=N)
TABLE = pd.DataFrame({"a": A, "b": RNG.normal(size=N)})
Y = (A > 0).astype(int)


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
    table["price"] = np.exp(y)
    table["kind"] = np.array(["low", "mid", "high"])[np.digitize(y, [-0.5, 0.5])]
    table[:120].to_csv(tmp_path / "train.csv", index=False)
    table[120:].drop(columns=["price", "kind"]).to_csv(tmp_path / "test.csv", index=False)
    return tmp_path


@pytest.fixture
def quick(monkeypatch):
    """Put linear models in the place of all models, draw nothing, and return the dict of the
    models, by name."""
    models = {}

    def estimators(names, competition, options):
        is_regression = options.metric == "rmse"
        return {
            name: models.get(name, Ridge() if is_regression else LogisticRegression())
            for name in names
        }

    monkeypatch.setattr(training, "estimators", estimators)
    monkeypatch.setattr(submission, "report_page", lambda *_: "a page")
    return models


class Broken(LogisticRegression):
    """A model whose training fails when the list ``folds_left``, which its copies share, is
    empty."""

    def __init__(self, error: Any = None, folds_left: Any = ()):
        super().__init__()
        self.error = error
        self.folds_left = folds_left

    def fit(self, X, y, sample_weight=None):
        if len(self.folds_left) == 0:
            raise self.error
        self.folds_left.pop()
        return super().fit(X, y, sample_weight)

    def __sklearn_clone__(self):
        return Broken(self.error, self.folds_left)


def run(files, target, metric, drop, *more):
    """Run the example on ``files`` without the other target, and return the submission."""
    train = pd.read_csv(files / "train.csv").drop(columns=drop)
    train.to_csv(files / f"{target}.csv", index=False)
    paths = [str(files / f"{target}.csv"), str(files / "test.csv")]
    options = ["--folds", "2", "--n-jobs", "1", "--device", "cpu", "--time-limit", "0.05"]
    options += ["--out", str(files / "sub.csv")]
    kaggle.main([*paths, "--target", target, "--metric", metric, *options, *more])
    return pd.read_csv(files / "sub.csv")


def write(folder, train, test, ext="csv", **how):
    """Write both tables, and return their paths and the first options."""
    paths = [str(folder / f"{part}.{ext}") for part in ("train", "test")]
    for path, table in zip(paths, (train, test), strict=True):
        if ext == "parquet":
            table.to_parquet(path)
        else:
            table.to_csv(path, **{"index": False, **how})
    return [*paths, "--target", "y", "--out", str(folder / "sub.csv"), "--folds", "2"]


def competition(folder, train, test, *more, metric="auc", **how):
    """Return what is read of both tables."""
    return read(parse([*write(folder, train, test, **how), "--metric", metric, *more]))


def refusal(folder, train, test, *more, metric="auc", **how):
    """Return what the command says when it refuses both tables; it trains nothing before."""
    with pytest.raises(SystemExit) as stop:
        kaggle.main([*write(folder, train, test, **how), "--metric", metric, *more])
    assert isinstance(stop.value.code, str) and not (folder / "sub.csv").exists()
    return stop.value.code


# --- from files to a submission


@pytest.mark.parametrize(
    "target, metric, columns, models",
    [
        ("price", "rmsle", ["price"], ["lightgbm", "resnet"]),
        ("kind", "logloss", ["kind_high", "kind_low", "kind_mid"], ["lightgbm"]),
    ],
)
def test_files_to_submission(files, target, metric, columns, models, capsys):
    drop = {"price": "kind", "kind": "price"}[target]
    answer = run(files, target, metric, drop, "--models", *models)
    assert list(answer.columns) == ["row_id", *columns]
    assert list(answer["row_id"]) == list(range(1120, 1160))
    said = capsys.readouterr().out
    assert "120 rows to train on, 40 to predict, 9 columns, id: row_id" in said
    assert "Left out: 'constant' (one value in all training rows)." in said
    assert len(pd.read_csv(files / "sub" / "oof_blend.csv")) == 120
    assert len(pd.read_csv(files / "sub" / f"test_{models[-1]}.csv")) == 40
    page = (files / "sub" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and "lightgbm" in page
    if target == "price":
        assert (answer["price"] > 0).all()
    report = json.loads((files / "sub" / models[-1] / "report.json").read_text())
    assert all(len(curve) > 0 for curve in report["curves"])


def test_a_second_start_goes_on(tmp_path, quick, capsys):
    train = TABLE.assign(y=A)
    first = quick_run(tmp_path, train, TABLE, metric="rmse")
    assert "lightgbm: out-of-fold" in capsys.readouterr().out
    second = quick_run(tmp_path, train, TABLE, metric="rmse")
    assert "lightgbm: out-of-fold" not in capsys.readouterr().out
    pd.testing.assert_frame_equal(first, second)
    with pytest.raises(SystemExit, match="holds a run of other files or settings"):
        quick_run(tmp_path, train, TABLE, "--seed", "1", metric="rmse")


def test_labels_are_those_of_the_file(tmp_path, quick):
    y = np.where(Y, "yes", "no")
    quick_run(tmp_path, TABLE.assign(y=y), TABLE, metric="accuracy")
    assert set(pd.read_csv(tmp_path / "sub.csv")["y"]) == {"yes", "no"}


def quick_run(folder, train, test, *more, metric="auc"):
    """Run the command with one linear model, and return the submission as text."""
    options = write(folder, train, test)
    kaggle.main([*options, "--metric", metric, "--models", "lightgbm", *more])
    return pd.read_csv(folder / "sub.csv", dtype=str)


# --- ids


@pytest.mark.parametrize("name", ["id", "Id", "PassengerId", "row_id", "customerID"])
def test_an_id_is_found_by_its_name(tmp_path, name):
    ids = np.arange(N) + 7
    found = competition(tmp_path, TABLE.assign(**{name: ids, "y": Y}), TABLE.assign(**{name: ids}))
    assert found.id_name == name and list(found.X) == ["a", "b"]


@pytest.mark.parametrize("name", ["bid_price", "paid", "idle", "valid_days", "grid"])
def test_a_feature_is_no_id(tmp_path, name, capsys):
    test = TABLE.assign(**{name: np.arange(N)})
    found = competition(tmp_path, test.assign(y=Y), test)
    assert found.id_name is None and name in found.X
    assert "No column is named as an id" in capsys.readouterr().out


def test_a_key_that_repeats_is_a_feature(tmp_path):
    test = TABLE.assign(shop_id=np.arange(N) % 5)
    assert "shop_id" in competition(tmp_path, test.assign(y=Y), test).X


def test_two_ids_are_a_question(tmp_path):
    test = TABLE.assign(id=np.arange(N), house_id=np.arange(N))
    train = test.assign(y=Y)
    said = refusal(tmp_path, train, test)
    assert "'id' or by 'house_id': say which, such as --id id" in said
    assert competition(tmp_path, train, test, "--id", "house_id").id_name == "house_id"
    test[["id"]].assign(y=0).to_csv(tmp_path / "sample.csv", index=False)
    sample = ["--sample", str(tmp_path / "sample.csv")]
    assert competition(tmp_path, train, test, *sample).id_name == "id"


def test_ids_of_the_test_file_only_are_kept_as_written(tmp_path, quick):
    ids = [f"{i:04d}" for i in range(N)]
    answer = quick_run(tmp_path, TABLE.assign(y=Y), TABLE.assign(id=ids))
    assert answer["id"].tolist() == ids


def test_an_id_that_names_no_rows_is_refused(tmp_path):
    test = TABLE.assign(code=np.arange(N) % 3)
    assert "value more than once" in refusal(tmp_path, test.assign(y=Y), test, "--id", "code")
    assert "has no column 'key'; it is in no file" in refusal(
        tmp_path, test.assign(y=Y), test, "--id", "key"
    )


# --- columns


def dates(folder, values, **how):
    test = TABLE.assign(day=np.resize(values, N))
    return list(competition(folder, test.assign(y=Y), test, **how).X)


PARTS = ["day.days", "day.year", "day.month", "day.day_of_week"]


@pytest.mark.parametrize(
    "values", [["2024-01-31", "2023-12-01"], ["2024/01/31 10:00:00", "2023/12/01 00:01:02"]]
)
def test_dates_become_numbers(tmp_path, values):
    assert dates(tmp_path, values) == ["a", "b", *PARTS]


@pytest.mark.parametrize(
    "values",
    [
        ["1234-56-78", "4321-87-65"],
        ["2024-01-31", "2024-13-01"],
        ["1034-05-06", "1204-07-08"],
        ["2024-01-31", "unknown"],
    ],
)
def test_codes_that_look_like_dates_stay_text(tmp_path, values, capsys):
    assert dates(tmp_path, values) == ["a", "b", "day"]
    assert "'day' looks like dates" in capsys.readouterr().out


def test_a_date_that_is_none_in_the_test_file_only(tmp_path):
    train = TABLE.assign(day=np.resize(["2024-01-31", "2023-12-01"], N), y=Y)
    test = TABLE.assign(day=["2024-99-99", *["2024-01-31"] * (N - 1)])
    assert "day" in competition(tmp_path, train, test).X


def test_half_a_time_zone_is_refused(tmp_path):
    test = TABLE.assign(day=np.resize(["2024-01-31T10:00Z", "2024-01-31T10:00"], N))
    assert "column 'day' has times with a time zone" in refusal(tmp_path, test.assign(y=Y), test)


@pytest.mark.parametrize(
    "train, test, seen",
    [
        (["x", "0", "1"], [0, 1, 2], "0"),  # numbers only in the test file
        (["007", "x"], ["007", "008"], "007"),
        ([True, False, None], [True, False], "True"),
        ([1, 2, 3], [None], None),
        (["x", "y"], [None], None),
    ],
)
def test_a_column_has_one_kind_in_both_files(tmp_path, train, test, seen):
    found = competition(
        tmp_path,
        TABLE.assign(c=pd.Series(np.resize(np.array(train, object), N)), y=Y),
        TABLE.assign(c=pd.Series(np.resize(np.array(test, object), N))),
    )
    kinds = {pd.api.types.is_numeric_dtype(table["c"]) for table in (found.X, found.X_test)}
    assert len(kinds) == 1
    assert found.X_test["c"].isna().all() if seen is None else found.X_test["c"][0] == seen


def test_columns_of_one_file_and_row_numbers_are_left_out(tmp_path, capsys):
    found = competition(tmp_path, TABLE.assign(c=A, y=Y), TABLE.assign(d=A), index=True)
    assert list(found.X) == ["a", "b"] and found.id_name is None
    said = capsys.readouterr().out
    for part in ("'Unnamed: 0' (no name", f"'c' (only in {tmp_path / 'train.csv'})", "'d' (only"):
        assert f"Left out: {part}" in said


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le"])
def test_encodings(tmp_path, encoding):
    test = TABLE.assign(größe=np.resize(["é", "ü"], N))
    found = competition(tmp_path, test.assign(y=Y), test, encoding=encoding)
    assert list(found.X) == ["a", "b", "größe"] and found.X["größe"][0] == "é"


def test_kinds_of_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    from decimal import Decimal

    test = TABLE.assign(
        price=[Decimal(i) / 4 for i in range(N)],
        day=pd.to_datetime("2024-01-01").date(),
        wait=pd.to_timedelta(np.arange(N), unit="h"),
        plan=pd.Categorical(np.resize(["x", "y"], N)),
        count=pd.array([None, *range(1, N)], dtype="Int64"),
    )
    test.loc[0, "day"] = pd.to_datetime("2024-03-01").date()
    found = competition(tmp_path, test.assign(y=Y), test, ext="parquet").X
    assert found["price"][1] == 0.25 and found["wait"][12] == 0.5
    assert found["plan"].tolist()[:2] == ["x", "y"] and np.isnan(found["count"][0])
    assert found["day.month"].tolist()[:2] == [3, 1]


# --- refusals


@pytest.mark.parametrize(
    "train, test, metric, message",
    [
        (TABLE.assign(y=A), TABLE, "rmsle", "--metric rmsle needs a target of 0 or more"),
        (TABLE.assign(y=A), TABLE, "auc", "decimal numbers. Give a metric of numbers"),
        (TABLE.assign(y="x"), TABLE, "rmse", "needs numbers; the target 'y' holds values"),
        (TABLE.assign(y=1), TABLE, "auc", "needs two classes or more; every row of 'y' is 1"),
        (TABLE.assign(y="x"), TABLE, "qwk", "qwk needs whole numbers"),
        (TABLE.assign(y=np.arange(N)), TABLE, "f1", "no class of 'y' has so many rows"),
        (TABLE.assign(y=np.where(A > 1, np.inf, A)), TABLE, "rmse", "'y' holds an infinite"),
        (TABLE.assign(y=np.nan), TABLE, "auc", "the target 'y' is missing in all rows"),
        (TABLE, TABLE, "auc", "train.csv has no column 'y'; it has a, b"),
        (TABLE.assign(y=Y)[:0], TABLE, "auc", "train.csv has no rows"),
        (TABLE.assign(y=Y), TABLE[:0], "auc", "test.csv has no rows"),
        (TABLE.assign(y=Y), TABLE[["a"]].set_axis(["c"], axis=1), "auc", "to predict from"),
        (TABLE.assign(y=Y), TABLE.assign(a=np.inf), "auc", "test.csv: column 'a' holds infinity"),
        (TABLE.assign(y=Y).replace(A[3], -np.inf), TABLE, "auc", "'a' holds infinity in row 3"),
        (TABLE.assign(y=Y).set_axis(["a", "a", "y"], axis=1), TABLE, "auc", "'a' more than once"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, train, test, metric, message):
    assert message in refusal(tmp_path, train, test, metric=metric)


def test_lists_are_refused(tmp_path):
    pytest.importorskip("pyarrow")
    test = TABLE.assign(c=[[1, 2]] * N)
    said = refusal(tmp_path, test.assign(y=Y), test, ext="parquet")
    assert "train.parquet: column 'c' holds ndarray values" in said


@pytest.mark.parametrize("content", [b"", b"a,b,y\n1,2\n1,2,3,4,5\n", b"a,b\n1,2,3\n"])
def test_files_that_are_no_tables(tmp_path, content):
    options = write(tmp_path, TABLE.assign(y=Y), TABLE)
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(SystemExit, match="train.csv cannot be read as a table"):
        kaggle.main([*options, "--metric", "auc"])


@pytest.mark.parametrize(
    "more, message",
    [
        (["--models", "nonsense"], "--models: nonsense is unknown"),
        (["--device", "cuda:77"], "--device cuda:77: this machine has no such device"),
        (["--out", "sub"], "must end in .csv"),
        (["--out", "{folder}/train.csv"], "would write over"),
        (["--out", "{folder}/../{name}.csv"], "would write over"),  # the folder of the reports
        (["--out", "{folder}/test.csv/sub.csv"], "nothing can be written to"),
    ],
)
def test_options_that_cannot_work(tmp_path, more, message):
    more = [part.format(folder=tmp_path, name=tmp_path.name) for part in more]
    assert message in refusal(tmp_path, TABLE.assign(y=Y), TABLE, *more)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "test.csv"), TABLE)


@pytest.mark.parametrize("option", [["--folds", "1"], ["--time-limit", "0"], ["--n-jobs", "0"]])
def test_numbers_out_of_range(tmp_path, option, capsys):
    with pytest.raises(SystemExit) as stop:
        kaggle.main([*write(tmp_path, TABLE.assign(y=Y), TABLE), "--metric", "auc", *option])
    assert stop.value.code == 2 and option[1] in capsys.readouterr().err


# --- failures on the way


def test_a_model_that_fails_is_left_out(tmp_path, quick, capsys):
    quick["catboost"] = Broken(ValueError("no such thing"), folds_left=[])
    options = ["--models", "catboost", "lightgbm"]
    assert len(quick_run(tmp_path, TABLE.assign(y=Y), TABLE, *options)) == N
    assert "catboost failed and is left out: ValueError: no such thing" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="No model was trained"):
        quick_run(
            tmp_path,
            TABLE.assign(y=Y),
            TABLE,
            "--models",
            "catboost",
            "--out",
            str(tmp_path / "x.csv"),
        )


def test_ctrl_c_writes_what_is_there(tmp_path, quick, capsys):
    """One fold is trained; the next start trains the model in full."""
    quick["lightgbm"] = Broken(KeyboardInterrupt(), folds_left=[1])
    train = TABLE.assign(y=Y)
    assert len(quick_run(tmp_path, train, TABLE)) == N
    assert "Interrupted; the blend is of" in capsys.readouterr().out
    report = tmp_path / "sub" / "lightgbm" / "report.json"
    assert json.loads(report.read_text())["n_folds"] == 1
    quick.clear()
    quick_run(tmp_path, train, TABLE)
    assert json.loads(report.read_text())["n_folds"] == 2


@pytest.mark.parametrize(
    "name, content",
    [
        ("report.json", b""),
        ("report.json", b'{"name": "../../x"}'),
        ("report.json", b"[1]"),
        ("test.npy", b"\x93NUMPY"),
    ],
)
def test_a_damaged_model_is_trained_again(tmp_path, quick, capsys, name, content):
    train = TABLE.assign(y=Y)
    before = quick_run(tmp_path, train, TABLE)
    (tmp_path / "sub" / "lightgbm" / name).write_bytes(content)
    after = quick_run(tmp_path, train, TABLE)
    said = capsys.readouterr().out
    assert "damaged and counts as absent" in said and said.count("lightgbm: out-of-fold") == 2
    pd.testing.assert_frame_equal(before, after)


def test_predictions_of_other_rows_are_not_blended(tmp_path, quick, capsys):
    train = TABLE.assign(y=Y)
    quick_run(tmp_path, train, TABLE)
    np.save(tmp_path / "sub" / "lightgbm" / "test.npy", np.full((7, 2), 0.5))
    assert len(quick_run(tmp_path, train, TABLE)) == N
    assert "test.npy must have shape (60, 2), got (7, 2)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "ids, values, problem",
    [
        (["1", "2", "3"], [0.5, 0.5], "empty"),
        (["1", "2"], [0.5, np.nan], "empty"),
        (["1", "2"], [0.5, np.inf], "no finite number"),
        (["1", "2"], ["x", ""], "empty"),
    ],
)
def test_a_submission_is_checked_before_it_is_there(tmp_path, ids, values, problem):
    path = tmp_path / "sub.csv"
    path.write_text("before")
    with pytest.raises(HarnessError, match=problem):
        submission.write_submission(path, pd.Series(ids, name="id"), pd.DataFrame({"y": values}))
    assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["sub.csv"]


def test_one_command_a_folder(tmp_path, quick):
    (tmp_path / "sub").mkdir()
    with FileLock(tmp_path / "sub" / ".lock"):
        said = refusal(tmp_path, TABLE.assign(y=Y), TABLE)
    assert "Another command works in" in said


def test_a_full_disk_is_a_sentence(tmp_path, quick, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchmarks.kaggle.files.os.fsync", full)
    said = refusal(tmp_path, TABLE.assign(y=Y), TABLE, "--models", "lightgbm")
    assert "No space left on device" in said
    assert sorted(p.name for p in (tmp_path / "sub").rglob("*")) == [".lock", "lightgbm"]


# --- the comparison


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
