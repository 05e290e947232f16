"""On a CUDA device: ``python -m pytest tests/test_gpu.py``. Needs torch, scikit-learn, numpy,
pandas and narwhals only.

The harness's tests are skipped where its packages are not installed; CatBoost takes half of the
GPU's memory: not for ``-n``.
"""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import make, numbers, people, target

import tabdl
from tabdl.network.functional import dropout_mask
from tabdl.training import cuda_graphs, epoch
from tabdl.training.batches import StreamedBatches

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
    assert model.score(X, y) > (0.8 if task == "Regressor" else 0.9)
    again = make(architecture, task, device="cuda", precision=precision, max_epochs=30).fit(X, y)
    # Sums on a GPU have no fixed order, so two fits agree in what they learned, not to the bit.
    assert again.score(X, y) == pytest.approx(model.score(X, y), abs=0.05)


def test_auto_takes_the_gpu(architecture):
    X, y = people()
    assert next(
        make(architecture, "Regressor", device="auto").fit(X, y).module_.parameters()
    ).is_cuda


def test_gpu_and_cpu_agree(architecture):
    X, y = people()
    model = make(architecture, "Regressor", device="cuda", precision="float32").fit(X, y)
    on_gpu = model.predict(X)
    np.testing.assert_allclose(
        model.set_params(device="cpu").predict(X), on_gpu, rtol=1e-2, atol=1e-2
    )


def test_global_random_states_stay(architecture):
    X, y = people()
    make(architecture, "Regressor", device="cuda").fit(X, y)
    before = torch.cuda.get_rng_state(), torch.get_rng_state()
    make(architecture, "Regressor", device="cuda").fit(X, y)
    assert torch.equal(before[0], torch.cuda.get_rng_state()) and torch.equal(
        before[1], torch.get_rng_state()
    )


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


@pytest.fixture
def recorded(monkeypatch, request):
    """Return the list that every training step's recorder puts itself into."""
    if "GrowNet" in request.node.name.partition("[")[2]:
        pytest.skip("each of its stages has a recorder of its own, which sees four steps here")
    made = []

    class Spied(cuda_graphs.CUDAGraphStep):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(epoch, "CUDAGraphStep", Spied)
    return made


def no_dropout(architecture):
    """Return the parameters of an architecture that turn its dropout off."""
    return {
        name: 0.0
        for name in make(architecture, "Regressor").get_params()
        if name.endswith("dropout")
    }


def batches_of_100(architecture):
    """Return the sizes of the batches of 32 of 100 rows; RealMLP leaves what is left at the end of
    an epoch."""
    return [32] if architecture in ("RealMLP", "TabNet") else [4, 32]


@pytest.mark.filterwarnings("error")
def test_the_step_is_recorded(architecture, recorded):
    """Full batches and the last one, each as a graph of its own."""
    X, y = people(100)
    model = make(
        architecture, "Regressor", device="cuda", batch_size=32, max_epochs=8, early_stopping=False
    ).fit(X, y)
    sizes = [size * model.module_.n_batch_streams for size in batches_of_100(architecture)]
    assert sorted(shape[1] for shape in recorded[0].graphs) == sizes and recorded[0].can_record


