"""Every figure that README and the documentation quote stands in a committed report or table."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.runs.results import PAPER

ROOT = Path(__file__).parent.parent.parent
REPORTS = ROOT / "benchmarks" / "reports"
FIGURE = re.compile(r"(?<![\d.])\d\.\d{3,5}(?![\d.])")
"""A score or an error: a digit, and three decimals or more."""


def figures_of(text):
    """Return the figures of a text, without those of code and of version numbers."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return set(FIGURE.findall(text))


def known_figures():
    """Return the figures of all reports, and the paper's rounded to three and four decimals."""
    texts = [path.read_text() for path in REPORTS.rglob("*.md")]
    found = set().union(*map(figures_of, texts))
    published = re.findall(r"0\.\d+", json.dumps(PAPER))
    return found | {f"{float(p):.{n}f}" for p in published for n in (3, 4)}


PAGES = [
    ROOT / "README.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if "reports" not in path.parts),
]
"""Without the copies of the reports that a build of the site makes."""


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_quoted_figures_have_a_report(page):
    missing = figures_of(page.read_text()) - known_figures()
    assert not missing, f"{page} quotes {sorted(missing)}: no report has them"


def test_a_figure_that_no_run_has_is_found():
    text = "RMSE 0.46921 and 0.1234567, version 1.2.345, `x = 0.99999`\n```\n0.77777\n```"
    assert figures_of(text) == {"0.46921", "0.99999"}
    assert "0.46921" not in known_figures() and "0.4688" in known_figures()
