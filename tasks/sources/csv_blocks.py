"""A CSV file in blocks of text columns: one pass, nothing converted, no row lost.

Nearly every file is plain: quotes where the standard has them, lines that end in LF or CR LF.
It is cut into texts of whole records, which Arrow reads in parallel. From the first text that
is not plain on, Python's csv reads the rest, record by record.
"""

from __future__ import annotations

import codecs
import functools
import itertools
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tasks.core.errors import PipelineError
from tasks.sources.csv_records import (
    MAX_RECORD_BYTES,
    Dialect,
    Record,
    Rejected,
    read_records,
    split_lines,
)
from tasks.sources.files import bytes_read, open_bytes

BLOCK_BYTES = 2 * 2**20
"""How much is read at a time; some such blocks are in memory together."""

_BLANK = re.compile(rb"[\r\n]*")
_LINE = re.compile(rb"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_LINE_FEED, _CARRIAGE_RETURN = b"\n\r"


@dataclass
class Block:
    """Some records of a file, in a row.

    Attributes:
        columns: Text of the well-formed records, by position.
        lines: Line on which each of them begins, from 1.
        text: Each of them as it came, by its row.
        malformed: The other records.
        end: The line after the block.
        file_bytes: How much of the file was read for it.
    """

    columns: list[pa.StringArray]
    lines: np.ndarray
    text: Callable[[int], str]
    malformed: list[Rejected]
    end: int
    file_bytes: int = 0


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Text = tuple[int, int, bytes]
"""A plain text of whole records: its first line, the line after it, the text."""


def read_blocks(
    path: Path, dialect: Dialect, work: Callable[[Block], _Result], threads: int = 1
) -> Iterator[tuple[Block, _Result]]:
    """The blocks of a file in their order, and what `work` makes of each.

    Args:
        path: The CSV file.
        dialect: How it is written.
        work: Runs for several blocks in parallel.
        threads: How many blocks are read in parallel.

    Raises:
        PipelineError: The file cannot be unpacked, a quoted field is never closed, or a record is
            longer than MAX_RECORD_BYTES.
    """

    def read(piece: _Text | list[Record]) -> tuple[Block, _Result]:
        if isinstance(piece, list):
            block = _from_records(piece, dialect)
        else:
            block = _from_text(*piece, dialect)
        return block, work(block)

    before = 0
    try:
        with open_bytes(path) as stream:
            chunks = _body(iter(lambda: stream.read(BLOCK_BYTES), b""), dialect)
            for block, result in _in_order(read, _cut(chunks, dialect, path.name), threads):
                after = bytes_read(stream)
                block.file_bytes, before = after - before, after
                yield block, result
                del block, result  # Or they stay in memory while the next ones are read.
    except (OSError, EOFError, zlib.error) as error:
        raise PipelineError(f"{path.name} cannot be read: {error}.") from error


def _in_order(
    function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int
) -> Iterator[_Result]:
    """A function's results in the order of the items: few are computed ahead, none is kept."""
    pending: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            done = [pending.popleft().result()] if len(pending) == threads else []
            pending.append(pool.submit(function, item))
            del item
            while done:
                yield done.pop()
        while pending:
            yield pending.popleft().result()


def _cut(chunks: Iterator[bytes], dialect: Dialect, file: str) -> Iterator[_Text | list[Record]]:
    """The records behind the header: as texts while these are plain, then one by one."""
    line, text = dialect.head + 1, b""
    is_plain = dialect.escapechar is None and all(
        len(one.encode()) < 2 for one in (dialect.delimiter, dialect.quotechar)
    )
    while is_plain and (chunk := next(chunks, None)) is not None:
        text += chunk
        end = _end_of_records(text, dialect.quotechar.encode())
        whole = text[:end]
        is_plain = _is_plain(whole, dialect) if end else len(text) <= MAX_RECORD_BYTES
        if is_plain and end:
            after = line + _count(whole, b"\n", 0, end)
            # Arrow drops a mark at the start; records with other damage are located one by one.
            if b"\0" in whole or whole.startswith(codecs.BOM_UTF8) or not _is_utf8(whole):
                decoded = whole.decode(errors="surrogateescape")
                yield list(read_records(split_lines([decoded]), dialect, file, line))
            else:
                yield line, after, whole
            line = after
            text = text[end:]
    rest = itertools.chain([text], chunks)
    lines = split_lines(codecs.iterdecode(rest, "utf-8", "surrogateescape"))
    records: list[Record] = []
    length = 0
    for record in read_records(lines, dialect, file, line):
        records.append(record)
        length += len(record.text) + 1
        if length > BLOCK_BYTES:
            yield records
            records, length = [], 0
    if records:
        yield records


def _end_of_records(text: bytes, quote: bytes) -> int:
    """Where the last whole record ends in a text that begins with a record; 0 if none does."""
    end = text.rfind(b"\n") + 1
    if not quote:
        return end
    quotes = _count(text, quote, 0, end) if quote in text else 0
    while end and quotes % 2:
        before = text.rfind(b"\n", 0, end - 1) + 1
        quotes -= _count(text, quote, before, end)
        end = before
    return end


def _count(text: bytes, byte: bytes, start: int, end: int) -> int:
    """How often a byte occurs: much faster than `bytes.count` where that is often."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8)[start:end] == byte[0]))


def _is_plain(text: bytes, dialect: Dialect) -> bool:
    """Whether Arrow reads a text of whole records as Python's csv does."""
    if b"\r" in text and text.count(b"\r") != text.count(b"\r\n"):
        return False
    quote = dialect.quotechar.encode()
    if len(text) > MAX_RECORD_BYTES:
        starts, ends, _ = _extents(text, quote)
        # The limit counts the line end, too.
        if (ends - starts).max(initial=0) >= MAX_RECORD_BYTES:
            return False  # Python's csv says where it is.
    if not quote or quote not in text:
        return True
    # A quote opens behind a delimiter or a line break and closes before one; others come in pairs.
    beside = np.zeros(256, dtype=bool)
    beside[list(quote + dialect.delimiter.encode() + b"\r\n")] = True
    codes = np.frombuffer(text, np.uint8)
    places = np.flatnonzero(codes == quote[0])
    opening, closing = places[0::2], places[1::2]
    before = codes[opening[opening > 0] - 1]
    after = codes[closing[closing < len(codes) - 1] + 1]
    return len(places) % 2 == 0 and bool(beside[before].all() and beside[after].all())


def _is_utf8(text: bytes) -> bool:
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            return False
    return True


def _from_text(line: int, end: int, text: bytes, dialect: Dialect) -> Block:
    """A plain text, read by Arrow."""
    malformed: dict[int, str] = {}

    def skip(row: pa.csv.InvalidRow) -> str:
        malformed[row.number - 1] = _wrong_width(row.actual_columns, dialect)
        return "skip"

    quote = dialect.quotechar.encode()
    width = dialect.width + dialect.trailing
    columns = [pa.array([], pa.string())] * width
    if not _BLANK.fullmatch(text):
        table = pa.csv.read_csv(
            pa.py_buffer(text),
            pa.csv.ReadOptions(
                # One thread: the numbers of malformed rows are known in file order only.
                use_threads=False,
                block_size=len(text) + 1,
                column_names=[str(place) for place in range(width)],
            ),
            pa.csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quotechar or False,
                newlines_in_values=bool(quote) and quote in text,
                invalid_row_handler=skip,
            ),
            pa.csv.ConvertOptions(
                default_column_type=pa.binary(), strings_can_be_null=False, null_values=[]
            ),
        )
        # The text is known to be UTF-8, so that its fields need no second check.
        columns = [one.combine_chunks().cast(pa.binary()).view(pa.string()) for one in table]
    extents = functools.cache(lambda: _extents(text, quote))
    count = len(columns[0]) + len(malformed)
    if count == end - line:  # Empty lines and breaks within quotes only add.
        lines = line + np.arange(count)
    else:
        starts, _, breaks = extents()
        lines = line + np.searchsorted(breaks, starts)

    def record(number: int) -> str:
        starts, ends, _ = extents()
        return text[starts[number] : ends[number]].rstrip(b"\r\n").decode()

    return _as_block(columns, malformed, lines, record, end, dialect)


