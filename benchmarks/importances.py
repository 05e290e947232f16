"""Do attention and gradients rank columns as permutation does (2106.11959, section 5.3, table 6)?

``python -m benchmarks.importances``, on California Housing; options make the network smaller.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.inspection import permutation_importance

from benchmarks.files import write_text
from benchmarks.tables.datasets import california_housing
from tabdl import FTTransformerRegressor
from tabdl.inspection import attention_importances, gradient_importances

REPORT = Path(__file__).parent / "reports" / "importances.md"
N_ROWS = 3000  # of the training rows


def correlations(seed, settings):
    """Return the rank correlations of both with permutation, and the test error."""
    data = california_housing()
    (X, y), (X_val, y_val) = data.train, data.val
    model = FTTransformerRegressor.paper_config(random_state=seed, **settings)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    X, y = (part.sample(N_ROWS, random_state=0) for part in (X, y))
    options: dict = {"n_repeats": 1, "random_state": 0, "scoring": "neg_root_mean_squared_error"}
    permuted = permutation_importance(model, X, y, **options).importances_mean
    found = attention_importances(model, X), gradient_importances(model, X[:1000], n_steps=16)
    ranks = [pd.Series(own).rank() for own in (permuted, *(one.values for one in found))]
    spearman = [np.corrcoef(ranks[0], rank)[0, 1] for rank in ranks[1:]]
    error = np.sqrt(np.mean((model.predict(data.test[0]) - data.test[1]) ** 2))
    return [*spearman, error]


def main(argv=None):
    """Train a network for each seed; write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max-epochs", type=int, default=500)
    parser.add_argument("--d-block", type=int, default=192)
    parser.add_argument("--lr", type=float, default=1e-4)
    options = vars(parser.parse_args(argv))
    seeds = options.pop("seeds")
    rows = np.array([correlations(seed, options) for seed in seeds])
    each = zip(seeds, rows, strict=True)
    lines = [f"| {seed} | {a:.3f} | {g:.3f} | {e:.3f} |" for seed, (a, g, e) in each]
    ends = " | ".join(f"{own.mean():.2f} ± {own.std():.2f}" for own in rows.T)
    head = "| seed | attention | integrated gradients | test RMSE |\n| --- | --- | --- | --- |"
    text = "\n".join([head, *lines, f"| mean | {ends} |", "| paper | .81 ± .05 | .84 ± .08 | |"])
    title = "# Rank correlation with permutation importances, California Housing"
    how = (
        f"FTTransformerRegressor.paper_config with {options}; {N_ROWS} training rows are permuted."
    )
    write_text(REPORT, f"{title}\n\n`python -m benchmarks.importances`: {how}\n\n{text}\n")


if __name__ == "__main__":
    main()
