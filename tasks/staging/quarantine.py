"""The files of rows that are not staged and of cells that were emptied."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tasks.sources.csv_records import Rejected

HEADER = ("file", "line", "column", "kind", "reason", "row")
CELLS_HEADER = ("line", "column", "reason", "text")


@contextmanager
def open_quarantine(path: Path, mode: str = "r") -> Iterator[TextIO]:
    """A quarantine file. Bytes that are no UTF-8 are written as they came, and read as U+FFFD."""
    csv.field_size_limit(2**31 - 1)
    errors = "replace" if mode == "r" else "surrogateescape"
    with path.open(mode, encoding="utf-8", errors=errors, newline="") as stream:
        yield stream  # type: ignore[misc]  # A text mode.


def write_quarantine(path: Path, file: str, rejected: Iterable[Rejected]) -> None:
    """Write the rows of a file that are not staged."""
    rows = ((file, one.line, one.column, one.kind, one.reason, one.text) for one in rejected)
    _write(path, HEADER, rows)


def write_cells(path: Path, emptied: Iterable[Rejected]) -> None:
    """Write the cells of a file that were emptied."""
    rows = ((one.line, one.column, one.reason, one.text) for one in emptied)
    _write(path, CELLS_HEADER, rows)


def _write(path: Path, header: Sequence[str], rows: Iterable[tuple[object, ...]]) -> None:
    with open_quarantine(path, "w") as stream:
        plain = csv.writer(stream, lineterminator="\n")
        # A carriage return ends a row for readers, and Python 3.11 puts no quotes around it.
        quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow(header)
        for row in rows:
            (quoted if any("\r" in str(cell) for cell in row) else plain).writerow(row)


def read_quarantine(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a quarantine file, by column."""
    with open_quarantine(path) as stream:
        yield from csv.DictReader(stream)
