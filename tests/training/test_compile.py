"""Compiled steps give what the plain ones give, and a network that cannot be compiled runs as it
is."""

import shutil

import numpy as np
import pytest
import torch
from conftest import make, numbers, target
from torch._inductor.utils import fresh_inductor_cache

from tabdl.training.devices import choose_compile
from tabdl.training.stacking import Compiled

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_compiler = pytest.mark.skipif(
    not shutil.which("g++"), reason="torch.compile needs a C++ compiler, there is none"
)


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "compile, device, n_steps, expected",
    [
        ("auto", CUDA, 199_999, False),
        ("auto", CUDA, 200_000, True),
        ("auto", CPU, 10**9, False),
        (True, CPU, 1, True),
        (False, CUDA, 10**9, False),
    ],
)
def test_the_rule(compile, device, n_steps, expected):
    assert choose_compile(compile, device, n_steps) is expected


@needs_compiler
@pytest.mark.parametrize(
    "architecture, task", [("TabMLP", "Classifier"), ("TabResNet", "Regressor")]
)
def test_a_compiled_fit_is_the_plain_one(architecture, task):
    X, y = numbers(70)
    common = {"precision": "float64", "max_epochs": 3, "batch_size": 32}
    plain, compiled = (
        make(architecture, task, compile=c, **common).fit(X, target(y, task)) for c in (False, True)
    )
    losses = [[record["train_loss"] for record in model.history_] for model in (plain, compiled)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-8)
    np.testing.assert_allclose(compiled.predict(X), plain.predict(X), rtol=1e-8, atol=1e-9)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


@needs_compiler
def test_what_cannot_be_compiled_runs_on_with_one_warning():
    """An inductor whose compiler is not there really fails."""
    compiled = Compiled(lambda x: x.sin() * 2)
    x = torch.linspace(0, 1, 7)
    with fresh_inductor_cache(), torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        with pytest.warns(UserWarning, match="cannot be compiled and runs without") as caught:
            first = compiled(x)
        again = compiled(x)
    assert len(caught) == 1
    torch.testing.assert_close(torch.stack([first, again]), (x.sin() * 2).expand(2, -1))
