"""The search spaces: one function a model, from an Optuna trial and the data to parameters.

Source: Gorishniy et al. 2021 (arXiv 2106.11959), supplementary section E, and the configuration
files of its authors' run reports; those of later models name theirs. Where a parameter is "zero
with probability one half, else drawn", that is a categorical beside it.
"""

import itertools


def between(low, high, **how):
    """Return how a parameter is drawn: a whole number where ``low`` is one, else a float."""
    kind = "suggest_int" if isinstance(low, int) else "suggest_float"
    return lambda trial, name: getattr(trial, kind)(name, low, high, **how)


def zero_or(low, high, **how):
    """Return how a parameter is drawn: zero, or as :func:`between` says."""

    def draw(trial, name):
        if trial.suggest_categorical(f"{name} > 0", [False, True]):
            return between(low, high, **how)(trial, name)
        return 0.0

    return draw


def one_of(*choices):
    """Return how a parameter is drawn: one of some values."""
    return lambda trial, name: trial.suggest_categorical(name, choices)


LR = between(1e-5, 1e-2, log=True)
DECAY = between(1e-6, 1e-3, log=True)
ZERO_OR_DECAY = zero_or(1e-6, 1e-3, log=True)
HALF = between(0.0, 0.5)


def drawn(trial, **space):
    """Return parameters of a trial, in the order given; what is not drawn is a value."""
    return {name: how(trial, name) if callable(how) else how for name, how in space.items()}


def mlp(trial, data):
    """Up to 8 layers of 512, or 16 of 1,024 on the large tables; widths of the first, the middle
    and the last layer."""
    layers = _hidden_layers(trial, data, 1, 16 if data.is_large else 8)
    found = drawn(trial, dropout=zero_or(0.0, 0.5), lr=LR, weight_decay=ZERO_OR_DECAY)
    return layers | found | _embedding(trial, data)


def _hidden_layers(trial, data, fewest, most):
    n_blocks = trial.suggest_int("n_blocks", fewest, most)
    places = ["first", "middle", "last"] if n_blocks > 2 else ["first", "last"][:n_blocks]
    widest = 1024 if data.is_large else 512
    widths = {place: trial.suggest_int(f"d_{place}", 1, widest) for place in places}
    middle = [widths.get("middle")] * (n_blocks - 2)
    last = [widths["last"]] if n_blocks > 1 else []
    return {"n_blocks": n_blocks, "d_block": [widths["first"], *middle, *last]}


def _embedding(trial, data):
    return drawn(trial, d_embedding=between(64, 512)) if data.has_categories else {}


def snn(trial, data):
    """2 to 16 layers of 512, or 32 of 1,024 on the large tables; the lowest weight decay differs
    from table to table in the authors' configuration files."""
    least = 1e-6 if data.name in ("adult", "helena", "jannis", "aloi") else 1e-5
    layers = _hidden_layers(trial, data, 2, 32 if data.is_large else 16)
    decay = zero_or(least, 1e-3, log=True)
    found = drawn(trial, dropout=zero_or(0.0, 0.1), lr=LR, weight_decay=decay)
    return layers | found | _embedding(trial, data)


def dcn_v2(trial, data):
    """Up to 8 cross layers and 8 hidden layers of 512, or 16 each of 1,024 on the large tables."""
    most = 16 if data.is_large else 8
    space = {"n_cross_layers": between(1, most), "n_blocks": between(1, most)}
    space |= {"d_block": between(64, 1024 if data.is_large else 512)}
    space |= {"cross_dropout": zero_or(0.0, 0.5), "hidden_dropout": HALF}
    return drawn(trial, **space, lr=LR, weight_decay=ZERO_OR_DECAY) | _embedding(trial, data)


def autoint(trial, data):
    """The paper's; a smaller one for ALOI and the large tables, as for FT-Transformer."""
    space = {"n_blocks": between(1, 6), "d_block": between(8, 64, step=2), "n_heads": 2}
    return drawn(trial, **space, attention_dropout=HALF, **_of_tokens(data))


def _of_tokens(data):
    is_b = costs_much(data)
    lr = between(3e-5, 3e-4, log=True) if is_b else between(1e-5, 1e-3, log=True)
    dropout = 0.0 if is_b else zero_or(0.0, 0.2)
    return {"residual_dropout": dropout, "lr": lr, "weight_decay": DECAY}


def resnet(trial, data):
    """Up to 8 blocks of 512, or 16 of 1,024 on the large tables."""
    space = {"n_blocks": between(1, 16 if data.is_large else 8)}
    space |= {"d_block": between(64, 1024 if data.is_large else 512)}
    space |= {"d_hidden_multiplier": between(1.0, 4.0), "hidden_dropout": HALF}
    space |= {"residual_dropout": zero_or(0.0, 0.5), "lr": LR, "weight_decay": ZERO_OR_DECAY}
    return drawn(trial, **space) | _embedding(trial, data)


def ft_transformer(trial, data):
    """The paper's group A, or its smaller B for ALOI and the large tables. The multiplier is 2/3 of
    the paper's, for ReGLU."""
    is_b = costs_much(data)
    space = {"n_blocks": between(1, 6 if is_b else 4), "d_block": between(64, 512, step=8)}
    space |= {"n_heads": 8, "attention_dropout": HALF}
    space |= {"ffn_hidden_multiplier": 4 / 3 if is_b else between(2 / 3, 8 / 3)}
    return drawn(trial, **space, ffn_dropout=HALF, **_of_tokens(data))


