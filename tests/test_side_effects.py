"""A fit leaves no trace: no file, no line, no moved random state, flag or input; fits side by side
do not meet."""

import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make, people, target
from joblib import Parallel, delayed
from sklearn.base import clone


def global_state():
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": [*np.random.get_state()[1].tolist(), np.random.get_state()[2]],
        "random": random.getstate(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "flags": (
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            torch.is_autocast_enabled("cpu"),
            torch.backends.cudnn.benchmark,
            torch.backends.cuda.matmul.allow_tf32,
        ),
        "pandas": pd.get_option("mode.copy_on_write") if int(pd.__version__[0]) < 3 else None,
        "numpy errors": np.geterr(),
    }


@pytest.mark.two_networks
@pytest.mark.parametrize("random_state", [0, None])
def test_a_fit_leaves_no_trace(architecture, task, random_state, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    X, y = people()
    y = target(y - 2, task)
    X_before, y_before, weight = X.copy(deep=True), y.copy(), np.ones(len(y))
    make(architecture, task).fit(
        X, y
    )  # what the first use of a library sets up for good is not the fit's
    before = global_state()
    model = make(architecture, task, random_state=random_state, precision="bfloat16")
    parameters = model.get_params()
    model.fit(X, y, sample_weight=weight)
    model.predict(X)
    assert global_state() == before
    assert model.get_params() == parameters
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    pd.testing.assert_frame_equal(X, X_before)
    np.testing.assert_array_equal(y, y_before)
    assert (weight == 1).all()


FIRST_FIT = """
import sys, warnings
warnings.simplefilter("error")
sys.path.insert(0, sys.argv[1])
from conftest import make, people, target
from test_side_effects import global_state
import tabdl
X, y = people()
kind, task = sys.argv[2:]
if kind == "folds":
    model = getattr(tabdl, "CrossValEnsemble" + task)(make("TabMLP", task, max_epochs=1), cv=2)
else:
    model = make(kind, task, max_epochs=1, scoring="r2" if task == "Regressor" else "accuracy")
before = global_state()
model.fit(X, target(y - 2, task))
after_fit = global_state()
model.predict(X)
for state in (after_fit, global_state()):
    print(*(name for name in before if before[name] != state[name]))
"""


@pytest.mark.parametrize("case", ["FTTransformer Classifier", "folds Regressor"])
def test_the_first_fit_of_a_process_leaves_no_trace(case):
    """What libraries load at their first use may draw numbers when it is loaded."""
    command = [sys.executable, "-c", FIRST_FIT, str(Path(__file__).parent), *case.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("\n\n", 0), done.stdout + done.stderr


@pytest.mark.two_networks
def test_an_interrupted_fit_leaves_no_trace(architecture):
    """Threads, flags and lent generators are what they were, and the next fit is that of an
    untouched process."""
    X, y = people()

    def interrupt(record):
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    expected = make(architecture, "Regressor").fit(X, y).predict(X)
    before = global_state()
    with pytest.warns(UserWarning, match="interrupted after epoch 3"):
        model = make(architecture, "Regressor", callbacks=[interrupt], n_jobs=1).fit(X, y)
    assert global_state() == before
    pickle.dumps(model.set_params(callbacks=None))
    np.testing.assert_array_equal(model.set_params(n_jobs=None).fit(X, y).predict(X), expected)


@pytest.mark.two_networks
def test_a_fit_that_fails_leaves_no_trace(architecture):
    X, y = people()
    before = global_state()
    with pytest.raises(FloatingPointError):
        make(architecture, "Regressor", lr=1e30, max_epochs=50).fit(X, y)
    assert global_state() == before


def predictions(model, X, y):
    return clone(model).fit(X, y).predict(X)


@pytest.mark.two_networks
def test_fits_in_threads_do_not_meet(architecture):
    X, y = people()
    models = [make(architecture, "Regressor", random_state=seed) for seed in range(4)]
    alone = [predictions(model, X, y) for model in models]
    before = global_state()
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(lambda model: predictions(model, X, y), models))
    assert global_state() == before
    np.testing.assert_array_equal(alone, beside)


def test_fits_in_processes_do_not_meet(architecture):
    X, y = people()
    models = [make(architecture, "Regressor", random_state=seed) for seed in range(2)]
    alone = [predictions(model, X, y) for model in models]
    beside = Parallel(n_jobs=2)(delayed(predictions)(model, X, y) for model in models)
    # Another number of threads may sum in another order.
    np.testing.assert_allclose(alone, beside, rtol=1e-3)
