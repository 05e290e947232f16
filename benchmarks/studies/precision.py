"""float32 and bfloat16 with the same seeds."""

from benchmarks.studies import Study, entries, error_table, markdown, mean_and_spread

PRECISIONS = {name: {"precision": name} for name in ("float32", "bfloat16")}


def answer(frame):
    """Return errors, accuracies and seconds in both precisions."""
    frame = frame.assign(accuracy=[test.get("accuracy") for test in frame["test"]])
    how = {"aggfunc": mean_and_spread, "sort": False}
    accuracy = frame.dropna(subset="accuracy").pivot_table("accuracy", "table", "name", **how)
    seconds = frame.pivot_table("fit_s", "table", "name", aggfunc="median", sort=False)
    parts = ["Test error: RMSE, or log loss.", markdown(error_table(frame))]
    parts += ["Test accuracy:", markdown(accuracy), "Median seconds of a fit:", markdown(seconds)]
    return "\n\n".join(parts)


STUDY = Study(
    "Does bfloat16 cost accuracy?",
    rows=(None,),
    compared=tuple(
        entry
        for name in ("ft_transformer", "resnet", "mlp")
        for entry in entries(name, PRECISIONS, protocol="paper")
    ),
    answer=answer,
)
