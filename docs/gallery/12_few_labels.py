"""
Few labels
==========

Many rows, few labels. A network for itself, a mean of several seeds, and scikit-learn's
self-training around the network.
"""

# %%
# 1,000 pictures of digits, 8 by 8 pixels. Up to 100 have a label.

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.semi_supervised import SelfTrainingClassifier

from tabdl import TabMLPClassifier

X, y = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(y))
train, test = order[:1000], order[1000:]


def network(**params):
    """Return a small network that trains on every row that it gets."""
    settings = {"n_blocks": 2, "d_block": 128, "early_stopping": False, "max_epochs": 20}
    settings |= {"numeric_embedding": None, "numeric_transform": "standard", "random_state": 0}
    return TabMLPClassifier(**settings, **params)


# %%
# With so few labels no row can be spared for validation: ``early_stopping=False`` trains on all,
# for ``max_epochs``. Self-training adds rows that the network is sure of, and trains again. It
# marks rows without a label by -1.

accuracies = {}
for n_labels in (30, 60, 100):
    labelled = train[:n_labels]
    partly = np.full(len(train), -1)
    partly[:n_labels] = y[labelled]
    models = {
        "one network": network().fit(X[labelled], y[labelled]),
        "mean of five": network(n_members=5).fit(X[labelled], y[labelled]),
        "self-training": SelfTrainingClassifier(network(), threshold=0.95, max_iter=2).fit(
            X[train], partly
        ),
    }
    accuracies[n_labels] = {name: model.score(X[test], y[test]) for name, model in models.items()}

table = pd.DataFrame(accuracies).T.rename_axis("labels")
table.round(3)

# %%

from matplotlib import pyplot as plt

figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
table.plot(ax=ax, marker="o")
ax.set_ylabel("accuracy of 797 test rows")
ax.set_xticks(table.index)
ax.grid(alpha=0.3)
