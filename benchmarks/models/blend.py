"""A greedy ensemble of networks and boosted trees, and a network that learns from it, as models of
the comparison."""

import numpy as np
import pandas as pd
from sklearn.base import clone

import tabdl
from benchmarks.runs.fits import Fit
from tabdl.kaggle.trees import boosted_trees

NETWORKS = {
    "tabm": (tabdl.TabMClassifier, tabdl.TabMRegressor),
    "ft_transformer": (tabdl.FTTransformerClassifier, tabdl.FTTransformerRegressor),
    "resnet": (tabdl.TabResNetClassifier, tabdl.TabResNetRegressor),
    "mlp": (tabdl.TabMLPClassifier, tabdl.TabMLPRegressor),
}
BLEND = {"networks": ["tabm", "ft_transformer", "resnet"], "cv": 5}
"""The members and folds of a blend; a variant may name others."""
STUDENT = {"networks": ["mlp"], "cv": 5, "teacher_share": 0.7}
"""Those of the blend that a student learns from, and its share."""


def train(make, dataset, parameters, seed, device, time_limit, should_prune=None):
    """Fit a blend to training and validation rows together: it makes its own folds.

    The time limit is that of a fold of a network; TabM, FT-Transformer and ResNet have their
    defaults otherwise.
    """
    blend = _fitted(make, parameters, dataset, seed, device, time_limit)
    names = parameters["networks"]
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


def train_student(make, dataset, parameters, seed, device, time_limit, should_prune=None):
    """Fit a blend, an MLP that learns from it, and a plain MLP, to the same rows."""
    parameters = dict(parameters)
    share = parameters.pop("teacher_share")
    blends = (tabdl.GreedyEnsembleClassifier, tabdl.GreedyEnsembleRegressor)
    common = (parameters, dataset, seed, device, time_limit)
    blend = _fitted(blends[dataset.is_regression], *common)
    X, y = _all_rows(dataset)
    plain = NETWORKS["mlp"][dataset.is_regression](
        random_state=seed, n_jobs=1, device=device, time_limit=time_limit
    )
    student = make(clone(plain), blend, teacher_share=share, random_state=seed).fit(X, y)
    own = student.estimator_
    return Fit(
        **_predictor(student),
        n_parameters=own.n_parameters_,
        n_iter=own.n_iter_,
        best_iter=own.best_epoch_,
        hit_time_limit=own.stop_reason_ == "time_limit",
        device=str(device),
        members={"blend": Fit(**_predictor(blend)), "mlp": Fit(**_predictor(plain.fit(X, y)))},
    )


def _fitted(make, parameters, dataset, seed, device, time_limit):
    """Return a greedy ensemble of networks and boosted trees, fitted to all rows that are seen."""
    X, y = _all_rows(dataset)
    own = {name: value for name, value in parameters.items() if name != "networks"}
    common = {"time_limit": time_limit, "n_jobs": 1, "device": device}
    networks = {name: NETWORKS[name][dataset.is_regression] for name in parameters["networks"]}
    members = [(name, network(**common)) for name, network in networks.items()]
    members += boosted_trees(X, dataset.is_regression, 1).items()
    return make(members, random_state=seed, **own).fit(X, y)


def _all_rows(dataset):
    """Return the rows for training and those for validation as one X and y."""
    pairs = zip(dataset.train, dataset.val, strict=True)
    X, y = (pd.concat(pair, ignore_index=True) for pair in pairs)
    return X, y.to_numpy()


def _predictor(model):
    classes = getattr(model, "classes_", None)
    proba = None if classes is None else model.predict_proba
    return {
        "predict": model.predict,
        "predict_proba": proba,
        "classes": None if classes is None else np.asarray(classes),
    }
