"""A greedy ensemble of networks and boosted trees, as a model of the comparison."""

import numpy as np
import pandas as pd

import tabdl
from benchmarks.runs.fits import Fit
from tabdl.kaggle.trees import boosted_trees

NETWORKS = {
    "tabm": (tabdl.TabMClassifier, tabdl.TabMRegressor),
    "ft_transformer": (tabdl.FTTransformerClassifier, tabdl.FTTransformerRegressor),
    "resnet": (tabdl.TabResNetClassifier, tabdl.TabResNetRegressor),
}
SETTINGS = {"networks": list(NETWORKS), "cv": 5}


def settings(dataset):
    """Return the members and folds of a blend; a variant may name others."""
    return SETTINGS


def train(make, dataset, parameters, seed, device, time_limit, should_prune=None):
    """Fit a blend to training and validation rows together: it makes its own folds.

    The time limit is that of a fold of a network; TabM, FT-Transformer and ResNet have their
    defaults otherwise.
    """
    parameters = dict(parameters)
    names = parameters.pop("networks")
    X, y = (pd.concat(pair, ignore_index=True) for pair in zip(*_parts(dataset), strict=True))
    common = {"time_limit": time_limit, "n_jobs": 1, "device": device}
    place = int(dataset.is_regression)
    members = [(name, NETWORKS[name][place](**common)) for name in names]
    members += boosted_trees(X, dataset.is_regression, 1).items()
    blend = make(members, random_state=seed, **parameters).fit(X, y.to_numpy())
    fits = [fit for name in names for fit in blend.members_[name].estimators_]
    return Fit(
        **_predictor(blend),
        n_parameters=sum(fit.n_parameters_ for fit in fits),
        n_iter=sum(fit.n_iter_ for fit in fits),
        best_iter=sum(fit.best_epoch_ for fit in fits),
        hit_time_limit=any(fit.stop_reason_ == "time_limit" for fit in fits),
        device=str(device),
        members={name: Fit(**_predictor(member)) for name, member in blend.members_.items()},
    )


def _parts(dataset):
    return dataset.train, dataset.val


def _predictor(model):
    classes = getattr(model, "classes_", None)
    proba = None if classes is None else model.predict_proba
    return {
        "predict": model.predict,
        "predict_proba": proba,
        "classes": None if classes is None else np.asarray(classes),
    }
