"""Folds of a network trained together against one after the other, same epochs: ``python -m
benchmarks.speed.folds``.

Prints the ratio of the seconds of both, median and range of pairs in one run. Together, folds share
one table and one encoder; whether their steps are common ones too goes by the size of a step.
"""

import argparse
import statistics
import time

import numpy as np
import torch

import tabdl
from benchmarks.models.registry import MODELS, network_names
from benchmarks.speed.cases import NETWORKS
from tabdl.devices import choose_device


def table(n_rows):
    """Return X with 20 columns of numbers, and y."""
    X = np.random.default_rng(0).normal(size=(n_rows, 20)).astype(np.float32)
    return X, X[:, 0] + np.sin(2 * X[:, 1])


def seconds(network, X, y, batch_size, together, options):
    """Return the seconds of one fit of all folds."""
    common = {
        "max_epochs": options.epochs,
        "early_stopping": False,
        "device": options.device,
        "n_jobs": options.n_jobs,
    }
    numeric_embedding = NETWORKS[network].numeric_embedding
    estimator = MODELS[network].regressor(
        numeric_embedding=numeric_embedding, batch_size=batch_size, **common
    )
    ensemble = tabdl.CrossValEnsembleRegressor(
        estimator, cv=options.folds, together=together, random_state=0
    )
    start = time.perf_counter()
    ensemble.fit(X, y)
    return time.perf_counter() - start


def main(argv=None):
    """Print a line for each network and batch size."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.folds", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--networks", nargs="+", default=network_names("paper"), choices=list(NETWORKS))
    add("--batch-sizes", nargs="+", type=int, default=[256, 32])
    add("--rows", type=int, default=2000)
    add("--folds", type=int, default=8)
    add("--epochs", type=int, default=2)
    add("--repeats", type=int, default=3)
    add("--device", default="cpu")
    add("--n-jobs", type=int, default=1)
    options = parser.parse_args(argv)
    choose_device(options.device, "--device")
    X, y = table(options.rows)
    print(
        f"{options.folds} folds of {options.rows:,} rows, {options.epochs} epochs, "
        f"{options.device}, torch {torch.__version__}"
    )
    for network in options.networks:
        for batch_size in options.batch_sizes:
            for way in (True, False):  # the first call of each loads and fills what later ones find
                seconds(network, X[:200], y[:200], batch_size, way, options)
            pairs = [
                [seconds(network, X, y, batch_size, way, options) for way in (True, False)]
                for _ in range(options.repeats)
            ]
            ratios = sorted(alone / together for together, alone in pairs)
            median = statistics.median(ratios)
            print(
                (
                    f"{network}, batches of {batch_size}: {median:.2f} "
                    f"({ratios[0]:.2f}-{ratios[-1]:.2f}) times as quick"
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