@pytest.mark.parametrize("weighted", [False, True])
def test_a_recorded_step_is_the_eager_step(architecture, weighted, recorded, monkeypatch):
    X, y = people(100)
    weight = np.random.default_rng(0).uniform(0.5, 1.5, len(y)) if weighted else None
    parameters = {
        "device": "cuda",
        "precision": "float32",
        "batch_size": 32,
        "max_epochs": 8,
        "early_stopping": False,
    }
    predictions = []
    for warm_ups in (3, 10**9):
        monkeypatch.setattr(cuda_graphs, "_WARM_UPS", warm_ups)
        model = make(architecture, "Regressor", **parameters, **no_dropout(architecture)).fit(
            X, y, sample_weight=weight
        )
        predictions.append(model.predict(X))
    assert len(recorded[0].graphs) == len(batches_of_100(architecture)) and recorded[1].graphs == {}
    np.testing.assert_allclose(*predictions, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("architecture", ["TabMLP", "FTTransformer"])
def test_a_compiled_step_is_recorded_and_learns_the_same(architecture, recorded):
    X, y = people(100)
    parameters = {
        "device": "cuda",
        "precision": "float32",
        "batch_size": 50,
        "max_epochs": 8,
        "early_stopping": False,
    }
    models = [
        make(architecture, "Regressor", compile=c, **parameters, **no_dropout(architecture))
        for c in (False, True)
    ]
    predictions = [model.fit(X, y).predict(X) for model in models]
    assert all(len(each.graphs) == 1 for each in recorded)
    np.testing.assert_allclose(*predictions, rtol=1e-3, atol=1e-3)


CHANGING = [
    {"lr_schedule": "coslog4", "warmup_epochs": 1.5, "lr": 0.03},
    {"optimizer": "muon", "lr_schedule": "cosine"},
    {"ema_decay": 0.9},
]


@pytest.mark.parametrize("options", CHANGING)
def test_recorded_steps_follow_what_changes(architecture, options, recorded, monkeypatch):
    """The learning rate, Muon's too, and the average of the weights are those of each step, not of
    the recorded one."""
    if architecture == "NODE" and "optimizer" in options:
        pytest.skip("it has no matrix for Muon")
    X, y = people(100)
    parameters = {
        "device": "cuda",
        "precision": "float32",
        "batch_size": 32,
        "max_epochs": 8,
        "early_stopping": False,
    }
    predictions = []
    for warm_ups in (3, 10**9):
        monkeypatch.setattr(cuda_graphs, "_WARM_UPS", warm_ups)
        predictions.append(
            make(architecture, "Regressor", **parameters | no_dropout(architecture) | options)
            .fit(X, y)
            .predict(X)
        )
    assert len(recorded[0].graphs) == len(batches_of_100(architecture)) and recorded[1].graphs == {}
    # Muon's products are of bfloat16 numbers.
    tolerance = 0.05 if "optimizer" in options else 1e-3
    np.testing.assert_allclose(*predictions, rtol=tolerance, atol=tolerance)


def test_hidden_mix_is_recorded(architecture, recorded):
    X, y = people(100)
    parameters = {
        "device": "cuda",
        "batch_size": 32,
        "max_epochs": 8,
        "hidden_mix": True,
        "numeric_embedding": "piecewise",
    }
    make(architecture, "Regressor", **parameters).fit(X, y)
    assert recorded[0].graphs and recorded[0].can_record


@pytest.mark.parametrize("source", ["batch", "nearest"])
def test_noise_of_training_rows_is_recorded(architecture, recorded, source):
    X, y = people(100)
    options = {"mixup": 0.4, "swap_noise": 0.1, "feature_dropout": 0.1, "swap_noise_from": source}
    parameters = {"device": "cuda", "batch_size": 32, "max_epochs": 8}
    make(architecture, "Regressor", **parameters | options).fit(X, y)
    assert recorded[0].graphs and recorded[0].can_record


def test_each_replay_drops_others():
    device = torch.device("cuda")
    like, generator = torch.zeros(100, 1000, device=device), torch.Generator(device)

    def masks():
        generator.manual_seed(0)
        out = torch.zeros_like(like)
        replayed = cuda_graphs.CUDAGraphStep(
            lambda index: out.copy_(dropout_mask(like, 2**14, (generator,))), device, [generator]
        )
        seen = []
        for _ in range(8):
            replayed(torch.zeros(1, 1, device=device))
            seen.append(out.cpu().clone())
        assert replayed.graphs
        return seen

    first, again = masks(), masks()
    for i, mask in enumerate(first):
        assert mask.mean().item() == pytest.approx(0.75, abs=0.01)
        assert torch.equal(mask, again[i])
        assert all(not torch.equal(mask, other) for other in first[:i])


def test_what_cannot_be_recorded_runs_on_with_one_warning(monkeypatch, recorded):
    X, y = people(100)
    step = epoch.EpochRunner._step

    def waits(self, index):
        self.total.sum().item()  # no graph can hold a wait for the host
        step(self, index)

    monkeypatch.setattr(epoch.EpochRunner, "_step", waits)
    with pytest.warns(UserWarning, match="cannot be recorded as a CUDA graph") as caught:
        model = make("TabMLP", "Regressor", device="cuda", max_epochs=30, lr=1e-2).fit(X, y)
    assert len(caught) == 1 and not recorded[0].can_record and model.score(X, y) > 0.5


def test_streamed_rows_train_as_resident_rows(architecture, monkeypatch):
    X, y = people(300)
    parameters = {
        "device": "cuda",
        "precision": "float32",
        "batch_size": 32,
        "max_epochs": 8,
        "early_stopping": False,
    }
    predictions = []
    for streams in (False, True):
        if streams:
            monkeypatch.setattr(
                epoch,
                "make_batches",
                lambda tables, device, batch_size: StreamedBatches(tables, device, 3 * batch_size),
            )
        model = make(architecture, "Regressor", **parameters, **no_dropout(architecture)).fit(X, y)
        predictions.append(model.predict(X))
    np.testing.assert_allclose(*predictions, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "n_rows, n_features, batch_size",
    [(1, 3, 32), (5, 3, 32), (33, 1, 32), (40, 1024, 32), (33, 3, 1)],
)
def test_odd_tables(architecture, n_rows, n_features, batch_size):
    X, _ = numbers(n_rows, max(n_features, 2))
    X, y = X[:, :n_features].copy(), np.linspace(0, 1, n_rows)
    X[-1] = np.nan
    model = make(
        architecture,
        "Regressor",
        device="cuda",
        batch_size=batch_size,
        max_epochs=6,
        early_stopping=False,
    )
    assert np.isfinite(model.fit(X, y).predict(X)).all()


def test_an_interrupted_fit_leaves_nothing_behind(architecture):
    X, y = people(100)

    def interrupt(record):
        if record["epoch"] == 5:
            raise KeyboardInterrupt

    make(architecture, "Regressor", device="cuda", max_epochs=8).fit(X, y)
    torch.cuda.synchronize()
    before = (
        torch.cuda.memory_allocated(),
        torch.get_float32_matmul_precision(),
        torch.is_autocast_enabled("cuda"),
    )
    for _ in range(3):
        with pytest.warns(UserWarning, match="interrupted after epoch 5"):
            model = make(
                architecture, "Regressor", device="cuda", max_epochs=8, callbacks=[interrupt]
            ).fit(X, y)
        model.set_params(callbacks=None).fit(X, y)
        del model
    assert (
        torch.cuda.memory_allocated(),
        torch.get_float32_matmul_precision(),
        torch.is_autocast_enabled("cuda"),
    ) == before


def test_members_train_together(architecture):
    """The first member of several is the one that trains alone.

    In float64: where batch normalisation takes a bias out again, AdamW makes steps of what rounding
    leaves of its gradient.
    """
    X, y = people(300)
    parameters = {
        "device": "cuda",
        "precision": "float64",
        "max_epochs": 6,
        "early_stopping": False,
    }
    parameters |= no_dropout(architecture)
    alone = make(architecture, "Regressor", **parameters).fit(X, y)
    model = make(architecture, "Regressor", n_members=3, **parameters).fit(X, y)
    several = model.predict(X)
    model.module_ = model.module_.nets[0]
    np.testing.assert_allclose(model.predict(X), alone.predict(X), rtol=1e-3, atol=1e-3)
    assert not np.allclose(several, alone.predict(X), rtol=1e-3)


def test_folds_share_one_table_on_the_device(architecture, task):
    X, y = people(300)
    y = target(y - 3, task)
    kind = (
        tabdl.CrossValEnsembleClassifier
        if task == "Classifier"
        else tabdl.CrossValEnsembleRegressor
    )
    model = kind(make(architecture, task, device="cuda", max_epochs=30), cv=4, random_state=0).fit(
        X, y
    )
    assert all(next(fitted.module_.parameters()).is_cuda for fitted in model.estimators_)
    assert (
        model.score(X, y) > (0.7 if task == "Regressor" else 0.9)
        and not np.isnan(model.oof_prediction_).any()
    )


def test_folds_on_the_device_are_calibrated(architecture):
    X, y = people(300)
    estimator = make(architecture, "Classifier", device="cuda", max_epochs=30, calibrate=True)
    model = tabdl.CrossValEnsembleClassifier(estimator, cv=4, random_state=0).fit(
        X, target(y - 3, "Classifier")
    )
    assert all(0.05 < fitted.temperature_ < 20 for fitted in model.estimators_)


def test_folds_cost_their_parameters_not_tables():
    X = np.random.default_rng(0).normal(size=(100_000, 100)).astype(np.float32)
    # Numbers as they are: the piecewise encodings of a batch are as much as a tenth of such a
    # table, for each fold.
    estimator = make(
        "TabMLP", "Regressor", device="cuda", max_epochs=2, batch_size=1024, numeric_embedding=None
    )
    peaks = []
    for n_folds in (2, 8):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        tabdl.CrossValEnsembleRegressor(estimator, cv=n_folds, random_state=0).fit(X, X[:, 0])
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] - peaks[0] < X.nbytes


