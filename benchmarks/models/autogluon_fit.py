"""One training of AutoGluon, in the environment that has it; see automl.py."""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor


def main(folder):
    """Read task and rows from ``folder``, and write predictions and facts there."""
    task = json.loads((folder / "task.json").read_text())
    train, hidden = [pd.read_parquet(folder / f"{name}.parquet") for name in ("train", "hidden")]
    start = time.perf_counter()
    predictor = TabularPredictor(
        task["target"],
        problem_type=task["problem_type"],
        eval_metric=task["eval_metric"],
        path=str(folder / "models"),
    ).fit(train, **task["fit"])
    seconds = time.perf_counter() - start
    found = predictions(predictor, hidden, task["answer"], task["classes"])
    np.save(folder / "predictions.npy", found)
    predictor.leaderboard().to_csv(folder / "leaderboard.csv", index=False)
    facts = {
        "seconds": seconds,
        "version": version("autogluon.tabular"),
        "best": predictor.model_best,
        "n_models": len(predictor.model_names()),
    }
    (folder / "facts.json").write_text(json.dumps(facts))


def predictions(predictor, hidden, answer, classes):
    """Return what the score takes: values (n,), or (n, C) with a column for each of ``classes``.

    Where labels are scored, the label of AutoGluon has a 1: it may have moved a threshold.
    """
    if answer == "value":
        return predictor.predict(hidden).to_numpy(float)
    if answer == "label":
        labels = predictor.predict(hidden).to_numpy()
        return (labels[:, None] == np.array(classes)[None]).astype(float)
    found = predictor.predict_proba(hidden)
    # AutoGluon leaves out classes of very few rows.
    return found.reindex(columns=classes, fill_value=0.0).to_numpy(float)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
