"""How Sphinx builds the documentation: see "Documentation" in CONTRIBUTING.md."""

import os
import re
import sys
from importlib import import_module
from inspect import unwrap
from pathlib import Path
from pkgutil import walk_packages

from sphinx.errors import SphinxError

import jedi_sklearn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))  # the processes that run examples read it, too

from gallery import runnable  # noqa: E402

# Examples run in the short form of continuous integration; JEDI_EXAMPLE_SMOKE=0 runs them whole.
os.environ.setdefault("JEDI_EXAMPLE_SMOKE", "1")

project = "jedi-sklearn"
author = "the jedi-sklearn developers"
copyright = f"2026, {author}"
version = release = jedi_sklearn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "paper", "sg_execution_times.rst"]
templates_path = ["_templates"]
default_role = "literal"  # `X` in a docstring is code

html_theme = "pydata_sphinx_theme"
html_title = "jedi-sklearn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {"getting_started": [], "faq": [], "changelog": []}  # alone in their sections

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Classes and functions are those that the modules name in __all__.
autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_context = {"top_level": jedi_sklearn.__all__}
autodoc_typehints = "none"  # the docstrings say it
numpydoc_show_class_members = False  # the template of a class lists them
toc_object_entries_show_parents = "hide"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": runnable(HERE.parent / "examples"),
    "within_subsection_order": "gallery.quickstart_first",
    "reset_argv": "gallery.figure_elsewhere",
    "backreferences_dir": "api/generated/examples",
    "doc_module": ("jedi_sklearn",),
    "parallel": 2,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "matplotlib_animations": False,
}


def is_foreign(app, what, name, obj, skip, options):
    """Leave what classes inherit from scikit-learn to its own documentation."""
    function = getattr(obj, "fget", obj)
    module = getattr(unwrap(function) if callable(function) else function, "__module__", None)
    return True if str(module or "").startswith("sklearn") else None


def link_pages(app, what, name, obj, options, lines):
    """Make links of the pages that docstrings name: docs/model.md, eq. 9."""
    lines[:] = [re.sub(r"\bdocs/([\w/]+)\.md", r":doc:`/\1`", line) for line in lines]


def public_names():
    """Names in __all__ of all public modules, where they may be documented."""
    yield from ((name, f"jedi_sklearn.{name}") for name in jedi_sklearn.__all__)
    for module in walk_packages(jedi_sklearn.__path__, "jedi_sklearn."):
        if "._" not in module.name:
            for name in import_module(module.name).__all__:
                yield name, f"{module.name}.{name}"


def check_reference(app, exception):
    """Fail where a public name has no entry in the API reference."""
    if exception is None and app.builder.format == "html":
        found = app.env.domaindata["py"]["objects"]
        missing = [
            full
            for name, full in public_names()
            if not name.startswith("__") and not {full, f"jedi_sklearn.{name}"} & set(found)
        ]
        if missing:
            raise SphinxError(f"not in the API reference (docs/api/index.md): {missing}")


def list_the_rest(app, docname, source):
    """Put how-to pages that no list of their index names at the end of the last list.

    The pages of benchmarks are listed by name.
    """
    if docname == "benchmarks/index":
        source[0] += "\n\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"
    if docname == "how_to/index":
        named = set(source[0].splitlines()) | {"index"}
        rest = [path.stem for path in sorted((HERE / "how_to").glob("*.md"))]
        source[0] = source[0].rstrip().removesuffix("```")
        source[0] += "\n".join([*(name for name in rest if name not in named), "```", ""])


def setup(app):
    """Register what stands above."""
    app.connect("source-read", list_the_rest)
    app.connect("autodoc-skip-member", is_foreign)
    app.connect("autodoc-process-docstring", link_pages)
    app.connect("build-finished", check_reference)
