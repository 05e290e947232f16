"""Folds of a network trained together against one after the other, same epochs.

Together, folds share one table and one encoder; whether their steps are common ones too goes by the
size of a step.
"""

import time

import numpy as np

import tabdl
from benchmarks.models.registry import MODELS
from benchmarks.speed.cases import NETWORKS
from benchmarks.speed.ratios import spread

N_FOLDS, N_ROWS, BATCHES = 8, 2000, (256, 32)


def run(options, results):
    """Measure the ratio of the seconds of both, in pairs."""
    X = np.random.default_rng(0).normal(size=(min(options.rows, N_ROWS), 20)).astype(np.float32)
    y = X[:, 0] + np.sin(2 * X[:, 1])
    for network in options.networks:
        for batch_size in BATCHES:
            for way in (True, False):  # the first call of each loads and fills what later ones find
                seconds(network, X[:200], y[:200], batch_size, way, options)
            pairs = [
                [seconds(network, X, y, batch_size, way, options) for way in (True, False)]
                for _ in range(options.repeats)
            ]
            ratios = [alone / together for together, alone in pairs]
            entry = {"network": network, "batch_size": batch_size, "ratios": ratios}
            results.put(f"folds/{network}/{batch_size}", entry | {"n_rows": len(X)})
            print(f"folds, {network}, batches of {batch_size}: {spread(ratios)} times as quick")


def seconds(network, X, y, batch_size, together, options):
    """Return the seconds of one fit of all folds."""
    common = {"early_stopping": False, "device": options.device, "max_epochs": options.fit_epochs}
    numeric_embedding = NETWORKS[network].numeric_embedding
    estimator = MODELS[network].regressor(
        numeric_embedding=numeric_embedding, batch_size=batch_size, **common
    )
    ensemble = tabdl.CrossValEnsembleRegressor(
        estimator, cv=N_FOLDS, together=together, random_state=0
    )
    start = time.perf_counter()
    ensemble.fit(X, y)
    return time.perf_counter() - start
