"""Statistics of columns with many categories, beside the vectors of the values."""

import pandas as pd

from benchmarks.studies import (
    Entry,
    Study,
    changes_by_table,
    changes_of,
    entries,
    error_table,
    markdown,
)

NETWORKS = ("tabm", "mlp", "ft_transformer")
HOW = {which: {"categorical_statistics": which} for which in ("none", "both")}
ALONE = {which: {"categorical_statistics": which} for which in ("count", "target")}


def answer(frame):
    """Return how the error changes with the statistics, and who is ahead of CatBoost."""
    parts = ["Errors are RMSE and log loss; a negative change is better."]
    for part, error in (("Validation rows", "val_error"), ("Test rows", "error")):
        own = frame.assign(error=frame[error])
        found = [changes_of(own[own["model"] == model], f"{model} none") for model in NETWORKS]
        changes = pd.concat(found, ignore_index=True)
        if len(changes):
            shown = changes.assign(change=changes["change"].map("{:+.2%}".format))
            by_table = changes_by_table(own[own["model"].isin(NETWORKS)], "none")
            by_table = by_table.map("{:+.2%}".format, na_action="ignore")
            parts += [f"{part}:", markdown(shown, 3), markdown(by_table, 3)]
    if "catboost" in set(frame["name"]):
        parts.append(markdown(_ahead(frame)))
    return "\n\n".join([*parts, markdown(error_table(frame))])


def _ahead(frame):
    """Return on how many tables each name has a smaller mean error than CatBoost."""
    errors = frame.pivot_table("error", ["table", "rows"], "name", sort=False)
    both = errors.drop(columns="catboost").lt(errors["catboost"], axis=0)
    counts = [f"{n} of {len(errors)}" for n in both.sum()]
    return pd.DataFrame({"name": both.columns, "better than CatBoost on": counts})


STUDY = Study(
    "Do statistics of categories help networks? (of columns with more than 20 values)",
    tables=(
        *("employment_ma", "hotel_bookings", "fars", "vehicle_coupon", "lending_club_rate"),
        *("ames_housing", "adult"),
    ),
    rows=(2000, 8000),
    compared=(
        *(entry for model in NETWORKS for entry in entries(model, HOW)),
        *entries("mlp", ALONE),
        Entry("catboost"),
    ),
    answer=answer,
)
