"""A small competition, its files, and quick models for it."""

import numpy as np
import pandas as pd
import pytest

from tabdl.kaggle import command
from tabdl.kaggle.metrics import find_metric
from tabdl.kaggle.reading import Files, read_tables

N = 60
RNG = np.random.default_rng(0)
A = RNG.normal(size=N)
TABLE = pd.DataFrame({"a": A, "b": RNG.normal(size=N)})
Y = (A + 0.7 * RNG.normal(size=N) > 0).astype(int)

_MODELS = """
from sklearn.linear_model import {0}
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighbors{1}
MODELS = {{"linear": {0}(), "neighbors": KNeighbors{1}()}}
"""


def write_models(folder, task="Classifier"):
    """Write a file of two quick models, and return its path."""
    path = folder / "models.py"
    linear = "Ridge" if task == "Regressor" else "LogisticRegression"
    path.write_text(_MODELS.format(linear, task))
    return path


def write(folder, train, test, ext="csv", **how):
    """Write both tables, and return the paths and the first options of a command."""
    paths = [str(folder / f"{part}.{ext}") for part in ("train", "test")]
    for path, table in zip(paths, (train, test), strict=True):
        if ext == "parquet":
            table.to_parquet(path)
        else:
            table.to_csv(path, **{"index": False, **how})
    out = ["--out", str(folder / "sub.csv"), "--folds", "2", "--n-jobs", "1"]
    # Without a time limit the user's models are trained in this process, not in another one.
    return [*paths, "--target", "y", *out, "--device", "cpu", "--time-limit", "none"]


def tables(train, test, metric="auc", target="y", **more):
    """Return the Tables of two data frames or paths."""
    return read_tables(Files(train, test, [target], **more), find_metric(metric))


def run(folder, train, test, *more, metric="auc", task="Classifier"):
    """Run the command with two quick models, and return the submission as text."""
    options = write(folder, train, test)
    models = ["--model-file", str(write_models(folder, task))]
    if "--models" not in more:
        models += ["--models", "linear"]
    command.main([*options, "--metric", metric, *models, *more])
    return pd.read_csv(folder / "sub.csv", dtype=str)


def refusal(folder, train, test, *more, metric="auc", **how):
    """Return what the command says when it refuses both tables; it trains nothing before."""
    with pytest.raises(SystemExit) as stop:
        command.main([*write(folder, train, test, **how), "--metric", metric, *more])
    assert isinstance(stop.value.code, str) and not (folder / "sub.csv").exists()
    return stop.value.code