def _from_records(records: list[Record], dialect: Dialect) -> Block:
    end = records[-1].end
    records = [one for one in records if one.fields or one.malformed]
    width = dialect.width + dialect.trailing
    malformed: dict[int, str] = {}
    for number, one in enumerate(records):
        if one.malformed or len(one.fields) != width:
            malformed[number] = one.malformed or _wrong_width(len(one.fields), dialect)
    good = [one.fields for number, one in enumerate(records) if number not in malformed]
    columns = [pa.array([fields[at] for fields in good], pa.string()) for at in range(width)]
    lines = np.array([one.line for one in records], dtype=np.int64)
    return _as_block(columns, malformed, lines, lambda at: records[at].text, end, dialect)


def _as_block(
    columns: list[pa.StringArray],
    malformed: dict[int, str],
    lines: np.ndarray,
    record: Callable[[int], str],
    end: int,
    dialect: Dialect,
) -> Block:
    """A block of some records.

    Args:
        columns: Fields of those of the right width.
        malformed: The number of each other record, and why.
        lines: Where all of them begin.
        record: The text of each, by number.
        end: The line after them.
        dialect: How they are written.
    """
    if not malformed and not dialect.trailing:
        return Block(columns, lines, record, [], end)
    kept = np.delete(np.arange(len(lines)), list(malformed))
    if dialect.trailing:
        filled = pc.not_equal(columns[-1], "").to_numpy(zero_copy_only=False)
        reason = _wrong_width(dialect.width + 1, dialect)
        malformed |= dict.fromkeys(kept[filled].tolist(), reason)
        kept = kept[~filled]
        columns = [column.filter(pa.array(~filled)) for column in columns[:-1]]
    rejected = [
        Rejected(int(lines[number]), "", reason.partition(": ")[0], reason, record(number))
        for number, reason in sorted(malformed.items())
    ]
    return Block(columns, lines[kept], lambda row: record(int(kept[row])), rejected, end)


