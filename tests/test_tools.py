"""Ruff and pyright have nothing to say."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import public
from sklearn.base import BaseEstimator

ROOT = Path(__file__).parent.parent
SCRIPT = "tests/user_script.py"
FOLDERS = ["tabdl", "benchmarks", "tests", "tools", "docs"]
COMMANDS = {
    "ruff check": ["ruff", "check", *FOLDERS],
    "ruff format": ["ruff", "format", "--check", *FOLDERS],
    # Basic, as is the default. One call for both: most of its time goes into torch's types.
    "pyright": ["pyright", "--pythonpath", sys.executable, "tabdl", SCRIPT],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_tool(name):
    command = [sys.executable, "-m", *COMMANDS[name]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_script_uses_all_that_is_public():
    tree = ast.parse((ROOT / SCRIPT).read_text())
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert {*public(BaseEstimator), "greedy_weights"} <= called
