"""One fit of pytabkit's estimator, in the environment that has it: ``python benchmarks/peers_fit.py
FOLDER``; see peers.py."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytabkit
import torch

CLASSES = {
    "realmlp": (pytabkit.RealMLP_TD_Classifier, pytabkit.RealMLP_TD_Regressor),
    "tabm": (pytabkit.TabM_D_Classifier, pytabkit.TabM_D_Regressor),
    "ftt": (pytabkit.FTT_D_Classifier, pytabkit.FTT_D_Regressor),
}
SCORE = {"val_metric_name": "cross_entropy"}
# TabM_D stops by accuracy, its default: 1.7.3 takes its probabilities for logits where it computes
# the cross entropy.
PARAMETERS = {"realmlp": ({**SCORE, "use_ls": False}, {}), "tabm": ({}, {}), "ftt": (SCORE, {})}
EPOCHS = {"realmlp": "n_epochs", "tabm": "n_epochs", "ftt": "max_epochs"}


def main(folder):
    """Read task and rows from ``folder`` and write predictions and seconds there."""
    task = json.loads((folder / "task.json").read_text())
    torch.set_num_threads(task["threads"])
    tables = [pd.read_parquet(folder / f"{name}.parquet") for name in ("train", "val", "test")]
    (X, y), (X_val, y_val), (X_test, _) = [(t.drop(columns="target"), t["target"]) for t in tables]
    kind = 0 if task["is_classification"] else 1
    parameters = dict(PARAMETERS[task["model"]][kind])
    if task["epochs"] is not None:
        parameters[EPOCHS[task["model"]]] = task["epochs"]
        patience = {"tabm": "patience", "ftt": "es_patience"}.get(task["model"])
        parameters |= {} if patience is None else {patience: task["epochs"]}
    common = {"device": "cpu", "random_state": task["seed"], "n_threads": task["threads"]}
    make = CLASSES[task["model"]][kind]
    one_epoch = parameters | {EPOCHS[task["model"]]: 1}
    make(**common, **one_epoch).fit(
        X, y, X_val=X_val, y_val=y_val
    )  # makes what a process makes once
    estimator = make(**common, **parameters)
    start = time.perf_counter(), time.process_time()
    estimator.fit(X, y, X_val=X_val, y_val=y_val)
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    np.save(
        folder / "predictions.npy",
        estimator.predict_proba(X_test) if kind == 0 else estimator.predict(X_test),
    )
    (folder / "seconds.json").write_text(json.dumps(seconds))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
