"""The HTML pages of the package: templates that share one style and need nothing beside them."""

from __future__ import annotations

from importlib.resources import files

import jinja2


def page_template(name: str) -> jinja2.Template:
    """A template of this folder; it may include others, as ``page.css``."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _text(name: str) -> str:
    return (files("afa_wsss.report") / name).read_text(encoding="utf-8")
