"""How the comparison trains tabdl's networks, and the configurations of its paper."""

from benchmarks.fits import Fit, Watch
from tabdl import FTTransformerClassifier, FTTransformerRegressor, embeddings


def train(make, dataset, parameters, seed, device, time_limit, should_prune=None):
    """Train a network.

    A ``numeric_embedding`` that is a dict holds the settings of an embedding, since a configuration
    is kept as JSON: its class in :mod:`tabdl.embeddings` as ``type`` (default PiecewiseLinear) and
    the parameters of that.
    """
    watch = Watch(None, should_prune)
    settings = parameters | {"random_state": seed, "device": device, "time_limit": time_limit}
    if isinstance(settings.get("numeric_embedding"), dict):
        embedding = {"type": "PiecewiseLinear"} | settings["numeric_embedding"]
        settings["numeric_embedding"] = getattr(embeddings, embedding.pop("type"))(**embedding)
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
        history=estimator.history_,
    )


def protocol(dataset, config):
    """Return the paper's transform of the table's numbers, and its score to stop by."""
    return {"numeric_transform": dataset.numeric_transform, "scoring": dataset.scoring}


def protocol_of_realmlp(dataset, config):
    """Return the paper's score to stop by; RealMLP has a transform of its own."""
    return {"scoring": dataset.scoring}


def paper_ft_transformer(dataset):
    """Return the paper's default configuration of FT-Transformer."""
    cls = FTTransformerRegressor if dataset.is_regression else FTTransformerClassifier
    return cls.paper_config().get_params()


def plain_numbers(dataset):
    """Return the parameters of the paper's MLP and ResNet: numbers without an embedding."""
    return {"numeric_embedding": None}
