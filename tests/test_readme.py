"""README.md and the docstrings: their examples run, their two commands are there."""

import doctest
import re
import subprocess
from pathlib import Path

import pytest
from conftest import public
from sklearn.base import BaseEstimator

import tabdl

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def command(name):
    found = re.search(rf"^<!-- newcomer: {name} -->\n```sh\n([^\n]+)\n```$", README, re.M)
    assert found, f"README.md has no one-line command marked 'newcomer: {name}'"
    return found.group(1)


def test_commands():
    assert command("run").endswith("-m benchmarks.run")
    assert " -m pytest" in command("test")


def test_ci_runs_the_test_command():
    script = (ROOT / ".ci" / "run").read_text().replace('bash -c "$command"', 'echo "$command"')
    done = subprocess.run(
        ["bash", "-c", script.replace('"$(dirname "$0")/.."', f"'{ROOT}'")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == command("test")


@pytest.mark.parametrize("code", re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S))
def test_python_blocks(code, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(
        "tabdl.base.estimator.choose_patience", lambda n_steps, lr_schedule: 1
    )  # the code, not the scores
    exec(compile(code, "README.md", "exec"), {})


def test_there_is_a_quick_start():
    assert "```python\n" in README


def test_links_lead_to_files():
    for target in re.findall(r"\]\((?!https?://|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("name", [*public(BaseEstimator), "greedy_weights"])
def test_docstring_examples(name):
    cls = getattr(tabdl, name)
    tests = [
        test
        for test in doctest.DocTestFinder(recurse=False).find(cls, name, globs={})
        if test.examples
    ]
    assert len(tests) == 1
    assert doctest.DocTestRunner().run(tests[0]).failed == 0
