"""The texts of the reports, and the pages that are made of them."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import re
import sys
from contextlib import suppress
from importlib.resources import files
from importlib.util import cache_from_source
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket
from markupsafe import Markup, escape
from typing_extensions import override

from tasks.core.text import count_of, displayed_size, readable, visible_lines

_MARKDOWN = re.compile(r"([\\`*{}\[\]<>#|])")


def render(template: str, **values: object) -> str:
    """Fill in a Markdown template of this folder; an unknown name in it is an error."""
    # Markdown: nothing is escaped unasked, data passes through the filter `text`.
    return environment(autoescape=False).get_template(template).render(**values)


def render_section(template: str, **values: object) -> Markup:
    """Fill in a section of the page: everything is escaped, unless it is Markup."""
    return Markup(environment(autoescape=True).get_template(template).render(**values))  # noqa: S704


def render_page(template: str, **values: object) -> str:
    """Fill in an HTML page: everything is escaped, unless it is Markup.

    The page holds its style and its script, and may load nothing: a browser runs that very script
    and no other.
    """
    script = _text("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render_section(
        template,
        style=Markup(_text("page.css")),  # noqa: S704
        script=Markup(script),  # noqa: S704
        policy="default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        **values,
    )


def render_markdown_page(title: str, markdown: str) -> str:
    """A Markdown report as an HTML page. HTML in it is shown as text."""
    from markdown_it import MarkdownIt

    converted = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    # Wide tables and commands are scrolled by themselves, also with the keyboard.
    for wide in ("table", "pre"):
        converted = converted.replace(
            f"<{wide}>",
            f'<div class="scroll" tabindex="0" role="region" aria-label="{wide}"><{wide}>',
        ).replace(f"</{wide}>", f"</{wide}></div>")
    return render_page("article.html.j2", title=title, content=Markup(converted))  # noqa: S704


@functools.cache
def environment(*, autoescape: bool) -> jinja2.Environment:
    """The templates of this folder."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("tasks.reports"),
        undefined=jinja2.StrictUndefined,
        autoescape=autoescape,  # noqa: S701  # Markdown is escaped by its own filters.
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        bytecode_cache=_Compiled("html" if autoescape else "text"),
    )
    made.filters["count"] = lambda number: f"{number:,}"
    made.filters["of"] = count_of
    made.filters["size"] = displayed_size
    made.filters["text"] = markdown_text
    made.filters["breakable"] = lambda name: escape(name).replace("_", Markup("_<wbr>"))
    made.filters["fenced"] = fenced
    made.globals["readable"] = readable
    return made


def _text(name: str) -> str:
    return files("tasks.reports.templates").joinpath(name).read_text(encoding="utf-8")


def markdown_text(value: object) -> str:
    r"""A value from the data as one line of plain Markdown text.

    >>> print(markdown_text("a|b <i>"))
    a\|b \<i\>
    """
    return _MARKDOWN.sub(r"\\\1", visible_lines(" ".join(str(value).split())))


def fenced(text: str) -> str:
    """Lines as a block of code in Markdown, which no text in it can end.

    >>> print(fenced("decimal = ,"))
    ```
    decimal = ,
    ```
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


class _Compiled(jinja2.BytecodeCache):
    """Compiled templates, beside Python's compiled modules; a damaged file is not used."""

    def __init__(self, kind: str) -> None:
        self._suffix = f"{kind}-{jinja2.__version__}.pyc"

    def _path(self, bucket: Bucket) -> Path:
        return Path(cache_from_source(__file__)).with_name(f"{bucket.key}.{self._suffix}")

    @override
    def load_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            content = self._path(bucket).read_bytes()
            digest, code = content[:32], content[32:]
            if hashlib.sha256(code).digest() == digest:
                bucket.bytecode_from_string(code)

    @override
    def dump_bytecode(self, bucket: Bucket) -> None:
        if sys.dont_write_bytecode:
            return
        code = bucket.bytecode_to_string()
        path = self._path(bucket)
        written = path.with_name(f"{path.name}.{os.getpid()}")
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            written.write_bytes(hashlib.sha256(code).digest() + code)
            written.replace(path)
