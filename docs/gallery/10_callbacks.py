"""
Learning curves and callbacks
=============================

Every epoch leaves a record. A callback gets it at once: to log it, or to end training.
"""

# %%
# Three members, so that the curves show the spread over the seeds. ``lr_schedule="cooldown"`` ends
# with a learning rate that falls to zero.

from sklearn.datasets import load_diabetes

from tabdl import TabMLPRegressor
from tabdl.inspection import HistoryDisplay

X, y = load_diabetes(return_X_y=True, as_frame=True)
network = TabMLPRegressor(d_block=64, n_blocks=2, dropout=0.3, random_state=0)
model = network.set_params(n_members=3, lr_schedule="cooldown").fit(X, y)
display = HistoryDisplay.from_estimator(model)

# %%
# A callback is a function of the record. It ends training by returning True.


def enough(record):
    """End training at the first epoch with a validation loss below 0.6."""
    return record["val_loss"] < 0.6


network.set_params(n_members=1, lr_schedule="constant", callbacks=[enough]).fit(X, y)
print(network.stop_reason_, "after epoch", network.n_iter_)

# %%
# MLflow
# ------
#
# A run in a folder of files. Without MLflow this part is skipped.

import os
import tempfile
from pathlib import Path

try:
    import mlflow
except ImportError:
    print("pip install mlflow-skinny")
else:
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    mlflow.set_tracking_uri((Path(tempfile.mkdtemp()) / "runs").as_uri())

    def to_mlflow(record):
        """Log the losses of an epoch."""
        losses = {name: record[name] for name in ("train_loss", "val_loss")}
        mlflow.log_metrics(losses, step=record["epoch"])

    with mlflow.start_run() as run:
        network.set_params(callbacks=[to_mlflow], max_epochs=10).fit(X, y)
    logged = mlflow.MlflowClient().get_metric_history(run.info.run_id, "val_loss")
    print(len(logged), "values of val_loss; the last is", round(logged[-1].value, 3))

# %%
# TensorBoard
# -----------
#
# The same with a writer of torch. Without TensorBoard this part is skipped.

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:
    print("pip install tensorboard")
else:
    with SummaryWriter(tempfile.mkdtemp()) as writer:

        def to_tensorboard(record):
            """Write the losses of an epoch."""
            losses = {name: record[name] for name in ("train_loss", "val_loss")}
            writer.add_scalars("loss", losses, record["epoch"])

        network.set_params(callbacks=[to_tensorboard], max_epochs=10).fit(X, y)

# %%
# What the last fit recorded.

import pandas as pd

pd.DataFrame(network.history_).drop(columns="seconds").tail(3).round(4)
