"""What a run shows at its end: files, summaries, where everything is, and last a verdict.

All of it is read from the reports. Nothing is imported for it that a run with nothing to do would
not import anyway, `rich` neither. Lines have at most 80 characters, but for paths, commands
and lines of luigi.cfg.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from config.warehouse import SUMMARY_LEVELS
from tasks.core.errors import PipelineError
from tasks.core.files import read_json
from tasks.core.text import count_of, displayed_url, readable, visible_lines
from tasks.run.logs import LINE_CHARACTERS, wrap
from tasks.run.settings import Settings

_FIRST_ROWS = 5
_CELL_CHARACTERS = 32
_NARROWEST = 8
_NAMED_FILES = 7
_OK = "OK"
_SUMMARY_COUNTS = {
    "logs": "log_count",
    "records": "record_count",
    "digital": "digital_count",
    "float": "float_count",
}
"""Heading -> column of a summary. The others would make the lines too long."""


def print_results(settings: Settings, summary: str, *, in_full: bool) -> None:
    """Print what the reports in the reports folder say.

    Args:
        settings: The settings.
        summary: What became of the tasks, in a line.
        in_full: Whether to print more than the verdict.
    """
    figures = read_json(settings.reports_dir / "data_quality.json")
    verdict = _show_verdict(settings.reports_dir, summary)
    if not in_full:
        print_lines(verdict)
        return
    lines = itertools.chain(
        _show_sources(figures["sources"]),
        *(_show_summary(settings.reports_dir, level) for level in SUMMARY_LEVELS),
        _show_assumptions(figures["assumptions"]),
        _show_unmapped(figures["unmapped"]),
        _show_columns(read_json(settings.reports_dir / "schema_change.json")),
        _show_warnings(figures["sources"]),
        [""],
        show_places(settings),
        [""],
        verdict,
    )
    print_lines(lines)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines; a character that the console's encoding lacks becomes a question mark."""
    text = "\n".join(lines) + "\n"
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
    sys.stdout.flush()


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    r"""Lines of a table; columns of numbers are aligned to the right, long or odd texts are cut.

    >>> print("\n".join(format_table(["unit", "rows"], [["Rack", 1200], ["Case", 7]])))
      unit   rows
      Rack  1,200
      Case      7
    """
    columns = []
    texts = []
    for name, *values in zip(header, *rows, strict=True):
        columns.append([name, *map(_cell, values)])
        texts.append(not values or not all(isinstance(value, int) for value in values))
    widths = [max(map(len, column)) for column in columns]
    excess = sum(2 + width for width in widths) - LINE_CHARACTERS
    if excess > 0 and any(texts):
        widest = max((width, at) for at, width in enumerate(widths) if texts[at])[1]
        widths[widest] = max(widths[widest] - excess, _NARROWEST)
    for cells in zip(*columns, strict=True):
        aligned = (
            _cut(cell, width).ljust(width) if is_text else cell.rjust(width)
            for cell, width, is_text in zip(cells, widths, texts, strict=True)
        )
        yield ("  " + "  ".join(aligned)).rstrip()


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return _cut(text, _CELL_CHARACTERS)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _show_sources(sources: dict[str, Any]) -> Iterator[str]:
    columns = {
        "file": [source["file"] for source in sources.values()],
        "rows": [source["rows"] for source in sources.values()],
        "columns": [len(source["header"]) for source in sources.values()],
        "staged": [source["staged"] for source in sources.values()],
        "quarantined": [source["rejected"] for source in sources.values()],
        "emptied": [source["cells_emptied"] for source in sources.values()],
        "": ["capped?" if source["capped"] else "" for source in sources.values()],
    }
    if not any(columns["emptied"]):
        del columns["emptied"]
    yield from ("", "Source files")
    yield from format_table(list(columns), list(zip(*columns.values(), strict=True)))
    if "emptied" in columns:
        yield "  emptied: cells without a valid value, null in the warehouse"
    if any(columns[""]):
        yield "  capped? exactly a million rows, as in an export that was cut off"


