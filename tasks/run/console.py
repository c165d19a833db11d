"""What a run shows at its end: the files, the summaries, what to mind, where everything is."""

from __future__ import annotations

import csv
import itertools
import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from config.sources import LOG_KINDS
from config.warehouse import SUMMARY_LEVELS
from tasks.core.text import visible_lines
from tasks.run.settings import Settings

_HEAD_ROWS = 5
_WIDEST = 32
_SHOWN_FILES = 7

STRATEGIES = (
    "A nullable column, or one with a constant default: a native ALTER, with a short lock time.",
    "1. Online schema change tools (MySQL family: pt-online-schema-change, gh-ost): a copy is "
    "filled in chunks while writes are followed, then the names are swapped.",
    "2. Shadow table and rolling update (any engine): the keys of changed rows are noted, rows "
    "copied in chunks, contents verified, names swapped, users moved one by one.",
)


def print_results(settings: Settings) -> None:
    """Print the results that stand in the reports folder."""
    quality = settings.reports_dir / "data_quality.json"
    figures = json.loads(quality.read_text(encoding="utf-8"))
    lines = itertools.chain(
        _show_sources(figures["sources"]),
        *(_show_summary(settings.reports_dir, level) for level in SUMMARY_LEVELS),
        _show_losses(figures["hops"], figures["sources"]),
        _show_assumptions(figures["assumptions"]),
        _show_unmapped(figures["unmapped"]),
        ["", "Adding a column to a large table", *_wrapped(STRATEGIES)],
        [""],
        show_places(settings),
        _show_warnings(figures["sources"]),
    )
    print_lines(lines)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines, whatever they hold."""
    text = "\n".join(lines) + "\n"
    # A console that knows fewer characters shows question marks, and the run goes on.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
    sys.stdout.flush()


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    r"""Lines of a table; numbers stand to the right, long or odd texts are cut to one line.

    >>> print("\n".join(format_table(["unit", "rows"], [["Rack", 1200], ["Case", 7]])))
      unit   rows
      Rack  1,200
      Case      7
    """
    texts = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
    right = [
        bool(rows) and all(isinstance(row[place], int) for row in rows)
        for place in range(len(header))
    ]
    for row in [list(header), *texts]:
        cells = (
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        )
        yield ("  " + "  ".join(cells)).rstrip()


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."


def _show_sources(sources: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "Source files"
    any_emptied = any(source["cells_emptied"] for source in sources.values())
    rows = [
        [
            source["file"],
            source["rows"],
            len(source["header"]),
            source["staged"],
            source["rejected"],
            *([source["cells_emptied"]] if any_emptied else []),
            "a capped export?" if source["capped"] else "",
        ]
        for source in sources.values()
    ]
    emptied = ["cells emptied"] if any_emptied else []
    header = ["file", "rows", "columns", "staged", "quarantined", *emptied, ""]
    yield from format_table(header, rows)


def _show_summary(reports_dir: Path, level: str) -> Iterator[str]:
    path = reports_dir / f"summary_by_{level}.csv"
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        header = next(reader)
        head = list(itertools.islice(reader, _HEAD_ROWS))
        rest = sum(1 for _ in reader)
    yield ""
    yield f"Summary by {level} ({len(head) + rest:,} rows)"
    # The times would make the lines too long; they are in the file.
    shown = [place for place, name in enumerate(header) if not name.endswith("_recorded_at")]
    rows = [
        [int(row[at]) if header[at].endswith("_count") else row[at] for at in shown] for row in head
    ]
    yield from format_table([header[at] for at in shown], rows)
    if rest:
        yield f"  ... {rest:,} more in {path}"


def _show_losses(hops: list[dict[str, Any]], sources: dict[str, Any]) -> Iterator[str]:
    records = sum(sources[name]["staged"] for name in LOG_KINDS.values())
    yield ""
    yield f"Log records that lost their way, of {records:,} (their keys are -1 from there on)"
    rows = [
        [
            f"no such row in {hop['parent']}",
            sum(hop["records"].values()),
            hop["log_instances"],
            "a capped export?" if sources[hop["parent"]]["capped"] else "",
        ]
        for hop in hops
    ]
    yield from format_table(["hop", "records", "log instances", ""], rows)


def _show_assumptions(assumptions: list[dict[str, Any]]) -> Iterator[str]:
    yield ""
    yield "Assumptions"
    for item in assumptions:
        yield f"  {'holds' if item['holds'] else 'FAILS'}  {item['assumption']}"
        yield from textwrap.wrap(
            item["figures"], 100, initial_indent=" " * 9, subsequent_indent=" " * 9
        )


def _show_unmapped(unmapped: list[dict[str, str]]) -> Iterator[str]:
    if unmapped:
        yield ""
        yield "Not found in the files, hence NULL; a line in luigi.cfg maps each"
        for item in unmapped:
            yield f"  {item['source']}: {item['column']}: {item['line']}"


def _show_warnings(sources: dict[str, Any]) -> Iterator[str]:
    """The warnings; lines of luigi.cfg in them begin at the edge, so that they can be copied."""
    warnings = [
        f"{name}: {visible_lines(warning)}"
        for name, source in sources.items()
        for warning in source["warnings"]
    ]
    if warnings:
        yield ""
        yield "Warnings"
        if any("\n" in warning for warning in warnings):
            yield "  Lines of a section that luigi.cfg has already belong below its name there."
    for place, warning in enumerate(warnings):
        first, *lines = warning.split("\n")
        yield from textwrap.wrap(
            first,
            100,
            initial_indent="  ",
            subsequent_indent="     ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield from lines
        if lines and place < len(warnings) - 1:
            yield ""


def _wrapped(paragraphs: Sequence[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        yield from textwrap.wrap(paragraph, 100, initial_indent="  ", subsequent_indent="     ")


def show_places(settings: Settings) -> Iterator[str]:
    """Lines that tell where the reports, the warehouse and the rest are."""
    yield "Where everything is"
    yield f"  reports     {settings.reports_dir}/index.html, and beside it all that it shows"
    yield f"  warehouse   {_without_password(settings.warehouse_url)}"
    folder = settings.staging_dir / "quarantine"
    quarantined = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.csv"))]
    files = ", ".join(quarantined[:_SHOWN_FILES]) or "nothing"
    more = len(quarantined) - _SHOWN_FILES
    yield f"  quarantine  {folder}/ ({files}{f', {more:,} more' if more > 0 else ''})"
    yield f"  staging     {settings.staging_dir}/"
    yield f"  logs        {settings.logs_dir}/"


def _without_password(url: str) -> str:
    """A warehouse URL that can be shown.

    >>> _without_password("postgresql://etl:secret@db/logs")
    'postgresql://etl:***@db/logs'
    """
    scheme, separator, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}{separator}{user}{colon}{'***' if colon else ''}{at}{place}"
