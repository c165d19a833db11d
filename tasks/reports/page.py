"""`reports/index.html`: what a run found, in one file that loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
        "tables": {name: _table(name, results) for name in names},
    }
    return Section(report.anchor, report.title, report.position, report.template, values)


def _table(name: str, results: Results) -> dict[str, Any]:
    """A table of a report, as the macro `whole_table` shows it: its first rows."""
    rows = results.table(name)
    first = rows.slice(0, SHOWN_ROWS)
    if rows.num_rows > SHOWN_ROWS and "record_count" in rows.column_names:
        first = rows.sort_by([("record_count", "descending")]).slice(0, SHOWN_ROWS)
    return {
        "csv": f"{name}.csv",
        "total": rows.num_rows,
        "shown": first.num_rows,
        "header": rows.column_names,
        "body": _table_body(first.to_pylist()),
    }


def _table_body(rows: Iterable[Mapping[str, Any]]) -> Markup:
    """Rows of a table. There are too many for a template."""
    lines = []
    cells: list[tuple[str, Callable[[Any], str]]] = []
    for row in rows:
        cells = cells or [(name, _cell(name)) for name in row]
        drawn = (draw(row[name]) if row[name] is not None else "<td></td>" for name, draw in cells)
        lines.append(f"<tr>{''.join(drawn)}</tr>")
    return Markup("\n".join(lines))  # noqa: S704  # Each cell is escaped.


def _cell(column: str) -> Callable[[Any], str]:
    """What makes the cells of a column."""
    if column.endswith(("_count", "expected", "actual", "missing")):
        return lambda value: f'<td class="n">{value:,}</td>'
    if column.endswith(("_id", "_interval", "_step_s")):
        return lambda value: f'<td class="n">{value}</td>'
    if column.endswith("_share") or column.startswith("share_"):
        return lambda value: f'<td class="n">{value:.1%}</td>'
    return lambda value: f"<td>{escape(readable(value))}</td>"