def _wrong_width(fields: int, dialect: Dialect) -> str:
    if fields < dialect.width + dialect.trailing:
        return f"too few fields: {fields} instead of {dialect.width + dialect.trailing}"
    return f"too many fields: {fields} instead of {dialect.width}"


def _extents(text: bytes, quote: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each record of a plain text begins and ends, and where its line breaks are."""
    codes = np.frombuffer(text, np.uint8)
    breaks = np.flatnonzero(codes == _LINE_FEED)
    ends = breaks
    if quote and quote in text:  # A line break within quotes ends no record.
        opened = np.searchsorted(np.flatnonzero(codes == quote[0]), ends)
        ends = ends[opened % 2 == 0]
    starts = np.append(0, ends[:-1] + 1)
    blank = (ends == starts) | ((ends == starts + 1) & (codes[starts] == _CARRIAGE_RETURN))
    return starts[~blank], ends[~blank], breaks


# --- the body of a file ----------------------------------------------------------------------


def _body(chunks: Iterator[bytes], dialect: Dialect) -> Iterator[bytes]:
    """What follows the header, as UTF-8; lines to skip are empty, the footer is left out."""
    chunks = itertools.chain([next(chunks, b"")[dialect.mark :]], chunks)
    if dialect.encoding != "utf-8":
        chunks = _transcode(chunks, dialect.encoding)
    chunks = _without_head(chunks, dialect)
    return _without_footer(chunks, dialect.skipfooter) if dialect.skipfooter else chunks


def _transcode(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The text as UTF-8. What cannot be decoded becomes bytes that are no UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)("mark_undecodable")
    for chunk in chunks:
        yield decoder.decode(chunk).encode(errors="surrogateescape")
    yield decoder.decode(b"", final=True).encode(errors="surrogateescape")


def mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    """Surrogates in place of bytes that cannot be decoded in any encoding."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    raw = error.object[error.start : error.end]
    # Without the bytes that begin a character of UTF-8, which such bytes might make together.
    marks = (0xFF if 0xC2 <= byte <= 0xF4 else max(byte, 0x80) for byte in raw)
    return "".join(chr(0xDC00 + mark) for mark in marks), error.end


codecs.register_error("mark_undecodable", mark_undecodable)


def _without_head(chunks: Iterator[bytes], dialect: Dialect) -> Iterator[bytes]:
    wanted = max(dialect.head, *(row + 1 for row in dialect.skiprows), 0)
    text = b""
    lines: list[bytes] = []
    for chunk in chunks:
        text += chunk
        lines = [match[0] for match in itertools.islice(_LINE.finditer(text), wanted + 1)]
        if len(lines) > wanted:  # The last of those that are wanted is whole.
            break
    rest = text[sum(map(len, lines)) :]
    for row in dialect.skiprows:
        if row < len(lines):
            lines[row] = lines[row][len(lines[row].rstrip(b"\r\n")) :]
    yield b"".join([*lines[dialect.head :], rest])
    yield from chunks


def _without_footer(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    held = b""
    for chunk in chunks:
        lines = _LINE.findall(held + chunk)
        most = count + (not chunk.endswith(b"\n"))  # The last one may go on.
        yield b"".join(lines[:-most])
        held = b"".join(lines[-most:])
    yield b"".join(_LINE.findall(held)[:-count])
