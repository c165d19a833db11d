"""What a run shows at its end: the files, the summaries, what to do, where everything is.

All of it is read from the reports. Nothing is imported for it that a run with nothing to do would
not import anyway, `rich` neither.
"""

from __future__ import annotations

import csv
import itertools
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from config.warehouse import SUMMARY_LEVELS
from tasks.core.files import read_json
from tasks.core.text import displayed_url, visible_lines
from tasks.run.settings import Settings

_FIRST_ROWS = 5
_CELL_CHARACTERS = 32
_LINE_CHARACTERS = 100
_NAMED_FILES = 7


def print_results(settings: Settings) -> None:
    """Print what the reports in the reports folder say."""
    figures = read_json(settings.reports_dir / "data_quality.json")
    lines = itertools.chain(
        _show_sources(figures["sources"]),
        *(_show_summary(settings.reports_dir, level) for level in SUMMARY_LEVELS),
        _show_assumptions(figures["assumptions"]),
        _show_unmapped(figures["unmapped"]),
        [""],
        show_places(settings),
        _show_warnings(figures["sources"]),
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
    for name, *values in zip(header, *rows, strict=True):
        texts = [name, *(_cell(value) for value in values)]
        numbers = bool(values) and all(isinstance(value, int) for value in values)
        width = max(map(len, texts))
        columns.append([text.rjust(width) if numbers else text.ljust(width) for text in texts])
    for cells in zip(*columns, strict=True):
        yield ("  " + "  ".join(cells)).rstrip()


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 3] + "..."


def _show_sources(sources: dict[str, Any]) -> Iterator[str]:
    columns = {
        "file": [source["file"] for source in sources.values()],
        "rows": [source["rows"] for source in sources.values()],
        "columns": [len(source["header"]) for source in sources.values()],
        "staged": [source["staged"] for source in sources.values()],
        "quarantined": [source["rejected"] for source in sources.values()],
        "cells emptied": [source["cells_emptied"] for source in sources.values()],
        "": ["a capped export?" if source["capped"] else "" for source in sources.values()],
    }
    if not any(columns["cells emptied"]):
        del columns["cells emptied"]
    yield from ("", "Source files")
    yield from format_table(list(columns), list(zip(*columns.values(), strict=True)))


def _show_summary(reports_dir: Path, level: str) -> Iterator[str]:
    path = reports_dir / f"summary_by_{level}.csv"
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        header = next(reader)
        rows = list(itertools.islice(reader, _FIRST_ROWS))
        more = sum(1 for _ in reader)
    # The times would make the lines too long; they are in the file.
    columns = [place for place, name in enumerate(header) if not name.endswith("_recorded_at")]
    first = [
        [int(row[at]) if header[at].endswith("_count") else row[at] for at in columns]
        for row in rows
    ]
    yield from ("", f"Summary by {level} ({len(rows) + more:,} rows)")
    yield from format_table([header[at] for at in columns], first)
    if more:
        yield f"  ... {more:,} more in {path}"


def _show_assumptions(assumptions: list[dict[str, Any]]) -> Iterator[str]:
    yield from ("", "Assumptions")
    for item in assumptions:
        yield f"  {item['verdict']:9}  {item['assumption']}"


def _show_unmapped(unmapped: list[dict[str, str]]) -> Iterator[str]:
    if unmapped:
        yield from ("", "Not found in the files, so NULL; a line in luigi.cfg maps each")
        for item in unmapped:
            yield f"  {item['source']}: {item['column']}: {item['line']}"


def show_places(settings: Settings) -> Iterator[str]:
    """Lines that show where the reports, the warehouse and the rest are."""
    yield "Where everything is"
    yield f"  reports     {settings.reports_dir}/index.html, and beside it all that it shows"
    yield f"  warehouse   {displayed_url(settings.warehouse_url)}"
    folder = settings.staging_dir / "quarantine"
    quarantined = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.csv"))]
    files = ", ".join(quarantined[:_NAMED_FILES]) or "nothing"
    more = len(quarantined) - _NAMED_FILES
    yield f"  quarantine  {folder}/ ({files}{f', {more:,} more' if more > 0 else ''})"
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
        yield from textwrap.wrap(
            first,
            _LINE_CHARACTERS,
            initial_indent="  ",
            subsequent_indent="     ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield from lines
        if lines and warning != warnings[-1]:
            yield ""
