"""How the comparison trains tabdl's networks, and the configurations of its paper."""

from benchmarks.fits import Fit, Watch
from tabdl import FTTransformerClassifier, FTTransformerRegressor
from tabdl.embeddings import PiecewiseLinear


def train(make, dataset, parameters, seed, device, time_limit, should_prune=None):
    """Train a network with the paper's batch sizes and transforms, and its metric to stop by.

    A ``numeric_embedding`` that is a dict holds the settings of a piecewise-linear one, since a
    configuration is kept as JSON.
    """
    watch = Watch(None, should_prune)
    settings = {"numeric_transform": dataset.numeric_transform, "scoring": dataset.scoring}
    settings |= parameters
    settings |= {"random_state": seed, "device": device, "time_limit": time_limit}
    if isinstance(settings.get("numeric_embedding"), dict):
        settings["numeric_embedding"] = PiecewiseLinear(**settings["numeric_embedding"])
    if should_prune is not None:
        settings["callbacks"] = [lambda record: watch(record["epoch"], record["val_score"])]
    X_val, y_val = dataset.val
    estimator = make(**settings).fit(*dataset.train, X_val=X_val, y_val=y_val)
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


def paper_ft_transformer(dataset):
    """Return the paper's default configuration of FT-Transformer."""
    cls = FTTransformerRegressor if dataset.is_regression else FTTransformerClassifier
    paper = {"numeric_transform": dataset.numeric_transform, "scoring": dataset.scoring}
    return cls.paper_config(**paper).get_params()


def plain_numbers(dataset):
    """Return the parameters of the paper's MLP and ResNet: numbers without an embedding."""
    return {"numeric_embedding": None}


def robust_numbers(dataset):
    """Return RealMLP's own transform of numbers, instead of the one that suits the table."""
    return {"numeric_transform": "robust"}
