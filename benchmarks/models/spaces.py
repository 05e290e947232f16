"""The search spaces: one function a model, from an Optuna trial and the data to parameters.

Source: Gorishniy et al. 2021 (arXiv 2106.11959), supplementary section E, and the configuration
files of its authors' run reports; those of later models name theirs. Where a parameter is "zero
with probability one half, else drawn", that is a categorical beside it.
"""

import itertools


def _zero_or(trial, name, low, high, log=False):
    if trial.suggest_categorical(f"{name} > 0", [False, True]):
        return trial.suggest_float(name, low, high, log=log)
    return 0.0


def mlp(trial, data):
    """Up to 8 layers of 512, or 16 of 1,024 on the large tables; widths of the first, the middle
    and the last layer."""
    return {
        **_hidden_layers(trial, data, 1, 16 if data.is_large else 8),
        "dropout": _zero_or(trial, "dropout", 0.0, 0.5),
        "lr": trial.suggest_float("lr", 1e-5, 1e-2, log=True),
        "weight_decay": _zero_or(trial, "weight_decay", 1e-6, 1e-3, log=True),
    } | _embedding(trial, data)


def _hidden_layers(trial, data, fewest, most):
    n_blocks = trial.suggest_int("n_blocks", fewest, most)
    places = ["first", "middle", "last"] if n_blocks > 2 else ["first", "last"][:n_blocks]
    widest = 1024 if data.is_large else 512
    widths = {place: trial.suggest_int(f"d_{place}", 1, widest) for place in places}
    middle = [widths.get("middle")] * (n_blocks - 2)
    last = [widths["last"]] if n_blocks > 1 else []
    return {"n_blocks": n_blocks, "d_block": [widths["first"], *middle, *last]}


def snn(trial, data):
    """2 to 16 layers of 512, or 32 of 1,024 on the large tables; the lowest weight decay differs
    from table to table in the authors' configuration files."""
    has_less_decay = data.name in ("adult", "helena", "jannis", "aloi")
    return {
        **_hidden_layers(trial, data, 2, 32 if data.is_large else 16),
        "dropout": _zero_or(trial, "dropout", 0.0, 0.1),
        "lr": trial.suggest_float("lr", 1e-5, 1e-2, log=True),
        "weight_decay": _zero_or(
            trial, "weight_decay", 1e-6 if has_less_decay else 1e-5, 1e-3, log=True
        ),
    } | _embedding(trial, data)


def dcn_v2(trial, data):
    """Up to 8 cross layers and 8 hidden layers of 512, or 16 each of 1,024 on the large tables."""
    most = 16 if data.is_large else 8
    return {
        "n_cross_layers": trial.suggest_int("n_cross_layers", 1, most),
        "n_blocks": trial.suggest_int("n_blocks", 1, most),
        "d_block": trial.suggest_int("d_block", 64, 1024 if data.is_large else 512),
        "cross_dropout": _zero_or(trial, "cross_dropout", 0.0, 0.5),
        "hidden_dropout": trial.suggest_float("hidden_dropout", 0.0, 0.5),
        "lr": trial.suggest_float("lr", 1e-5, 1e-2, log=True),
        "weight_decay": _zero_or(trial, "weight_decay", 1e-6, 1e-3, log=True),
    } | _embedding(trial, data)


def autoint(trial, data):
    """The paper's; a smaller one for ALOI and the large tables, as for FT-Transformer."""
    is_b = costs_much(data)
    return {
        "n_blocks": trial.suggest_int("n_blocks", 1, 6),
        "d_block": trial.suggest_int("d_block", 8, 64, step=2),
        "n_heads": 2,
        "attention_dropout": trial.suggest_float("attention_dropout", 0.0, 0.5),
        "residual_dropout": 0.0 if is_b else _zero_or(trial, "residual_dropout", 0.0, 0.2),
        "lr": trial.suggest_float("lr", 3e-5 if is_b else 1e-5, 3e-4 if is_b else 1e-3, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-3, log=True),
    }


def _embedding(trial, data):
    return {"d_embedding": trial.suggest_int("d_embedding", 64, 512)} if data.has_categories else {}


