"""Boosted trees as in the paper: 2,000 trees, early stopping after 50 on the validation rows,
targets of regression standardised.

``early_stopping_rounds`` in a configuration overrides the 50; None is no early stopping. Each
function is a model of ``benchmarks/models.py`` and takes what is said there.
"""

import os
import warnings

import numpy as np
import torch

from benchmarks.boosted import (
    N_TREES,
    PATIENCE,
    Categories,
    Texts,
    dates_as_days,
    names_of_categories,
)
from benchmarks.executors import gpu_share
from benchmarks.fits import Fit, Watch


class _Target:
    """The target as the libraries want it, and back: codes of classes, or standardised values (the
    paper's, for every model)."""

    def __init__(self, dataset):
        y = dataset.train[1]
        self.classes = None if dataset.is_regression else np.unique(y)
        self.mean, self.std = (
            (float(np.mean(y)), float(np.std(y))) if dataset.is_regression else (0.0, 1.0)
        )
        self.train, self.val = (self.encode(part[1]) for part in (dataset.train, dataset.val))
        self.is_binary = not dataset.is_regression and len(self.classes) == 2

    def encode(self, y):
        if self.classes is None:
            return (np.asarray(y, np.float64) - self.mean) / self.std
        return np.searchsorted(self.classes, y)

    def finish(self, model, table, n_leaves, n_iter, best_iter, watch, device="cpu"):
        """Return the fit; ``table`` is from X to what the model takes."""

        def predict(X):
            if self.classes is None:
                return model.predict(table(X)).ravel() * self.std + self.mean
            return self.classes[model.predict_proba(table(X)).argmax(1)]

        def predict_proba(X):
            return model.predict_proba(table(X))

        proba = None if self.classes is None else predict_proba
        return Fit(
            predict, n_leaves, n_iter, best_iter, watch.hit_time_limit, proba, self.classes, device
        )


def _one_hot(X_train):
    """Return the function from X to an array (N, F') of float32 whose categories are columns of
    zeros and ones."""
    from sklearn.preprocessing import OneHotEncoder

    names = names_of_categories(X_train)
    if not names:
        return dates_as_days
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    encoder.fit(X_train[names].astype(object))

    def table(X):
        numbers = dates_as_days(X.drop(columns=names)).to_numpy(np.float32)
        return np.concatenate([encoder.transform(X[names].astype(object)), numbers], axis=1)

    return table


def xgboost(dataset, config, seed, device, time_limit, should_prune=None):
    """XGBoost as in the paper: categories one-hot."""
    return _xgboost(
        dataset, config, seed, device, time_limit, should_prune, _one_hot(dataset.train[0])
    )


def xgboost_native(dataset, config, seed, device, time_limit, should_prune=None):
    """XGBoost with its own splits over categories, which the paper's version did not have."""
    config = {"enable_categorical": True} | config
    return _xgboost(
        dataset,
        config,
        seed,
        device,
        time_limit,
        should_prune,
        Categories().fit(dataset.train[0]).transform,
    )


