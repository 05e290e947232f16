"""A greedy blend of networks and boosted trees beside its members."""

import pandas as pd

from benchmarks.studies import Entry, Study, markdown


def answer(frame):
    """Return the errors of the blend and its members, each a mean over folds."""
    lines = []
    for run in frame.itertuples():
        members = {name: metrics[run.metric] for name, metrics in run.members.items()}
        line = {"table": run.table, "seed": run.seed, "metric": run.metric, "blend": run.error}
        best = f"{run.error / min(members.values()) - 1:+.1%}"
        trees = f"{run.error / members['catboost'] - 1:+.1%}"
        lines.append(line | members | {"against the best": best, "against CatBoost": trees})
    found = pd.DataFrame(lines)
    names = list(frame["members"].iloc[0])
    n_best = (found["blend"] < found[names].min(axis=1)).sum()
    n_trees = (found["blend"] < found["catboost"]).sum()
    text = (
        f"The blend is better than its best member on {n_best} of {len(found)} tables, and better "
        f"than CatBoost on {n_trees}. The best member is the best on the test rows, which nobody "
        "knows before. Weights are chosen on out-of-fold predictions."
    )
    return f"{text}\n\n{markdown(found)}"


STUDY = Study(
    "Is a greedy blend better than its members?",
    tables=(
        *("california_housing", "adult", "fars", "bike_sharing", "vehicle_coupon", "sleep"),
        *("diamonds", "telco_churn", "concrete", "phoneme"),
    ),
    rows=(2000,),
    n_seeds=1,
    compared=(Entry("blend"),),
    answer=answer,
)
