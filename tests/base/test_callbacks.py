"""The examples of docs/guide/callbacks.md, with the packages where they are installed."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "guide" / "callbacks.md"
NAMES = {"train_loss", "val_loss", "val_score", "lr"}


def run(heading):
    """Run the example below a heading, and return its names."""
    part = DOCS.read_text().split(f"\n## {heading}\n")[1]
    names = {}
    exec(re.search(r"^```python\n(.*?)^```$", part, re.M | re.S).group(1), names)
    return names


def test_tensorboard_has_the_epochs(tmp_path, monkeypatch):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.chdir(tmp_path)
    run("TensorBoard")
    found = events.EventAccumulator(str(tmp_path / "runs" / "iris"))
    found.Reload()
    assert {*found.Tags()["scalars"]} == NAMES
    assert [event.step for event in found.Scalars("val_loss")] == [1, 2, 3, 4, 5]
    losses = [event.value for event in found.Scalars("train_loss")]
    assert losses[-1] < losses[0]


@pytest.mark.filterwarnings("ignore::Warning:mlflow.*", "ignore::FutureWarning")
def test_mlflow_has_the_epochs(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path / 'runs'}")
    model = run("MLflow")["model"]
    data = mlflow.last_active_run().data
    assert {*data.metrics} == NAMES and data.params["max_epochs"] == "5"
    run_id = mlflow.last_active_run().info.run_id
    history = mlflow.MlflowClient().get_metric_history(run_id, "val_loss")
    expected = [(record["epoch"], record["val_loss"]) for record in model.history_]
    assert [(each.step, each.value) for each in history] == expected
