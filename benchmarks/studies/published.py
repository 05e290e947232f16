"""Later papers' tuned configurations, on the later papers' split.

Configurations and figures are from the authors' run reports: TabM (2410.24210) and "On Embeddings
for Numerical Features" (2203.05556).
"""

import pandas as pd

from benchmarks.runs.results import Variant
from benchmarks.studies import Entry, Study, markdown, mean_and_spread

TABM = {"n_blocks": 3, "clip_norm": 1.0}
COMMON = {
    "california_housing": {"batch_size": 256},
    "adult": {"batch_size": 256, "scoring": "accuracy"},
}
PLAIN = {"clip_norm": 1.0, "weight_decay": 0.0}
CONFIGURATIONS = {
    "mini-piecewise": (
        *("california_housing", "tabm", 0.42747),
        TABM
        | {"arch": "tabm-mini", "d_block": 576, "weight_decay": 0.0}
        | {"dropout": 0.24050495351031098, "lr": 0.00029926241255995084}
        | {"numeric_embedding": {"d_embedding": 16, "n_bins": 30}},
    ),
    "plain": (
        *("california_housing", "tabm", 0.44139),
        TABM
        | {"arch": "tabm", "d_block": 400, "weight_decay": 0.03777165108799435}
        | {"dropout": 0.20769705860329654, "lr": 0.000872489003621806}
        | {"numeric_embedding": None},
    ),
    "periodic": (
        *("california_housing", "mlp", 0.45973),
        PLAIN
        | {"n_blocks": 1, "d_block": 832}
        | {"dropout": 0.46608196099475224, "lr": 0.000683241476581052}
        | {
            "numeric_embedding": {"type": "Periodic", "d_embedding": 28, "n_frequencies": 60}
            | {"frequency_scale": 0.4706704104857685}
        },
    ),
    "periodic-adult": (
        *("adult", "mlp", 0.86939),
        PLAIN
        | {"n_blocks": 3, "d_block": 112, "one_hot_max_size": 128}
        | {"dropout": 0.19896995164451625, "lr": 3.2226814035964625e-05}
        | {
            "numeric_embedding": {"type": "Periodic", "d_embedding": 16, "n_frequencies": 64}
            | {"frequency_scale": 7.953324659578985}
        },
    ),
    "piecewise": (
        *("california_housing", "ft_transformer", 0.4418),
        {"n_blocks": 3, "d_block": 472, "ffn_hidden_multiplier": 1162 / 472}
        | {"attention_dropout": 0.30083449085441194, "ffn_dropout": 0.3436543405723867}
        | {"lr": 0.0003230033103143712, "weight_decay": 6.96868865649607e-05}
        | {
            "numeric_embedding": {"n_bins": 234, "bins": "tree", "min_samples_leaf": 14}
            | {"min_impurity_decrease": 0.0003922834978189732, "version": "A", "activation": True}
        },
    ),
}
"""By the name of the variant: dataset, model, the published mean of 15 seeds, parameters."""


def answer(frame):
    """Return our scores beside the published ones."""
    lines = []
    for name, group in frame.groupby("variant", sort=False):
        dataset, model, published, _ = CONFIGURATIONS[name]
        metric = "rmse" if dataset == "california_housing" else "accuracy"
        ours = group["test"].map(lambda test, metric=metric: test[metric])
        lines.append((f"{model} {name}", dataset, metric, ours, published, len(ours)))
    columns = ["model", "dataset", "metric", "ours", "published", "seeds"]
    found = pd.DataFrame(lines, columns=columns)
    return markdown(found.assign(ours=found["ours"].map(mean_and_spread)))


STUDY = Study(
    "Do the published configurations land on the published figures, on the split of their papers?",
    rows=(None,),
    split="later",
    compared=tuple(
        Entry(model, Variant(name, COMMON[dataset] | parameters), tables=(dataset,))
        for name, (dataset, model, _, parameters) in CONFIGURATIONS.items()
    ),
    answer=answer,
)
