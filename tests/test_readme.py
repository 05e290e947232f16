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
PAGES_THAT_RUN = [
    "development/adding-an-architecture",
    "index",
    "getting-started",
    "guide/embeddings",
    "guide/ensembles",
    "guide/inspection",
    "guide/saving",
]


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


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{name}.md" for name in PAGES_THAT_RUN)])
def test_python_blocks(page, tmp_path, monkeypatch):
    """The blocks of a page run one after the other."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
    assert blocks
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "tabdl.base.estimator.choose_patience", lambda n_steps, lr_schedule: 1
    )  # the code, not the scores
    names = {}
    for code in blocks:
        exec(compile(code, page, "exec"), names)


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
