"""
Cross-validation with groups and time
=====================================

Rows that belong together must stay in one fold, and a fold must not see the future. Otherwise the
score promises what the model cannot keep.
"""

# %%
# Twenty machines, thirty measurements of each. A machine has its own level, which the serial
# number gives away.

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, TimeSeriesSplit

from tabdl import CrossValEnsembleRegressor, TabMLPRegressor

rng = np.random.default_rng(0)
machine = np.repeat(np.arange(20), 30)
day = np.tile(np.arange(30), 20)
level = rng.normal(0, 2, 20)[machine]
load = rng.normal(size=600)
X = pd.DataFrame({"serial": machine, "load": load, "day": day})
wear = level + load + 0.1 * day + rng.normal(0, 0.5, 600)

# %%
# Three ways to make folds. ``groups`` is an argument of ``fit``. For folds of time the rows are
# put in order first; the rows to stop by then are the last ones of each training part.

network = TabMLPRegressor(d_block=64, n_blocks=2, max_epochs=25)


def cross_validate(cv, rows, **fit_params):
    """Return the fitted ensemble of one network a fold."""
    model = CrossValEnsembleRegressor(network, cv=cv, scoring="r2", random_state=0)
    return model.fit(X.iloc[rows], wear[rows], **fit_params)


warnings.filterwarnings("ignore", "CrossVal.* of no trained fold")  # the first days
in_order = np.argsort(day, kind="stable")
fitted = {
    "shuffled": cross_validate(4, np.arange(600)),
    "machines apart": cross_validate(GroupKFold(4), np.arange(600), groups=machine),
    "later days": cross_validate(TimeSeriesSplit(4), in_order),
}

# %%
# Shuffled folds look best, because every machine is in the training rows. They answer another
# question: how well is a known machine predicted? A new machine is a harder question. So are the
# days to come.

from matplotlib import pyplot as plt

figure, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
for position, model in enumerate(fitted.values()):
    ax.plot(position + np.linspace(-0.1, 0.1, 4), model.scores_, "o", color="C0")
    ax.hlines(np.mean(model.scores_), position - 0.25, position + 0.25, color="C1")
ax.set_xticks(range(len(fitted)), list(fitted))
ax.set_ylabel("R² of each fold")
ax.grid(axis="y", alpha=0.3)

# %%
# ``oof_prediction_`` holds a prediction for each row that some fold did not train on. The first
# days are never tested, so their predictions are NaN.

missing = {name: int(np.isnan(model.oof_prediction_).sum()) for name, model in fitted.items()}
print(missing)
