"""What imports what: declared packages only, one direction inside, nothing optional at import or
in a fit."""

import ast
import contextlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from conftest import NETWORKS
from structure import box_of, imported_modules, read_arrows

import tabdl

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULE_OF = {
    "scikit-learn": "sklearn",
    "scikit-posthocs": "scikit_posthocs",
    "Jinja2": "jinja2",
    "markdown-it-py": "markdown_it",
}
# The rooms of tabdl/, and the modules beside them. Each imports only from itself and from lines
# above its own; those of one line know nothing of each other.
FLOORS = [
    ["exceptions", "params", "data", "network", "preprocessing"],
    ["embeddings", "training", "tasks"],
    ["base"],
    ["models", "ensemble", "inspection"],
    ["persistence"],
    ["__init__"],
    ["kaggle"],
]
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}
KNOW_NO_SKLEARN = {"network", "training", "params", "exceptions"}
WITH_A_TREE = ROOT / "tabdl" / "network" / "bins.py"  # bins by scikit-learn's decision tree
# The public modules of tabdl beside the package itself.
PUBLIC = {
    "tabdl.base",
    "tabdl.embeddings",
    "tabdl.inspection",
    "tabdl.kaggle",
    "tabdl.kaggle.files",
    "tabdl.kaggle.trees",
    "tabdl.preprocessing",
    "tabdl.training.devices",
}
# The rooms that users import from; as the package itself, each re-exports its public names alone.
PUBLIC_ROOMS = {"base", "inspection", "kaggle", "preprocessing"}
# What a room imports when it is used.
WHEN_USED = {"rich", "matplotlib"}
# The extra that pins an older pandas than constraints.txt has, for an environment of its own.
OF_ITS_OWN = "autogluon"
# What benchmarks compare with, where it is installed.
OPPONENTS = {
    "autogluon",
    "rtdl_revisiting_models",
    "rtdl_num_embeddings",
    "tabm",
    "pytabkit",
    "deeptab",
    "onnxruntime",
    "skorch",
}


def packages(requirements):
    names = [re.match(r"[\w-]+", requirement).group() for requirement in requirements]
    return {MODULE_OF.get(name, name) for name in names}


def imports(path, top_level_only=False):
    """Return the dotted names that a file imports."""
    tree = ast.parse(path.read_text())
    if not top_level_only:
        return imported_modules(tree)
    statements = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return imported_modules(ast.Module(statements, type_ignores=[]))


def files(folder):
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def outside(names):
    tops = {name.split(".")[0] for name in names}
    return tops - set(sys.stdlib_module_names) - {"tabdl", "benchmarks"}


def test_every_import_is_declared():
    core = packages(PROJECT["dependencies"])
    bench = core | packages(PROJECT["optional-dependencies"]["bench"])
    test = packages(PROJECT["optional-dependencies"]["test"])
    docs = packages(PROJECT["optional-dependencies"]["docs"])
    kaggle = packages(PROJECT["optional-dependencies"]["kaggle"])
    autogluon = packages(PROJECT["optional-dependencies"][OF_ITS_OWN])
    for path in files("tabdl"):
        # Models of AutoGluon inherit from its class; nothing of tabdl imports their module.
        first = core | autogluon if path.name == "autogluon.py" else core
        assert outside(imports(path, top_level_only=True)) <= first, path
        more = kaggle if "kaggle" in path.relative_to(ROOT).parts else WHEN_USED
        assert outside(imports(path)) <= first | more, path
        assert "tabdl.kaggle.autogluon" not in imports(path), path
    for path in files("benchmarks"):
        assert outside(imports(path)) <= bench | OPPONENTS | {"ray"}, path
    beside = {path.stem for path in files("tests")}  # such as conftest
    for path in files("tests"):
        assert outside(imports(path)) <= bench | test | docs | autogluon | beside, path


@pytest.fixture(scope="module")
def arrows():
    return read_arrows()


