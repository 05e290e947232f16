"""Pretraining on rows without labels, where few rows have one."""

import itertools

import pandas as pd

from benchmarks.studies import Study, changes_of, entries, markdown

LABELS = (100, 300, 1000)
PRETRAININGS = {
    "plain": {},
    **{how: {"pretrain": how} for how in ("reconstruction", "mask", "both")},
    "reconstruction_supervised": {"pretrain": "reconstruction+supervised"},
    "mask_supervised": {"pretrain": "mask+supervised"},
    **{f"mask_{n}": {"pretrain": "mask", "pretrain_epochs": n} for n in (60, 180)},
}
VARIANTS = {
    f"{n}-{how}": {"n_labelled": n} | PRETRAININGS[how]
    for n, how in itertools.product(LABELS, PRETRAININGS)
}


def answer(frame):
    """Return the change of error and seconds against the same network without pretraining."""
    frame = frame.assign(labels=frame["variant"].str.split("-").str[0].astype(int))
    lines = []
    for (model, labels), group in frame.groupby(["model", "labels"]):
        base = f"{model} {labels}-plain"
        found = changes_of(group, base).rename(columns={"seconds": "× seconds"})
        errors = group.groupby("name")["error"].mean()
        found.insert(1, "labels", labels)
        found["error"] = [errors[name] for name in found["name"]]
        found["plain"] = errors[base]
        found["change"] = found["change"].map("{:+.2%}".format)
        lines.append(found)
    text = (
        "Change of the test error by pretraining, mean over tables and seeds. Of the labelled rows "
        "a fifth validate. Up to 10,000 rows without labels take part in pretraining. Seconds are "
        "those of the processor, of the whole fit. Errors are means over tables, RMSE or log loss."
    )
    return f"{text}\n\n{markdown(pd.concat(lines, ignore_index=True), 3)}"


STUDY = Study(
    "Does pretraining on rows without labels help where few rows have one?",
    tables=("california_housing", "adult", "bike_sharing", "magic", "wine_quality", "telco_churn"),
    rows=(12_500,),
    compared=(*entries("mlp", VARIANTS), *entries("ft_transformer", VARIANTS)),
    answer=answer,
)
