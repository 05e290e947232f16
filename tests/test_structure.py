"""The structure of tabdl stays small, and private names stay in their modules."""

import ast
from pathlib import Path

import pytest
from structure import describe, imported_modules, number_floors, read_arrows

ROOT = Path(__file__).parent.parent
# Private names of other packages that have no public counterpart.
ACCEPTED = {
    "_BaseComposition",  # scikit-learn: named members as parameters, as in its own ensembles
    "_iter_column_arrays",  # pandas: arrays of a frame; a Series a column takes 10 times as long
    "_reset_parameters",  # torch: how nn.MultiheadAttention spells reset_parameters
    "_safe_indexing",  # scikit-learn: rows of any table that its own ensembles accept
    "_score_func",  # scikit-learn: the metric below a scorer
    "_softmax_backward_data",  # torch: the gradient of softmax without its output's graph
    "_task_model",  # DeepTab: the network that a benchmark counts
}


def test_boxes_floors_and_arrows_are_few():
    arrows = read_arrows()
    assert len(arrows) <= 16, describe(arrows)
    assert max(number_floors(arrows).values()) <= 7, describe(arrows)
    assert sum(map(len, arrows.values())) <= 40, describe(arrows)


def test_floors_are_the_longest_chains(tmp_path):
    package = tmp_path / "tabdl"
    (package / "room").mkdir(parents=True)
    (package / "low.py").write_text("import os\n")
    (package / "room" / "inner.py").write_text(
        "from tabdl.low import name\nfrom tabdl.room.other import name\n"
    )
    (package / "room" / "other.py").write_text("def f():\n    import tabdl.low\n")
    (package / "__init__.py").write_text("from tabdl.low import name\nimport tabdl.room.inner\n")
    arrows = read_arrows(package)
    assert arrows == {"low": set(), "room": {"low"}, "__init__": {"low", "room"}}
    assert number_floors(arrows) == {"low": 1, "room": 2, "__init__": 3}
    assert describe(arrows).splitlines()[1:3] == [
        "3  __init__     low, room",
        "2  room         low",
    ]
    assert describe(arrows).endswith("3 boxes, 3 floors, 3 arrows")


def test_no_relative_imports():
    for path in (ROOT / "tabdl").rglob("*.py"):
        assert not [m for m in imported_modules(ast.parse(path.read_text())) if m[:1] == "."], path


# --- private names


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def defined_names(tree):
    """Return the names that a module gives to functions, methods, classes, variables and
    attributes of ``self`` or ``cls``."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.update({node.attr} if is_own(node.value) else ())
    return names


def is_own(node):
    """Return whether a syntax node is self, cls or super()."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def foreign_private_names(source):
    """Return the private names that a module's source uses and that belong to another module."""
    tree = ast.parse(source)
    imported, used = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute) and not is_own(node.value):
            used.add(node.attr)
        elif isinstance(node, ast.Call) and not (node.args and is_own(node.args[0])):
            used.update(attribute_by_text(node))
    return set(filter(is_private, imported | (used - defined_names(tree))))


def attribute_by_text(call):
    """Return the name in a call such as ``getattr(thing, "name")``, in a list."""
    functions = ("getattr", "setattr", "hasattr", "delattr", "attrgetter", "methodcaller")
    if ast.unparse(call.func).rpartition(".")[2] not in functions:
        return []
    return [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]


@pytest.mark.parametrize("folder", ["tabdl", "benchmarks"])
def test_private_names_stay_in_their_modules(folder):
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / folder).rglob("*.py")
        for name in foreign_private_names(path.read_text()) - ACCEPTED
    }
    assert found == set()


def test_private_names_are_found():
    source = """
from tabdl.other import _imported, public
class A(public):
    _field = 1
    def f(self, thing):
        self._set = super()._inherited + self._inherited + thing._set + thing._field
        return thing._foreign, thing.part._deep, getattr(thing, "_text"), thing.__dict__
"""
    assert foreign_private_names(source) == {"_imported", "_foreign", "_deep", "_text"}
