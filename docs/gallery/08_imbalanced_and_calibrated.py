"""
Imbalanced classes and calibration
==================================

One row in twenty is positive. Weights of classes change what is found, and what the probabilities
mean. Calibration makes them probabilities again.
"""

# %%
# A generated table with 5 % positive rows.

import pandas as pd
from sklearn.datasets import make_classification
from sklearn.metrics import average_precision_score, log_loss, recall_score
from sklearn.model_selection import train_test_split

from tabdl import TabMLPClassifier

X, y = make_classification(
    6000, 12, n_informative=6, weights=[0.95], flip_y=0.02, class_sep=0.8, random_state=0
)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.75, stratify=y, random_state=0
)

# %%
# Three settings. ``scoring="average_precision"`` stops by the ranking of the rows and not by the
# loss. ``calibrate=True`` fits a temperature to the validation rows after training.

shared = {"d_block": 64, "n_blocks": 2, "random_state": 0}
models = {
    "plain": TabMLPClassifier(**shared),
    "balanced": TabMLPClassifier(class_weight="balanced", **shared),
    "by ranking, calibrated": TabMLPClassifier(
        scoring="average_precision", calibrate=True, **shared
    ),
}
probabilities = {}
for name, model in models.items():
    probabilities[name] = model.fit(X_train, y_train).predict_proba(X_test)[:, 1]

# %%
# ``balanced`` finds more positive rows at the threshold of 0.5. It pays with its log loss: its
# probabilities are too high.

pd.DataFrame(
    {
        name: {
            "average precision": average_precision_score(y_test, p),
            "recall at 0.5": recall_score(y_test, p > 0.5),
            "log loss": log_loss(y_test, p),
            "mean probability": p.mean(),
        }
        for name, p in probabilities.items()
    }
).T.round(3)

# %%
# The curve shows it. A calibrated model is on the diagonal. Where the threshold matters, move the
# threshold, and keep the probabilities as they are.

from matplotlib import pyplot as plt
from sklearn.calibration import calibration_curve

figure, ax = plt.subplots(figsize=(5, 4.5), layout="constrained")
ax.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
for name, p in probabilities.items():
    share, mean = calibration_curve(y_test, p, n_bins=5, strategy="uniform")
    ax.plot(mean, share, "o-", markersize=4, label=name)
ax.set_xlabel("predicted probability")
ax.set_ylabel("share of positive rows")
ax.legend(frameon=False)
