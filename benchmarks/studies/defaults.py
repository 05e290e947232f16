"""Untuned estimators on small tables."""

import pandas as pd

from benchmarks.studies import TWELVE, Entry, Study, entries, error_table, markdown

PAPER = {"paper": {"numeric_embedding": None, "lr_schedule": "constant"}}


def answer(frame):
    """Return ranks, relative errors and seconds of each name, and the errors of each table."""
    frame = frame.assign(rows=frame["rows"].fillna(0))
    errors = frame.pivot_table("error", ["table", "rows"], "name", sort=False)
    relative = errors.div(errors.min(axis=1), axis=0) - 1
    val = frame.pivot_table("val_error", ["table", "rows"], "name", sort=False)
    lines = pd.DataFrame(
        {
            "mean rank": errors.rank(axis=1).mean(),
            "relative error": relative.mean().map("{:.1%}".format),
            "best on": (errors.rank(axis=1) == 1).sum(),
            "rank, validation": val.rank(axis=1).mean(),
            "fit s": frame.groupby("name")["cpu_s"].median(),
        }
    ).sort_values("mean rank")
    if "catboost" in errors:
        ahead = errors.lt(errors["catboost"], axis=0).sum()
        lines.insert(3, "better than CatBoost on", ahead.map(f"{{}} of {len(errors)}".format))
    n_seeds = frame.groupby(["table", "rows"])["seed"].nunique().max()
    text = (
        f"Error: RMSE or log loss, mean over {n_seeds} seeds. Relative error: how much larger than "
        "the smallest error of the table. Seconds are the processor's, the median."
    )
    return "\n\n".join([text, markdown(lines, 3), markdown(error_table(frame))])


STUDY = Study(
    "Which estimator does best untuned on small tables?",
    tables=TWELVE,
    compared=(
        *map(Entry, ("catboost", "xgboost", "lightgbm", "ft_transformer", "resnet", "mlp")),
        *map(Entry, ("tabm", "realmlp", "gmlp")),
        *entries("mlp", PAPER),
        *entries("resnet", PAPER),
    ),
    answer=answer,
)
