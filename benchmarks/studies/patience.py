"""How many epochs a fit waits for a better one."""

import pandas as pd

from benchmarks.studies import Study, changes_of, entries, markdown

WAITS = {str(value): {"patience": value} for value in (16, "auto", 32, 48, 64)}
PLAIN = {"numeric_embedding": None, "lr_schedule": "constant", "batch_size": 32}


def answer(frame):
    """Return the change of error and epochs against a patience of 16."""
    lines = []
    for (model, rows), group in frame.groupby(["model", "rows"]):
        changes = changes_of(group, f"{model} 16").drop(columns=["seconds", "tables"])
        epochs = group.groupby("name")["n_iter"].sum()
        changes["× epochs"] = [epochs[name] / epochs[f"{model} 16"] for name in changes["name"]]
        changes["change"] = changes["change"].map("{:+.2%}".format)
        lines.append(changes.assign(rows=int(rows)))
    text = (
        "Change of the test error against a patience of 16 epochs, mean over tables and seeds. "
        '"auto" waits as many epochs as take 832 steps (16 on the smallest table of the paper), at '
        "least 16 and at most 48."
    )
    return f"{text}\n\n{markdown(pd.concat(lines, ignore_index=True), 3)}"


STUDY = Study(
    "How long should small tables wait for a better epoch?",
    tables=(
        *("concrete", "california_housing", "wine_quality", "bike_sharing"),
        *("phoneme", "credit_g", "telco_churn", "sleep"),
    ),
    rows=(500, 1000, 2000),
    n_seeds=2,
    compared=entries("mlp", WAITS, PLAIN) + entries("resnet", WAITS, PLAIN),
    answer=answer,
)
