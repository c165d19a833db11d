"""CSV files that people open in a spreadsheet: no text of theirs is run as a formula."""

from __future__ import annotations

import csv
import io
import itertools
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
    if isinstance(value, str) and value.lstrip("'").startswith(_STARTS):
        return f"'{value}"
    return value


def write_csv(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, object]],
    bom: bool | None = None,
) -> None:
    """Write rows for people and programs.

    Args:
        path: The file.
        columns: Its columns; other keys of the rows are left out.
        rows: What it holds.
        bom: Whether it begins with a byte order mark, without which Excel misreads UTF-8; None:
            only if there is a character beyond ASCII.
    """
    line = io.StringIO()
    # A field is quoted if it holds a character of the line's end.
    writer = csv.writer(line, lineterminator="\r\n")
    header = {name: name for name in columns}
    lines = []
    for row in itertools.chain([header], rows):
        writer.writerow([spreadsheet_text(row.get(name)) for name in columns])
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
        line.seek(0)
        line.truncate()
    text = "".join(lines)
    marked = not text.isascii() if bom is None else bom
    path.write_text(text, encoding="utf-8-sig" if marked else "utf-8", newline="")
