"""Every public name has a page and every parameter an entry; README is short, sentences too."""

import inspect
import re
import statistics
from pathlib import Path

import pytest
from conftest import public
from numpydoc.validate import validate
from sklearn.base import BaseEstimator

import tabdl
import tabdl.base
import tabdl.embeddings
import tabdl.exceptions
import tabdl.inspection
import tabdl.kaggle
import tabdl.preprocessing

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
API = (ROOT / "docs" / "api" / "index.md").read_text()
REEXPORT = [tabdl, tabdl.base, tabdl.inspection, tabdl.kaggle, tabdl.preprocessing]
DEFINE = [tabdl.embeddings, tabdl.exceptions]
MADE = {"generated", "auto_gallery", "reports"}  # what a build has left
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if not MADE & set(path.parts)),
]
# numpydoc's checks that are not asked for: longer summaries, examples of methods, the order of
# generated parameters, and a text beside the type of a result, such as self.
NOT_CHECKED = {"ES01", "EX01", "PR03", "RT03", "SA01"}
# The bases of architectures: their parameters stand on the page of each estimator.
BASES = {f"tabdl.base.{name}" for name in ("TabularEstimator", "ClassifierTask", "RegressorTask")}


def public_names(module):
    """Return the names that users import from a module."""
    return {
        name
        for name, value in vars(module).items()
        if name[0] != "_"
        and getattr(value, "__module__", "").startswith("tabdl")
        and (module in REEXPORT or (inspect.isclass(value) and value.__module__ == module.__name__))
    }


def names_with_a_page():
    """Return what the lists of the API name, by module."""
    found = {}
    for module, names in re.findall(
        r"currentmodule:: (\S+)\n\n.*?:toctree: generated\n\n(.*?)```", API, re.S
    ):
        found.setdefault(module, set()).update(names.split())
    return found


def test_every_public_name_has_a_page():
    expected = {module.__name__: public_names(module) for module in (*REEXPORT, *DEFINE)}
    assert names_with_a_page() == expected
    assert set(public(BaseEstimator)) <= expected["tabdl"]


@pytest.mark.parametrize("name", public(BaseEstimator))
def test_an_estimator_names_others_and_has_an_example(name):
    missing = {code for code, _ in validate(f"tabdl.{name}")["errors"]}
    assert not missing & {"ES01", "EX01", "SA01"}


@pytest.mark.parametrize("name", public(BaseEstimator))
def test_every_parameter_is_described(name):
    cls = getattr(tabdl, name)
    for parameter in inspect.signature(cls).parameters.values():
        entry = re.search(rf"^    {parameter.name} : (.+)\n        \w*\S", cls.__doc__, re.M)
        assert entry, parameter.name
        if parameter.default is not parameter.empty:
            assert entry[1].endswith(f", default={parameter.default!r}"), parameter.name


def public_docstrings():
    """Return the dotted names of all public functions, classes and methods.

    A method has the name of the class whose docstring it shows.
    """
    found = set()
    for module in (*REEXPORT, *DEFINE):
        for name in public_names(module):
            found.add(f"{module.__name__}.{name}")
            value = getattr(module, name)
            for method, function in inspect.getmembers(value, inspect.isroutine):
                own = getattr(function, "__module__", None) or ""
                if inspect.isclass(value) and method[0] != "_" and own.startswith("tabdl"):
                    owner = documented_in(value, method)
                    found.add(f"{owner.__module__}.{owner.__qualname__}.{method}")
    return sorted(found)


def documented_in(cls, method):
    """Return the class whose docstring a method has: an override without one inherits it."""
    has_it = [base for base in cls.__mro__ if method in vars(base)]
    return next((base for base in has_it if getattr(base, method).__doc__), has_it[0])


def test_docstrings_keep_numpydocs_rules():
    found = {
        (name, code, message)
        for name in public_docstrings()
        for code, message in validate(name)["errors"]
        if code not in NOT_CHECKED and not (code == "PR01" and name in BASES)
    }
    assert found == set()


def test_readme_is_short():
    lines = README.splitlines()
    assert len(lines) <= 120
    assert len(README.split()) <= 900
    assert lines.index("```python") < 25


def sentences(text):
    """Return the sentences of a page of Markdown, without code, tables and headings."""
    text = re.sub(r"^(```|:::).*?^(```|:::)$", "", text, flags=re.M | re.S)
    text = re.sub(r"^(\||#|!\[|<!--).*$", "", text, flags=re.M)
    text = re.sub(r"\]\([^)]*\)", "", text)
    blocks = re.split(r"\n\s*\n|^\s*(?:[-*:]|\d+\.) ", text, flags=re.M)
    found = [s for block in blocks for s in re.split(r"(?<=[.?!])\s+", block)]
    return [sentence.split() for sentence in found if len(sentence.split()) > 1]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sentences_are_short(path):
    lengths = [len(sentence) for sentence in sentences(path.read_text())]
    assert not lengths or statistics.median(lengths) <= 20


def test_sentences_are_found():
    text = (
        "# Head\nOne two. Three four five\nsix: seven eight.\n\n- nine ten\n\n```\nno\n```\n| a |\n"
    )
    assert [len(sentence) for sentence in sentences(text)] == [2, 6, 2]
