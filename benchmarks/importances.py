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
    rows = {}
    for seed in options.pop("seeds"):
        rows[seed] = correlations(seed, options)
        print(_line(seed, rows[seed]), flush=True)
    write_text(REPORT, report(rows, options))


def report(rows, settings):
    """Return the report as text.

    Parameters
    ----------
    rows : dict from int to list of float
        For each seed what :func:`correlations` returns.
    settings : dict
        Parameters of the networks.
    """
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in settings.items())
    seeds = sorted(rows)
    values = np.array([rows[seed] for seed in seeds])
    lines = "\n".join(_line(seed, rows[seed]) for seed in seeds)
    ends = zip(values.mean(0), values.std(0, ddof=1), strict=True)
    return f"""# Rank correlation with permutation importances, California Housing

`python -m benchmarks.importances --seeds {" ".join(map(str, seeds))} {flags}`:
FTTransformerRegressor.paper_config with these parameters; {N_ROWS:,} training rows are
permuted. The last rows have mean and standard deviation of the seeds, and the paper's.

| seed | attention | integrated gradients | test RMSE |
| --- | --- | --- | --- |
{lines}
| mean | {" | ".join(f"{mean:.2f} ± {std:.2f}" for mean, std in ends)} |
| paper | .81 ± .05 | .84 ± .08 | |
"""


def _line(seed, row):
    return f"| {seed} | {' | '.join(f'{value:.3f}' for value in row)} |"


if __name__ == "__main__":
    main()