def test_every_room_has_a_floor(arrows):
    assert set(arrows) == set(FLOOR_OF)


@pytest.mark.parametrize("room", FLOOR_OF)
def test_imports_go_one_way(room, arrows):
    above = {other for other in FLOOR_OF if FLOOR_OF[other] < FLOOR_OF[room]}
    assert arrows[room] <= above


def test_tabdl_knows_no_benchmarks_and_few_rooms_know_sklearn():
    for path in files("tabdl"):
        packages_used = {name.split(".")[0] for name in imports(path)}
        assert "benchmarks" not in packages_used, path
        room = path.relative_to(ROOT / "tabdl").with_suffix("").parts[0]
        if room in KNOW_NO_SKLEARN and path != WITH_A_TREE:
            assert "sklearn" not in packages_used, path


def test_one_name_has_one_address():
    """Only the package itself and public rooms re-export, public names alone; the ``__init__`` of
    other rooms are empty."""
    for path in files("tabdl"):
        if path.name == "__init__.py" and path.parent != ROOT / "tabdl":
            if path.parent.name in PUBLIC_ROOMS:
                names = [
                    alias for node in ast.parse(path.read_text()).body[1:] for alias in node.names
                ]
                assert all(alias.asname == alias.name and alias.name[0] != "_" for alias in names)
            else:
                assert path.read_text() == "", path
    tree = ast.parse((ROOT / "tabdl" / "__init__.py").read_text())
    exported = [a for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names]
    assert all(alias.asname == alias.name for alias in exported)
    assert {alias.name for alias in exported} == public_names()


def public_names():
    return {
        name
        for name, value in vars(tabdl).items()
        if not name.startswith("_") and not isinstance(value, type(sys))
    }


def test_benchmarks_use_public_names():
    for path in files("benchmarks"):
        used = {name for name in imports(path) if box_of(name) != "__init__"}
        private = {name for name in used if name.startswith("tabdl.")} - PUBLIC
        assert private == set(), path


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
        requirement
        for name, extra in PROJECT["optional-dependencies"].items()
        if name != OF_ITS_OWN
        for requirement in extra
    ]
    assert {re.match(r"[\w-]+", requirement).group() for requirement in declared} <= pinned
    assert "torch==2.13.0\n" in (ROOT / "constraints.txt").read_text()


def with_what_they_need(requirements, found=()):
    """Return the distributions of requirements, without extras."""
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement).group()
        if name in found or "extra ==" in requirement:
            continue
        with contextlib.suppress(PackageNotFoundError):  # of another system or Python
            needs = distribution(name).requires or []
            found = with_what_they_need(needs, (*found, name))
    return found


def test_no_extra_is_needed(tmp_path):
    """Beside the declared dependencies and what these need, with no other package: it imports, fits
    a table and pickles."""
    for name in with_what_they_need(PROJECT["dependencies"]):
        for top in {path.parts[0] for path in distribution(name).files} - {"..", "__pycache__"}:
            if not (tmp_path / top).exists():
                (tmp_path / top).symlink_to(distribution(name).locate_file(top))
    script = f"""
import importlib.util, pickle, sys
import pandas as pd
import tabdl
X = pd.DataFrame({{"a": range(60), "b": ["x", "y", None] * 20}})
X["t"] = pd.date_range("2020-01-01", periods=60)
for name in {NETWORKS}:
    y = X["a"] % 2 if name.endswith("Classifier") else X["a"]
    model = getattr(tabdl, name)(n_blocks=1, d_block=8, max_epochs=2, verbose=1).fit(X, y)
    assert pickle.loads(pickle.dumps(model)).predict(X).shape == (60,)
assert not any(map(importlib.util.find_spec, ("rich", "polars", "pyarrow", "optuna", "pytest")))
print("ok", tabdl.__version__)
"""
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.stdout.endswith(f"ok {tabdl.__version__}\n"), done.stderr
