"""A greedy ensemble of networks and boosted trees, and a network that learns from it, as models of
the comparison."""

import pandas as pd
from sklearn.base import clone

import tabdl
from benchmarks.runs.fits import Fit, predictor
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
    networks = [blend.members_[name] for name in parameters["networks"]]
    folds = [fold for network in networks for fold in network.estimators_]
    return _fit(blend, folds, dataset, device, blend.members_)


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
    members = {"blend": blend, "mlp": plain.fit(X, y)}
    return _fit(student, [student.estimator_], dataset, device, members)


def _fit(model, networks, dataset, device, members):
    """Return a fit with the sizes of its networks and the members that predict beside it."""
    predictors = {n: predictor(member, dataset.is_regression) for n, member in members.items()}
    return Fit(
        **predictor(model, dataset.is_regression),
        n_parameters=sum(network.n_parameters_ for network in networks),
        n_iter=sum(network.n_iter_ for network in networks),
        best_iter=sum(network.best_epoch_ for network in networks),
        hit_time_limit=any(network.stop_reason_ == "time_limit" for network in networks),
        device=str(device),
        members={name: Fit(**how) for name, how in predictors.items()},
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
