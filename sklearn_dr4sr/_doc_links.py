"""Where the documentation stands: what the HTML of estimators in notebooks links to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["DocumentationLink", "page_of"]

#: Where ``sphinx-build docs docs/_build`` in a clone of the repository puts the pages.
BUILD = Path(__file__).resolve().parents[1] / "docs" / "_build"


class DocumentationLink:
    """Makes scikit-learn's HTML of an estimator link to its page, by the mechanism for others."""

    _doc_link_module = "sklearn_dr4sr"

    @property
    def _doc_link_template(self) -> str:
        return page_of(type(self)).replace("{", "{{").replace("}", "}}")


def page_of(cls: type) -> str:
    """Address of a public class's page in the reference.

    Below ``$DR4SR_DOCS`` (an address, or a path relative to the page) where that is set; else of
    the pages that were built in this clone; "" where there are none.
    """
    package = cls.__module__.split(".")[0]
    at_top = getattr(sys.modules[package], cls.__name__, None) is cls
    module = package if at_top else ".".join(cls.__module__.split(".")[:2])
    name = f"generated/{module}.{cls.__name__}.html"
    root = os.environ.get("DR4SR_DOCS", "")
    if root:
        return f"{root.rstrip('/')}/{name}"
    page = BUILD / name
    return page.as_uri() if page.is_file() else ""
