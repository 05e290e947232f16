"""RealMLP, TabM and FT-Transformer beside pytabkit's: the same configuration, and the defaults."""

import pandas as pd

from benchmarks.studies import Entry, Study, entries, error_table, markdown

# Ours with the parameters in which the defaults differ from pytabkit's. Neither smooths labels, and
# both keep the epoch of the lowest validation loss.
TABM = {"arch": "tabm", "d_block": 512, "numeric_embedding": None, "weight_decay": 0.0}
AS_THEIRS = {"as-pytabkit": TABM | {"clip_norm": None, "batch_size": 256}}
PAIRS = {
    "realmlp": "pytabkit-realmlp",
    "tabm as-pytabkit": "pytabkit-tabm",
    "ft_transformer": "pytabkit-ftt",
}


def answer(frame):
    """Return errors, and how many times as fast our fits are."""
    seconds = frame.pivot_table("cpu_s", ["table", "seed"], "name", sort=False)
    lines = [
        (ours, theirs, ratio.median(), ratio.min(), ratio.max())
        for ours, theirs in PAIRS.items()
        if {ours, theirs} <= set(seconds)
        for ratio in [seconds[theirs] / seconds[ours]]
    ]
    columns = ["ours", "theirs", "times as fast (processor seconds)", "least", "most"]
    return "\n\n".join(
        [markdown(error_table(frame)), markdown(pd.DataFrame(lines, columns=columns), 3)]
    )


STUDY = Study(
    "Are our networks those of pytabkit, and how fast are they?",
    tables=("california_housing", "adult"),
    compared=(
        *map(Entry, ("realmlp", "tabm", "ft_transformer")),
        *entries("tabm", AS_THEIRS),
        *map(Entry, ("pytabkit-realmlp", "pytabkit-tabm", "pytabkit-ftt")),
    ),
    answer=answer,
)
