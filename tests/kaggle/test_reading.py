"""From files as people have them to features, target and ids."""

import gzip
import zipfile

import numpy as np
import pandas as pd
import pytest
from competition_files import RNG, TABLE, A, N, Y, refusal, tables, write

from tabdl.kaggle import command
from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.tables import read_table

# --- ids


@pytest.mark.parametrize("name", ["id", "Id", "PassengerId", "row_id", "customerID"])
def test_an_id_is_found_by_its_name(name):
    ids = np.arange(N) + 7
    found = tables(TABLE.assign(**{name: ids, "y": Y}), TABLE.assign(**{name: ids}))
    assert found.id_name == name and list(found.X) == ["a", "b"]


@pytest.mark.parametrize("name", ["bid_price", "paid", "idle", "valid_days", "grid"])
def test_a_feature_is_no_id(name, capsys):
    test = TABLE.assign(**{name: np.arange(N)})
    found = tables(test.assign(y=Y), test)
    assert found.id_name is None and name in found.X
    assert "No column is named as an id" in capsys.readouterr().out


def test_a_key_that_repeats_is_a_feature():
    test = TABLE.assign(shop_id=np.arange(N) % 5)
    assert "shop_id" in tables(test.assign(y=Y), test).X


def test_two_ids_are_a_question(tmp_path):
    test = TABLE.assign(id=np.arange(N), house_id=np.arange(N))
    train = test.assign(y=Y)
    said = refusal(tmp_path, train, test)
    assert "'id' or by 'house_id': say which, such as --id id" in said
    assert tables(train, test, id="house_id").id_name == "house_id"
    assert tables(train, test, sample=test[["id"]].assign(y=0)).id_name == "id"


def test_an_id_that_names_no_rows_is_refused(tmp_path):
    test = TABLE.assign(code=np.arange(N) % 3)
    assert "value more than once" in refusal(tmp_path, test.assign(y=Y), test, "--id", "code")
    assert "has no column 'key'; it is in no file" in refusal(
        tmp_path, test.assign(y=Y), test, "--id", "key"
    )


def test_a_sample_decides_the_order():
    test = TABLE.assign(id=np.arange(N))
    sample = test[["id"]].assign(y=0).iloc[::-1]
    assert tables(test.assign(y=Y), test, sample=sample).order.tolist() == list(range(N))[::-1]
    with pytest.raises(CompetitionError, match="are not those of test"):
        tables(test.assign(y=Y), test, sample=sample.assign(id=np.arange(N) + 1))
    with pytest.raises(CompetitionError, match="it shares none"):
        tables(test.assign(y=Y), test, sample=sample[["y"]][1:])
    assert tables(test.assign(y=Y), test, sample=sample[["y"]]).id_name is None


# --- columns


def dates(values):
    test = TABLE.assign(day=np.resize(values, N))
    return list(tables(test.assign(y=Y), test).X)


PARTS = ["day.days", "day.year", "day.month", "day.day_of_week"]


@pytest.mark.parametrize(
    "values", [["2024-01-31", "2023-12-01"], ["2024/01/31 10:00:00", "2023/12/01 00:01:02"]]
)
def test_dates_become_numbers(values):
    assert dates(values) == ["a", "b", *PARTS]


@pytest.mark.parametrize(
    "values",
    [
        ["1234-56-78", "4321-87-65"],
        ["2024-01-31", "2024-13-01"],
        ["1034-05-06", "1204-07-08"],
        ["2024-01-31", "unknown"],
    ],
)
def test_codes_that_look_like_dates_stay_text(values, capsys):
    assert dates(values) == ["a", "b", "day"]
    assert "'day' looks like dates" in capsys.readouterr().out


def test_a_date_that_is_none_in_the_test_file_only():
    train = TABLE.assign(day=np.resize(["2024-01-31", "2023-12-01"], N), y=Y)
    test = TABLE.assign(day=["2024-99-99", *["2024-01-31"] * (N - 1)])
    assert "day" in tables(train, test).X


def test_half_a_time_zone_is_refused():
    test = TABLE.assign(day=np.resize(["2024-01-31T10:00Z", "2024-01-31T10:00"], N))
    with pytest.raises(CompetitionError, match="column 'day' has times with a time zone"):
        tables(test.assign(y=Y), test)


