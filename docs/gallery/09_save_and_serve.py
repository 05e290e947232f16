"""
Save, export, serve
===================

A fitted estimator becomes a file that runs no code, or an ONNX graph that needs no tabdl.
"""

# %%
# A small network on a table with numbers and text.

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import tabdl

rng = np.random.default_rng(0)
X = pd.DataFrame({"age": rng.integers(18, 90, 400), "city": rng.choice(["Bern", "Oslo"], 400)})
y = np.where(X["age"] + 20 * (X["city"] == "Oslo") + rng.normal(0, 10, 400) > 60, "yes", "no")
model = tabdl.TabMLPClassifier(d_block=64, max_epochs=20, random_state=0).fit(X, y)
folder = Path(tempfile.mkdtemp())

# %%
# ``save`` and ``load``. The predictions of the loaded estimator are the same bits.

tabdl.save(model, folder / "model.tabdl")
loaded = tabdl.load(folder / "model.tabdl")
assert (loaded.predict_proba(X) == model.predict_proba(X)).all()

# %%
# An ONNX graph holds the encoder and the network. Each column is an input of its name.

import onnxruntime

tabdl.to_onnx(model, folder / "model.onnx", X[:10])
session = onnxruntime.InferenceSession(folder / "model.onnx")
row = {"age": np.array([[37.0]]), "city": np.array([["Bern"]], dtype=object)}
label, probabilities = session.run(["predict", "predict_proba"], row)
print(label, probabilities.round(3))

# %%
# The two agree, and a row alone is quicker without Python around the network.

from timeit import repeat

inputs = tabdl.onnx_inputs(model, X)
[by_graph] = session.run(["predict_proba"], inputs)
one = X.head(1)
one_input = tabdl.onnx_inputs(model, one)
calls = {
    "tabdl, 1 row": lambda: model.predict_proba(one),
    "onnxruntime, 1 row": lambda: session.run(["predict_proba"], one_input),
    "tabdl, 400 rows": lambda: model.predict_proba(X),
    "onnxruntime, 400 rows": lambda: session.run(["predict_proba"], inputs),
}
milliseconds = {}
for name, call in calls.items():
    milliseconds[name] = 100 * min(repeat(call, number=10, repeat=3))
print(f"largest difference {np.abs(by_graph - model.predict_proba(X)).max():.1e}")
pd.Series(milliseconds, name="ms a call").round(2).to_frame()

# %%

from matplotlib import pyplot as plt

figure, ax = plt.subplots(figsize=(5, 2.5), layout="constrained")
pd.Series(milliseconds)[::-1].plot.barh(ax=ax, xlabel="milliseconds a call")

# %%
# Files, and what each is for.

sizes = {path.name: path.stat().st_size / 1024 for path in sorted(folder.iterdir())}
pd.Series(sizes, name="KiB").round(1).to_frame()

# %%
# :doc:`/guide/serving` has an HTTP service with several workers.
