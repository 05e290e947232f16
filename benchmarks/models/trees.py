"""Boosted trees as in the paper: 2,000 trees, early stopping after 50 on the validation rows,
targets of regression standardised.

``early_stopping_rounds`` in a configuration overrides the 50. ``scoring`` says what ends the
training: None the loss, as with the libraries' own defaults, or the paper's metric.
"""

import importlib
import os
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.runs.executors import gpu_share
from benchmarks.runs.fits import Fit, Watch
from tabdl.kaggle.trees import (
    N_TREES,
    PATIENCE,
    Categories,
    Texts,
    dates_as_days,
    names_of_categories,
)

METRICS = {
    "xgboost": ("rmse", ("logloss", "mlogloss"), ("error", "merror")),
    "catboost": ("RMSE", ("Logloss", "MultiClass"), ("Accuracy", "Accuracy")),
    "lightgbm": ("rmse", ("binary_logloss", "multi_logloss"), ("binary_error", "multi_error")),
}
"""Of numbers; log losses of two classes and of several; their errors."""
MANY = {"n_estimators": N_TREES, "early_stopping_rounds": PATIENCE}
"""The paper's number of trees and patience, in the words of all three libraries."""


@dataclass(frozen=True)
class Lazy:
    """The constructor ``name`` of a library that is imported when it is called."""

    library: str
    name: str

    def __call__(self, **parameters):
        return self.load()(**parameters)

    def load(self):
        """Return the class."""
        return getattr(importlib.import_module(self.library), self.name)


def lazy_pair(library: str, prefix: str) -> list[Any]:
    """Return the constructors of a library's classifier and regressor."""
    return [Lazy(library, f"{prefix}{task}") for task in ("Classifier", "Regressor")]


def protocol(dataset, config):
    """Return the paper's score to stop by; its default configurations train all trees, and keep
    those up to the best one."""
    settings = {"scoring": dataset.scoring}
    return settings | ({"early_stopping_rounds": N_TREES - 1} if config == "default" else {})


class _Task:
    """What a library is given: settings, the name of its score, a watch, and the target: codes of
    classes, or standardised values (the paper's, for every model)."""

    def __init__(self, library, dataset, parameters, time_limit, should_prune):
        y = dataset.train[1]
        self.classes = None if dataset.is_regression else np.unique(y)
        self.mean = float(np.mean(y)) if dataset.is_regression else 0.0
        self.std = float(np.std(y)) if dataset.is_regression else 1.0
        self.train, self.val = self.encode(y), self.encode(dataset.val[1])
        self.watch = Watch(time_limit, should_prune)
        self.settings = {name: v for name, v in parameters.items() if name != "scoring"}
        rmse, log_losses, errors = METRICS[library]
        by_classes = log_losses if parameters.get("scoring") is None else errors
        self.metric = rmse if dataset.is_regression else by_classes[len(self.classes) > 2]

    def encode(self, y):
        if self.classes is None:
            return (np.asarray(y, np.float64) - self.mean) / self.std
        return np.searchsorted(self.classes, y)

    def finish(self, model, encode_table, **facts):
        """Return the fit; ``encode_table`` is from X to what the model takes."""

        def predict(X):
            if self.classes is None:
                return model.predict(encode_table(X)).ravel() * self.std + self.mean
            return self.classes[predict_proba(X).argmax(1)]

        def predict_proba(X):
            return model.predict_proba(encode_table(X))

        proba = None if self.classes is None else predict_proba
        facts = {"history": self.watch.history, "hit_time_limit": self.watch.hit_time_limit} | facts
        return Fit(predict, predict_proba=proba, classes=self.classes, **facts)


def _one_hot(X_train):
    """Return the function from X to an array (N, F') of float32 whose categories are columns of
    zeros and ones."""
    from sklearn.preprocessing import OneHotEncoder

    names = names_of_categories(X_train)
    if not names:
        return dates_as_days
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    encoder.fit(X_train[names].astype(object))

    def encode_table(X):
        numbers = dates_as_days(X.drop(columns=names)).to_numpy(np.float32)
        return np.concatenate([encoder.transform(X[names].astype(object)), numbers], axis=1)

    return encode_table


