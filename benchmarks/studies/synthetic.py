"""Networks and boosted trees between two synthetic targets: section 5.1 of Gorishniy et al. 2021.

The settings are those of the authors' script: AdamW with a learning rate of 1e-4 and a weight decay
of 1e-5, batches of 256, a stop after the 11th epoch in a row that is no better, raw numbers;
CatBoost with its defaults, up to 20,000 trees and a patience of 10. Two things differ. The script
calls an epoch better only where the error is less by 0.001, which ends its fits earlier. Its weight
decay acts on biases as well; at 1e-9 a step that is of no account.

The reduced size has 20,000 training rows; ``--rows 550000 --seeds 0 1 2 3 4`` is the full one.
"""

import pandas as pd

from benchmarks.models.registry import MODELS
from benchmarks.report.figures import new_axes, save
from benchmarks.runs import results
from benchmarks.runs.results import Variant
from benchmarks.studies import Entry, Study, markdown, mean_and_spread
from benchmarks.tables.synthetic import ALPHAS, TABLES

COMMON = {"lr": 1e-4, "weight_decay": 1e-5, "batch_size": 256, "patience": 11, "max_epochs": 1000}
BLOCKS = {"n_blocks": 4, "d_block": 256, "d_hidden_multiplier": 1.5}
SETTINGS = {
    "catboost": {"n_estimators": 20_000, "early_stopping_rounds": 10},
    "resnet": COMMON | BLOCKS | {"hidden_dropout": 0.5, "residual_dropout": 0.0},
    "ft_transformer": COMMON,
}
PAPER = results.PAPER["synthetic"]
"""The authors' test RMSE for each of ALPHAS: mean and deviation of five seeds."""


def answer(frame):
    """Return the test RMSE of each model for each alpha, beside the authors'."""
    lines = []
    for table, runs in frame.groupby("table"):
        line = {"alpha": TABLES[table]}
        for model, errors in runs.groupby("model")["error"]:
            mean, spread = PAPER[model][ALPHAS.index(line["alpha"])]
            line[MODELS[model].label] = mean_and_spread(errors)
            line[f"{MODELS[model].label}, paper"] = f"{mean:.3f} ± {spread:.3f}"
        lines.append(line)
    sizes = ", ".join(f"{rows:,}" for rows in frame["rows"].unique())
    text = (
        f"Test RMSE with {sizes} training and validation rows; seeds: {frame['seed'].nunique()} "
        "(each draws rows and targets, and is the fit's). The paper's are of 550,000 rows and five "
        "seeds. At alpha 0 the target is a random network, at 1 the mean of random trees."
    )
    return f"{text}\n\n{markdown(pd.DataFrame(lines).fillna('–'), 3)}"


def draw(frame, path):
    """Draw the test RMSE over alpha: ours as lines, the authors' dashed."""
    figure, [[axis]] = new_axes(1, 1, 6, 4)
    errors = frame.assign(alpha=frame["table"].map(TABLES)).groupby(["model", "alpha"])["error"]
    for model, figures in PAPER.items():
        colour, label = MODELS[model].colour, MODELS[model].label
        means = [mean for mean, _ in figures]
        axis.plot(ALPHAS, means, "--", color=colour, alpha=0.5, label=f"{label}, paper")
        if model in errors.mean().index:
            axis.plot(errors.mean()[model], "o-", color=colour, label=label)
    axis.set(xlabel="alpha (0: a network's target, 1: trees')", ylabel="test RMSE", xticks=ALPHAS)
    axis.legend(frameon=False, fontsize=8)
    save(figure, path)


STUDY = Study(
    "Which model does better as the target goes from a network's to trees'?",
    tables=tuple(TABLES),
    folder="synthetic",
    rows=(22_000,),
    n_seeds=1,
    compared=tuple(
        Entry(model, Variant("section-5.1", settings), protocol="paper")
        for model, settings in SETTINGS.items()
    ),
    answer=answer,
    draw=draw,
)
