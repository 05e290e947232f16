"""What temperature scaling and pruning are worth: ``python -m benchmarks.after_training``.

On parts of the development tables (drawn as :mod:`benchmarks.defaults` draws them): the log loss of
MLP and TabM before and after temperature scaling; error, weights and time to predict of TabM with
all predictions and with those that pruning keeps.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, root_mean_squared_error

import tabdl
from benchmarks.defaults import train_val_test
from benchmarks.models.registry import MODELS

CLASSIFICATION = ("phoneme", "magic", "telco_churn", "credit_g", "adult", "letter")
REGRESSION = ("california_housing", "cpu_act", "wine_quality", "concrete")
SIZES = {"k": 32, "d_block": 128, "numeric_embedding": "piecewise"}


def calibration(train, val, test, seed, cls, parameters):
    """Return the test log loss before and after scaling, and the temperature, of one fit."""
    model = cls(**parameters, calibrate=True, random_state=seed).fit(
        *train, X_val=val[0], y_val=val[1]
    )
    after = model.predict_proba(test[0])
    # The scaled probabilities are powers of the others, made to sum to 1.
    before = np.exp(model.temperature_ * np.log(np.maximum(after, 1e-300)))
    before /= before.sum(1, keepdims=True)
    return *(
        log_loss(test[1], probabilities, labels=model.classes_) for probabilities in (before, after)
    ), model.temperature_


def pruning(train, val, test, seed):
    """Return, for TabM with all predictions and pruned, the test error, weights, and milliseconds
    to predict the test rows."""
    is_regression = train[1].dtype == float
    cls = tabdl.TabMRegressor if is_regression else tabdl.TabMClassifier
    figures = []
    for prune in (False, True):
        model = cls(**SIZES, prune=prune, random_state=seed).fit(*train, X_val=val[0], y_val=val[1])
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            model.predict(test[0])
            seconds.append(time.perf_counter() - start)
        if is_regression:
            error = root_mean_squared_error(test[1], model.predict(test[0]))
        else:
            error = log_loss(test[1], model.predict_proba(test[0]), labels=model.classes_)
        figures += [error, model.n_parameters_, 1000 * min(seconds)]
    return (*figures, model.module_.k)


def main(argv=None):
    """Print a line for each table: means over the seeds."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.after_training", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="where the development tables are"
    )
    parser.add_argument(
        "--what", nargs="+", default=("calibration", "pruning"), choices=("calibration", "pruning")
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=3000, help="training and validation rows")
    options = parser.parse_args(argv)
    if not (options.data / "datasets.json").exists():
        print(
            f"Nothing to do: no development tables (datasets.json and a parquet a table) in "
            f"{options.data}."
        )
        return
    described = json.loads((options.data / "datasets.json").read_text())

    def mean(name, measure, *arguments):
        table, is_regression = (
            pd.read_parquet(options.data / f"{name}.parquet"),
            described[name]["task"] == "regression",
        )
        drawn = [
            (seed, train_val_test(table, is_regression, options.rows, seed))
            for seed in range(options.seeds)
        ]
        return np.mean([measure(*three, seed, *arguments) for seed, three in drawn], axis=0)

    if "calibration" in options.what:
        for name, parameters in {"mlp": {"numeric_embedding": None}, "tabm": SIZES}.items():
            model = MODELS[name]
            for table in CLASSIFICATION:
                before, after, temperature = mean(table, calibration, model.classifier, parameters)
                print(
                    f"{table}, {model.label}: log loss {before:.4f} -> {after:.4f}, temperature "
                    f"{temperature:.2f}",
                    flush=True,
                )
    if "pruning" in options.what:
        for table in REGRESSION + CLASSIFICATION:
            error, weights, ms, pruned_error, pruned_weights, pruned_ms, n_kept = mean(
                table, pruning
            )
            print(
                f"{table}, TabM: error {error:.4f} -> {pruned_error:.4f}, {n_kept:.1f} of "
                f"{SIZES['k']} predictions kept, weights {weights:.0f} -> {pruned_weights:.0f}, "
                f"predict {ms:.1f} -> {pruned_ms:.1f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
