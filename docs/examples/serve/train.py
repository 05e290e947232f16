"""Fit a model and write it for the service: ``python train.py model.pkl``."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import tabdl


def make_table(n_rows: int = 400, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Return people, some values missing, and who is a customer."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n_rows).astype(float)
    city = rng.choice(["Bern", "Oslo", "Rome"], n_rows)
    income = rng.lognormal(10, 0.5, n_rows).round()
    y = np.where((age > 45) ^ (city == "Oslo"), "yes", "no")
    X = pd.DataFrame({"age": age, "city": city, "income": income})
    X.loc[::9, "age"] = None
    X.loc[::11, "city"] = None
    return X, y


def main(path: str) -> None:
    """Fit, and write the model."""
    X, y = make_table()
    model = tabdl.TabMLPClassifier(n_blocks=1, d_block=32, max_epochs=10, random_state=0)
    Path(path).write_bytes(pickle.dumps(model.fit(X, y)))


if __name__ == "__main__":
    main(sys.argv[1])
