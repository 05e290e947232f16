"""The networks of pytabkit.

It wants an older pandas than the harness installs, which tabdl takes too: an environment of its own
with both is the way.
"""

import os
from dataclasses import replace

from benchmarks.models import foreign


def log_loss(dataset):
    """Return the score to stop by that ours has; TabM_D has accuracy: 1.7.3 takes its
    probabilities for logits in the cross entropy."""
    is_regression = dataset is None or dataset.is_regression
    return {} if is_regression else {"val_metric_name": "cross_entropy"}


def log_loss_without_smoothing(dataset):
    """Return the same for RealMLP_TD, whose labels are not smoothed then, as ours are not."""
    found = log_loss(dataset)
    return found | {"use_ls": False} if found else {}


def train(make, dataset, parameters, seed, device, time_limit, should_prune=None):
    """Fit an estimator of pytabkit.

    Missing numbers become the training rows' medians: not all of its networks take them.
    """
    medians = dataset.train[0].median(numeric_only=True)
    parts = {name: getattr(dataset, name) for name in ("train", "val")}
    complete = replace(dataset, **{name: (X.fillna(medians), y) for name, (X, y) in parts.items()})
    # n_threads: its own choice would be one a physical core.
    how = {"device": str(device), "n_threads": int(os.environ.get("OMP_NUM_THREADS", 1))}
    fit = foreign.train(make, complete, how | parameters, seed, device, time_limit)

    def filled(predict):
        return None if predict is None else lambda X: predict(X.fillna(medians))

    found = {name: filled(getattr(fit, name)) for name in ("predict", "predict_proba")}
    return replace(fit, **found, device=str(device))
