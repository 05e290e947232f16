"""What ``verbose`` prints: nothing by default, plain lines in a pipe, a live line in a terminal."""

import os
import pty
import re
import subprocess
import sys

import pytest
from conftest import make, numbers

from tabdl.base.progress import progress

SCRIPT = """
import numpy as np, tabdl
X = np.random.default_rng(0).normal(size=(100, 2))
tabdl.TabMLPRegressor(n_blocks=1, d_block=8, max_epochs=3, verbose=VERBOSE, random_state=0).fit(X,
X[:, 0])
"""


@pytest.mark.parametrize("verbose, n_lines", [(0, 0), (1, 3), (2, 3)])
def test_plain_lines(verbose, n_lines, capsys):
    X, y = numbers()
    make("TabMLP", "Regressor", verbose=verbose, max_epochs=3).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == n_lines
    for epoch, line in enumerate(lines, 1):
        assert re.fullmatch(
            (
                rf"TabMLPRegressor: epoch {epoch}, train loss [\d.]+, val loss [\d.]+, val score "
                rf"-[\d.]+, [\d.]+ s"
            ),
            line,
        )


@pytest.mark.parametrize("n_members", [1, 40])
def test_at_most_some_thirty_lines(n_members, capsys):
    record = {"train_loss": 1.0, "val_loss": None, "seconds": 0.1}
    with progress("Title", 1, 500, n_members) as [callback]:
        for epoch in range(1, 301):
            for member in range(n_members):
                callback(record | {"epoch": epoch, "member": member})
    lines = capsys.readouterr().out.splitlines()
    assert 20 <= len(lines) <= 31 and "epoch 1," in lines[0] and "epoch 300," in lines[-1]


def test_a_live_line_in_a_terminal():
    pytest.importorskip("rich")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("VERBOSE", "1")],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0, done.stderr
    assert "TabMLPRegressor: epoch 3" in shown and "\x1b[" in shown
    assert shown.count("\n") < 3  # one line, drawn again and again
