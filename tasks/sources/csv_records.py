"""CSV text as records, one by one, by Python's csv: whatever the dialect and the damage."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tasks.core.errors import PipelineError

MAX_RECORD_BYTES = 8 * 2**20
"""Length of the longest record that can be read."""

AFTER_QUOTE = "text after a closing quote"
NUL = "a NUL character"


class Rejected(NamedTuple):
    """A row that is not staged, or a cell that is emptied.

    Attributes:
        line: On which the row begins, from 1.
        column: Declared column that is invalid; empty if the row cannot be read at all.
        kind: Of the reason, the same for all rows that are rejected alike.
        reason: The kind, and what is particular to the row.
        text: The row as it came; of a cell, the cell's text.
    """

    line: int
    column: str
    kind: str
    reason: str
    text: str


class Record(NamedTuple):
    """A record: its line (from 0), its text, its fields; why it has none, if it is malformed."""

    line: int
    text: str
    fields: list[str]
    malformed: str = ""


@dataclass(frozen=True)
class Dialect:
    """How the records of a file are written.

    Attributes:
        encoding: Python's name of it.
        delimiter: Between fields.
        quotechar: Around fields; empty: none.
        escapechar: Before a quote within quotes; None: quotes are doubled.
    """

    encoding: str = "utf-8"
    delimiter: str = ","
    quotechar: str = '"'
    escapechar: str | None = None


def csv_reader(lines: Iterable[str], dialect: Dialect) -> Iterator[list[str]]:
    """Python's reader of lines in a dialect; csv.Error where a quote is misplaced."""
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quotechar=dialect.quotechar or None,
        quoting=csv.QUOTE_MINIMAL if dialect.quotechar else csv.QUOTE_NONE,
        escapechar=dialect.escapechar,
        strict=True,
    )


def read_records(
    lines: Iterable[str], dialect: Dialect, file: str, line: int = 0
) -> Iterator[Record]:
    """The records in lines of text; empty lines are none.

    Args:
        lines: With their ends. Bytes that could not be decoded are surrogates.
        dialect: How they are written.
        file: Name of the file, for messages.
        line: Number of the first line, from 0.

    Raises:
        PipelineError: A quoted field is never closed, or a record is too long.
    """
    # The escape character of a field that is \N (no value) belongs to the text.
    null = None
    if dialect.escapechar is not None:
        mark, escape = re.escape(dialect.delimiter), re.escape(dialect.escapechar)
        null = re.compile(rf"(?:^|(?<={mark})){escape}(?=N(?:{mark}|\r|\n|$))")
    taken: list[str] = []
    length = 0

    def take() -> Iterator[str]:
        nonlocal length
        for one in lines:
            taken.append(one)
            length += len(one) if one.isascii() else len(one.encode(errors="surrogateescape"))
            if length > MAX_RECORD_BYTES:
                raise PipelineError(
                    f"{file}: line {line + 1}: a record of more than {MAX_RECORD_BYTES:,} bytes.",
                    [f"it begins: {shorten(taken[0])}"],
                    "Usually a quote is opened and not closed where it should be.",
                )
            yield one if null is None else null.sub(r"\g<0>\g<0>", one)

    reader = csv_reader(take(), dialect)
    while True:
        taken.clear()
        length = 0
        fields, malformed = [], ""
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "end of data" in str(error):
                raise PipelineError(
                    f"{file}: line {line + 1}: a quote opens a field and is never closed, "
                    "so that the rest of the file cannot be divided into records.",
                    [f"the line reads: {shorten(taken[0])}"],
                    "Close the quote, or double it if it belongs to the text.",
                ) from error
            malformed = AFTER_QUOTE
        text = "".join(taken).rstrip("\r\n")
        if fields or malformed:
            yield Record(line, text, fields, malformed or _damage(text, dialect.encoding))
        line += len(taken)


def _damage(text: str, encoding: str) -> str:
    if "\0" in text:
        return NUL
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"not {encoding.upper()}"
    return ""


def split_lines(texts: Iterable[str]) -> Iterator[str]:
    r"""Lines with their ends (LF, CR LF or CR), from a text in pieces.

    >>> list(split_lines(["a\r", "\nb\rc"]))
    ['a\r\n', 'b\r', 'c']
    """
    rest = ""
    for text in texts:
        lines = list(io.StringIO(rest + text, newline=""))
        # The last one may go on, and a CR may belong to the LF that follows.
        rest = lines.pop() if lines and not lines[-1].endswith("\n") else ""
        yield from lines
        if len(rest) > MAX_RECORD_BYTES:
            yield rest
            rest = ""
    yield from io.StringIO(rest, newline="")


def shorten(text: str, most: int = 120) -> str:
    """A text for a message: one line, quoted, not too long.

    >>> shorten("no break" + "!" * 200, most=12)
    "'no break!!!!'..."
    """
    cut = text.rstrip("\r\n")
    visible = cut[:most].encode(errors="surrogateescape").decode(errors="replace")
    return repr(visible) + ("..." if len(cut) > most else "")
