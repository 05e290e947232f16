"""Does an indicator of missing numbers help? ``python -m benchmarks.missing``.

A small MLP with ``numeric_missing="impute"`` and ``"indicator"`` on parts of the development
tables: four whose numbers are missing in truth, and four from which numbers are removed, those of
the upper 40 per cent in 60 per cent of the rows, others in 5. Prints the test error (RMSE or log
loss), mean and standard deviation over the seeds, which draw the rows too.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import train_test_split

import tabdl

TRULY_MISSING = ("weather_aus", "ames_housing", "lending_club_rate", "california_housing_raw")
COMPLETE = ("california_housing", "phoneme", "magic", "cpu_act")
PARAMETERS = {
    "n_blocks": 2,
    "d_block": 96,
    "numeric_embedding": None,
    "batch_size": 128,
    "lr": 2e-3,
}
PARAMETERS |= {"time_limit": 30, "precision": "float32"}


def remove_large(X, columns, rng):
    """Return X without most of the large numbers of a random half of the columns, at least two of
    them."""
    X = X.copy()
    for name in rng.choice(columns, max(2, len(columns) // 2), replace=False):
        chance = np.where(X[name].rank(pct=True) > 0.6, 0.6, 0.05)
        X[name] = X[name].astype(float).where(rng.random(len(X)) >= chance)
    return X


def errors(table, described, seed, n_rows, removes):
    """Return the test errors with imputation and with indicators."""
    is_regression = described["task"] == "regression"
    table = table.drop(columns="split", errors="ignore")
    table = table.sample(min(len(table), 2 * n_rows + 2000), random_state=seed).reset_index(
        drop=True
    )
    X, y = table.drop(columns="target"), table["target"]
    if removes:
        X = remove_large(X, described["numerical"], np.random.default_rng(seed))
    y = y.astype(float).to_numpy() if is_regression else y.astype(str).to_numpy()
    n_train, stratify = min(n_rows, int(len(X) * 0.6)), None if is_regression else y
    X, X_test, y, y_test = train_test_split(
        X, y, train_size=n_train, random_state=seed, stratify=stratify
    )
    X_test, y_test, found = X_test[:4000], y_test[:4000], []
    for numeric_missing in ("impute", "indicator"):
        cls = tabdl.TabMLPRegressor if is_regression else tabdl.TabMLPClassifier
        model = cls(**PARAMETERS, numeric_missing=numeric_missing, random_state=seed).fit(X, y)
        if is_regression:
            found.append(root_mean_squared_error(y_test, model.predict(X_test)))
        else:
            found.append(log_loss(y_test, model.predict_proba(X_test), labels=model.classes_))
    return found


def main(argv=None):
    """Print a line for each table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.missing", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="where the development tables are"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2000, help="training and validation rows")
    options = parser.parse_args(argv)
    if not (options.data / "datasets.json").exists():
        print(
            f"Nothing to do: no development tables (datasets.json and a parquet a table) in "
            f"{options.data}."
        )
        return
    described = json.loads((options.data / "datasets.json").read_text())
    for name in TRULY_MISSING + COMPLETE:
        table, removes = pd.read_parquet(options.data / f"{name}.parquet"), name in COMPLETE
        found = np.array(
            [
                errors(table, described[name], seed, options.rows, removes)
                for seed in range(options.seeds)
            ]
        )
        (impute, indicator), spread = found.mean(0), found.std(0, ddof=min(1, options.seeds - 1))
        print(
            f"{name}{', large numbers removed' if removes else ''}: impute {impute:.4g} ± "
            f"{spread[0]:.2g}, indicator {indicator:.4g} ± {spread[1]:.2g} "
            f"({indicator / impute - 1:+.1%})",
            flush=True,
        )


if __name__ == "__main__":
    main()
