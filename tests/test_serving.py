"""The service of docs/guide/serving.md under load, and predictions in forked processes."""

import contextlib
import json
import os
import pickle
import runpy
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

from tabdl.base import fitted as base

FOLDER = Path(__file__).parent.parent / "docs" / "examples" / "serve"
N_CLIENTS = 50


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the path of the model, the model and rows to predict."""
    script = runpy.run_path(str(FOLDER / "train.py"))
    path = tmp_path_factory.mktemp("serve") / "model.pkl"
    script["main"](path)
    X, _ = script["make_table"](N_CLIENTS, seed=1)
    X.loc[7, "city"] = "Zug"
    return path, pickle.loads(path.read_bytes()), X


@contextlib.contextmanager
def running_service(path):
    """Start the service with two workers, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(FOLDER)]
    service = subprocess.Popen(
        [*command, "--port", str(port), "--workers", "2", "--log-level", "warning"],
        env={**os.environ, "TABDL_MODEL": str(path), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, service)
        yield address
    finally:
        service.terminate()
        service.wait(30)


def wait_for(address, service):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and service.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{address}/health").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError("the service did not start")


def records(X):
    """Return the rows as a client sends them, without what is missing."""
    rows = json.loads(X.to_json(orient="records"))
    return [{k: value for k, value in row.items() if value is not None} for row in rows]


def test_fifty_clients_get_the_answers_of_the_notebook(trained):
    path, model, X = trained
    expected = model.predict_proba(X)
    rows = records(X)
    start = threading.Barrier(N_CLIENTS)
    with running_service(path) as address:

        def ask(i):
            with httpx.Client(timeout=60) as client:
                start.wait(60)
                answers = [client.post(f"{address}/predict", json=rows[i : i + n]) for n in (1, 3)]
            assert all(answer.status_code == 200 for answer in answers)
            return [answer.json()["probabilities"] for answer in answers]

        with ThreadPoolExecutor(N_CLIENTS) as pool:
            answers = list(pool.map(ask, range(N_CLIENTS)))
        wrong = httpx.post(f"{address}/predict", json=[{"age": "old"}])
        unknown = httpx.post(f"{address}/predict", json=[{"agee": 3}])
    for i, (one, three) in enumerate(answers):
        np.testing.assert_allclose(one, expected[i : i + 1], rtol=1e-12)
        np.testing.assert_allclose(three, expected[i : i + 3], rtol=1e-12)
    assert wrong.status_code == unknown.status_code == 422
    assert "column 'age'" in wrong.json()["detail"] and "agee" in unknown.json()["detail"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_workers(trained):
    """As gunicorn with preload_app does: the parent fits and predicts, the children predict."""
    _, model, X = trained
    expected = model.predict_proba(X)
    children = [fork(lambda: predict_in_threads(model, X)) for _ in range(3)]
    for child, reading in children:
        with os.fdopen(reading, "rb") as pipe:
            answers = pickle.loads(pipe.read())
        assert os.waitpid(child, 0)[1] == 0
        for answer in answers:
            np.testing.assert_array_equal(answer, expected)


def predict_in_threads(model, X):
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda _: model.predict_proba(X), range(8)))


def fork(function):
    """Run a function in a child; return its number and where its pickled result can be read."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(pickle.dumps(function()))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    return child, reading


@pytest.mark.parametrize("make_frame", [lambda X: X, pl.from_pandas], ids=["pandas", "polars"])
def test_blocks_are_the_whole(make_frame, trained, monkeypatch):
    _, model, X = trained
    expected = model.predict_proba(X)
    monkeypatch.setattr(base, "_FEWEST_BLOCK_ROWS", 1)
    monkeypatch.setattr(base, "_MOST_BLOCK_ROWS", 7)
    np.testing.assert_allclose(model.predict_proba(make_frame(X)), expected, rtol=1e-12)
    np.testing.assert_array_equal(model.predict(make_frame(X)), model.classes_[expected.argmax(1)])
    wrong = X.assign(age=X["age"].astype(object))
    wrong.loc[40, "age"] = "old"
    with pytest.raises(ValueError, match=r"column 'age' held numbers .* 'old' in row 40"):
        model.predict(wrong)
