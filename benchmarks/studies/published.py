"""Later papers' tuned configurations, on the later papers' split: TabM (2410.24210) and "On
Embeddings for Numerical Features" (2203.05556)."""

import pandas as pd

from benchmarks.runs.results import PAPER, Variant
from benchmarks.studies import Entry, Study, markdown, mean_and_spread

CONFIGURATIONS = PAPER["published"]
"""By the name of the variant: dataset, model, the published mean of 15 seeds, parameters."""


def answer(frame):
    """Return our scores beside the published ones."""
    lines = []
    for name, group in frame.groupby("variant", sort=False):
        facts = CONFIGURATIONS[name]
        dataset, model = facts["dataset"], facts["model"]
        metric = "rmse" if dataset == "california_housing" else "accuracy"
        ours = pd.Series([test[metric] for test in group["test"]])
        found = mean_and_spread(ours), facts["score"], len(ours)
        lines.append((f"{model} {name}", dataset, metric, *found))
    columns = ["model", "dataset", "metric", "ours", "published", "seeds"]
    return markdown(pd.DataFrame(lines, columns=columns))


STUDY = Study(
    "Do the published configurations land on the published figures, on the split of their papers?",
    rows=(None,),
    split="later",
    compared=tuple(
        Entry(facts["model"], Variant(name, facts["parameters"]), tables=(facts["dataset"],))
        for name, facts in CONFIGURATIONS.items()
    ),
    answer=answer,
)
