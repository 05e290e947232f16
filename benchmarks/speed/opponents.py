"""Estimators of other packages, fitted with the same network: one function a package.

Each takes ``(case, tables, epochs)``, where ``tables`` are X, y, X_val and y_val, and returns the
seconds of the whole fit and the number of trained parameters. All evaluate the validation rows
after each epoch; ``report.toml`` says what a fit does beside. :func:`run` fits them and tabdl in
turn.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from dataclasses import replace
from importlib import metadata

import torch

from benchmarks.speed.cases import NETWORKS, PACKAGED, PRECISIONS, Case, encoded, timed


def is_installed(name):
    """Return whether a package is there and, for skorch, the authors' package, whose network it is
    given."""
    try:
        needed = ("skorch", "rtdl_revisiting_models") if name == "skorch" else (name,)
        return all(metadata.version(package) for package in needed)
    except metadata.PackageNotFoundError:
        return False


PYTABKIT = {
    "ft_transformer": ("FTT_D", {}),  # its defaults are the paper's
    "resnet": (
        "Resnet_RTDL_D",
        {"module_n_layers": 4, "module_d_embedding": 16, "module_d": 256}
        | {"module_d_hidden_factor": 2, "module_hidden_dropout": 0.3}
        | {"module_residual_dropout": 0.0},
    ),
    "mlp": (
        "MLP_RTDL_D",
        {"module_n_layers": 4, "module_d_embedding": 16}
        | {"module_d_layers": [384] * 4, "module_dropout": 0.1},
    ),
}
"""The names of the estimators, without their task, and what makes the networks as large as ours."""
DEEPTAB = {
    "ft_transformer": (
        "FTTransformer",
        {"d_model": 192, "n_layers": 3, "n_heads": 8, "transformer_dim_feedforward": 256}
        | {"norm_first": True, "use_cls": True, "pooling_method": "cls"}
        | {"attn_dropout": 0.2, "embedding_bias": True},
    ),
    "resnet": (
        "ResNet",
        {"layer_sizes": [362] * 4, "num_blocks": 4, "norm": True, "dropout": 0.3}
        | {"activation": torch.nn.ReLU()},
    ),
    "mlp": ("MLP", {"layer_sizes": [384] * 4, "dropout": 0.1}),
}
"""The same of DeepTab."""


def fit_pytabkit(case, tables, epochs):
    """Fit pytabkit's estimator."""
    import pytabkit

    X, y, X_val, y_val = tables
    name, network = PYTABKIT[case.network]
    how = {"max_epochs": epochs, "es_patience": epochs + 1, "batch_size": case.batch_size}
    # n_threads: its own choice would be one a physical core.
    how |= {"n_threads": torch.get_num_threads(), "device": case.device}
    with _quiet() as folder:
        model = getattr(pytabkit, f"{name}_Regressor")(**network, **how, tmp_folder=folder)
        seconds, _ = timed(lambda: model.fit(X, y, X_val=X_val, y_val=y_val), case.device)
    return seconds, _count(model.alg_interface_.sub_split_interfaces[0].model.module_)


def fit_deeptab(case, tables, epochs):
    """Fit DeepTab's estimator."""
    from deeptab import configs, models

    X, y, X_val, y_val = tables
    name, network = DEEPTAB[case.network]
    table = {"numerical_method": "quantile", "categorical_method": "int", "output_dim": 7}
    training = {"max_epochs": epochs, "patience": epochs, "batch_size": case.batch_size}
    training |= {"lr": 1e-4, "weight_decay": 1e-5, "optimizer_type": "AdamW"}
    accelerator = "gpu" if torch.device(case.device).type == "cuda" else "cpu"
    options = {"accelerator": accelerator, "logger": False, "enable_progress_bar": False}
    with _quiet() as folder:
        model = getattr(models, f"{name}Regressor")(
            model_config=getattr(configs, f"{name}Config")(**network),
            preprocessing_config=configs.PreprocessingConfig(**table),
            trainer_config=configs.TrainerConfig(**training, checkpoint_path=folder),
        )
        seconds, _ = timed(
            lambda: model.fit(X, y, X_val=X_val, y_val=y_val, **options), case.device
        )
    return seconds, _count(model._task_model.estimator)