def _xgboost(dataset, config, seed, device, time_limit, should_prune, table):
    from xgboost import XGBClassifier, XGBRegressor
    from xgboost.callback import TrainingCallback

    watch, target = Watch(time_limit, should_prune), _Target(dataset)

    class Watched(TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            [scores] = evals_log["validation_0"].values()
            return watch(epoch, -scores[-1])

    metric = "rmse" if dataset.is_regression else "error" if target.is_binary else "merror"
    on_gpu = str(device).startswith("cuda")
    if on_gpu:  # tables come from the host, of which it warns in each process
        warnings.filterwarnings("ignore", ".*Falling back to prediction using DMatrix", UserWarning)
    settings = {"n_estimators": N_TREES, "early_stopping_rounds": PATIENCE} | config
    model = (XGBRegressor if dataset.is_regression else XGBClassifier)(
        eval_metric=metric,
        random_state=seed,
        device=str(device) if on_gpu else "cpu",
        callbacks=[Watched()],
        **settings,
    )
    model.fit(
        table(dataset.train[0]),
        target.train,
        eval_set=[(table(dataset.val[0]), target.val)],
        verbose=False,
    )
    booster = model.get_booster()
    best = booster.attr(
        "best_iteration"
    )  # none without early stopping, or when the first tree was the last
    best_iter = booster.num_boosted_rounds() if best is None else int(best) + 1
    # A text a tree: counting leaves in it is quicker than the table of nodes.
    n_leaves = sum(tree.count("leaf=") for tree in booster[:best_iter].get_dump())
    return target.finish(
        model,
        table,
        n_leaves,
        booster.num_boosted_rounds(),
        best_iter,
        watch,
        "cuda" if on_gpu else "cpu",
    )


def catboost(dataset, config, seed, device, time_limit, should_prune=None):
    """CatBoost as in the paper: categories natively. Its scores on a GPU differ from those on a
    CPU; the report says which."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    watch, target = Watch(time_limit, should_prune), _Target(dataset)
    metric = "RMSE" if dataset.is_regression else "Accuracy"

    class Watched:
        def after_iteration(self, info):
            score = info.metrics["validation"][metric][-1]
            return not watch(info.iteration, -score if dataset.is_regression else score)

    texts = Texts().fit(dataset.train[0])
    on_gpu = str(device).startswith("cuda")
    settings = {"iterations": N_TREES, "early_stopping_rounds": PATIENCE} | config
    if on_gpu:
        # It takes this part of the memory at once, whoever has some already, and without "devices"
        # on every GPU. The other half is for nets that were trained in this process: torch keeps
        # their memory.
        settings |= {
            "devices": str(torch.device(device).index or 0),
            "gpu_ram_part": 0.5 * gpu_share(),
        }
    model = (CatBoostRegressor if dataset.is_regression else CatBoostClassifier)(
        eval_metric=metric,
        random_seed=seed,
        task_type="GPU" if on_gpu else "CPU",
        thread_count=int(
            os.environ.get("OMP_NUM_THREADS", -1)
        ),  # the others read it themselves; several workers share the cores
        allow_writing_files=False,
        logging_level="Silent",
        **settings,
    )
    # CatBoost calls back on a CPU only: on a GPU there is no time limit and no pruning.
    callbacks = {} if on_gpu else {"callbacks": [Watched()]}
    eval_set = (texts.transform(dataset.val[0]), target.val)
    X = texts.transform(dataset.train[0])
    model.fit(X, target.train, cat_features=texts.names_, eval_set=eval_set, **callbacks)
    n_leaves = int(np.sum(model.get_tree_leaf_counts()))
    n_iter = len(model.get_evals_result()["validation"][metric])
    return target.finish(
        model,
        texts.transform,
        n_leaves,
        n_iter,
        model.tree_count_,
        watch,
        "cuda" if on_gpu else "cpu",
    )


def lightgbm(dataset, config, seed, device, time_limit, should_prune=None):
    """LightGBM as in the paper: categories natively. On the CPU, whatever the device: its wheels
    know no CUDA."""
    from lightgbm import LGBMClassifier, LGBMRegressor, early_stopping
    from lightgbm.callback import EarlyStopException

    watch, target, table = (
        Watch(time_limit, should_prune),
        _Target(dataset),
        Categories().fit(dataset.train[0]).transform,
    )
    metric = (
        "rmse" if dataset.is_regression else "binary_error" if target.is_binary else "multi_error"
    )
    settings = {"n_estimators": N_TREES, "early_stopping_rounds": PATIENCE} | config
    rounds = settings.pop("early_stopping_rounds")
    seen = []

    def watched(env):
        seen.append(env.evaluation_result_list)
        if watch(env.iteration, -seen[-1][0][2]):
            best = int(np.argmin([results[0][2] for results in seen]))
            raise EarlyStopException(best, seen[best])

    # n_jobs=0: as many threads as OpenMP is told to take; LightGBM's default is one a physical
    # core, whatever it is told.
    model = (LGBMRegressor if dataset.is_regression else LGBMClassifier)(
        random_state=seed, verbosity=-1, n_jobs=0, **settings
    )
    callbacks = [watched] + ([early_stopping(rounds, verbose=False)] if rounds else [])
    X_val = table(dataset.val[0])
    model.fit(
        table(dataset.train[0]),
        target.train,
        eval_X=X_val,
        eval_y=target.val,
        eval_metric=metric,
        callbacks=callbacks,
    )
    best_iter = model.best_iteration_ or len(seen)
    trees = model.booster_.dump_model(num_iteration=best_iter)["tree_info"]
    return target.finish(
        model, table, sum(tree["num_leaves"] for tree in trees), len(seen), best_iter, watch
    )
