"""TabM for less work: error and processor seconds beside CatBoost's, of its sizes and schedules."""

import pandas as pd

from benchmarks.studies import TWELVE, Entry, Study, entries, error_table, markdown, ratios_to

COOLDOWN = {"lr_schedule": "cooldown", "d_block": 128, "lr": 4e-3}
SMALLER = {
    "cooldown": {"lr_schedule": "cooldown"},
    "cooldown-128": COOLDOWN,
    "cooldown-128-k16": COOLDOWN | {"k": 16},
    "cooldown-128-k8": COOLDOWN | {"k": 8},
    "cooldown-128-k8-pbld": COOLDOWN | {"k": 8, "numeric_embedding": "pbld"},
    "k8": {"k": 8},
    "cosine-128-k8": COOLDOWN | {"k": 8, "lr_schedule": "cosine", "max_epochs": 24},
}


def answer(frame):
    """Return the error of each name beside CatBoost's and today's TabM, and what it costs."""
    beside_trees, beside_tabm = (ratios_to(frame, name) - 1 for name in ("catboost", "tabm"))
    lines = pd.DataFrame(
        {
            "error beside CatBoost": beside_trees.mean().map("{:+.1%}".format),
            "better on": (beside_trees < 0).mean().map("{:.0%}".format),
            "error beside tabm": beside_tabm.mean().map("{:+.1%}".format),
            "seconds beside CatBoost": ratios_to(frame, "catboost", "cpu_s").mean(),
        }
    ).sort_values("seconds beside CatBoost")
    text = "Means over tables and seeds of ratios on the same rows; seconds of one processor."
    return "\n\n".join([text, markdown(lines, 1), markdown(error_table(frame))])


STUDY = Study(
    "What does TabM cost, and what do cheaper ones lose?",
    tables=TWELVE,
    rows=(1000, 2500, 10_000),
    compared=(Entry("catboost"), Entry("lightgbm"), Entry("tabm"), *entries("tabm", SMALLER)),
    answer=answer,
)
