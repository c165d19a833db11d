"""CSV text as records, one by one, by Python's csv: any dialect, any damage."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tasks.core.errors import PipelineError

MAX_RECORD_BYTES = 8 * 2**20
"""Length of the longest record that can be read."""

NUL = "a NUL character"


class Rejected(NamedTuple):
    """A row that is not staged, or a cell that is emptied.

    Attributes:
        line: On which the row begins, from 1.
        column: Declared column that is invalid; empty if the row cannot be read at all.
        kind: Of the reason, the same for all rows that are rejected alike.
        reason: The kind, and what is particular to the row.
        text: The row as it came; of a cell, the cell's text.
        cell: Text of the invalid cell, if the row was rejected for one.
    """

    line: int
    column: str
    kind: str
    reason: str
    text: str
    cell: str = ""


class Record(NamedTuple):
    """A record, or an empty line.

    Attributes:
        line: Its first line, from 1.
        end: The line after it.
        text: As it came, without the line end.
        fields: Empty if the line is empty or the record is malformed.
        malformed: Why it is; empty if it is not.
    """

    line: int
    end: int
    text: str
    fields: list[str]
    malformed: str = ""


@dataclass(frozen=True)
class Dialect:
    """How a file is written, and which of its lines are records.

    Attributes:
        encoding: Python's name of it.
        delimiter: Between fields.
        quotechar: Around fields; empty: none.
        escapechar: Before a quote within quotes; None: quotes are doubled.
        mark: Bytes of the byte order mark.
        head: Lines up to the header and with it.
        skiprows: Numbers of the lines to skip, from 0 in the file.
        skipfooter: Lines to skip at the end.
        width: Fields of a record.
        trailing: Whether each record ends in one more field, which is empty.
    """

    encoding: str = "utf-8"
    delimiter: str = ","
    quotechar: str = '"'
    escapechar: str | None = None
    mark: int = 0
    head: int = 1
    skiprows: tuple[int, ...] = ()
    skipfooter: int = 0
    width: int = 0
    trailing: bool = False


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
    lines: Iterable[str], dialect: Dialect, file: str, line: int = 1
) -> Iterator[Record]:
    """The records in lines of text, and the empty lines.

    Args:
        lines: With their ends. Bytes that could not be decoded are surrogates.
        dialect: How they are written.
        file: Name of the file, for messages.
        line: Number of the first line, from 1.

    Raises:
        PipelineError: A quoted field is never closed, or a record is too long.
    """
    protect = _null_protector(dialect)
    taken: list[str] = []
    length = 0

    def take() -> Iterator[str]:
        nonlocal length
        for one in lines:
            taken.append(one)
            length += len(one) if one.isascii() else len(one.encode(errors="surrogateescape"))
            if length > MAX_RECORD_BYTES:
                raise PipelineError(
                    f"{file}: line {line}: a record of more than {MAX_RECORD_BYTES:,} bytes.",
                    [f"it begins: {shorten(taken[0])}"],
                    "Usually a quote is opened and not closed where it should be.",
                )
            yield protect(one)

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
                raise _never_closed(file, line, taken[0]) from error
            malformed = "text after a closing quote"
        text = "".join(taken).rstrip("\r\n")
        end = line + len(taken)
        yield Record(line, end, text, fields, malformed or _damage(text, dialect.encoding))
        line = end


def _never_closed(file: str, line: int, text: str) -> PipelineError:
    return PipelineError(
        f"{file}: line {line}: a quote opens a field and is never closed, "
        "so that the rest of the file cannot be divided into records.",
        [f"the line reads: {shorten(text)}"],
        "Close the quote, or double it if it belongs to the text.",
    )


def _null_protector(dialect: Dialect) -> Callable[[str], str]:
    r"""What doubles the escape character of a field that is \N (no value): it is text there."""
    if dialect.escapechar is None:
        return str
    mark, escape = re.escape(dialect.delimiter), re.escape(dialect.escapechar)
    null = re.compile(rf"(?:^|(?<={mark})){escape}(?=N(?:{mark}|\r|\n|$))")
    return lambda line: null.sub(r"\g<0>\g<0>", line)


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
