"""The texts of the reports."""

from __future__ import annotations

import re

import jinja2

_MARKDOWN = re.compile(r"([\\`*{}\[\]<>#|])")


def render(template: str, **values: object) -> str:
    """Fill in a template of this folder; an unknown name in it is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tasks"),
        undefined=jinja2.StrictUndefined,
        # Markdown: nothing is escaped unasked, data passes through the filter `text`.
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["text"] = markdown_text
    environment.filters["count"] = lambda number: f"{number:,}"
    return environment.get_template(template).render(**values)


def markdown_text(value: object) -> str:
    r"""A value from the data as one line of plain Markdown text.

    >>> print(markdown_text("a|b <i>"))
    a\|b \<i\>
    """
    return _MARKDOWN.sub(r"\\\1", " ".join(str(value).split()))
