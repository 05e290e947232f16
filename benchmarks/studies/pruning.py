"""Predictions of TabM that are left out after training."""

from benchmarks.studies import Study, entries, error_table, markdown
from benchmarks.studies.calibration import SIZES

KEPT = {"all": {}, "pruned": {"prune": True}}


def answer(frame):
    """Return errors, and the parameters and seconds to predict that pruning leaves."""
    costs = frame.groupby("name", sort=False)[["n_parameters", "predict_s"]].median()
    return f"{markdown(error_table(frame))}\n\nMedians:\n\n{markdown(costs)}"


STUDY = Study(
    "What does pruning cost TabM in error, and what does it save?",
    tables=(
        *("california_housing", "cpu_act", "wine_quality", "concrete"),
        *("phoneme", "magic", "telco_churn", "credit_g", "adult", "letter"),
    ),
    rows=(3000,),
    compared=entries("tabm", KEPT, SIZES),
    answer=answer,
)
