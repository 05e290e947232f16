"""How much of a blend's gain an MLP keeps that learns from it, and how much quicker it predicts."""

import pandas as pd

from benchmarks.runs.results import Variant
from benchmarks.studies import Entry, Study, markdown

SEVEN = Variant("seven", {"networks": ["tabm", "ft_transformer", "resnet", "mlp"]})
"""Four networks and three boosted trees."""


def answer(frame):
    """Return the errors of MLP, student and blend, the share that is kept, and the ratio of time;
    a table a student.

    The share is that of the sums of logarithms, so that each table counts by its ratios.
    """
    return "\n\n".join(_answer_of(name, runs) for name, runs in frame.groupby("name", sort=False))


def _answer_of(name, runs):
    lines = []
    for run in runs.itertuples():
        blend, mlp = (run.members[member][run.metric] for member in ("blend", "mlp"))
        line = {"table": run.table, "seed": run.seed, "metric": run.metric}
        line |= {"mlp": mlp, "student": run.error, "blend": blend}
        line["time beside blend"] = run.predict_s / run.members["blend"]["predict_seconds"]
        lines.append(line)
    found = pd.DataFrame(lines)
    for column in ("blend", "student"):
        found[f"{column} beside mlp"] = found[column] / found["mlp"] - 1
    kept = found["student beside mlp"].mean() / found["blend beside mlp"].mean()
    ratio = found["time beside blend"].median()
    text = (
        f"{name}: in the mean the blend has {found['blend beside mlp'].mean():+.1%} of the MLP's "
        f"error and the student {found['student beside mlp'].mean():+.1%}: it keeps {kept:.0%} of "
        f"the gain. It predicts in 1/{1 / ratio:.0f} of the blend's time (the median)."
    )
    for column in ("blend beside mlp", "student beside mlp", "time beside blend"):
        form = "{:+.1%}" if "mlp" in column else "{:.4f}"
        found[column] = found[column].map(form.format)
    return f"{text}\n\n{markdown(found)}"


STUDY = Study(
    "Does an MLP that learns from a blend keep what the blend gains?",
    tables=(
        *("california_housing", "adult", "bike_sharing", "wine_quality"),
        *("magic", "telco_churn", "concrete", "phoneme"),
    ),
    rows=(1000,),
    n_seeds=1,
    compared=(Entry("student"), Entry("student", SEVEN)),
    answer=answer,
)