def resnet(trial, data):
    """Up to 8 blocks of 512, or 16 of 1,024 on the large tables."""
    return {
        "n_blocks": trial.suggest_int("n_blocks", 1, 16 if data.is_large else 8),
        "d_block": trial.suggest_int("d_block", 64, 1024 if data.is_large else 512),
        "d_hidden_multiplier": trial.suggest_float("d_hidden_multiplier", 1.0, 4.0),
        "hidden_dropout": trial.suggest_float("hidden_dropout", 0.0, 0.5),
        "residual_dropout": _zero_or(trial, "residual_dropout", 0.0, 0.5),
        "lr": trial.suggest_float("lr", 1e-5, 1e-2, log=True),
        "weight_decay": _zero_or(trial, "weight_decay", 1e-6, 1e-3, log=True),
    } | _embedding(trial, data)


def ft_transformer(trial, data):
    """The paper's group A, or its smaller B for ALOI and the large tables. The multiplier is 2/3 of
    the paper's, for ReGLU."""
    is_b = costs_much(data)
    return {
        "n_blocks": trial.suggest_int("n_blocks", 1, 6 if is_b else 4),
        "d_block": trial.suggest_int("d_block", 64, 512, step=8),
        "n_heads": 8,
        "attention_dropout": trial.suggest_float("attention_dropout", 0.0, 0.5),
        "ffn_hidden_multiplier": 4 / 3
        if is_b
        else trial.suggest_float("ffn_hidden_multiplier", 2 / 3, 8 / 3),
        "ffn_dropout": trial.suggest_float("ffn_dropout", 0.0, 0.5),
        "residual_dropout": 0.0 if is_b else _zero_or(trial, "residual_dropout", 0.0, 0.2),
        "lr": trial.suggest_float("lr", 3e-5 if is_b else 1e-5, 3e-4 if is_b else 1e-3, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-3, log=True),
    }


def tabm(trial, data):
    """With piecewise-linear embeddings, and the ranges of the paper on TabM (2410.24210)."""
    return {
        "n_blocks": trial.suggest_int("n_blocks", 1, 4),
        "d_block": trial.suggest_int("d_block", 64, 1024, step=16),
        "dropout": _zero_or(trial, "dropout", 0.0, 0.5),
        "lr": trial.suggest_float("lr", 1e-4, 5e-3, log=True),
        "weight_decay": _zero_or(trial, "weight_decay", 1e-4, 1e-1, log=True),
        "numeric_embedding": {
            "n_bins": trial.suggest_int("n_bins", 2, 128),
            "d_embedding": trial.suggest_int("d_num_embedding", 8, 32, step=4),
        },
    }


def realmlp(trial, data):
    """A part of its paper's (2407.04491): width and depth, dropout, weight decay, activation,
    learning rate."""
    n_blocks, d_block = {"3 of 256": (3, 256), "5 of 64": (5, 64), "1 of 512": (1, 512)}[
        trial.suggest_categorical("layers", ["3 of 256", "5 of 64", "1 of 512"])
    ]
    return {
        "n_blocks": n_blocks,
        "d_block": d_block,
        "dropout": trial.suggest_categorical("dropout", [0.0, 0.15, 0.3]),
        "weight_decay": trial.suggest_categorical("weight_decay", [0.0, 0.02]),
        "activation": trial.suggest_categorical("activation", ["selu", "mish", "relu"]),
        "lr": trial.suggest_float("lr", 0.02, 0.3, log=True),
    }


def gmlp(trial, data):
    """FT-Transformer's group A, as far as gMLP has its parameters; widths to 256."""
    return {
        "n_blocks": trial.suggest_int("n_blocks", 1, 4),
        "d_block": trial.suggest_int("d_block", 64, 256, step=8),
        "ffn_hidden_multiplier": trial.suggest_float("ffn_hidden_multiplier", 1.0, 4.0),
        "ffn_dropout": trial.suggest_float("ffn_dropout", 0.0, 0.5),
        "residual_dropout": _zero_or(trial, "residual_dropout", 0.0, 0.2),
        "lr": trial.suggest_float("lr", 1e-5, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-3, log=True),
    }


def node(trial, data):
    """One of the paper's grid, or its default; drawn, where the paper tries each once."""
    layouts = _node_layouts(data)
    return layouts[trial.suggest_categorical("layout", list(layouts))]


