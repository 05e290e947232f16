"""One fit of pytabkit's estimator, or predictions of it, in the environment that has it; see
peers.py."""

import json
import pickle
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytabkit
import torch


def main(folder, what):
    """Read task and rows from ``folder`` and write what was asked for there."""
    task = json.loads((folder / "task.json").read_text())
    torch.set_num_threads(task["threads"])
    if what == "predict":
        estimator = pickle.loads((folder / "estimator.pickle").read_bytes())
        predict = estimator.predict if task["is_regression"] else estimator.predict_proba
        np.save(folder / "predictions.npy", predict(pd.read_parquet(folder / "X.parquet")))
        return
    common = {"device": task["device"], "random_state": task["seed"], "n_threads": task["threads"]}
    estimator = getattr(pytabkit, task["estimator"])(**common, **task["parameters"])
    tables = [pd.read_parquet(folder / f"{name}.parquet") for name in ("train", "val")]
    (X, y), (X_val, y_val) = [(t.drop(columns="target"), t["target"]) for t in tables]
    start = time.perf_counter(), time.process_time()
    estimator.fit(X, y, X_val=X_val, y_val=y_val)
    seconds = {"fit": time.perf_counter() - start[0], "cpu": time.process_time() - start[1]}
    (folder / "facts.json").write_text(json.dumps(seconds))
    (folder / "estimator.pickle").write_bytes(pickle.dumps(estimator))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
