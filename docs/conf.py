"""How Sphinx builds the site: ``python -m sphinx -W docs build/site`` needs no network."""

import os
import re
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: small networks gain nothing from more

import tabdl

HERE = Path(__file__).parent
REPORTS = HERE / "benchmarks" / "reports"

project = "tabdl"
author = "The tabdl contributors"
project_copyright = author
version = release = tabdl.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = [
    "examples",
    "gallery/*",
    "auto_gallery/*.py",
    "auto_gallery/*.ipynb",
    "benchmarks/reports/speed-notes.md",  # a part of speed.md
]

# --- pages

smartquotes_action = "De"  # dashes and ellipses; quotes stay as Python has them
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# --- API

autosummary_generate = True
# For the template of a class: GrowNet's stages cannot go on with new rows.
autosummary_context = {
    "without_partial_fit": [
        name for name in dir(tabdl) if getattr(getattr(tabdl, name), "_goes_on", True) is False
    ]
}
autodoc_typehints = "none"  # the docstrings name types, and shapes with them
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
maximum_signature_line_length = 88

# --- gallery

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"\.py",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "show_signature": False,
    "download_all_examples": False,
    "write_computation_times": False,
    "image_srcset": ["2x"],
    "capture_repr": ("_repr_html_",),
}

# --- look

html_theme = "pydata_sphinx_theme"
html_title = "tabdl"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(HERE / "_static" / "search.js")
html_context = {"default_mode": "auto"}
html_favicon = "_static/favicon.svg"
html_show_sourcelink = False
html_domain_indices = False  # one module has an entry
html_copy_source = False
html_theme_options = {
    "logo": {"text": "tabdl"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
PAGES_ALONE = ("index", "getting-started", "choosing", "changelog", "glossary")
html_sidebars = {page: [] for page in PAGES_ALONE}


def copy_reports(app):
    """Copy the generated reports, so that their links to each other stay right.

    A figure and its deviation stay on one line, and of a commit 12 characters are shown.
    """
    shutil.copytree(HERE.parent / "benchmarks" / "reports", REPORTS, dirs_exist_ok=True)
    for path in REPORTS.rglob("*.md"):
        text = path.read_text().replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")
        path.write_text(re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28}\b", r"\1", text))


def skip_scikit_learn(app, what, name, obj, skip, options):
    """Leave out what scikit-learn's base classes add; its own site describes that."""
    module = getattr(obj, "__module__", None) or ""
    return True if module.startswith(("sklearn", "dataclasses")) else None


def link_papers(app, what, name, obj, options, lines):
    """Make a link of each number of a paper, such as 2106.11959, outside code."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[i] = re.sub(
                r"(?<![\w.`/])(\d{4}\.\d{5})(?![\w`])",
                r"`arXiv:\1 <https://arxiv.org/abs/\1>`__",
                line,
            )


def setup(app):
    """Connect the functions."""
    app.connect("config-inited", lambda app, config: copy_reports(app))
    app.connect("autodoc-skip-member", skip_scikit_learn)
    app.connect("autodoc-process-docstring", link_papers, priority=900)  # after numpydoc