@pytest.mark.parametrize(
    "train, test, seen",
    [
        (["x", "0", "1"], [0, 1, 2], "0"),  # numbers only in the test file
        (["007", "x"], ["007", "008"], "007"),
        ([True, False, None], [True, False], "True"),
        ([1, 2, 3], [None], None),
        (["x", "y"], [None], None),
        ([1, "x", 2.5], ["x", 1], "x"),
    ],
)
def test_a_column_has_one_kind_in_both_files(tmp_path, train, test, seen):
    for name, values in (("train", train), ("test", test)):
        table = TABLE.assign(c=pd.Series(np.resize(np.array(values, object), N)), y=Y)
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    found = tables(tmp_path / "train.csv", tmp_path / "test.csv")
    kinds = {pd.api.types.is_numeric_dtype(table["c"]) for table in (found.X, found.X_test)}
    assert len(kinds) == 1
    assert found.X_test["c"].isna().all() if seen is None else found.X_test["c"][0] == seen


def test_columns_of_one_file_and_row_numbers_are_left_out(tmp_path):
    write(tmp_path, TABLE.assign(c=A, y=Y), TABLE.assign(d=A), index=True)
    found = tables(tmp_path / "train.csv", tmp_path / "test.csv")
    assert list(found.X) == ["a", "b"] and found.id_name is None
    said = "\n".join(found.notes)
    for part in ("'Unnamed: 0' (no name", f"'c' (only in {tmp_path / 'train.csv'})", "'d' (only"):
        assert f"Left out: {part}" in said


def test_the_target_in_the_test_file_is_no_feature():
    found = tables(TABLE.assign(y=Y), TABLE.assign(y=9)[["y", "b", "a"]])
    assert list(found.X) == ["a", "b"] == list(found.X_test)
    assert found.notes == ["Left out: 'y' (the target, in test too)."]


def test_rows_without_a_target_are_left_out():
    y = np.where(np.arange(N) == 3, None, Y)
    found = tables(TABLE.assign(y=y, id=np.arange(N)), TABLE.assign(id=np.arange(N)))
    assert len(found.X) == len(found.y) == found.n_rows == N - 1
    assert "3" not in found.ids.tolist() and 3 not in found.file_rows


def test_extra_rows():
    test = TABLE.assign(c=np.resize(["u", "v"], N), id=np.arange(N))
    extra = pd.DataFrame({"a": [1.0, 2.0], "c": ["u", "w"], "y": [0, 1], "more": [1, 2]})
    found = tables(test.assign(y=Y), test, extra=extra)
    assert found.n_rows == N and len(found.X) == N + 2 == len(found.y)
    assert found.X["is_extra"].sum() == 2 and found.X_test["is_extra"].sum() == 0
    assert found.X["c"].tolist()[-2:] == ["u", "w"] and found.X["b"].isna().sum() == 2
    with pytest.raises(CompetitionError, match="shares no column"):
        tables(test.assign(y=Y), test, extra=extra[["more"]])
    again = tables(test.assign(y=Y), test, extra=test.assign(y=Y)[:7])
    assert any("7 extra rows are training rows, too" in note for note in again.notes)


def test_which_class_a_probability_is_of(capsys):
    tables(TABLE.assign(y=np.where(Y, "gone", "stays")), TABLE)
    assert "Probabilities are those of 'y' = stays." in capsys.readouterr().out


# --- files


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le"])
def test_encodings(tmp_path, encoding):
    test = TABLE.assign(größe=np.resize(["é", "ü"], N))
    write(tmp_path, test.assign(y=Y), test, encoding=encoding)
    found = tables(tmp_path / "train.csv", tmp_path / "test.csv")
    assert list(found.X) == ["a", "b", "größe"] and found.X["größe"][0] == "é"


