"""The site builds without a warning. The gallery is not run here: test_gallery.py runs it."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ["docs", "benchmarks/reports", "CHANGELOG.md", "CONTRIBUTING.md"]
MADE = ["generated", "auto_gallery", "reports"]  # what a build in the tree has left


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder of the site, built from a copy of its sources."""
    copy = tmp_path_factory.mktemp("site")
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignore = shutil.ignore_patterns(*MADE) if part == "docs" else None
            shutil.copytree(ROOT / part, copy / part, ignore=ignore)
        else:
            shutil.copy(ROOT / part, copy)
    build = ["-m", "sphinx", "-q", "-W", "--keep-going", "-D", "plot_gallery=0", "docs", "site"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *build], cwd=copy, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "site"


class Page(HTMLParser):
    """The anchors of a page, and where its links and scripts lead."""

    def __init__(self, path):
        super().__init__()
        self.ids = set()
        self.targets = []
        self.loaded = []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids.add(values.get("id"))
        self.targets += [values[name] for name in ("href", "src") if values.get(name)]
        if tag in ("script", "link", "img"):
            self.loaded += [values[name] for name in ("href", "src") if values.get(name)]


@pytest.fixture(scope="module")
def pages(site):
    found = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    return {path: Page(path) for path in found}


def test_no_link_is_dead(pages):
    dead = []
    for path, page in pages.items():
        for target in page.targets:
            name, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:|//", target):
                continue
            aim = (path.parent / name.partition("?")[0]).resolve() if name else path
            if not aim.exists() or (anchor and aim in pages and anchor not in pages[aim].ids):
                dead.append(f"{path.name}: {target}")
    assert len(pages) > 60 and dead == []


def test_pages_load_nothing_from_elsewhere(pages):
    for path, page in pages.items():
        assert not [target for target in page.loaded if re.match(r"https?:|//", target)], path


def test_parameters_have_default_and_range(site):
    text = (site / "api" / "generated" / "tabdl.TabMClassifier.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", text).split())
    assert "dropout a float in [0, 1), default=0.1 Dropout of every hidden layer." in text
