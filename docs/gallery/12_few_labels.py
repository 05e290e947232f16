"""
Few labels
==========

Many rows, few labels. A network for itself, a mean of several seeds, scikit-learn's self-training,
and a student of a forest that also sees the rows without labels.
"""

# %%
# 1,000 pictures of digits, 8 by 8 pixels. Three, six or ten of each digit have a label.

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.semi_supervised import SelfTrainingClassifier

from tabdl import DistilledClassifier, TabMLPClassifier

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
for n_each in (3, 6, 10):
    labelled = np.concatenate([train[y[train] == digit][:n_each] for digit in range(10)])
    others = np.setdiff1d(train, labelled)
    rows = np.concatenate([labelled, others])
    partly = np.concatenate([y[labelled], np.full(len(others), -1)])
    teacher = ExtraTreesClassifier(200, random_state=0)
    models = {
        "one network": network().fit(X[labelled], y[labelled]),
        "mean of five": network(n_members=5).fit(X[labelled], y[labelled]),
        "self-training": SelfTrainingClassifier(network(), threshold=0.95, max_iter=2).fit(
            X[rows], partly
        ),
        "student": DistilledClassifier(network(), teacher, cv=3, random_state=0).fit(
            X[labelled], y[labelled], X_unlabelled=X[others]
        ),
    }
    accuracies[len(labelled)] = {
        name: model.score(X[test], y[test]) for name, model in models.items()
    }

table = pd.DataFrame(accuracies).T.rename_axis("labels")
table.round(3)

# %%
# The student is the best here, because its teacher is better than itself. A teacher that is worse
# makes it worse.

from matplotlib import pyplot as plt

figure, ax = plt.subplots(figsize=(5, 3.8), layout="constrained")
table.plot(ax=ax, marker="o")
ax.set_ylabel("accuracy of 797 test rows")
ax.set_xticks(table.index)
ax.grid(alpha=0.3)
