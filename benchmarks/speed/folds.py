"""Folds of a network trained together against one after the other, same epochs.

Together, folds share one table and one encoder; whether their steps are common ones too goes by the
size of a step.
"""

from itertools import product

import numpy as np

import tabdl
from benchmarks.speed.cases import Case, timed

N_FOLDS = 8


def run(options):
    """Yield the ratio of the seconds of both, in pairs."""
    X = np.random.default_rng(0).normal(size=(options.rows, 20)).astype(np.float32)
    y = X[:, 0] + np.sin(2 * X[:, 1])
    for network, batch_size in product(options.networks, options.batch_sizes):
        case = Case(network, batch_size=batch_size, device=options.device)

        def seconds(together, n_rows=None, case=case):
            model = tabdl.CrossValEnsembleRegressor(
                case.estimator(max_epochs=options.fit_epochs),
                cv=N_FOLDS,
                together=together,
                random_state=0,
            )
            return timed(lambda: model.fit(X[:n_rows], y[:n_rows]), options.device)[0]

        for together in (True, False):  # the first call fills what later ones find
            seconds(together, 200)
        pairs = [(seconds(True), seconds(False)) for _ in range(options.repeats)]
        ratios = [alone / together for together, alone in pairs]
        entry = {"network": network, "batch_size": batch_size, "ratios": ratios}
        yield f"folds/{network}/{batch_size}", entry | {"n_rows": len(X)}
