"""sdist and wheel install into a bare environment, and work there."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import tabdl

ROOT = Path(__file__).parents[2]
PARTS = ["tabdl", "pyproject.toml", "README.md", "LICENSE"]


def run(*command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the folder of an sdist, and of a wheel that is made from it."""
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, source / part, ignore=ignore)
        else:
            shutil.copy(ROOT / part, source)
    run(sys.executable, "-m", "build", "--no-isolation", str(source))
    return source / "dist"


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_install_and_use(kind, built, tmp_path):
    """The environment has the packages that the tests run with, but not their tabdl."""
    [package] = built.glob(kind)
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    [site] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "packages.pth").write_text(sysconfig.get_path("purelib"))
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    install = ["install", "-q", "--no-deps", "--no-index", "--ignore-installed"]
    install += ["--no-build-isolation", package]
    run(sys.executable, "-m", "pip", "--python", python, *install, cwd=tmp_path, env=environment)
    smoke = Path(__file__).parent / "smoke.py"
    printed = run(python, "-W", "error", smoke, cwd=tmp_path, env=environment)
    assert printed == f"ok {tabdl.__version__} True\n"


def test_the_wheel_holds_the_package_alone(built):
    [wheel] = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"tabdl", f"tabdl-{tabdl.__version__}.dist-info"}
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "tabdl").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == code
