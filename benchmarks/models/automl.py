"""AutoGluon, which lives in an environment of its own: it wants an older pandas.

``TABDL_AUTOGLUON`` names the Python of that environment. A training is a process of it, which runs
``autogluon_fit.py``.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.errors import HarnessError
from tabdl.kaggle import Competition

PYTHON = "TABDL_AUTOGLUON"
SCRIPT = Path(__file__).with_name("autogluon_fit.py")
# The metric that AutoGluon chooses its models by; of rmsle, it learns the logarithm as ours do.
METRICS = {
    "auc": "roc_auc",
    "logloss": "log_loss",
    "qwk": "quadratic_kappa",
    "rmsle": "root_mean_squared_error",
}


def missing():
    """Return what AutoGluon lacks, and the commands that get it; None where it lacks nothing."""
    if os.environ.get(PYTHON):
        return None
    return (
        "it needs AutoGluon: python3 -m venv autogluon && autogluon/bin/pip install "
        "'autogluon.tabular[catboost,fastai,lightgbm,xgboost]>=1.6,<2' pyarrow && "
        f"export {PYTHON}=$PWD/autogluon/bin/python"
    )


def train(
    competition: Competition,
    train: pd.DataFrame,
    hidden: pd.DataFrame,
    folder: Path,
    fit: dict,
) -> tuple[np.ndarray, dict]:
    """Train AutoGluon on the rows of a competition with one target.

    Parameters
    ----------
    competition : Competition
    train : DataFrame
        With the target.
    hidden : DataFrame
        Without it.
    folder : Path
        For all that AutoGluon writes; what is there goes.
    fit : dict
        For ``TabularPredictor.fit``, such as ``presets`` and ``time_limit``.

    Returns
    -------
    predictions : ndarray of shape (n, C) or (n,)
        As ``competition.metric.score`` takes them.
    facts : dict
        Seconds, the version, the best model, and the number of models.

    Raises
    ------
    HarnessError
        When AutoGluon fails.
    """
    metric, classes = competition.metric, competition.tables.classes
    [target] = competition.tables.targets
    kind = "regression" if classes is None else "binary" if len(classes) == 2 else "multiclass"
    shutil.rmtree(folder, ignore_errors=True)  # AutoGluon trains in no folder of another training
    folder.mkdir(parents=True)
    if metric.is_regression:
        train = train.assign(**{target: metric.encode(train[target].to_numpy(float))})
    train.to_parquet(folder / "train.parquet")
    hidden.to_parquet(folder / "hidden.parquet")
    task = {
        "target": target,
        "problem_type": kind,
        "eval_metric": METRICS[metric.name],
        "answer": metric.answer,
        "classes": None if classes is None else classes.tolist(),
        "fit": fit,
    }
    (folder / "task.json").write_text(json.dumps(task))
    _run(folder.resolve())
    return np.load(folder / "predictions.npy"), json.loads((folder / "facts.json").read_text())


def _run(folder):
    command = [os.environ[PYTHON], SCRIPT, folder]
    done = subprocess.run(command, capture_output=True, cwd=folder, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise HarnessError(f"AutoGluon in {os.environ[PYTHON]}: {last}")
