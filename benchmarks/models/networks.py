"""How the comparison trains tabdl's networks, and the configurations of its paper."""

import numpy as np

from benchmarks.runs.fits import Fit, Watch, predictor
from tabdl import FTTransformerClassifier, FTTransformerRegressor, embeddings

NO_TOKEN_BIAS = {"token_bias": False, "numeric_embedding": "linear"}
"""The paper's ablation (section 5.2)."""
PLAIN_NUMBERS = {"numeric_embedding": None, "lr_schedule": "constant"}
"""The paper's MLP and ResNet: numbers without an embedding."""


def train(make, dataset, parameters, seed, device, time_limit, should_prune=None):
    """Train a network.

    A ``numeric_embedding`` that is a dict holds the settings of an embedding, since a configuration
    is kept as JSON: its class in :mod:`tabdl.embeddings` as ``type`` (default PiecewiseLinear) and
    the parameters of that.

    ``n_labelled`` is how many training and validation rows have a label. A network with
    ``pretrain`` gets the other training rows without theirs.
    """
    watch = Watch(None, should_prune)
    settings = parameters | {"random_state": seed, "device": device, "time_limit": time_limit}
    if isinstance(settings.get("numeric_embedding"), dict):
        embedding = {"type": "PiecewiseLinear"} | settings["numeric_embedding"]
        settings["numeric_embedding"] = getattr(embeddings, embedding.pop("type"))(**embedding)
    if should_prune is not None:
        settings["callbacks"] = [lambda record: watch(record["epoch"], record["val_score"])]
    n_labelled = settings.pop("n_labelled", None)
    (X, y), (X_val, y_val), X_unlabelled = labelled(dataset, n_labelled)
    more = {} if settings.get("pretrain") is None else {"X_unlabelled": X_unlabelled}
    estimator = make(**settings).fit(X, y, X_val=X_val, y_val=y_val, **more)
    if estimator.stop_reason_ == "interrupted":
        raise KeyboardInterrupt
    return Fit(
        **predictor(estimator, dataset.is_regression),
        n_parameters=estimator.n_parameters_,
        n_iter=estimator.n_iter_,
        best_iter=estimator.best_epoch_,
        hit_time_limit=estimator.stop_reason_ == "time_limit",
        device=str(device),
        history=estimator.history_,
    )


def labelled(dataset, n_rows):
    """Return the first training and validation rows, and X of the training rows below or None.

    Parameters
    ----------
    dataset : SearchData
        A drawn part of a table, whose rows stand in random order.
    n_rows : int or None
        Training and validation rows together, 80 and 20 per cent of these; None: all.
    """
    if n_rows is None:
        return dataset.train, dataset.val, None
    n_val = n_rows // 5
    (X, y), (X_val, y_val) = dataset.train, dataset.val
    n_train = n_rows - n_val
    return (X[:n_train], y[:n_train]), (X_val[:n_val], y_val[:n_val]), X[n_train:]


class FirstBest:
    """Accuracy of which the first of equal ones is the best: each later call scores 1e-12 less.

    The paper keeps the first best epoch, and counts an equal one as no better.
    """

    def __init__(self):
        self.n_calls = 0

    def __call__(self, estimator, X, y):
        self.n_calls += 1
        return float(np.mean(estimator.predict(X) == np.asarray(y))) - 1e-12 * self.n_calls


def protocol(dataset, config):
    """Return how the paper trains a network: its transform of the table's numbers, with its noise;
    its score to stop by, after the 17th epoch in a row that is no better."""
    noisy = dataset.numeric_transform == "quantile"
    transform = "quantile_noise" if noisy else dataset.numeric_transform
    return protocol_of_realmlp(dataset, config) | {"numeric_transform": transform}


def protocol_of_realmlp(dataset, config):
    """Return the same but the transform; RealMLP has one of its own."""
    scoring = dataset.scoring if dataset.is_regression else FirstBest()
    return {"scoring": scoring, "patience": 17, "max_epochs": 10_000}


def paper_ft_transformer(dataset):
    """Return the paper's default configuration of FT-Transformer, which compresses keys and values
    on Epsilon alone."""
    cls = FTTransformerRegressor if dataset.is_regression else FTTransformerClassifier
    compression = 0.064 if dataset.name == "epsilon" else None
    return cls.paper_config(kv_compression=compression).get_params()


def paper_autoint(dataset):
    """Return what the paper's AutoInt has in every configuration: on Epsilon it compresses keys and
    values."""
    return {"kv_compression": 0.064} if dataset.name == "epsilon" else {}


def paper_ft_transformer_no_bias(dataset):
    """Return the paper's default configuration of FT-Transformer, without biases of tokens."""
    return paper_ft_transformer(dataset) | NO_TOKEN_BIAS


def paper_node(dataset):
    """Return what the paper's NODE has in every configuration: wide vectors of categories."""
    return {"d_embedding": 256} if dataset.has_categories else {}


def paper_grownet(dataset):
    """Return what makes GrowNet that of the paper's code: labels of 0 and 1 in its expansion."""
    return {"newton_labels": "binary"} if dataset.task == "binary" else {}


def protocol_of_grownet(dataset, config):
    """Return the same as :func:`protocol`, with 40 stages at most."""
    return protocol(dataset, config) | {"max_epochs": 40}


def paper_tabnet(dataset):
    """Return what makes TabNet that of the paper's code: masks that are the same for all rows, and
    its large batches."""
    n_rows = len(dataset.train[0])
    sizes = (16_384, 512) if dataset.is_large else (2048 if n_rows < 50_000 else 8192, 256)
    batch, virtual = (4096, 512) if dataset.name == "epsilon" else sizes
    return {"masks_see_rows": False, "batch_size": batch, "virtual_batch_size": virtual}
