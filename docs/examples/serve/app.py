"""An HTTP service of one fitted classifier; ``docs/guide/serving.md`` says how to start it.

``POST /predict`` takes a list of rows, each an object from column to value, and returns the
probabilities of the classes. A column that a row lacks is missing.
"""

import os
import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from fastapi import FastAPI, HTTPException

# A request is small: more requests at once gain more than more threads for one.
torch.set_num_threads(1)
# A pickle runs code when it is read: only read files that you wrote yourself.
model = pickle.loads(Path(os.environ["TABDL_MODEL"]).read_bytes())
columns = model.feature_names_in_.tolist()
app = FastAPI(title="predictions")


@app.get("/health")
def health() -> dict[str, Any]:
    """Return what is served."""
    return {"model": type(model).__name__, "columns": columns, "process": os.getpid()}


# Without "async" each request has a thread of its own; predict may run in many threads at once.
@app.post("/predict")
def predict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the probability of each class for each row."""
    if unknown := sorted({name for row in rows for name in row} - set(columns)):
        raise HTTPException(422, f"unknown columns: {', '.join(unknown)}")
    try:
        probabilities = model.predict_proba(pd.DataFrame(rows, columns=columns))
    except (ValueError, TypeError) as error:  # it names the column and what is wrong with it
        raise HTTPException(422, str(error)) from None
    return {"classes": model.classes_.tolist(), "probabilities": probabilities.tolist()}
