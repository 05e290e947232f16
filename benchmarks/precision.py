"""Does bfloat16 cost accuracy? ``python -m benchmarks.precision``.

Fits the paper's networks in float32 and in bfloat16 with the same seeds, on its splits, and prints
what each is worth on the test rows: RMSE, or accuracy and log loss.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error

from benchmarks.datasets import DATASETS
from benchmarks.models.registry import MODELS, network_names
from benchmarks.results import PAPER

NETWORKS = network_names("paper")


def measure(network, dataset, config, precision, seed, n_rows, device):
    """Return the figures of one fit on the test rows, by name."""
    data = dataset.search_data
    X, y = data.train
    data = replace(data, train=(X.iloc[:n_rows], y.iloc[:n_rows]))
    start = time.perf_counter()
    fit = MODELS[network](data, config | {"precision": precision}, seed, device, None)
    times = {"epochs": fit.n_iter, "seconds": time.perf_counter() - start}
    X_test, y_test = dataset.test
    if dataset.is_regression:
        return {"RMSE": root_mean_squared_error(y_test, fit.predict(X_test))} | times
    probabilities = fit.predict_proba(X_test)
    accuracy = accuracy_score(y_test, fit.classes[probabilities.argmax(1)])
    return {"accuracy": accuracy, "log loss": log_loss(y_test, probabilities)} | times


def main(argv=None):
    """Print every fit, then mean and standard deviation over the seeds."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.precision", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=list(DATASETS))
    parser.add_argument("--config", default="default", choices=["default", "paper-tuned"])
    parser.add_argument(
        "--precisions",
        nargs="+",
        default=["float32", "bfloat16"],
        choices=["auto", "float32", "bfloat16"],
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, help="training rows (default: all)")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(argv)
    for name in options.datasets:
        dataset = DATASETS[name]()
        for network in options.networks:
            config = {} if options.config == "default" else PAPER["tuned_configs"][name][network]
            for precision in options.precisions:
                fits = []
                for seed in options.seeds:
                    fits.append(
                        measure(
                            network, dataset, config, precision, seed, options.rows, options.device
                        )
                    )
                    print(
                        f"{name} {network} {precision} seed {seed}: {_text(fits[-1])}", flush=True
                    )
                values = {key: np.array([fit[key] for fit in fits]) for key in fits[0]}
                spread = {
                    key: (value.mean(), value.std(ddof=min(1, len(fits) - 1)))
                    for key, value in values.items()
                }
                print(f"{name} {network} {precision}: {_text(spread)}", flush=True)


def _text(figures):
    def one(value):
        return f"{value[0]:.4f} ± {value[1]:.4f}" if isinstance(value, tuple) else f"{value:.4f}"

    return ", ".join(f"{name} {one(value)}" for name, value in figures.items())


if __name__ == "__main__":
    main()
