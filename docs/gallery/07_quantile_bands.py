"""
Quantile regression with bands
==============================

A network with ``loss="quantile"`` predicts a quantile instead of the mean. Two of them make a band
that most targets lie in.
"""

# %%
# The spread of the target grows with the number.

import numpy as np
from sklearn.model_selection import train_test_split

from tabdl import TabMLPRegressor

rng = np.random.default_rng(0)
X = rng.uniform(0, 10, (1000, 1))
y = np.sin(X[:, 0]) + rng.normal(0, 0.1 + 0.1 * X[:, 0])
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

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
# The share of test rows below each quantile should be that quantile.

import pandas as pd

below = {quantile: np.mean(y_test <= networks[quantile].predict(X_test)) for quantile in quantiles}
pd.DataFrame({"share of test rows below": below}).rename_axis("quantile").round(3)

# %%

from matplotlib import pyplot as plt

grid = np.linspace(0, 10, 300)[:, None]
low, median, high = (networks[quantile].predict(grid) for quantile in quantiles)
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.scatter(X_test, y_test, s=8, color="0.6", label="test rows")
ax.fill_between(grid[:, 0], low, high, alpha=0.25, label="5 % to 95 %")
ax.plot(grid, median, color="C0", label="median")
ax.legend(frameon=False, loc="upper left")
