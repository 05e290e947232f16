"""
Quantile regression with bands
==============================

A network with ``loss="quantile"`` predicts a quantile instead of the mean. Two of them make a band
that most targets lie in. Rows that no network has seen say how wide the band must be.
"""

# %%
# The spread of the target grows with the number.

import numpy as np
from sklearn.model_selection import train_test_split

from tabdl import TabMLPRegressor

rng = np.random.default_rng(0)
X = rng.uniform(0, 10, (2500, 1))
y = np.sin(X[:, 0]) + rng.normal(0, 0.1 + 0.1 * X[:, 0])
X_train, X_other, y_train, y_other = train_test_split(X, y, test_size=0.8, random_state=0)
X_calibration, X_test, y_calibration, y_test = train_test_split(
    X_other, y_other, test_size=0.5, random_state=0
)

# %%
# One network a quantile. The parameters are otherwise the same.

quantiles = [0.05, 0.5, 0.95]
networks = {
    quantile: TabMLPRegressor(
        loss="quantile", quantile=quantile, d_block=64, n_blocks=2, random_state=0
    ).fit(X_train, y_train)
    for quantile in quantiles
}

# %%
# Quantiles at the ends rest on few rows, and a band tends to be too narrow. Conformal calibration
# (`Romano, Patterson, Candès 2019 <https://arxiv.org/abs/1905.03222>`_) widens it: by how far nine
# in ten of the calibration rows lie outside at most. It is negative where a band is too wide.


def band(X):
    """Return the lower and upper end of the band."""
    return networks[0.05].predict(X), networks[0.95].predict(X)


low, high = band(X_calibration)
outside = np.maximum(low - y_calibration, y_calibration - high)
margin = np.quantile(outside, 0.9, method="higher")

# %%
# The share of test rows in each band should be 0.9.

import pandas as pd

low, high = band(X_test)
inside = {
    "as predicted": np.mean((low <= y_test) & (y_test <= high)),
    "calibrated": np.mean((low - margin <= y_test) & (y_test <= high + margin)),
}
pd.Series(inside, name="share of test rows inside").round(3).to_frame()

# %%

from matplotlib import pyplot as plt

grid = np.linspace(0, 10, 300)[:, None]
low, high = band(grid)
figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
ax.scatter(X_test, y_test, s=4, color="0.6", label="test rows")
ax.fill_between(grid[:, 0], low, high, alpha=0.25, label="5 % to 95 %")
ax.plot(grid, low - margin, color="C1", label="calibrated")
ax.plot(grid, high + margin, color="C1")
ax.plot(grid, networks[0.5].predict(grid), color="C0", label="median")
ax.set(xlabel="x", ylabel="y")
ax.legend(frameon=False, loc="upper left")
