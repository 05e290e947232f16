"""What ``verbose`` prints: nothing by default, plain lines in a pipe, a live line in a terminal."""

import os
import pty
import re
import subprocess
import sys

import pytest
from conftest import make, numbers

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
