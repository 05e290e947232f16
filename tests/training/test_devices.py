"""Precision and threads: the rules behind "auto", and that nothing of them stays behind."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make, numbers, people, some_rows

import tabdl
from tabdl.base.isolation import isolated_torch
from tabdl.data.table import Schema
from tabdl.training import devices
from tabdl.training.devices import (
    Precision,
    ProcessSetting,
    choose_precision,
    multiplies_bfloat16,
    threads,
)
from tabdl.training.stacking import NetworkEnsemble

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SCHEMA = Schema(("a", "b"), ("c",), (3,))
FTT, WIDE, NARROW = (
    model._build_net(SCHEMA, 1, some_rows(SCHEMA))
    for model in (
        tabdl.FTTransformerRegressor.paper_config(),
        tabdl.TabMLPRegressor(),
        tabdl.TabMLPRegressor(d_block=64),
    )
)
FLOAT32, BFLOAT16 = Precision(torch.float32), Precision(torch.float32, half=torch.bfloat16)
FLOAT16 = Precision(torch.float32, half=torch.float16)
TF32 = Precision(torch.float32, is_tf32=True)


@pytest.mark.parametrize(
    "precision, device, has_bfloat16, net, expected",
    [
        ("auto", CPU, True, FTT, BFLOAT16),
        ("auto", CPU, True, WIDE, BFLOAT16),
        ("auto", CPU, True, NARROW, FLOAT32),
        ("auto", CPU, False, FTT, FLOAT32),
        ("auto", CUDA, True, FTT, BFLOAT16),
        ("auto", CUDA, True, WIDE, TF32),
        ("auto", torch.device("mps"), True, FTT, FLOAT32),
        ("float32", CPU, True, FTT, FLOAT32),
        ("float32", CUDA, True, WIDE, FLOAT32),
        ("bfloat16", CPU, False, NARROW, BFLOAT16),
        ("float16", CPU, True, NARROW, FLOAT16),
        ("float16", CUDA, True, WIDE, FLOAT16),
        ("float64", CPU, True, FTT, Precision(torch.float64)),
    ],
)
def test_precision(precision, device, has_bfloat16, net, expected, monkeypatch):
    monkeypatch.setattr(devices, "multiplies_bfloat16", lambda device: has_bfloat16)
    assert choose_precision(precision, device, net) == expected


P100, V100, T4, A100 = (6, 0), (7, 0), (7, 5), (8, 0)


@pytest.mark.parametrize(
    "capability, for_ft_transformer, for_others",
    [
        (P100, FLOAT32, FLOAT32),
        (V100, FLOAT16, FLOAT32),
        (T4, FLOAT16, FLOAT32),
        (A100, BFLOAT16, TF32),
    ],
)
def test_16_bits_on_a_cuda_device_are_for_ft_transformer_alone(
    architecture, capability, for_ft_transformer, for_others, monkeypatch
):
    """As the documentation of ``precision`` says; a single network and several are alike."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    net = make(architecture, "Regressor")._build_net(SCHEMA, 1, some_rows(SCHEMA))
    expected = for_ft_transformer if architecture == "FTTransformer" else for_others
    assert choose_precision("auto", CUDA, net) == expected
    assert choose_precision("auto", CUDA, NetworkEnsemble([net])) == expected


def test_the_processor_is_asked():
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    assert multiplies_bfloat16(CPU) == ("avx512_bf16" in flags or "amx_bf16" in flags)


