"""Noise of training rows: mixed rows, swapped cells and hidden columns."""

from benchmarks.studies import Study, changes_by_table, changes_of, entries, markdown

OPTIONS = {
    "none": {},
    "mixup-0.2": {"mixup": 0.2},
    "mixup-1": {"mixup": 1.0},
    "swap-0.05": {"swap_noise": 0.05},
    "swap-0.15": {"swap_noise": 0.15},
    "near-0.15": {"swap_noise": 0.15, "swap_noise_from": "nearest"},
    "near-0.3": {"swap_noise": 0.3, "swap_noise_from": "nearest"},
    "hidden-0.05": {"feature_dropout": 0.05},
    "hidden-0.15": {"feature_dropout": 0.15},
}
NETWORKS = ("mlp", "tabm")


def answer(frame):
    """Return how the error of each network changes with each option, over tables and on each."""
    parts = [
        "Change of the error (log loss, RMSE) on the same rows and seeds; negative is better. "
        "Tables on which it exceeds its standard error count as better or worse. Seconds are the "
        "ratio of processor time."
    ]
    for where, error in (("Validation rows", "val_error"), ("Test rows", "error")):
        own = frame.assign(error=frame[error])
        for model, group in own.groupby("model", sort=False):
            changes = changes_of(group, f"{model} none")
            changes["change"] = changes["change"].map("{:+.2%}".format)
            by_table = changes_by_table(group, "none").map("{:+.1%}".format)
            parts += [f"{where}, {model}:", markdown(changes), markdown(by_table)]
    return "\n\n".join(parts)


STUDY = Study(
    "Does noise of training rows help networks on small tables?",
    tables=("california_housing", "adult", "phoneme", "magic", "cpu_act", "bike_sharing"),
    rows=(800, 4000),
    compared=tuple(entry for model in NETWORKS for entry in entries(model, OPTIONS)),
    answer=answer,
)
