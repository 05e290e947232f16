"""On a CUDA device: ``python -m pytest -m gpu``. Needs torch, scikit-learn, numpy, pandas and narwhals only."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import make, people, target

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_fit_and_predict(architecture, task, precision):
    X, y = people(300)
    y = target(y - 3, task)
    model = make(architecture, task, device="cuda", precision=precision, max_epochs=30).fit(X, y)
    assert next(model.module_.parameters()).is_cuda
    assert model.score(X, y) > (0.8 if task == "Regressor" else 0.95)
    again = make(architecture, task, device="cuda", precision=precision, max_epochs=30).fit(X, y)
    # Sums on a GPU have no fixed order, so two fits agree in what they learned, not to the bit.
    assert again.score(X, y) == pytest.approx(model.score(X, y), abs=0.05)


def test_auto_takes_the_gpu(architecture):
    X, y = people()
    assert next(make(architecture, "Regressor", device="auto").fit(X, y).module_.parameters()).is_cuda


def test_gpu_and_cpu_agree(architecture):
    X, y = people()
    model = make(architecture, "Regressor", device="cuda", precision="float32").fit(X, y)
    on_gpu = model.predict(X)
    np.testing.assert_allclose(model.set_params(device="cpu").predict(X), on_gpu, rtol=1e-2, atol=1e-2)


def test_global_random_states_stay(architecture):
    X, y = people()
    make(architecture, "Regressor", device="cuda").fit(X, y)
    before = torch.cuda.get_rng_state(), torch.get_rng_state()
    make(architecture, "Regressor", device="cuda").fit(X, y)
    assert torch.equal(before[0], torch.cuda.get_rng_state()) and torch.equal(before[1], torch.get_rng_state())


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_pickle_loads_where_there_is_no_gpu(architecture, device, tmp_path):
    X, y = people()
    model = make(architecture, "Regressor", device=device).fit(X, y)
    (tmp_path / "model.pickle").write_bytes(pickle.dumps((model, X, model.predict(X))))
    script = """
import pickle, sys, numpy as np, torch
assert not torch.cuda.is_available()
model, X, expected = pickle.load(open(sys.argv[1], "rb"))
np.testing.assert_allclose(model.predict(X), expected, rtol=1e-2, atol=1e-2)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "model.pickle"],
        capture_output=True,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
