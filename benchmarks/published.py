"""Do the published configurations land on the published figures? ``python -m
benchmarks.published``.

Fits later papers' tuned configurations on the paper's splits and prints what they are worth on the
test rows: RMSE, or accuracy. Configurations and figures are from the authors' run reports: TabM
(2410.24210, repository yandex-research/tabm) and "On Embeddings for Numerical Features"
(2203.05556, repository yandex-research/rtdl-num-embeddings).
"""

import argparse

import numpy as np
from sklearn.metrics import accuracy_score, root_mean_squared_error

from benchmarks.datasets import DATASETS
from benchmarks.models.registry import MODELS
from tabdl.embeddings import Periodic, PiecewiseLinear

# name: dataset, network, parameters, published test score (mean of 15 seeds, each a model of the
# same configuration)
CONFIGURATIONS = {
    "tabm-mini-piecewise": (
        "california_housing",
        "tabm",
        {
            "arch": "tabm-mini",
            "n_blocks": 3,
            "d_block": 576,
            "dropout": 0.24050495351031098,
            "lr": 0.00029926241255995084,
        }
        | {
            "weight_decay": 0.0,
            "clip_norm": 1.0,
            "numeric_embedding": PiecewiseLinear(d_embedding=16, n_bins=30),
        },
        0.42747,
    ),
    "tabm": (
        "california_housing",
        "tabm",
        {
            "arch": "tabm",
            "n_blocks": 3,
            "d_block": 400,
            "dropout": 0.20769705860329654,
            "lr": 0.000872489003621806,
        }
        | {"weight_decay": 0.03777165108799435, "clip_norm": 1.0, "numeric_embedding": None},
        0.44139,
    ),
    "mlp-periodic": (
        "california_housing",
        "mlp",
        {
            "n_blocks": 1,
            "d_block": 832,
            "dropout": 0.46608196099475224,
            "lr": 0.000683241476581052,
            "weight_decay": 0.0,
        }
        | {
            "clip_norm": 1.0,
            "numeric_embedding": Periodic(
                d_embedding=28, n_frequencies=60, frequency_scale=0.4706704104857685
            ),
        },
        0.45973,
    ),
    "mlp-periodic-adult": (
        "adult",
        "mlp",
        {
            "n_blocks": 3,
            "d_block": 112,
            "dropout": 0.19896995164451625,
            "lr": 3.2226814035964625e-05,
            "weight_decay": 0.0,
        }
        | {"clip_norm": 1.0, "one_hot_max_size": 128}
        | {
            "numeric_embedding": Periodic(
                d_embedding=16, n_frequencies=64, frequency_scale=7.953324659578985
            )
        },
        0.86939,
    ),
    "ft-transformer-piecewise": (
        "california_housing",
        "ft_transformer",
        {
            "n_blocks": 3,
            "d_block": 472,
            "attention_dropout": 0.30083449085441194,
            "ffn_dropout": 0.3436543405723867,
        }
        | {
            "ffn_hidden_multiplier": 1162 / 472,
            "lr": 0.0003230033103143712,
            "weight_decay": 6.96868865649607e-05,
        }
        | {
            "numeric_embedding": PiecewiseLinear(
                n_bins=234,
                bins="tree",
                min_samples_leaf=14,
                min_impurity_decrease=0.0003922834978189732,
                version="A",
                activation=True,
            )
        },
        0.4418,
    ),
}


def measure(name, seed, precision, device):
    """Return the test score of one fit, its epochs and its seconds of training."""
    dataset_name, network, parameters, _ = CONFIGURATIONS[name]
    dataset = DATASETS[dataset_name]()
    cls = MODELS[network].estimator(dataset.is_regression)
    model = cls(
        **parameters,
        batch_size=256,
        random_state=seed,
        scoring=dataset.scoring,
        precision=precision,
        device=device,
    )
    model.fit(*dataset.train, X_val=dataset.val[0], y_val=dataset.val[1])
    X_test, y_test = dataset.test
    score = (root_mean_squared_error if dataset.is_regression else accuracy_score)(
        y_test, model.predict(X_test)
    )
    return score, model.n_iter_, sum(record["seconds"] for record in model.history_)


def main(argv=None):
    """Print every fit, then mean and standard deviation over the seeds beside the published
    mean."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.published", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--configurations", nargs="+", default=list(CONFIGURATIONS), choices=list(CONFIGURATIONS)
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(argv)
    for name in options.configurations:
        scores = []
        for seed in options.seeds:
            score, n_epochs, seconds = measure(name, seed, options.precision, options.device)
            scores.append(score)
            print(
                f"{name} seed {seed}: {score:.4f}, {n_epochs} epochs, {seconds:.0f} s", flush=True
            )
        spread = f" ± {np.std(scores, ddof=1):.4f}" if len(scores) > 1 else ""
        published = CONFIGURATIONS[name][3]
        print(
            (
                f"{name}: {np.mean(scores):.4f}{spread} ({len(scores)} seeds); published "
                f"{published:.4f}"
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
