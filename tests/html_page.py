"""An HTML page as tests read it: its tables, links and texts by id."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from tasks.reports.templates import environment

VOID = {"meta", "link", "input", "br", "i", "hr", "img", "wbr"}


class Page(HTMLParser):
    """A page, parsed.

    Attributes:
        tables: Id of the table -> its rows, the header first, each cell as text.
        texts: Id -> all text within.
        attributes: Every (tag, name, value).
        scripts: The text of each script.
    """

    def __init__(self, path: Path):
        super().__init__(convert_charrefs=True)
        self.text = path.read_text(encoding="utf-8")
        self.tables: dict[str, list[list[str]]] = {}
        self.texts: dict[str, str] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self._open: list[tuple[str, str | None]] = []
        self._within: list[list[list[str]]] = []  # Tables, and those in their cells.
        self.feed(self.text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in given.items()]
        if tag not in VOID:
            self._open.append((tag, given.get("id")))
        if given.get("id"):
            assert given["id"] not in self.texts, f"id {given['id']} occurs twice"
            self.texts[given["id"]] = ""
        if tag == "table":
            name = given.get("id", f"#{len(self.tables)}")
            self._within.append(self.tables.setdefault(name, []))
        elif tag == "tr":
            self._within[-1].append([])
        elif tag in ("td", "th"):
            self._within[-1][-1].append("")
        elif tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        opened, _ = self._open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"
        if tag == "table":
            self._within.pop()

    def handle_data(self, data: str) -> None:
        for tag, name in self._open:
            if name:
                self.texts[name] += data
            if tag == "script":
                self.scripts[-1] += data
        inside = {tag for tag, _ in self._open}
        if inside & {"td", "th"} and "svg" not in inside and self._within[-1]:
            self._within[-1][-1][-1] += data

    @property
    def links(self) -> set[str]:
        return {value for tag, name, value in self.attributes if (tag, name) == ("a", "href")}

    def rows(self, table: str) -> list[dict[str, str]]:
        """The rows of a table by its header."""
        header, *rows = self.tables[table]
        return [
            {name: " ".join(cell.split()) for name, cell in zip(header, row, strict=True)}
            for row in rows
        ]

    def number(self, name: str) -> int:
        """The number in the element of that id."""
        return int(self.texts[name].replace(",", ""))


def render_macro(template: str, macro: str, *values: object) -> str:
    """What a macro of a template of the reports gives."""
    module = environment(autoescape=True).get_template(template).module
    text: str = getattr(module, macro)(*values)
    return text
