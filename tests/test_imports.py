"""What imports what: declared packages only, one direction inside, nothing optional at import, and
a bare install that works."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import NETWORKS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULE_OF = {"scikit-learn": "sklearn", "scikit-posthocs": "scikit_posthocs"}
# Each room imports only from those before it, and from itself.
FLOORS = [
    {"exceptions", "params", "devices", "progress"},
    {"data", "network"},
    {"embeddings", "training"},
    {"tasks"},
    {"base_params"},
    {"base"},
    {"models", "ensemble"},
    {"__init__"},
]
# What the speed benchmark compares with, where it is installed.
PUBLIC = {"tabdl.devices", "tabdl.embeddings"}
OPPONENTS = {
    "rtdl_revisiting_models",
    "rtdl_num_embeddings",
    "tabm",
    "pytabkit",
    "deeptab",
    "skorch",
}
KNOW_NO_SKLEARN = {"network", "training", "params", "devices"}


def packages(requirements):
    names = [re.match(r"[\w-]+", requirement).group() for requirement in requirements]
    return {MODULE_OF.get(name, name) for name in names}


def imports(path, top_level_only=False):
    """Return the dotted names that a file imports."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return names + [node.module for node in nodes if isinstance(node, ast.ImportFrom)]


def files(folder):
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def outside(names):
    tops = {name.split(".")[0] for name in names}
    return tops - set(sys.stdlib_module_names) - {"tabdl", "benchmarks"}


def test_every_import_is_declared():
    core, bench = (
        packages(PROJECT["dependencies"]),
        packages(PROJECT["optional-dependencies"]["bench"]),
    )
    test = packages(PROJECT["optional-dependencies"]["test"])
    for path in files("tabdl"):
        assert outside(imports(path, top_level_only=True)) <= core, path
        assert outside(imports(path)) <= core | {"rich"}, path
    for path in files("benchmarks"):
        assert outside(imports(path)) <= core | bench | OPPONENTS | {"ray"}, path
    for path in files("tests"):
        assert outside(imports(path)) <= core | bench | test | {"conftest"}, path


def room(module):
    """Return the room of tabdl that a dotted name stands in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def test_imports_go_one_way():
    floor_of = {name: depth for depth, floor in enumerate(FLOORS) for name in floor}
    for path in files("tabdl"):
        own = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for imported in imports(path):
            assert not imported.startswith("benchmarks"), path
            if imported.startswith("tabdl."):
                other = room(imported)
                assert other == own or floor_of[other] < floor_of[own], f"{path} imports {imported}"
            if imported.startswith("sklearn"):
                assert own not in KNOW_NO_SKLEARN, path


def test_benchmarks_use_public_names():
    for path in files("benchmarks"):
        private = [
            name for name in imports(path) if name.startswith("tabdl.") and name not in PUBLIC
        ]
        assert private == [], path


def test_import_loads_nothing_heavy():
    script = (
        "import sys, torch, sklearn.base, pandas; before = set(sys.modules); import "
        "tabdl; print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name for name in done.stdout.split() if not name.startswith("tabdl")}
    assert loaded <= {
        "sklearn.utils._unique",
        "sklearn.utils.multiclass",
        "sklearn.utils.metaestimators",
    }, loaded


def test_constraints_pin_every_dependency():
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.M))
    declared = PROJECT["dependencies"] + [
        r for extra in PROJECT["optional-dependencies"].values() for r in extra
    ]
    assert {re.match(r"[\w-]+", requirement).group() for requirement in declared} <= pinned
    assert "torch==2.13.0\n" in (ROOT / "constraints.txt").read_text()


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="constraints.txt holds versions for Python 3.11"
)
def test_bare_install(tmp_path):
    """The package alone, with no extra, in an environment of its own: it imports, fits a table and
    pickles."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", ROOT]
    done = subprocess.run(install, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    script = (
        f"NETWORKS = {NETWORKS}\n"
        + """
import pickle, sys
import pandas as pd
import tabdl
X = pd.DataFrame({"a": range(60), "b": ["x", "y", None] * 20, "t": pd.date_range("2020-01-01",
periods=60)}) for name in NETWORKS:
    y = X["a"] % 2 if name.endswith("Classifier") else X["a"]
    model = getattr(tabdl, name)(n_blocks=1, d_block=8, max_epochs=2, verbose=1).fit(X, y)
    assert pickle.loads(pickle.dumps(model)).predict(X).shape == (60,)
assert not {"rich", "polars", "pyarrow", "matplotlib", "optuna"} & set(sys.modules)
print("ok", tabdl.__version__)
"""
    )
    done = subprocess.run(
        [python, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.stdout.endswith(f"ok {__import__('tabdl').__version__}\n"), done.stderr
