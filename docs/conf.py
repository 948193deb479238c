"""Sphinx builds docs/ into docs/_build/html: `make docs`."""

from litnets import __version__

project = "litnets"
author = "the litnets authors"
project_copyright = "the litnets authors, MIT License"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_static", "_templates"]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings are Google style, with single backticks for code.
default_role = "code"
napoleon_numpy_docstring = False
autosummary_ignore_module_all = False
# Lightning documents the hooks that a class overrides, with links into its own site.
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

html_theme = "furo"
html_title = "litnets"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_copy_source = False
# A copied shell command has no prompt and no output.
copybutton_prompt_text = "$ "
