"""`reports/index.html`: what a run found, in one file that loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from tasks.core.text import link_to, readable
from tasks.reports.charts import star
from tasks.reports.registry import Json, Report, Results, reports
from tasks.reports.templates import render_page, render_section

SHOWN_ROWS = 2_000
"""Rows of a table on the page; the CSV file beside it has all."""

SHOWN_WARNINGS = 30
"""Warnings in the summary of them; below each source are all."""


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    anchor: str
    title: str
    position: int
    template: str
    values: Mapping[str, Any]


def write_page(overview: Json, results: Results, into: Path) -> None:
    """Write the page.

    Args:
        overview: The figures, all of `run.json`.
        results: What the reports have written.
        into: The file to write.
    """
    sections = [
        Section("run", "Run", 0, "sections/run.html.j2", {"shown_warnings": SHOWN_WARNINGS}),
        *(_section(report, results, overview) for report in reports()),
        Section("star", "Star", 50, "sections/star.html.j2", {"star": star(overview["tables"])}),
        Section("lineage", "Lineage", 90, "sections/lineage.html.j2", {}),
    ]
    quarantine = link_to(results.staging / "quarantine", results.reports)
    text = render_page(
        "page.html.j2",
        sections=[
            (
                section,
                render_section(
                    section.template, o=overview, quarantine=quarantine, **section.values
                ),
            )
            for section in sorted(sections, key=lambda section: section.position)
        ],
    )
    # Names of files may hold anything.
    into.write_text(text, encoding="utf-8", errors="replace", newline="\n")


def _section(report: Report, results: Results, overview: Json) -> Section:
    names = [name.format(level=level) for name in report.tables for level in report.levels or ("",)]
    values = {
        **report.values(results, overview),
        "tables": {name: _table(name, results, report.leading) for name in names},
    }
    return Section(report.anchor, report.title, report.position, report.template, values)


def _table(name: str, results: Results, leading: Sequence[str]) -> dict[str, Any]:
    """A table of a report, as the macro `whole_table` shows it: its first rows."""
    rows = results.table(name)
    first = rows.slice(0, SHOWN_ROWS)
    measures = [one for one in ("alarm_count", "record_count") if one in rows.column_names]
    if rows.num_rows > SHOWN_ROWS and measures:
        first = rows.sort_by([(measures[0], "descending")]).slice(0, SHOWN_ROWS)
    key, *others = rows.column_names
    order = [key, *(one for one in leading if one in others)]
    order += [one for one in others if one not in order]
    return {
        "csv": f"{name}.csv",
        "total": rows.num_rows,
        "shown": first.num_rows,
        "header": [(one, _kind(one)) for one in order],
        "body": _table_body(first.select(order).to_pylist()),
    }


def _table_body(rows: Iterable[Mapping[str, Any]]) -> Markup:
    """Rows of a table. There are too many for a template."""
    lines = []
    cells: list[tuple[str, str, Callable[[Any], str]]] = []
    for row in rows:
        cells = cells or [(name, _start(_kind(name)), _text(name)) for name in row]
        drawn = (
            f"{start}{'' if row[name] is None else text(row[name])}</td>"
            for name, start, text in cells
        )
        lines.append(f"<tr>{''.join(drawn)}</tr>")
    return Markup("\n".join(lines))  # noqa: S704  # Each cell is escaped.


_COUNTS = ("_count", "expected", "actual", "missing")
_PLAIN_NUMBERS = ("_id", "_interval", "_step_s")
_FRACTIONS = ("_hours",)


def _kind(column: str) -> str:
    """The class of a column's cells: n for numbers, t for times; neither is wrapped."""
    if column.endswith((*_COUNTS, *_PLAIN_NUMBERS, *_FRACTIONS, "_share")):
        return "n"
    if column.startswith(("share_", "value_")):
        return "n"
    return "t" if column.endswith("_at") else ""


def _start(kind: str) -> str:
    return f'<td class="{kind}">' if kind else "<td>"


def _text(column: str) -> Callable[[Any], str]:
    """What makes the text of a column's cells."""
    if column.endswith(_COUNTS):
        return lambda value: f"{value:,}"
    if column.endswith(_PLAIN_NUMBERS):
        return str
    if column.endswith(_FRACTIONS):
        return lambda value: f"{value:,.2f}"
    if column.startswith("value_"):
        return lambda value: f"{value:,.6g}"
    if _kind(column) == "n":
        return lambda value: f"{value:.1%}"
    return lambda value: escape(readable(value))
