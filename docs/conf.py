# SPDX-License-Identifier: Apache-2.0
"""Sphinx: the guides, the API reference from docstrings, the C++ reference from headers."""

import edgeqat

project = "edgeqat"
author = "The edgeqat authors"
project_copyright = "The edgeqat authors"
release = edgeqat.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"edgeqat {release}"

default_role = "literal"  # docstrings write `name` for code
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_numpy_docstring = False
napoleon_use_rtype = False
# nn.Module documents its own attributes and methods; here only what edgeqat adds.
autodoc_inherit_docstrings = False
