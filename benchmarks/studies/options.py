"""Training options that are off by default."""

from benchmarks.studies import Study, changes_of, entries, markdown

SMALL = {"numeric_embedding": "piecewise", "batch_size": 128}
GENERAL = {
    "cosine": {"lr_schedule": "cosine", "max_epochs": 60},
    "coslog4": {"lr_schedule": "coslog4", "max_epochs": 60, "patience": 60},
    "warmup": {"warmup_epochs": 3},
    "ema-0.95": {"ema_decay": 0.95},
    "ema-0.99": {"ema_decay": 0.99},
    "muon": {"optimizer": "muon"},
    "muon-ema-0.95": {"optimizer": "muon", "ema_decay": 0.95},
    "hidden-mix": {"hidden_mix": True},
}
DEPTH = {f"depth-{rate}": {"stochastic_depth": rate} for rate in (0.1, 0.3)}
BASE = {"base": {}}


def answer(frame):
    """Return how the error of each network changes with each option."""
    parts = [changes_of(group, f"{model} base") for model, group in frame.groupby("model")]
    text = (
        "Change of the test error (log loss, RMSE) on the same rows and seeds; negative is better. "
        "Tables on which it exceeds its standard error count as better or worse."
    )
    tables = [markdown(part.assign(change=part["change"].map("{:+.2%}".format))) for part in parts]
    return "\n\n".join([text, *tables])


STUDY = Study(
    "What is each training option worth?",
    tables=("california_housing", "adult", "phoneme", "magic", "cpu_act", "bike_sharing"),
    rows=(2500,),
    compared=(
        *entries("mlp", BASE | GENERAL | {"clip": {"clip_norm": 1.0}}, SMALL | {"d_block": 256}),
        *entries("resnet", BASE | DEPTH, SMALL | {"n_blocks": 4, "d_block": 128}),
        *entries("tabm", BASE | GENERAL, {"k": 8, "d_block": 128}),
    ),
    answer=answer,
)