def _show_summary(reports_dir: Path, level: str) -> Iterator[str]:
    path = reports_dir / f"summary_by_{level}.csv"
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = list(itertools.islice(reader, _FIRST_ROWS))
        more = sum(1 for _ in reader)
    names = [name for name in reader.fieldnames or () if name.endswith(("_name", "_description"))]
    texts = [level, *names]
    counts = _SUMMARY_COUNTS.values()
    first = [[*(row[name] for name in texts), *(int(row[name]) for name in counts)] for row in rows]
    yield from ("", f"Summary by {level} ({len(rows) + more:,} rows)")
    yield from format_table([*texts, *_SUMMARY_COUNTS], first)
    rows_too = f"{count_of(more, 'more row')} and " if more else ""
    yield f"  {rows_too}more columns are in {path}"


def _show_assumptions(assumptions: list[dict[str, Any]]) -> Iterator[str]:
    yield from ("", "Assumptions")
    for item in assumptions:
        yield from wrap(f"  {item['verdict']:9}  {item['assumption']}", 13)


def _show_unmapped(unmapped: list[dict[str, str]]) -> Iterator[str]:
    if unmapped:
        yield from ("", "Not found in the files, so NULL; a line in luigi.cfg maps each")
        for item in unmapped:
            yield f"  {item['source']}: {item['column']}: {item['line']}"


def _show_columns(figures: dict[str, Any]) -> Iterator[str]:
    """What changed in the columns of the sources, and the commands that plan new ones."""
    if figures["changes"]:
        yield from ("", f"Source columns that changed since {figures['last']} UTC")
    for change in figures["changes"]:
        for line in change["lines"]:
            yield from wrap(f"  {change['source']}: {readable(line)}", indent=5)
    if figures["plans"]:
        yield from ("", "To plan new columns that the warehouse lacks (new_columns = evolve)")
        yield from (f"  {command}" for command in figures["plans"])


def show_places(settings: Settings) -> Iterator[str]:
    """Lines that show where the reports, the warehouse and the rest are."""
    yield "Where everything is"
    yield f"  reports     {settings.reports_dir}/index.html, and beside it all that it shows"
    yield f"  warehouse   {displayed_url(settings.warehouse_url)}"
    folder = settings.staging_dir / "quarantine"
    quarantined: list[str] = []
    with contextlib.suppress(PipelineError, OSError):  # Of an object store.
        quarantined += (one.relative_to(folder).as_posix() for one in sorted(folder.rglob("*.csv")))
    files = ", ".join(quarantined[:_NAMED_FILES]) or "nothing"
    more = len(quarantined) - _NAMED_FILES
    listed = f"{folder}/ ({files}{f', {more:,} more' if more > 0 else ''})"
    yield from wrap(f"  quarantine  {listed}", indent=14)
    yield f"  staging     {settings.staging_dir}/"
    yield f"  logs        {settings.logs_dir}/"


def _show_warnings(sources: dict[str, Any]) -> Iterator[str]:
    """The warnings; lines of luigi.cfg in them begin at the edge, so that they can be copied."""
    warnings = [
        f"{name}: {visible_lines(warning)}"
        for name, source in sources.items()
        for warning in source["warnings"]
    ]
    if warnings:
        yield from ("", "Warnings")
        if any("\n" in warning for warning in warnings):
            yield "  Lines of a section that luigi.cfg has already belong below its name there."
    for warning in warnings:
        first, *lines = warning.split("\n")
        yield from wrap(f"  {first}", indent=5)
        yield from lines
        if lines and warning != warnings[-1]:
            yield ""


def _show_verdict(reports_dir: Path, summary: str) -> Iterator[str]:
    """What became of the tasks, what needs attention, and where to read more: three lines."""
    advice = read_json(reports_dir / "run.json")["advice"]
    found = [item["do"] for item in advice if item["verdict"] != _OK]
    yield summary
    if found:
        text = f"Needs attention: {count_of(len(found), 'item')}, the first: {found[0]}"
        yield readable(text, LINE_CHARACTERS)
    else:
        yield "Nothing needs attention."
    yield f"The page with {'the details' if found else 'all figures'}: {reports_dir}/index.html"
