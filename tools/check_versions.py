"""Run the tests that depend most on other packages, with the lowest or the newest versions of them.

``python tools/check_versions.py lowest`` takes the minimums of pyproject.toml, and
``python tools/check_versions.py newest --python python3.13`` what pip finds. Both make a virtual
environment of their own; pip's settings (its index, for example) hold for it. The last line is a
row for the table of versions in CONTRIBUTING.md.
"""

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
# About ten minutes on one core.
TESTS = (
    "tests/test_golden.py",
    "tests/models/test_fidelity.py",
    "tests/network",
    "tests/data",
    "tests/tasks",
    "tests/test_sklearn_contract.py",
)
# Packages of the extra "test" that these tests do not import.
UNUSED = {"ruff", "pyright", "ray", "psycopg", "pytest-xdist"}
REPORTED = ("torch", "numpy", "pandas", "scikit-learn", "narwhals", "scipy", "polars", "pyarrow")


def name_of(requirement: str) -> str:
    """Return the package's name, without extras and versions."""
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return found.group()


def lowest(requirement: str) -> str:
    """Return ``name==version`` for ``name>=version``.

    Raises
    ------
    ValueError
        When the requirement has another form.
    """
    found = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement)
    if not found:
        raise ValueError(f"pyproject.toml: {requirement!r} is not of the form 'name>=version'.")
    return f"{found[1]}=={found[2]}"


def requirements(which: str) -> list[str]:
    """Return what pip shall install; ``which`` is "lowest" or "newest"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = project["dependencies"]
    tests = project["optional-dependencies"]["test"]
    own = [lowest(r) for r in own] if which == "lowest" else own
    return own + [r for r in tests if name_of(r) not in UNUSED]


def make_environment(folder: Path, interpreter: str, packages: list[str]) -> Path:
    """Return the Python of a virtual environment in ``folder`` that holds ``packages``."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return python


def run_tests(python: Path, arguments: list[str]) -> str:
    """Run pytest in the project's folder, and return the last line that it prints."""
    last = ""
    # scikit-learn 1.9.0 gives pytest a generator of checks, of which newer versions of pytest warn.
    warnings = ["-W", "ignore::pytest.PytestRemovedIn10Warning"]
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *warnings, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return last.strip("= ")


def versions(python: Path) -> list[str]:
    """Return the versions of Python and of the packages that the table reports."""
    script = (
        "import platform, sys; from importlib.metadata import version; "
        "print(platform.python_version(), *map(version, sys.argv[1:]))"
    )
    command = [python, "-c", script, *REPORTED]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=["lowest", "newest"])
    parser.add_argument("--python", default=sys.executable, help="the interpreter to take")
    parser.add_argument("--folder", type=Path, help="keep the environment here, or take it up")
    parser.add_argument(
        "--tests", nargs=argparse.REMAINDER, default=TESTS, help="all that follows is for pytest"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        python = make_environment(folder, options.python, requirements(options.which))
        summary = run_tests(python, list(options.tests))
        cells = [*versions(python), platform.machine(), str(datetime.date.today()), summary]
    print("| Python |", " | ".join(REPORTED), "| machine | date | result |")
    print("|", " | ".join(cells), "|")
    sys.exit(bool(re.search(r"failed|error|no tests ran", summary)))


if __name__ == "__main__":
    main()
