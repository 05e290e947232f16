"""What an installed tabdl must do: ``python smoke.py``, from any folder."""

import pickle
import sys
import tempfile
from importlib.metadata import entry_points, metadata
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

import tabdl


def main():
    """Fit, save, load and pickle a small network, and look at what lies beside the code."""
    X = pd.DataFrame({"a": np.arange(60.0), "b": ["x", "y", None] * 20})
    model = tabdl.TabMLPClassifier(d_block=8, max_epochs=2, random_state=0).fit(X, X["a"] % 2)
    expected = model.predict_proba(X)
    with tempfile.TemporaryDirectory() as folder:
        tabdl.save(model, Path(folder) / "model.tabdl")
        loaded = tabdl.load(Path(folder) / "model.tabdl")
    for again in (loaded, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.predict_proba(X), expected)
    assert metadata("tabdl")["Version"] == tabdl.__version__
    assert (files("tabdl") / "py.typed").is_file()
    assert [path for path in (files("tabdl.kaggle") / "templates").iterdir() if path.is_file()]
    [command] = entry_points(group="console_scripts", name="tabdl-kaggle")
    assert callable(command.load())
    print("ok", tabdl.__version__, Path(tabdl.__file__).is_relative_to(sys.prefix))


if __name__ == "__main__":
    main()
