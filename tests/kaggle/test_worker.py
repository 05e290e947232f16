"""Estimators of the user train in a process that ends with their time."""

import time

import numpy as np
import pytest
from competition_files import TABLE, Y

pytest.importorskip("filelock")

from tabdl.kaggle import Competition
from tabdl.kaggle.models import find_models
from tabdl.kaggle.training import Setting, train_fold
from tabdl.kaggle.worker import TimeIsOver, Worker

MODELS = """
import os, time
import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

class Odd(DummyClassifier):
    def __init__(self, what="sleep"):
        self.what = what
    def fit(self, X, y, sample_weight=None):
        if self.what == "end":
            os.kill(os.getpid(), 9)
        if self.what == "raise":
            raise ZeroDivisionError("this one")
        time.sleep(600)

print("what is printed is no answer")
MODELS = {
    "works": make_pipeline(FunctionTransformer(lambda X: X**2), LogisticRegression()),
    "raises": Odd("raise"),
    "ends": Odd("end"),
    "sleeps": Odd(),
}
"""
METRIC = "ANSWER = 'probability'\ndef score(y, p):\n    return -float(((y - p) ** 2).mean())\n"


@pytest.fixture
def files(tmp_path):
    """Return a file of models, and a competition with a metric of a file."""
    path, metric = tmp_path / "models.py", tmp_path / "brier.py"
    path.write_text(MODELS)
    metric.write_text(METRIC)
    train = TABLE.assign(y=Y)
    folder = tmp_path / "run"
    competition = Competition.read(train, TABLE, target="y", metric=metric, folder=folder, folds=2)
    return path, competition


def test_a_process_trains_what_this_one_trains(files):
    path, own = files
    specs = {spec.name: spec for spec in find_models(None, path) if spec.base is None}
    setting = Setting(own.tables, own.metric, own.folds, 0, n_jobs=1)
    worker = Worker(setting)
    try:
        there = worker.train(specs["works"], 1, 300, 300, with_importances=True)
        here = train_fold(specs["works"], 1, setting, None, with_importances=True)
        np.testing.assert_array_equal(there.oof, here.oof)
        np.testing.assert_array_equal(there.test, here.test)
        assert there.score == here.score and there.importances == here.importances
        with pytest.raises(ZeroDivisionError, match="this one"):
            worker.train(specs["raises"], 0, 300, 300, with_importances=False)
        with pytest.raises(RuntimeError, match="its process ended by itself"):
            worker.train(specs["ends"], 0, 300, 300, with_importances=False)
        with pytest.raises(TimeIsOver):
            worker.train(specs["sleeps"], 0, 300, 0.1, with_importances=False)
    finally:
        worker.end()


def test_what_takes_too_long_is_left_out(files, capsys):
    path, competition = files
    start = time.monotonic()
    board = competition.train(["sleeps"], model_file=path, time_limit=0.04)
    assert time.monotonic() - start < 2.4 + 5 and len(board) == 0
    said = capsys.readouterr().out
    assert "sleeps is left out (0 of 2 folds done): a fold takes more than the 1." in said