def tabm(trial, data):
    """With piecewise-linear embeddings, and the ranges of the paper on TabM (2410.24210)."""
    space = {"n_blocks": between(1, 4), "d_block": between(64, 1024, step=16)}
    space |= {"dropout": zero_or(0.0, 0.5), "lr": between(1e-4, 5e-3, log=True)}
    found = drawn(trial, **space, weight_decay=zero_or(1e-4, 1e-1, log=True))
    n_bins = trial.suggest_int("n_bins", 2, 128)
    width = trial.suggest_int("d_num_embedding", 8, 32, step=4)
    return found | {"numeric_embedding": {"n_bins": n_bins, "d_embedding": width}}


def realmlp(trial, data):
    """A part of its paper's (2407.04491): width and depth, dropout, weight decay, activation,
    learning rate."""
    layers = {"3 of 256": (3, 256), "5 of 64": (5, 64), "1 of 512": (1, 512)}
    n_blocks, d_block = layers[trial.suggest_categorical("layers", list(layers))]
    space = {"dropout": one_of(0.0, 0.15, 0.3), "weight_decay": one_of(0.0, 0.02)}
    space |= {"activation": one_of("selu", "mish", "relu"), "lr": between(0.02, 0.3, log=True)}
    return {"n_blocks": n_blocks, "d_block": d_block} | drawn(trial, **space)


def gmlp(trial, data):
    """FT-Transformer's group A, as far as gMLP has its parameters; widths to 256."""
    space = {"n_blocks": between(1, 4), "d_block": between(64, 256, step=8)}
    space |= {"ffn_hidden_multiplier": between(1.0, 4.0), "ffn_dropout": HALF}
    return drawn(trial, **space, residual_dropout=zero_or(0.0, 0.2), lr=LR, weight_decay=DECAY)


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
    space = {"d_block": between(32, 512), "epochs_per_stage": between(1, 2)}
    space |= {"correct_epochs": between(1, 2), "lr": LR, "weight_decay": ZERO_OR_DECAY}
    embedding = {"d_embedding": between(32, 512)} if data.has_categories else {}
    return drawn(trial, **space, **embedding)


def tabnet(trial, data):
    """The paper's space; its steps count one that only makes a mask."""
    more_steps = [10_000] if data.name in ("covtype", "epsilon") else []
    space = {"d_block": one_of(8, 16, 32, 64, 128), "n_blocks": between(2, 9)}
    space |= {"relaxation_factor": between(1.0, 2.0)}
    space |= {"sparsity_loss_weight": between(1e-6, 0.1, log=True), "lr": between(1e-3, 1e-2)}
    found = drawn(trial, **space, lr_decay_steps=one_of(100, 500, 2000, *more_steps))
    found |= _embedding(trial, data)
    if data.name == "epsilon":
        return found | {"momentum": 0.99, "lr_decay_rate": 0.99}
    momentum = {"momentum": between(0.7, 0.99)} if data.name == "covtype" else {}
    return found | drawn(trial, **momentum, lr_decay_rate=between(0.4, 0.95))


def costs_much(data):
    """Whether the table is in the paper's group B for FT-Transformer: Jannis, in A, has 2.9 million
    training cells, ALOI 8.8."""
    return data.is_large or data.train[0].size > 5_000_000


def xgboost(trial, data):
    """The paper's space, under the names of XGBoost's scikit-learn interface."""
    share, penalty = between(0.5, 1.0), zero_or(1e-8, 1e2, log=True)
    space = {"max_depth": between(6 if data.is_large else 3, 10)}
    space |= {"min_child_weight": between(1e-8, 1e5, log=True), "subsample": share}
    space |= {"colsample_bylevel": share, "colsample_bytree": share}
    space |= {"learning_rate": between(1e-5, 1.0, log=True), "reg_alpha": penalty}
    return drawn(trial, **space, reg_lambda=penalty, gamma=penalty)


def catboost(trial, data):
    """The paper's space; ``od_pval`` as in its base configuration."""
    space = {"depth": between(6 if data.is_large else 3, 10)}
    space |= {"learning_rate": between(1e-5, 1.0, log=True)}
    space |= {"bagging_temperature": between(0.0, 1.0), "l2_leaf_reg": between(1.0, 10.0, log=True)}
    return drawn(trial, **space, leaf_estimation_iterations=between(1, 10), od_pval=0.001)


def lightgbm(trial, data):
    """The paper's space; without ``subsample_freq``, as there, ``subsample`` does nothing: it is
    not searched."""
    space = {"num_leaves": between(10, 100), "learning_rate": between(1e-3, 1.0, log=True)}
    space |= {"min_child_weight": between(1e-5, 1e-1, log=True)}
    space |= {"min_child_samples": between(2, 100), "colsample_bytree": between(0.5, 1.0)}
    return drawn(trial, **space, reg_lambda=zero_or(1e-5, 1.0, log=True))


def trials_of_tokens(data):
    """Return the paper's number of trials of FT-Transformer and AutoInt: 50 on ALOI and the large
    tables, else 100."""
    return 50 if costs_much(data) else 100
