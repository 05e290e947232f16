"""Untuned models on tables that no default was chosen on: error and processor seconds.

Look at these tables once for a state of the defaults. Who chooses a default here has no kept tables
any more.
"""

import numpy as np
import pandas as pd

from benchmarks.studies import Entry, Study, entries, error_table, markdown, ratios_to


def answer(frame):
    """Return error and seconds of each name beside CatBoost's, and the errors of each table."""
    ratios = ratios_to(frame, "catboost")
    lines = pd.DataFrame(
        {
            "error beside CatBoost": (np.exp(np.log(ratios).mean()) - 1).map("{:+.1%}".format),
            "median of it": (ratios.median() - 1).map("{:+.1%}".format),
            "better on": (ratios < 1).sum().map(f"{{}} of {len(ratios)}".format),
            "median s": frame.groupby("name", sort=False)["cpu_s"].median(),
            "times CatBoost's": ratios_to(frame, "catboost", "cpu_s").median(),
        }
    ).sort_values("median s")
    text = (
        "Error: RMSE or log loss on test rows; beside CatBoost's, the geometric mean over the "
        "fits. Seconds are those of one processor."
    )
    return "\n\n".join([text, markdown(lines, 3), markdown(error_table(frame))])


STUDY = Study(
    "What do untuned models cost, and what is their error, on tables that chose no default?",
    tables=(
        *("ames_housing", "bank_marketing", "diamonds", "protein_casp", "credit_default"),
        *("vehicle_coupon", "jannis_partial", "letter", "spambase", "hotel_bookings"),
    ),
    rows=(1000,),
    n_seeds=1,
    compared=(
        *map(Entry, ("catboost", "lightgbm", "xgboost", "mlp", "tabm")),
        *entries("tabm", {"k8": {"k": 8}}),
        Entry("ft_transformer"),
    ),
    answer=answer,
)
