"""The validation score that ends training."""

from benchmarks.studies import Study, entries, markdown, mean_and_spread

SCORES = {"loss": {"scoring": None}, "accuracy": {"scoring": "accuracy"}}
PLAIN = {"numeric_embedding": None, "lr_schedule": "constant"}
METRICS = ("accuracy", "log_loss", "roc_auc")


def answer(frame):
    """Return accuracy, log loss and ROC AUC by what ended the training."""
    columns = {name: [test.get(name) for test in frame["test"]] for name in METRICS}
    groups = frame.assign(**columns).groupby("name", sort=False)
    return markdown(groups[[*METRICS, "best_iter"]].agg(mean_and_spread))


STUDY = Study(
    "Should the validation loss or the accuracy end training?",
    tables=("adult",),
    rows=(None,),
    compared=(*entries("mlp", SCORES, PLAIN), *entries("resnet", SCORES, PLAIN)),
    answer=answer,
)
