"""Sphinx: ``sphinx-build -W docs docs/_build``."""

import os

import sklearn_dr4sr

# the HTML of estimators on the gallery's pages links to the reference beside them
os.environ["DR4SR_DOCS"] = ".."

project = "sklearn_dr4sr"
copyright = "the sklearn_dr4sr developers"
release = version = sklearn_dr4sr.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "myst_parser",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
autosummary_generate = True
numpydoc_show_class_members = False
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_prev_next": False}
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/plot_",
    "ignore_pattern": "quickstart|best_ranking|_search",
    "abort_on_example_error": True,
}
