"""CSV files that people open in a spreadsheet: no text of theirs is run as a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_STARTS = ("=", "+", "-", "@", "\t", "\r")


def spreadsheet_text(value: object) -> object:
    """A value for a CSV file: text that a spreadsheet would run gets an apostrophe before it.

    Numbers stay numbers. The warehouse holds every text as it is.

    >>> spreadsheet_text("=1+1"), spreadsheet_text("-Fan"), spreadsheet_text("Fan")
    ("'=1+1", "'-Fan", 'Fan')
    >>> spreadsheet_text(-1)
    -1
    """
    if isinstance(value, str) and value.startswith(_STARTS):
        return f"'{value}"
    return value


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows for people and programs; other keys than the columns' are left out."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: spreadsheet_text(row.get(name)) for name in columns} for row in rows
        )
