"""A command that was stopped goes on: fold by fold, and to the same submission."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from competition_files import TABLE, A, N, Y, refusal, run, write, write_models
from filelock import FileLock

from tabdl.kaggle import Competition, CompetitionError, schedule

ROOT = Path(__file__).parents[2]
FOLDS = ["sub/models/linear/fold_00.npz", "sub/models/linear/fold_01.npz"]


def test_a_second_start_trains_nothing(tmp_path, capsys):
    train = TABLE.assign(y=A)
    first = run(tmp_path, train, TABLE, metric="rmse", task="Regressor")
    assert capsys.readouterr().out.count("linear, fold") == 2
    second = run(tmp_path, train, TABLE, metric="rmse", task="Regressor")
    assert "linear, fold" not in capsys.readouterr().out
    pd.testing.assert_frame_equal(first, second)
    with pytest.raises(SystemExit, match=r"a run of other files or settings \(folds, seed\)"):
        run(tmp_path, train, TABLE, "--seed", "1", metric="rmse", task="Regressor")
    with pytest.raises(SystemExit, match=r"other files or settings \(train\)"):
        run(tmp_path, train.assign(a=-A), TABLE, metric="rmse", task="Regressor")


@pytest.mark.parametrize("damage", [b"", b"PK", b"\x93NUMPY", "other rows"])
def test_a_damaged_fold_is_trained_again(tmp_path, capsys, damage):
    train = TABLE.assign(y=Y)
    before = run(tmp_path, train, TABLE)
    path = tmp_path / FOLDS[1]
    if damage == "other rows":
        with np.load(path) as file:
            arrays = dict(file)
        np.savez(path, **arrays | {"test": np.full((7, 2), 0.5)})
    else:
        path.write_bytes(damage)
    capsys.readouterr()
    after = run(tmp_path, train, TABLE)
    said = capsys.readouterr().out
    assert "damaged and counts as absent" in said and said.count("linear, fold") == 1
    pd.testing.assert_frame_equal(before, after)


def test_other_parameters_are_trained_again(tmp_path, capsys):
    train = TABLE.assign(y=Y)
    run(tmp_path, train, TABLE)
    run(tmp_path, train, TABLE, "--seeds", "2")
    said = capsys.readouterr().out
    assert said.count("is of other parameters") == 2 and said.count("linear, fold") == 4


def stop_after(n_folds, error, monkeypatch):
    """Raise an error in the place of the training of a fold, after some."""
    train_fold, done = schedule.train_fold, []

    def train(*args, **kwargs):
        if len(done) == n_folds:
            raise error
        done.append(1)
        return train_fold(*args, **kwargs)

    monkeypatch.setattr(schedule, "train_fold", train)


def test_ctrl_c_writes_what_is_there(tmp_path, capsys, monkeypatch):
    train = TABLE.assign(y=Y)
    with monkeypatch.context() as patch:
        stop_after(1, KeyboardInterrupt(), patch)
        assert len(run(tmp_path, train, TABLE)) == N
    assert "Interrupted; the blend is of" in capsys.readouterr().out
    assert [(tmp_path / name).exists() for name in FOLDS] == [True, False]
    run(tmp_path, train, TABLE)
    assert capsys.readouterr().out.count("linear, fold") == 1


def test_a_model_that_fails_is_left_out(tmp_path, capsys):
    path = tmp_path / "fails.py"
    path.write_text(
        "from sklearn.naive_bayes import BernoulliNB, MultinomialNB\n"
        "MODELS = {'fails': MultinomialNB(), 'works': BernoulliNB()}\n"  # one takes no minus
    )
    options = ["--model-file", str(path), "--models", "fails", "works"]
    assert len(run(tmp_path, TABLE.assign(y=Y), TABLE, *options)) == N
    assert "fails failed and is left out: ValueError: Negative" in capsys.readouterr().err
    out = ["--out", str(tmp_path / "x.csv")]
    with pytest.raises(SystemExit, match="No model was trained"):
        run(tmp_path, TABLE.assign(y=Y), TABLE, *options[:-1], *out)


def test_one_command_a_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    with FileLock(tmp_path / "sub" / ".lock"):
        said = refusal(tmp_path, TABLE.assign(y=Y), TABLE)
    assert "Another command works in" in said


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    said = refusal(tmp_path, TABLE.assign(y=Y), TABLE)
    assert "No space left on device" in said
    assert sorted(p.name for p in (tmp_path / "sub").rglob("*")) == [".lock"]


_KILL = """
import os, random, signal, sys, time
from pathlib import Path
import lightgbm  # once, not in each process
from tabdl.kaggle import command

def start(out):
    process = os.fork()
    if process == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        command.main([*sys.argv[1:], "--out", out])
        os._exit(0)
    return process

def count():
    return len(list(Path("killed/models").rglob("fold_*.npz")))

assert os.waitpid(start("whole.csv"), 0)[1] == 0
random.seed(0)
for n_folds in sorted(random.sample(range(1, 9), 6)):
    process = start("killed.csv")
    while count() < n_folds:
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.02))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    print(count(), flush=True)
assert os.waitpid(start("killed.csv"), 0)[1] == 0
"""


def test_six_kills_and_the_same_submission(tmp_path):
    options = write(tmp_path, TABLE.assign(y=Y), TABLE)
    models = ["--model-file", str(write_models(tmp_path)), "--models", "linear", "neighbors"]
    more = ["--metric", "auc", "--folds", "4"]
    done = subprocess.run(
        [sys.executable, "-c", _KILL, *options, *models, *more],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    counts = [int(line) for line in done.stdout.split()]
    assert len(counts) == 6 and counts == sorted(counts) and counts[1] < 8
    whole, killed = ((tmp_path / f"{name}.csv").read_bytes() for name in ("whole", "killed"))
    assert whole == killed
    for name in ("oof_blend.csv", "test_neighbors.csv", "folds.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


def test_cell_by_cell(tmp_path):
    """The way of a notebook, with tables in memory."""
    test = TABLE.assign(id=np.arange(N))
    competition = Competition.read(
        test.assign(y=Y), test, target="y", metric="auc", folder=tmp_path / "run", folds=3
    )
    board = competition.train(["linear"], model_file=write_models(tmp_path))
    assert board["model"].tolist() == ["linear"] and board["folds"].tolist() == ["3 of 3"]
    competition.train(["neighbors"], model_file=write_models(tmp_path))
    assert set(competition.leaderboard()["model"]) == {"linear", "neighbors"}
    with pytest.raises(CompetitionError, match="lin: no such model is trained; there are linear"):
        competition.blend(["lin"])
    for wrong in ({"seeds": 0}, {"time_limit": 0}, {"features": -1}):
        with pytest.raises(CompetitionError, match=f"{next(iter(wrong))} must be"):
            competition.train(["linear"], model_file=write_models(tmp_path), **wrong)
    blend = competition.blend("linear")
    assert blend.weights == {"linear": 1} and 0.5 < blend.score < 1
    assert set(competition.blend().weights) == {"linear", "neighbors"}
    answer = pd.read_csv(competition.submit(tmp_path / "answer.csv"))
    assert answer.shape == (N, 2) and answer["y"].between(0, 1).all()
    assert competition.report().name == "report.html"
