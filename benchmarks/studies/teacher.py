"""How much of a blend's gain an MLP keeps that learns from it, and how much quicker it predicts."""

import pandas as pd

from benchmarks.studies import Entry, Study, markdown


def answer(frame):
    """Return the errors of MLP, student and blend, the share that is kept, and the ratio of time.

    The share is that of the sums of logarithms, so that each table counts by its ratios.
    """
    lines = []
    for run in frame.itertuples():
        blend, mlp = (run.members[name][run.metric] for name in ("blend", "mlp"))
        line = {"table": run.table, "seed": run.seed, "metric": run.metric}
        line |= {"mlp": mlp, "student": run.error, "blend": blend}
        line["time beside blend"] = run.predict_s / run.members["blend"]["predict_seconds"]
        lines.append(line)
    found = pd.DataFrame(lines)
    for name in ("blend", "student"):
        found[f"{name} beside mlp"] = found[name] / found["mlp"] - 1
    kept = found["student beside mlp"].mean() / found["blend beside mlp"].mean()
    ratio = found["time beside blend"].median()
    text = (
        f"In the mean the blend has {found['blend beside mlp'].mean():+.1%} of the MLP's error and "
        f"the student {found['student beside mlp'].mean():+.1%}: it keeps {kept:.0%} of the gain. "
        f"It predicts in 1/{1 / ratio:.0f} of the blend's time (the median)."
    )
    for name in ("blend beside mlp", "student beside mlp", "time beside blend"):
        found[name] = found[name].map("{:+.1%}".format if "mlp" in name else "{:.4f}".format)
    return f"{text}\n\n{markdown(found)}"


STUDY = Study(
    "Does an MLP that learns from a blend keep what the blend gains?",
    tables=(
        *("california_housing", "adult", "bike_sharing", "wine_quality"),
        *("magic", "telco_churn", "concrete", "phoneme"),
    ),
    rows=(1000,),
    n_seeds=1,
    compared=(Entry("student"),),
    answer=answer,
)