def _node_layouts(data):
    """1,024 or 2,048 trees in 2, 4 or 8 layers; with more than two classes a response has one
    number for each."""
    widths = (2,) if data.task == "multiclass" else (2, 3)
    grid = itertools.product((1024, 2048), (2, 4, 8), (6, 8), widths)
    chosen = [(1024, 1, 6, 2), *grid]
    names = ("d_block", "n_blocks", "depth", "d_tree")
    return {
        f"{n_trees} trees, {n_blocks} layers, depth {depth}, {d_tree} numbers": dict(
            zip(names, (n_trees // n_blocks, n_blocks, depth, d_tree), strict=True)
        )
        for n_trees, n_blocks, depth, d_tree in chosen
    }


def node_trials(data):
    """Return how many configurations there are."""
    return len(_node_layouts(data))


def grownet(trial, data):
    """The paper's space."""
    embedding = {"d_embedding": ("d_embedding", 32, 512)} if data.has_categories else {}
    return {
        "d_block": trial.suggest_int("d_block", 32, 512),
        "epochs_per_stage": trial.suggest_int("epochs_per_stage", 1, 2),
        "correct_epochs": trial.suggest_int("correct_epochs", 1, 2),
        "lr": trial.suggest_float("lr", 1e-5, 1e-2, log=True),
        "weight_decay": _zero_or(trial, "weight_decay", 1e-6, 1e-3, log=True),
    } | {name: trial.suggest_int(*bounds) for name, bounds in embedding.items()}


def tabnet(trial, data):
    """The paper's space; its steps count one that only makes a mask."""
    steps = [100, 500, 2000, *([10_000] if data.name in ("covtype", "epsilon") else [])]
    return {
        "d_block": trial.suggest_categorical("d_block", [8, 16, 32, 64, 128]),
        "n_blocks": trial.suggest_int("n_blocks", 2, 9),
        "relaxation_factor": trial.suggest_float("relaxation_factor", 1.0, 2.0),
        "sparsity_loss_weight": trial.suggest_float("sparsity_loss_weight", 1e-6, 0.1, log=True),
        "lr": trial.suggest_float("lr", 1e-3, 1e-2),
        "lr_decay_steps": trial.suggest_categorical("lr_decay_steps", steps),
    } | _tabnet_extra(trial, data)


def _tabnet_extra(trial, data):
    found = _embedding(trial, data)
    if data.name == "covtype":
        found["momentum"] = trial.suggest_float("momentum", 0.7, 0.99)
    if data.name == "epsilon":
        return found | {"momentum": 0.99, "lr_decay_rate": 0.99}
    return found | {"lr_decay_rate": trial.suggest_float("lr_decay_rate", 0.4, 0.95)}


def costs_much(data):
    """Whether the table is in the paper's group B for FT-Transformer: Jannis, in A, has 2.9 million
    training cells, ALOI 8.8."""
    return data.is_large or data.train[0].size > 5_000_000


def xgboost(trial, data):
    """The paper's space, under the names of XGBoost's scikit-learn interface."""
    return {
        "max_depth": trial.suggest_int("max_depth", 6 if data.is_large else 3, 10),
        "min_child_weight": trial.suggest_float("min_child_weight", 1e-8, 1e5, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "colsample_bylevel": trial.suggest_float("colsample_bylevel", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.5, 1.0),
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1.0, log=True),
        "reg_alpha": _zero_or(trial, "reg_alpha", 1e-8, 1e2, log=True),
        "reg_lambda": _zero_or(trial, "reg_lambda", 1e-8, 1e2, log=True),
        "gamma": _zero_or(trial, "gamma", 1e-8, 1e2, log=True),
    }


def catboost(trial, data):
    """The paper's space; ``od_pval`` as in its base configuration."""
    return {
        "depth": trial.suggest_int("depth", 6 if data.is_large else 3, 10),
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1.0, log=True),
        "bagging_temperature": trial.suggest_float("bagging_temperature", 0.0, 1.0),
        "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 1.0, 10.0, log=True),
        "leaf_estimation_iterations": trial.suggest_int("leaf_estimation_iterations", 1, 10),
        "od_pval": 0.001,
    }


def lightgbm(trial, data):
    """The paper's space; without ``subsample_freq``, as there, ``subsample`` does nothing: it is
    not searched."""
    return {
        "num_leaves": trial.suggest_int("num_leaves", 10, 100),
        "learning_rate": trial.suggest_float("learning_rate", 1e-3, 1.0, log=True),
        "min_child_weight": trial.suggest_float("min_child_weight", 1e-5, 1e-1, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 2, 100),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.5, 1.0),
        "reg_lambda": _zero_or(trial, "reg_lambda", 1e-5, 1.0, log=True),
    }


def trials_of_tokens(data):
    """Return the paper's number of trials of FT-Transformer and AutoInt: 50 on ALOI and the large
    tables, else 100."""
    return 50 if costs_much(data) else 100