@pytest.mark.parametrize("dataset", ["smoke_housing", "smoke_adult"])
@pytest.mark.parametrize("model", ["xgboost", "xgboost-native", "catboost"])
def test_boosted_trees_of_the_harness(model, dataset, tmp_path):
    pytest.importorskip(model.split("-")[0])
    pytest.importorskip("optuna")
    from benchmarks.runs.evaluate import evaluate
    from benchmarks.runs.results import Experiment
    from benchmarks.tables.datasets import Source

    reports = [
        evaluate(
            Experiment(Source(dataset), model, "default", device, None, str(tmp_path / device)), 0
        )
        for device in ("cpu", "cuda:0")
    ]
    assert [report["device"] for report in reports] == ["cpu", "cuda"]
    on_cpu, on_gpu = (report["metrics"]["test"]["score"] for report in reports)
    assert on_gpu == pytest.approx(on_cpu, abs=0.1)


@pytest.mark.parametrize(
    "how", [["--workers", "2"], ["--executor", "ray", "--gpus", "0.5"], ["--executor", "ray"]]
)
@pytest.mark.parametrize("model", ["mlp", "catboost"])
def test_runs_of_the_harness_share_the_gpu(how, model, tmp_path):
    pytest.importorskip("optuna")
    if "ray" in how:
        pytest.importorskip("ray")
    if model == "catboost":
        pytest.importorskip("catboost")
    command = [
        sys.executable,
        "-m",
        "benchmarks.run",
        "evaluate",
        "--datasets",
        "smoke_adult",
        "--models",
        model,
    ]
    command += ["--seeds", "0", "1"]
    done = subprocess.run(
        [*command, "--device", "cuda", "--out", tmp_path, *how],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reports = [json.loads(path.read_text()) for path in tmp_path.rglob("report.json")]
    assert [report["device"] for report in reports] == ["cuda", "cuda"]