@pytest.mark.parametrize("how", [{"sep": ";", "decimal": ","}, {"sep": "\t"}, {"sep": "|"}, {}])
def test_separators(tmp_path, how, capsys):
    table = TABLE.assign(said=np.resize(["no; no", "a,b", "plain"], N))
    table.to_csv(tmp_path / "t.csv", index=False, **how)
    found = read_table(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(found.table, table, check_dtype=False)
    assert ("decimal commas" in capsys.readouterr().out) == ("decimal" in how)
    assert found.text("said")[1] == "a,b"


@pytest.mark.parametrize("ext", ["csv.gz", "csv.xz", "csv.bz2", "zip", "parquet"])
def test_compressed(tmp_path, ext):
    pytest.importorskip("pyarrow")
    path = tmp_path / f"t.{ext}"
    if ext == "parquet":
        TABLE.to_parquet(path)
    else:
        TABLE.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_table(path).table, TABLE)
    assert read_table(path).names("a").nunique() == N


def test_a_zip_with_two_tables_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("__MACOSX/a.csv", "junk")
        archive.writestr("a.csv", "x,y\n1,2\n")
    assert read_table(tmp_path / "t.zip").table.to_dict("list") == {"x": [1], "y": [2]}
    with zipfile.ZipFile(tmp_path / "t.zip", "a") as archive:
        archive.writestr("b.csv", "x,y\n1,2\n")
    with pytest.raises(CompetitionError, match=r"holds a\.csv, b\.csv"):
        read_table(tmp_path / "t.zip")


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
    write(tmp_path, test.assign(y=Y), test, ext="parquet")
    found = tables(tmp_path / "train.parquet", tmp_path / "test.parquet").X
    assert found["price"][1] == 0.25 and found["wait"][12] == 0.5
    assert found["plan"].tolist()[:2] == ["x", "y"] and np.isnan(found["count"][0])
    assert found["day.month"].tolist()[:2] == [3, 1]


# --- what cannot be used is a sentence


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
        (TABLE.assign(y=Y)[:1], TABLE, "auc", "train.csv has one row with a target"),
        (TABLE.assign(y=Y), TABLE[:0], "auc", "test.csv has no rows"),
        (TABLE.assign(y=Y), TABLE[["a"]].set_axis(["c"], axis=1), "auc", "to predict from"),
        (TABLE.assign(y=Y), TABLE.assign(a=np.inf), "auc", "test.csv: column 'a' holds infinity"),
        (TABLE.assign(y=Y).replace(A[3], -np.inf), TABLE, "auc", "'a' holds infinity in row 3"),
        (TABLE.assign(y=Y).set_axis(["a", "a", "y"], axis=1), TABLE, "auc", "'a' more than once"),
        (TABLE.assign(y=Y, a=None, b=1), TABLE, "auc", "No column is left to predict from"),
        (TABLE.assign(y=Y), TABLE, "nonsense", "--metric nonsense is unknown"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, train, test, metric, message):
    assert message in refusal(tmp_path, train, test, metric=metric)


def test_lists_are_refused(tmp_path):
    pytest.importorskip("pyarrow")
    test = TABLE.assign(c=[[1, 2]] * N)
    said = refusal(tmp_path, test.assign(y=Y), test, ext="parquet")
    assert "train.parquet: column 'c' holds ndarray values" in said


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n \n",
        b"a,b,y\n1,2\n1,2,3,4,5\n",
        b"a,b\n1,2,3\n",
        gzip.compress(b"a,b\n1,2", mtime=0),
        b"\x00" * 40,
    ],
)
def test_files_that_are_no_tables(tmp_path, content):
    options = write(tmp_path, TABLE.assign(y=Y), TABLE)
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(SystemExit, match="train.csv (cannot be read as a table|has no)"):
        command.main([*options, "--metric", "auc"])


def test_a_folder_and_a_file_that_is_not_there():
    with pytest.raises(CompetitionError, match="is a folder"):
        read_table("/")
    with pytest.raises(CompetitionError, match="cannot be read as a table"):
        read_table("nothing.csv")


def test_wide_tables_and_long_lists_of_categories(capsys):
    wide = pd.DataFrame(RNG.normal(size=(N, 2000))).add_prefix("x")
    assert tables(wide.assign(y=Y), wide).X.shape == (N, 2000)
    many = pd.DataFrame({"a": np.arange(20_000.0), "c": [f"v{i}" for i in range(20_000)]})
    found = tables(many.assign(y=np.arange(20_000) % 2), many)
    assert found.notes == ["'c' is text with 20,000 different values."]
