"""The command, with real models, and what it says about options that cannot work."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from competition_files import TABLE, A, Y, refusal, run, write, write_models
from conftest import numbers
from sklearn.metrics import roc_auc_score

pytest.importorskip("lightgbm")

from tabdl.kaggle import command


@pytest.fixture(scope="module")
def tables():
    """Return a training and a test table, with an id, a date, text, missing values and three
    targets."""
    X, y = numbers(160)
    table = pd.DataFrame(X, columns=list("abcd")).assign(row_id=np.arange(1000, 1160), constant=1)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(160), unit="D")
    table["day"] = days.strftime("%Y-%m-%d")
    table["city"] = np.where(X[:, 2] > 0, "Oslo", None)
    train = table[:120].assign(
        price=np.exp(y)[:120],
        kind=np.array(["low", "mid", "high"])[np.digitize(y[:120], [-0.5, 0.5])],
    )
    return train, table[120:]


@pytest.mark.parametrize(
    "target, metric, columns, models",
    [
        ("price", "rmsle", ["price"], ["lightgbm", "net"]),
        ("kind", "logloss", ["kind_high", "kind_low", "kind_mid"], ["xgboost", "catboost"]),
    ],
)
def test_files_to_submission(tmp_path, tables, target, metric, columns, models, capsys):
    train, test = tables
    train = train.drop(columns={"price": "kind", "kind": "price"}[target])
    small = {"net": {"model": "resnet", "n_blocks": 1, "d_block": 16, "max_epochs": 5}}
    (tmp_path / "v.json").write_text(json.dumps(small))
    more = ["--target", target, "--metric", metric, "--models", *models, "--time-limit", "1"]
    more += ["--variants", str(tmp_path / "v.json")]
    command.main([*write(tmp_path, train, test), *more])
    answer = pd.read_csv(tmp_path / "sub.csv")
    assert list(answer.columns) == ["row_id", *columns]
    assert list(answer["row_id"]) == list(range(1120, 1160))
    said = capsys.readouterr().out
    assert "120 rows to train on, 40 to predict, 9 columns, id: row_id" in said
    assert "Left out: 'constant' (one value in all training rows)." in said
    assert re.search(r"Plan for the (0\.\d|1\.0) minutes left: ", said)
    assert len(pd.read_csv(tmp_path / "sub" / "oof_blend.csv")) == 120
    assert len(pd.read_csv(tmp_path / "sub" / f"test_{models[-1]}.csv")) == 40
    page = (tmp_path / "sub" / "report.html").read_text()
    assert page.count("<svg") == 2 and page.count("<polyline") == 4
    assert all(name in page for name in models)
    if target == "price":
        assert (answer["price"] >= 0).all()


def test_variants_and_seeds(tmp_path, tables, capsys):
    train, test = tables
    variants = tmp_path / "variants.json"
    variants.write_text(json.dumps({"small": {"model": "mlp", "d_block": 8, "max_epochs": 2}}))
    more = ["--target", "price", "--metric", "mae", "--variants", str(variants), "--seeds", "2"]
    command.main([*write(tmp_path, train.drop(columns="kind"), test), *more, "--models", "small"])
    assert "small, fold 2 of 2" in capsys.readouterr().out
    for entry, message in [
        ({"mlp": {"model": "mlp"}}, "cannot be called 'mlp'"),
        ({"../x": {"model": "mlp"}}, r"cannot be called '\.\./x'"),
        ({"x": {"model": "forest"}}, "must be a dict with 'model'"),
        ({"x": {"model": "mlp", "depth": 3}}, "The model 'x'.*depth"),
    ]:
        variants.write_text(json.dumps(entry))
        with pytest.raises(SystemExit, match=message):
            command.main([*write(tmp_path, train.drop(columns="kind"), test), *more[:-2]])


def test_a_search_finds_no_less_than_the_defaults(tmp_path, capsys):
    pytest.importorskip("optuna")
    more = ["--models", "lightgbm", "--tune", "0.02", "--time-limit", "0.3"]
    run(tmp_path, TABLE.assign(y=Y), TABLE, *more)
    [line] = [x for x in capsys.readouterr().out.splitlines() if "trials, score of the" in x]
    by_default, best = re.search(r"([\d.]+) by default, ([\d.]+) with", line).groups()
    assert 0.5 <= float(by_default) <= float(best) <= 1
    tuned = json.loads((tmp_path / "sub" / "tuned.json").read_text())
    assert list(tuned) == ["lightgbm"]
    run(tmp_path, TABLE.assign(y=Y), TABLE, *more)
    assert "trials" not in capsys.readouterr().out


def test_every_space_gives_parameters_that_a_model_has():
    optuna = pytest.importorskip("optuna")
    from tabdl.kaggle.models import MODELS, ModelSpec
    from tabdl.kaggle.trees import Clock
    from tabdl.kaggle.tuning import SPACES

    assert set(SPACES) == set(MODELS)
    for name, space in SPACES.items():
        parameters = space(optuna.create_study().ask())
        model = ModelSpec(name, name, parameters).make(TABLE, True, "cpu", 1, Clock())
        held = getattr(model, "steps", [(None, model)])[-1][1].get_params()
        assert {key: held[key] for key in parameters} == parameters


# --- what cannot work is said before anything is trained


@pytest.mark.parametrize(
    "more, message",
    [
        (["--models", "nonsense"], "--models: nonsense is unknown"),
        (["--device", "cuda:77"], "--device cuda:77: this machine has no such device"),
        (["--out", "sub"], "must end in .csv"),
        (["--out", "{folder}/train.csv"], "would write over"),
        (["--out", "{folder}/../{name}.csv"], "would write over"),  # the folder of the reports
        (["--out", "{folder}/test.csv/sub.csv"], "nothing can be written to"),
        (["--target", "y", "a"], "metric auc needs"),
        (["--target", "y", "y"], "--target y: the column is given more than once"),
        (["--groups", "y"], "--target y: the column is given more than once"),
        (["--time", "y"], "--target y: the column is given more than once"),
        (["--device", "cpu,cuda:77"], "--device cpu,cuda:77: this machine has no such device"),
        (["--groups", "shop"], "has no column 'shop'"),
        (["--folds", "70"], "there are only 60 training rows"),
    ],
)
def test_options_that_cannot_work(tmp_path, more, message):
    more = [part.format(folder=tmp_path, name=tmp_path.name) for part in more]
    assert message in refusal(tmp_path, TABLE.assign(y=Y), TABLE, *more)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "test.csv"), TABLE)


@pytest.mark.parametrize(
    "option",
    [
        ["--folds", "1"],
        ["--time-limit", "0"],
        ["--n-jobs", "0"],
        ["--features", "-1"],
        ["--time-limit", "nan"],
        ["--repeats", "0"],
        ["--tune", "3", "--time-limit", "3"],
        ["--metric-file", "nowhere.py"],
    ],
)
def test_numbers_out_of_range(tmp_path, option, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main([*write(tmp_path, TABLE.assign(y=Y), TABLE), "--metric", "auc", *option])
    assert stop.value.code == 2 and option[0] in capsys.readouterr().err


def test_files_of_the_user(tmp_path):
    path = tmp_path / "m.py"
    write_models(tmp_path)
    ridge = "from sklearn.linear_model import Ridge\n"
    for text, message in [
        ("MODELS = 3", "must define MODELS"),
        ("MODELS = {}", "must define MODELS"),
        (ridge + "MODELS = {'a': Ridge}", "must define MODELS"),
        (ridge + "MODELS = {1: Ridge()}", "the name 1 in MODELS is no text"),
        ("x", "cannot be run: NameError"),
    ]:
        path.write_text(text)
        more = ["--model-file", str(path)]
        assert message in refusal(tmp_path, TABLE.assign(y=Y), TABLE, *more)


def test_models_that_no_time_is_left_for(tmp_path, capsys):
    more = ["--models", "linear", "ft_transformer", "--time-limit", "0.005"]
    with pytest.raises(SystemExit, match="No model was trained"):
        run(tmp_path, TABLE.assign(y=A), TABLE, *more, metric="rmse", task="Regressor")
    said = capsys.readouterr().out
    assert re.search(r"linear is left out \(0 of 2 folds done\): only 0\.\d s are left", said)


def test_features_that_are_made_in_each_fold(tmp_path):
    """A pipeline of the user, whose features are chosen by the training rows of each fold."""
    models = tmp_path / "made.py"
    models.write_text(
        "from sklearn.ensemble import HistGradientBoostingClassifier\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from tabdl.preprocessing import InteractionFeatures\n"
        "made = InteractionFeatures(2, random_state=0)\n"
        "MODELS = {'made': make_pipeline(made, HistGradientBoostingClassifier(max_iter=20))}\n"
    )
    X = np.random.default_rng(0).normal(size=(600, 3))
    table = pd.DataFrame(X, columns=list("abc")).assign(y=(X[:, 0] * X[:, 1] > 0).astype(int))
    more = ["--metric", "auc", "--model-file", str(models), "--models", "made"]
    command.main([*write(tmp_path, table[:500], table[500:].drop(columns="y")), *more])
    oof = pd.read_csv(tmp_path / "sub" / "oof_made.csv").iloc[:, -1]
    assert roc_auc_score(table["y"][:500], oof) > 0.95
