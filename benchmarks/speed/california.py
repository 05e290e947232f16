"""The paper's default FT-Transformer on California Housing to its early stop: seconds and error."""

import numpy as np
import pandas as pd

from benchmarks.models.registry import MODELS
from benchmarks.speed.cases import PRECISIONS, timed
from benchmarks.tables.datasets import Dataset, california_housing

NETWORK = "ft_transformer"


def run(options, results):
    """Measure a fit for each precision and seed."""
    try:
        dataset = read(options.california_csv)
    except ImportError as error:
        print(f"california: {error}; --california-csv takes the table as a CSV file")
        return
    fit(_first_rows(dataset, 2000), {"max_epochs": 1}, 0, options.device)
    for precision in PRECISIONS:
        entry = {"precision": precision, "seconds": [], "rmse": [], "epochs": []}
        for seed in range(options.repeats):
            for name, value in zip(
                ("seconds", "rmse", "epochs"),
                measure(dataset, precision, seed, options.device),
                strict=True,
            ):
                entry[name].append(value)
            results.put(f"california/{precision}", entry)
            print(
                (
                    f"california {precision:8s} seed {seed}: {entry['seconds'][-1]:.1f} s, RMSE "
                    f"{entry['rmse'][-1]:.4f}, "
                ),
                end="",
            )
            print(f"{entry['epochs'][-1]} epochs", flush=True)


def read(csv=None):
    """Return the dataset, from a CSV file with the columns of the shipped table where one is
    given."""
    if csv is None:
        return california_housing()
    table = pd.read_csv(csv)
    tables = [
        table[table["split"] == split].reset_index(drop=True) for split in ("train", "val", "test")
    ]
    train_val_test = [(t.drop(columns=["target", "split"]), t["target"]) for t in tables]
    return Dataset("california_housing", "regression", *train_val_test)


def _first_rows(dataset, n_rows):
    train_val_test = [
        tuple(table.iloc[:n_rows] for table in part) for part in dataset.train_val_test
    ]
    return Dataset(dataset.name, dataset.task, *train_val_test)


def fit(dataset, parameters, seed, device):
    """Return a fit of the paper's default configuration under its protocol."""
    model = MODELS[NETWORK]
    return model.fit(
        dataset, model.parameters(dataset, "default", "paper") | parameters, seed, device
    )


def measure(dataset, precision, seed, device):
    """Return the seconds of the fit, the error of the test rows, and the number of epochs."""
    seconds, found = timed(lambda: fit(dataset, {"precision": precision}, seed, device), device)
    X_test, y_test = dataset.test
    errors = found.predict(X_test) - y_test.to_numpy()
    return seconds, float(np.sqrt(np.mean(errors**2))), found.n_iter
