"""Refits on all rows, features in each fold, and folds on several devices."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("lightgbm")
pytest.importorskip("filelock")

from tabdl.kaggle import Competition, CompetitionError
from tabdl.kaggle.devices import find_devices
from tabdl.kaggle.models import find_models
from tabdl.kaggle.store import path_of_fold, path_of_refit, read_fold
from tabdl.kaggle.training import Setting, train_fold

N, N_TEST = 240, 30
RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(N + N_TEST, 2)), columns=["a", "b"]).assign(
    u=RNG.choice(list("xyz"), N + N_TEST), v=RNG.choice(list("pq"), N + N_TEST)
)
Y = X["a"] * X["b"] + 2 * ((X["u"] == "x") & (X["v"] == "p"))
VARIANTS = {
    "cat": {"model": "catboost", "iterations": 30, "learning_rate": 0.3},
    "light": {"model": "lightgbm", "n_estimators": 30},
    "xg": {"model": "xgboost", "n_estimators": 30},
    "net": {"model": "mlp", "n_blocks": 1, "d_block": 8, "max_epochs": 3, "lr": 0.01},
    "net2": {"model": "resnet", "n_blocks": 1, "d_block": 8, "max_epochs": 3},
}


def train(folder, models=("cat", "light", "xg", "net", "net2"), targets=("y",), **options):
    """Return a competition whose models are trained in two folds."""
    own = X.assign(id=np.arange(N + N_TEST))
    answers = {name: (-1) ** i * Y[:N] for i, name in enumerate(targets)}
    competition = Competition.read(
        own[:N].assign(**answers), own[N:], target=targets, metric="rmse", folder=folder, folds=2
    )
    competition.train(models, variants=VARIANTS, n_jobs=1, **{"device": "cpu", **options})
    return competition


@pytest.fixture(scope="module")
def refitted(tmp_path_factory):
    """Return a competition with refits."""
    return train(tmp_path_factory.mktemp("refit"), refit=True)


def test_a_refit_counts_as_one_more_fold(refitted):
    assert refitted.leaderboard()["refit"].all()
    setting = Setting(refitted.tables, refitted.metric, refitted.folds, 0)
    for model in refitted.trained():
        path = path_of_refit(refitted.folder, model.name)
        refit = read_fold(path, setting.shapes(setting.all_rows))
        tests = [*(fold.test for fold in model.folds), refit.test]
        np.testing.assert_allclose(model.test, np.mean(tests, axis=0))
        assert np.ptp(tests, axis=0).max() > 0 and np.isnan(refit.score)
        # As many epochs or trees as the folds kept, and no rows held out to stop by.
        with np.load(path) as file:
            lengths = json.loads(str(file["facts"]))["identity"]["lengths"]
        assert lengths == [round(np.median([fold.lengths[0] for fold in model.folds]))]
        assert refit.curve == [] or model.name == "cat"  # which records training losses
    assert "a training on all rows has a part" in refitted.report().read_text()


def test_a_refit_goes_on_and_falls_with_its_folds(refitted, capsys):
    before = {model.name: model.test for model in refitted.trained()}
    path_of_refit(refitted.folder, "light").write_bytes(b"PK")
    path_of_fold(refitted.folder, "xg", 1).unlink()
    refitted.train(["light", "xg"], variants=VARIANTS, n_jobs=1, device="cpu", refit=True)
    said = capsys.readouterr().out
    assert "refit.npz is damaged and counts as absent" in said
    lines = [line for line in said.splitlines() if line.startswith(("light,", "xg,"))]
    for line, start in zip(
        lines,
        ["xg, fold 2 of 2", "light, refit on all rows", "xg, refit on all rows"],
        strict=True,
    ):
        assert line.startswith(start)
    for model in refitted.trained():
        np.testing.assert_array_equal(model.test, before[model.name])


def test_two_devices_train_what_one_trains(refitted, tmp_path):
    """Both are this CPU; trees have a thread of their own."""
    side_by_side = train(tmp_path, refit=True, device="cpu,cpu", time_limit=5)
    for one, other in zip(refitted.trained(), side_by_side.trained(), strict=True):
        np.testing.assert_array_equal(one.oof, other.oof)
        np.testing.assert_array_equal(one.test, other.test)


def test_devices():
    assert find_devices("cpu, cpu") == ["cpu", "cpu"]
    for absent in ("cuda:77", "cpu,gpu", "cpu,", "meta"):
        with pytest.raises(CompetitionError, match="no such device"):
            find_devices(absent)


def test_features_are_those_of_the_training_rows(tmp_path, capsys):
    plain = train(tmp_path / "plain", ["cat", "light"])
    made = train(tmp_path / "made", ["cat", "light", "net"], features=2, refit=True)
    said = capsys.readouterr().out
    for where in ("Fold 1", "Fold 2", "All rows"):
        [line] = [line for line in said.splitlines() if line.startswith(f"{where}: features")]
        assert "a * b" in line
    better = {model.name: model.score for model in made.trained()}
    assert all(better[model.name] > model.score + 0.1 for model in plain.trained())
    made.train(["light"], variants=VARIANTS, n_jobs=1, device="cpu", features=2)
    assert "light, fold" not in capsys.readouterr().out
    made.train(["light"], variants=VARIANTS, n_jobs=1, device="cpu")
    assert capsys.readouterr().out.count("of other parameters") == 2


def test_features_for_each_of_two_targets(tmp_path):
    made = train(tmp_path, ["light", "net"], ("y", "z"), features=1)
    for model in made.trained():
        assert model.oof.shape == (N, 2)
    light = made.trained()[0]
    np.testing.assert_allclose(light.oof[:, 0], -light.oof[:, 1], atol=0.3)


def test_features_that_no_time_is_left_for(tmp_path):
    with pytest.raises(CompetitionError, match="--features 2: to choose them takes about"):
        train(tmp_path, ["light"], features=2, time_limit=0.0002)


def test_trees_that_the_clock_ends_at_once_have_no_length(refitted):
    setting = Setting(refitted.tables, refitted.metric, refitted.folds, 0, n_jobs=1)
    for spec in find_models(["catboost", "xgboost", "lightgbm"]):
        # Small steps, so that no tree is the last one before the clock ends them.
        spec = replace(spec, parameters={"learning_rate": 1e-3})
        fold = train_fold(spec, 0, setting, 1e-9, with_importances=False)
        assert fold.was_cut and fold.oof.shape == (N / 2,)
