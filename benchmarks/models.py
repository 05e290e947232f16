"""The models, with the paper's preprocessing and defaults: one function a model.

Each takes ``(dataset, config, seed, device, time_limit, should_prune)`` and returns a :class:`Fit`.
``dataset`` is a :class:`benchmarks.splits.SearchData`, which has no test rows. ``config`` holds the
parameters that differ from the defaults, ``time_limit`` is in seconds or None, ``should_prune`` may
end a trial, or is None (see :class:`benchmarks.fits.Watch`).

To add a model: write its function here, and its search space in ``spaces.py`` under the same name.
"""

import tabdl
from benchmarks.fits import Fit, Watch
from benchmarks.trees import catboost, lightgbm, xgboost, xgboost_native
from tabdl.embeddings import PiecewiseLinear

__all__ = [
    "MODELS",
    "TREES",
    "Fit",
    "Watch",
    "ft_transformer",
    "gmlp",
    "mlp",
    "realmlp",
    "resnet",
    "tabm",
]


def _net(classifier, regressor, dataset, config, seed, device, time_limit, should_prune=None):
    """Train one of tabdl's nets: the paper's batch sizes and transforms, its metric to stop by."""
    watch = Watch(None, should_prune)
    settings = {"numeric_transform": dataset.numeric_transform, "scoring": dataset.scoring} | config
    if should_prune is not None:
        settings["callbacks"] = [lambda record: watch(record["epoch"], record["val_score"])]
    estimator = (regressor if dataset.is_regression else classifier)(
        **settings, random_state=seed, device=device, time_limit=time_limit
    )
    X_val, y_val = dataset.val
    estimator.fit(*dataset.train, X_val=X_val, y_val=y_val)
    if estimator.stop_reason_ == "interrupted":
        raise KeyboardInterrupt
    return Fit(
        estimator.predict,
        estimator.n_parameters_,
        estimator.n_iter_,
        estimator.best_epoch_,
        hit_time_limit=estimator.stop_reason_ == "time_limit",
        predict_proba=None if dataset.is_regression else estimator.predict_proba,
        classes=None if dataset.is_regression else estimator.classes_,
        device=str(device),
    )


def ft_transformer(*args):
    """FT-Transformer with the paper's default configuration."""
    return _net(
        tabdl.FTTransformerClassifier.paper_config, tabdl.FTTransformerRegressor.paper_config, *args
    )


def resnet(dataset, config, *args):
    """The paper's ResNet, of which it has no defaults."""
    return _net(
        tabdl.TabResNetClassifier,
        tabdl.TabResNetRegressor,
        dataset,
        {"numeric_embedding": None} | config,
        *args,
    )


def mlp(dataset, config, *args):
    """The paper's MLP, of which it has no defaults."""
    return _net(
        tabdl.TabMLPClassifier,
        tabdl.TabMLPRegressor,
        dataset,
        {"numeric_embedding": None} | config,
        *args,
    )


def tabm(dataset, config, *args):
    """TabM with our defaults; a ``numeric_embedding`` that is searched or given is a dict, of
    piecewise-linear settings."""
    if isinstance(config.get("numeric_embedding"), dict):
        config = config | {"numeric_embedding": PiecewiseLinear(**config["numeric_embedding"])}
    return _net(tabdl.TabMClassifier, tabdl.TabMRegressor, dataset, config, *args)


def realmlp(dataset, config, *args):
    """RealMLP with its tuned defaults, its own transform of numbers among them."""
    return _net(
        tabdl.RealMLPClassifier,
        tabdl.RealMLPRegressor,
        dataset,
        {"numeric_transform": "robust"} | config,
        *args,
    )


def gmlp(*args):
    """gMLP over the tokens of columns, with our defaults."""
    return _net(tabdl.GMLPClassifier, tabdl.GMLPRegressor, *args)


TREES = {
    function.__name__.replace("_", "-"): function
    for function in (xgboost, catboost, lightgbm, xgboost_native)
}  # their size is counted in leaves, their length in trees
MODELS = {
    function.__name__: function for function in (ft_transformer, resnet, mlp, tabm, realmlp, gmlp)
} | TREES