def fit_skorch(case, tables, epochs):
    """Fit skorch's NeuralNetRegressor around the authors' network."""
    from skorch import NeuralNetRegressor
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    X, y, X_val, y_val = tables
    train, val = encoded(X, y, case.n_num), encoded(X_val, y_val, case.n_num)
    model = NeuralNetRegressor(
        case.reference,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=1e-5,
        lr=1e-4,
        batch_size=case.batch_size,
        max_epochs=epochs,
        iterator_train__shuffle=True,
        train_split=predefined_split(Dataset({"x_cont": val[0], "x_cat": val[1]}, val[2][:, None])),
        device=case.device,
        verbose=0,
    )
    seconds, _ = timed(
        lambda: model.fit({"x_cont": train[0], "x_cat": train[1]}, train[2][:, None]), case.device
    )
    return seconds, _count(model.module_)


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@contextlib.contextmanager
def _quiet():
    """Silence what a package prints, and give it a folder for its files."""
    logging.disable(logging.WARNING)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
            tempfile.TemporaryDirectory() as folder,
        ):
            warnings.simplefilter("ignore")
            yield folder
    finally:
        logging.disable(logging.NOTSET)


OPPONENTS = {"pytabkit": fit_pytabkit, "deeptab": fit_deeptab, "skorch": fit_skorch}
COMMON = tuple(name for name in PACKAGED if "tabm" not in NETWORKS[name].packages)
"""The networks that all of them have."""


def run(options):
    """Yield key and entry of every network that all packages have; a package that is not installed
    is named in the entry."""
    for network in filter(COMMON.__contains__, options.networks):
        case = Case(
            network, n_rows=options.rows, batch_size=options.batch_sizes[0], device=options.device
        )
        yield f"others/{network}", measure(case, options.repeats, options.fit_epochs)


def measure(case, repeats, epochs):
    """Return a network's entry: the seconds of every estimator's fits and the size of its
    network."""
    fits = {f"tabdl {precision}": fit_tabdl(precision) for precision in PRECISIONS}
    fits |= {name: fit for name, fit in OPPONENTS.items() if is_installed(name)}
    few = train_val(replace(case, n_rows=min(case.n_rows, 4 * case.batch_size)))
    for fit in fits.values():  # imports what a package imports late
        fit(case, few, 1)
    tables, seconds, sizes = train_val(case), {}, {}
    for _ in range(repeats):
        for name, fit in fits.items():
            once, sizes[name] = fit(case, tables, epochs)
            seconds.setdefault(name, []).append(once)
    entry = {name: getattr(case, name) for name in ("network", "n_rows", "batch_size")}
    entry |= {"epochs": epochs, "seconds": seconds, "n_parameters": sizes}
    return entry | {"not_installed": [name for name in OPPONENTS if name not in fits]}


def train_val(case):
    """Return X, y, X_val and y_val: the case's training rows, and a quarter as many validation
    rows."""
    X, y = replace(case, n_rows=case.n_rows + case.n_rows // 4).table()
    return X.iloc[: case.n_rows], y[: case.n_rows], X.iloc[case.n_rows :], y[case.n_rows :]


def fit_tabdl(precision):
    """Return the function that fits tabdl's estimator as the others are fitted."""

    def fit(case, tables, epochs):
        X, y, X_val, y_val = tables
        model = case.estimator(
            max_epochs=epochs, early_stopping=True, patience=epochs, precision=precision
        )
        seconds, _ = timed(lambda: model.fit(X, y, X_val=X_val, y_val=y_val), case.device)
        return seconds, model.n_parameters_

    return fit