def train_xgboost(make, dataset, parameters, seed, device, time_limit, should_prune=None):
    """Train XGBoost: categories one-hot as in the paper, or as they are where
    ``enable_categorical`` says so."""
    from xgboost.callback import TrainingCallback

    task = _Task("xgboost", dataset, parameters, time_limit, should_prune)

    class Watched(TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            [scores] = evals_log["validation_0"].values()
            return task.watch(epoch, -scores[-1])

    kind = "cuda" if str(device).startswith("cuda") else "cpu"
    if kind == "cuda":  # tables come from the host, of which it warns in each process
        warnings.filterwarnings("ignore", ".*Falling back to prediction using DMatrix", UserWarning)
    model = make(
        eval_metric=task.metric,
        random_state=seed,
        device=str(device) if kind == "cuda" else "cpu",
        callbacks=[Watched()],
        **task.settings,
    )
    X = dataset.train[0]
    has_categories = task.settings.get("enable_categorical", False)
    encode_table = Categories().fit(X).transform if has_categories else _one_hot(X)
    eval_set = [(encode_table(dataset.val[0]), task.val)]
    model.fit(encode_table(X), task.train, eval_set=eval_set, verbose=False)
    sizes = _sizes_of_xgboost(model.get_booster())
    return task.finish(model, encode_table, device=kind, **sizes)


def _sizes_of_xgboost(booster):
    # There is no best iteration without early stopping, or when the first tree was the last.
    best = booster.attr("best_iteration")
    n_iter = booster.num_boosted_rounds()
    best_iter = n_iter if best is None else int(best) + 1
    # A text a tree: counting leaves in it is quicker than the table of nodes.
    n_leaves = sum(tree.count("leaf=") for tree in booster[:best_iter].get_dump())
    return {"n_parameters": n_leaves, "n_iter": n_iter, "best_iter": best_iter}


def train_catboost(make, dataset, parameters, seed, device, time_limit, should_prune=None):
    """Train CatBoost: categories natively. Its scores on a GPU differ from those on a CPU; the
    report says which."""
    task = _Task("catboost", dataset, parameters, time_limit, should_prune)
    sign = 1 if task.metric == "Accuracy" else -1

    class Watched:
        def after_iteration(self, info):
            score = info.metrics["validation"][task.metric][-1]
            return not task.watch(info.iteration, sign * score)

    texts = Texts().fit(dataset.train[0])
    kind = "cuda" if str(device).startswith("cuda") else "cpu"
    model = make(
        eval_metric=task.metric,
        random_seed=seed,
        # The others read it themselves; several workers share the cores.
        thread_count=int(os.environ.get("OMP_NUM_THREADS", -1)),
        allow_writing_files=False,
        logging_level="Silent",
        **(_catboost_on_gpu(device) if kind == "cuda" else {"task_type": "CPU"}),
        **task.settings,
    )
    model.fit(
        texts.transform(dataset.train[0]),
        task.train,
        cat_features=texts.names_,
        eval_set=(texts.transform(dataset.val[0]), task.val),
        # CatBoost calls back on a CPU only: on a GPU there is no time limit and no pruning.
        callbacks=None if kind == "cuda" else [Watched()],
    )
    scores = model.get_evals_result()["validation"][task.metric]
    history = [{"epoch": i, "val_score": sign * score} for i, score in enumerate(scores, 1)]
    sizes = {"n_iter": len(scores), "best_iter": model.tree_count_, "device": kind}
    sizes["n_parameters"] = int(np.sum(model.get_tree_leaf_counts()))
    return task.finish(model, texts.transform, history=history, **sizes)


def _catboost_on_gpu(device):
    # It takes this part of the memory at once, whoever has some already, and without "devices" on
    # every GPU. The other half is for networks that were trained in this process: torch keeps
    # their memory.
    return {
        "task_type": "GPU",
        "devices": str(torch.device(device).index or 0),
        "gpu_ram_part": 0.5 * gpu_share(),
    }


def train_lightgbm(make, dataset, parameters, seed, device, time_limit, should_prune=None):
    """Train LightGBM: categories natively. On the CPU, whatever the device: its wheels know no
    CUDA."""
    from lightgbm import early_stopping
    from lightgbm.callback import EarlyStopException

    task = _Task("lightgbm", dataset, parameters, time_limit, should_prune)
    encode_table = Categories().fit(dataset.train[0]).transform
    patience = task.settings.pop("early_stopping_rounds")
    seen = []

    def watched(env):
        seen.append(env.evaluation_result_list)
        if task.watch(env.iteration, -seen[-1][0][2]):
            best = int(np.argmin([results[0][2] for results in seen]))
            raise EarlyStopException(best, seen[best])

    # n_jobs=0: as many threads as OpenMP is told to take; LightGBM's default is one a physical
    # core, whatever it is told.
    model = make(random_state=seed, verbosity=-1, n_jobs=0, **task.settings)
    model.fit(
        encode_table(dataset.train[0]),
        task.train,
        eval_X=encode_table(dataset.val[0]),
        eval_y=task.val,
        eval_metric=task.metric,
        callbacks=[watched] + ([early_stopping(patience, verbose=False)] if patience else []),
    )
    best_iter = model.best_iteration_ or len(seen)
    trees = model.booster_.dump_model(num_iteration=best_iter)["tree_info"]
    n_leaves = sum(tree["num_leaves"] for tree in trees)
    sizes = {"n_parameters": n_leaves, "n_iter": len(seen), "best_iter": best_iter}
    return task.finish(model, encode_table, **sizes)
