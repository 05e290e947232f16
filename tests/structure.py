"""The structure of ``tabdl/``, read from its imports: boxes, floors and arrows.

``python tests/structure.py`` prints them, the highest floor first. A box is a module or a
folder at the top of ``tabdl/``; an arrow leads from a box to another one that it imports from. The
floor of a box is the length of the longest chain of arrows down from it.
"""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "tabdl"


def imported_modules(tree: ast.AST) -> list[str]:
    """Return the dotted names of the modules that a syntax tree imports, inside functions too."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append("." * node.level + (node.module or ""))
    return names


def box_of(module: str) -> str:
    """Return the box of a dotted name of tabdl: ``"tabdl.data.table"`` stands in ``"data"``.

    The package itself is the box ``"__init__"``.
    """
    return module.partition(".")[2].partition(".")[0] or "__init__"


def read_arrows(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Return the boxes that each box of ``package`` imports from, without itself."""
    arrows: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        box = path.relative_to(package).with_suffix("").parts[0]
        modules = imported_modules(ast.parse(path.read_text()))
        targets = {box_of(name) for name in modules if name.split(".")[0] == package.name}
        arrows.setdefault(box, set()).update(targets - {box})
    return arrows


def number_floors(arrows: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of each box, from 1 for boxes that import from no other.

    Raises
    ------
    graphlib.CycleError
        When arrows go in a circle; the error names the boxes.
    """
    floors: dict[str, int] = {}
    for box in TopologicalSorter(arrows).static_order():
        floors[box] = 1 + max((floors[target] for target in arrows[box]), default=0)
    return floors


def describe(arrows: dict[str, set[str]]) -> str:
    """Return a line for each box, the highest floor first, and a line of the three counts."""
    floors = number_floors(arrows)
    lines = [
        f"{floors[box]}  {box:<12} {', '.join(sorted(arrows[box]))}".rstrip()
        for box in sorted(arrows, key=lambda box: (-floors[box], box))
    ]
    n_arrows = sum(map(len, arrows.values()))
    counts = f"{len(arrows)} boxes, {max(floors.values())} floors, {n_arrows} arrows"
    return "\n".join(["floor, box, imports from", *lines, counts])


if __name__ == "__main__":
    print(describe(read_arrows()))
