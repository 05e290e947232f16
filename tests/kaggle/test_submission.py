"""The submission: in the form of a sample, and whole or not at all."""

import numpy as np
import pandas as pd
import pytest
from competition_files import RNG, TABLE, A, N, Y, run, tables

from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.metrics import find_metric
from tabdl.kaggle.submission import submission_table, write_submission

IDS = TABLE.assign(id=np.arange(N))
KINDS = np.resize(["low", "mid", "top"], N)
P = RNG.dirichlet(np.ones(3), N)


def table_of(metric, sample=None, y=KINDS, prediction=P, **more):
    found = tables(IDS.assign(y=y), IDS, metric=metric, sample=sample, **more)
    return submission_table(prediction, found, find_metric(metric), None)


def test_without_a_sample():
    assert list(table_of("logloss").columns) == ["id", "y_low", "y_mid", "y_top"]
    assert (
        table_of("accuracy")["y"].tolist() == np.array(["low", "mid", "top"])[P.argmax(1)].tolist()
    )
    ranking = table_of("map@2")["y"]
    assert (
        ranking[0].split()[0] == ["low", "mid", "top"][P[0].argmax()]
        and len(ranking[0].split()) == 2
    )


@pytest.mark.parametrize("form", ["{}", "Status_{}", "y_{}", "p-{}"])
def test_columns_of_a_sample_are_those_of_classes(form):
    names = [form.format(label) for label in ("top", "low", "mid")]
    sample = pd.DataFrame({"id": np.arange(N)[::-1]} | dict.fromkeys(names, 0.0))
    table = table_of("logloss", sample)
    assert list(table.columns) == ["id", *names]
    assert table["id"].tolist() == [str(i) for i in range(N)][::-1]
    np.testing.assert_array_equal(table[names], P[::-1][:, [2, 0, 1]])


def test_a_class_that_only_the_sample_knows_gets_nothing(capsys):
    sample = IDS[["id"]].assign(low=0, mid=0, top=0, huge=0)
    assert (table_of("logloss", sample)["huge"] == 0).all()
    assert "No training row has the class of the sample's 'huge'" in capsys.readouterr().out
    with pytest.raises(CompetitionError, match="no column is named after the class 'top'"):
        table_of("logloss", IDS[["id"]].assign(low=0, mid=0))


def test_the_name_and_the_place_of_columns():
    sample = pd.DataFrame({"Prediction": 0.5, "id": np.arange(N)})
    table = table_of("rmse", sample, y=A, prediction=A)
    assert (
        list(table.columns) == ["Prediction", "id"] and table["Prediction"].tolist() == A.tolist()
    )
    with pytest.raises(CompetitionError, match="Is --metric rmse the right one"):
        table_of("rmse", sample.assign(more=1), y=A, prediction=A)
    assert list(table_of("rmse", sample[["Prediction"]], y=A, prediction=A)) == ["Prediction"]


@pytest.mark.parametrize(
    "ids, values, problem",
    [
        (["1", "2", "3"], [0.5, 0.5], "rows for"),
        (["1", "3"], [0.5, 0.5], "ids that are not"),
        (["1", "2"], [0.5, np.nan], "empty"),
        (["1", "2"], [0.5, np.inf], "no finite number"),
        (["1", "2"], ["x", ""], "empty"),
    ],
)
def test_a_submission_is_checked_before_it_is_there(tmp_path, ids, values, problem):
    path = tmp_path / "sub.csv"
    path.write_text("before")
    table = pd.DataFrame({"id": ["1", "2"], "y": values})
    with pytest.raises(CompetitionError, match=problem):
        write_submission(path, table, ids)
    assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["sub.csv"]


# --- through the command


def test_labels_and_ids_are_those_of_the_files(tmp_path):
    ids = [f"{i:04d}" for i in range(N)]
    train = TABLE.assign(y=np.where(Y, "yes", "no"))
    answer = run(tmp_path, train, TABLE.assign(id=ids), metric="accuracy")
    assert set(answer["y"]) == {"yes", "no"} and answer["id"].tolist() == ids


def test_several_targets(tmp_path):
    train = TABLE.assign(y=A, z=-A)
    answer = run(tmp_path, train, TABLE, "--target", "y", "z", metric="rmse", task="Regressor")
    y, z = answer["y"].astype(float), answer["z"].astype(float)
    assert np.abs(y + z).max() < 0.2 < np.abs(y).max()
    oof = pd.read_csv(tmp_path / "sub" / "oof_linear.csv")
    assert list(oof.columns) == ["row", "y", "z"]


def test_names_in_html_are_text(tmp_path):
    odd = TABLE.rename(columns={"a": "<script>alert(1)</script>", "b": 'b"[]{}:,<'})
    labels = np.where(Y, "<b>yes</b>", "no")
    run(tmp_path, odd.assign(y=labels), odd, metric="auc")
    page = (tmp_path / "sub" / "report.html").read_text()
    assert "&lt;script&gt;alert(1)" in page and "&lt;b&gt;yes" in page
    assert "<script" not in page and "<b>yes" not in page
