"""
Blend with trees
================

Networks and boosted trees make different mistakes. A greedy ensemble finds weights for them on
predictions that no member was trained on.
"""

# %%
# Members may be any estimators of scikit-learn's interface. Each is trained on the same folds.

from lightgbm import LGBMRegressor
from sklearn.datasets import make_friedman1
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import train_test_split

from tabdl import GreedyEnsembleRegressor, TabMLPRegressor

X, y = make_friedman1(600, noise=2.0, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

members = [
    ("network", TabMLPRegressor(d_block=128, n_blocks=2)),
    ("lightgbm", LGBMRegressor(verbose=-1, n_jobs=1)),
    ("extra trees", ExtraTreesRegressor(100)),
]
blend = GreedyEnsembleRegressor(members, cv=3, random_state=0).fit(X_train, y_train)

# %%
# The error of the test rows: of each member, as the mean over its folds, and of the blend.

import pandas as pd

errors = {
    name: root_mean_squared_error(y_test, member.predict(X_test))
    for name, member in blend.members_.items()
}
errors["blend"] = root_mean_squared_error(y_test, blend.predict(X_test))
pd.DataFrame({"weight": blend.weights_ | {"blend": 1.0}, "test RMSE": errors}).round(3)

# %%
# Above: the weights. Below: the score of the out-of-fold predictions after each round of the
# selection.

from matplotlib import pyplot as plt

from tabdl.inspection import EnsembleDisplay

figure, axes = plt.subplots(2, 1, figsize=(5, 5), layout="constrained")
display = EnsembleDisplay.from_estimator(blend, ax=axes)
