"""The models, with the paper's preprocessing and defaults: one function a model.

Each takes ``(dataset, config, seed, device, time_limit)`` and returns a :class:`Fit`. ``config`` holds the parameters that differ
from the defaults, ``time_limit`` is in seconds or None.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import tabdl


@dataclass(frozen=True)
class Fit:
    """A fitted model.

    Attributes
    ----------
    predict : callable
        From X to predictions, (N,): values, or classes.
    n_parameters : int
        Trained weights of a net; leaves of boosted trees.
    n_iter, best_iter : int
        Epochs, or trees: trained, and kept.
    was_cut : bool
        Whether the time limit ended the fit.
    """

    predict: Callable[[pd.DataFrame], np.ndarray]
    n_parameters: int
    n_iter: int
    best_iter: int
    was_cut: bool


def _net(classifier, regressor, dataset, config, seed, device, time_limit):
    estimator = (regressor if dataset.is_regression else classifier)(
        **config, eval_metric=dataset.eval_metric, random_state=seed, device=device, time_limit=time_limit
    )
    X_val, y_val = dataset.val
    estimator.fit(*dataset.train, X_val=X_val, y_val=y_val)
    if estimator.stop_reason_ == "interrupted":
        raise KeyboardInterrupt
    was_cut = estimator.stop_reason_ == "time_limit"
    return Fit(estimator.predict, estimator.n_parameters_, estimator.n_iter_, estimator.best_epoch_, was_cut)


def ft_transformer(*args):
    """FT-Transformer with the paper's default configuration."""
    return _net(tabdl.FTTransformerClassifier.paper_config, tabdl.FTTransformerRegressor.paper_config, *args)


def resnet(*args):
    """ResNet; the paper has no defaults."""
    return _net(tabdl.TabResNetClassifier, tabdl.TabResNetRegressor, *args)


def mlp(*args):
    """MLP; the paper has no defaults."""
    return _net(tabdl.TabMLPClassifier, tabdl.TabMLPRegressor, *args)


def _encoded_labels(dataset):
    """Return the classes and y of training and validation rows as codes, as XGBoost wants them; regression: unchanged."""
    if dataset.is_regression:
        return None, dataset.train[1], dataset.val[1]
    classes = np.unique(dataset.train[1])
    return classes, np.searchsorted(classes, dataset.train[1]), np.searchsorted(classes, dataset.val[1])


def xgboost(dataset, config, seed, device, time_limit):
    """XGBoost as in the paper: 2,000 trees, early stopping after 50 on the validation rows, categories one-hot."""
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.preprocessing import OneHotEncoder
    from xgboost import XGBClassifier, XGBRegressor
    from xgboost.callback import TrainingCallback

    class Clock(TrainingCallback):
        deadline, was_cut = None if time_limit is None else time.monotonic() + time_limit, False

        def after_iteration(self, model, epoch, evals_log):
            self.was_cut = self.deadline is not None and time.monotonic() > self.deadline
            return self.was_cut

    one_hot = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector(dtype_exclude="number")),
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    X_train, X_val = one_hot.fit_transform(dataset.train[0]), one_hot.transform(dataset.val[0])
    classes, y_train, y_val = _encoded_labels(dataset)
    clock = Clock()
    model = (XGBRegressor if dataset.is_regression else XGBClassifier)(
        n_estimators=2000,
        early_stopping_rounds=50,
        eval_metric="rmse" if dataset.is_regression else "error",
        random_state=seed,
        device="cuda" if device.startswith("cuda") else "cpu",
        callbacks=[clock],
        **config,
    )
    model.fit(X_train, y_train, eval_set=[(X_val, y_val)], verbose=False)
    n_iter = model.get_booster().num_boosted_rounds()
    kept = model.get_booster()[: model.best_iteration + 1]
    n_leaves = int((kept.trees_to_dataframe()["Feature"] == "Leaf").sum())

    def predict(X):
        predictions = model.predict(one_hot.transform(X))
        return predictions if classes is None else classes[predictions]

    return Fit(predict, n_leaves, n_iter, model.best_iteration + 1, clock.was_cut)


def catboost(dataset, config, seed, device, time_limit):
    """CatBoost as in the paper: 2,000 trees, early stopping after 50 on the validation rows, categories natively."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    deadline = None if time_limit is None else time.monotonic() + time_limit

    class Clock:
        was_cut = False

        def after_iteration(self, info):
            self.was_cut = deadline is not None and time.monotonic() > deadline
            return not self.was_cut

    names = dataset.train[0].select_dtypes(exclude="number").columns.tolist()

    def table(X):
        return X.assign(**{name: X[name].astype(object).where(X[name].notna(), "missing") for name in names})

    on_gpu = device.startswith("cuda")
    clock = Clock()
    model = (CatBoostRegressor if dataset.is_regression else CatBoostClassifier)(
        iterations=2000,
        early_stopping_rounds=50,
        eval_metric="RMSE" if dataset.is_regression else "Accuracy",
        random_seed=seed,
        task_type="GPU" if on_gpu else "CPU",
        allow_writing_files=False,
        logging_level="Silent",
        **config,
    )
    # CatBoost calls back on a CPU only.
    callbacks: dict[str, Any] = {} if on_gpu else {"callbacks": [clock]}
    (X_val, y_val), (X_train, y_train) = dataset.val, dataset.train
    model.fit(table(X_train), y_train, cat_features=names, eval_set=(table(X_val), y_val), **callbacks)
    n_leaves = int(np.sum(model.get_tree_leaf_counts()))
    n_iter = len(next(iter(model.get_evals_result()["validation"].values())))
    return Fit(lambda X: model.predict(table(X)), n_leaves, n_iter, model.tree_count_, clock.was_cut)


MODELS = {function.__name__: function for function in (ft_transformer, resnet, mlp, xgboost, catboost)}