@pytest.mark.parametrize("capability, expected", [((6, 0), False), ((7, 5), False), ((8, 0), True)])
def test_a_cuda_device_is_asked(capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert multiplies_bfloat16(CUDA) == expected


def test_mps_computes_in_float32():
    assert not multiplies_bfloat16(torch.device("mps"))


@pytest.mark.parametrize("is_tf32", [True, False])
def test_tf32_is_switched_back(is_tf32):
    before = torch.get_float32_matmul_precision()
    with pytest.raises(KeyError), Precision(torch.float32, is_tf32=is_tf32).matmuls(CUDA):
        assert torch.get_float32_matmul_precision() == ("high" if is_tf32 else before)
        raise KeyError
    assert torch.get_float32_matmul_precision() == before


def test_a_setting_of_the_process_waits_for_the_last_holder():
    values = ["theirs"]
    setting = ProcessSetting(lambda: values[-1], values.append)
    first, second = setting.held_at("ours"), setting.held_at("ours")
    with first:
        with second:
            assert values == ["theirs", "ours"]
        assert values == ["theirs", "ours"]
    assert values == ["theirs", "ours", "theirs"]


def what_fits_rely_on():
    tensor = torch.empty(1, requires_grad=True)
    kinds = ("cpu", "cuda", "mps")
    return (
        (tensor * 1).requires_grad,
        tensor.is_inference(),
        tensor.dtype,
        tensor.device,
        [torch.is_autocast_enabled(kind) for kind in kinds],
    )


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    yield
    torch.set_default_device(None)


SETTINGS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "set_grad_enabled": lambda: torch.set_grad_enabled(False),
    "float64": lambda: default_dtype(torch.float64),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "set_default_device": lambda: default_device("meta"),
    "device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_settings_of_the_caller_do_not_matter(setting):
    """And they come back; also where they are set only for the prediction."""
    usual = what_fits_rely_on()
    X, y = people()
    model = make("TabResNet", "Regressor", max_epochs=2).fit(X, y)
    expected = model.predict(X)
    with SETTINGS[setting]():
        theirs = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()
        with isolated_torch():
            assert what_fits_rely_on() == usual
        np.testing.assert_array_equal(model.predict(X), expected)
        np.testing.assert_array_equal(model.fit(X, y).predict(X), expected)
        assert theirs == (
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.get_default_device(),
        )
    assert what_fits_rely_on() == usual


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "n_jobs, work, expected",
    [(None, 10**6, 1), (None, 11 * 10**6, 2), (None, 10**9, 4), (1, 10**9, 1), (3, 10, 3)],
)
def test_threads(n_jobs, work, expected, four_threads):
    with pytest.raises(KeyError), threads(n_jobs, work):
        assert torch.get_num_threads() == expected
        raise KeyError
    assert torch.get_num_threads() == 4


def test_all_cores(four_threads):
    with threads(-1, 1):
        assert torch.get_num_threads() == devices.n_cores()


@pytest.mark.parametrize("n_jobs, expected", [(1, 1), (3, 3), (None, 1)])
def test_n_jobs_of_an_estimator(n_jobs, expected, four_threads):
    """During fit; a network of 16 wide is too small for threads. A chunk of predict has one."""
    seen = []
    in_chunks = []

    class Spy(torch.nn.Identity):
        def forward(self, x):
            in_chunks.append(torch.get_num_threads())
            return x

    X, y = numbers()
    model = make(
        "TabMLP",
        "Regressor",
        n_jobs=n_jobs,
        callbacks=[lambda record: seen.append(torch.get_num_threads())],
    )
    model.fit(X, y)
    model.module_.backbone.append(Spy())
    model.predict(X)
    assert len(seen) == 5 and set(seen) == {expected} and torch.get_num_threads() == 4
    assert set(in_chunks) == {1}


FORK = """
import os, pickle, signal, sys
import numpy as np, torch
from tabdl import TabMLPRegressor
torch.set_num_threads(2)
torch.rand(1000, 1000) @ torch.rand(1000, 1000)
X = np.random.default_rng(0).normal(size=(6000, 20))
model = TabMLPRegressor(max_epochs=1, n_jobs=2, random_state=0).fit(X, X[:, 0])
expected = model.predict(X)
child = os.fork()
if not child:
    signal.alarm(40)
    same = np.allclose(model.predict(X), expected, atol=1e-4)
    same &= np.allclose(model.fit(X, X[:, 0]).predict(X), expected, atol=1e-2)
    same &= len(pickle.dumps(model)) > 100_000
    os._exit(3 if same and torch.get_num_threads() == 2 else 4)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_predicts_and_fits():
    """Its parent had two threads of OpenMP, which the child would wait for without end."""
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120)
    assert done.stdout == "3\n", done.stdout + done.stderr


@pytest.mark.two_networks
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "n_rows, n_features, batch_size",
    [(1, 3, 32), (5, 3, 32), (33, 1, 32), (40, 300, 32), (33, 3, 1)],
)
def test_odd_tables(architecture, precision, n_rows, n_features, batch_size):
    """One row, fewer rows than a batch, a last batch of one row, one feature, 300 features,
    batches of one row; a NaN row."""
    X, _ = numbers(n_rows, max(n_features, 2))
    X = X[:, :n_features].copy()
    X[-1] = np.nan
    y = np.linspace(0, 1, n_rows)
    model = make(
        architecture,
        "Regressor",
        precision=precision,
        batch_size=batch_size,
        max_epochs=2,
        early_stopping=False,
    )
    predictions = model.fit(X, y).predict(X)
    assert predictions.shape == (n_rows,) and np.isfinite(predictions).all()
    assert len(model.history_) == 2


@pytest.mark.two_networks
def test_16_bits_learn_what_float32_learns(architecture):
    X, y = numbers(400)
    scores = [
        make(architecture, "Regressor", precision=precision, max_epochs=20, lr=0.02, batch_size=64)
        .fit(X, y)
        .score(X, y)
        for precision in ("float32", "bfloat16", "float16")
    ]
    assert min(scores) > 0.8 and np.ptp(scores) < 0.05
