"""The records of a CSV file in blocks of text columns: nothing converted, nothing dropped unseen.

Nearly every file is plain: quotes where the standard has them, lines that end in LF or CR LF.
It falls into blocks of whole records, which Arrow reads in parallel. From the first block that
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
from typing import NamedTuple, TypeVar

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

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BLANK = re.compile(rb"[\r\n]*")
_LINE_FEED, _CARRIAGE_RETURN = b"\n\r"


class NotPlainError(Exception):
    """A block that Arrow would misread."""


class Extent(NamedTuple):
    """Which lines of a file hold its records.

    Attributes:
        mark: Bytes of the byte order mark.
        head: Lines up to the header and with it.
        skipped: Further lines to skip, numbered from 0 in the file.
        footer: Lines to skip at the end.
    """

    mark: int = 0
    head: int = 1
    skipped: tuple[int, ...] = ()
    footer: int = 0


@dataclass
class Block:
    """Some records of a file, in a row.

    Attributes:
        columns: Of the well-formed records, by position.
        malformed: The others; their lines are numbered from 0 in the block.
        line_count: How many lines the block has.
        lines: Line of each well-formed record, from 0 in the block.
        text: A well-formed record as it came, by its row.
        first_line: Number of the block's first line in the file, from 1.
        file_bytes: How much of the file was read for it.
    """

    columns: list[pa.StringArray]
    malformed: list[Rejected]
    line_count: int
    lines: Callable[[], np.ndarray]
    text: Callable[[int], str]
    first_line: int = 1
    file_bytes: int = 0


_Result = TypeVar("_Result")


def read_blocks(
    path: Path,
    dialect: Dialect,
    extent: Extent,
    width: int,
    work: Callable[[Block], _Result],
    trailing: bool = False,
    threads: int = 1,
) -> Iterator[tuple[Block, _Result]]:
    """The blocks of a file in their order, and what `work` makes of each.

    Args:
        path: The CSV file.
        dialect: How it is written.
        extent: Which of its lines are records.
        width: Fields of a record.
        work: Runs for several blocks in parallel.
        trailing: Whether each record ends in one more field, which is empty.
        threads: How many blocks are read in parallel.

    Raises:
        PipelineError: The file cannot be unpacked, a quoted field is never closed, or a record is
            longer than MAX_RECORD_BYTES.
    """
    reader = _Reader(path.name, dialect, width, trailing)
    line = extent.head + 1
    before = 0
    try:
        with open_bytes(path) as stream:
            chunks = _body(iter(lambda: stream.read(BLOCK_BYTES), b""), dialect.encoding, extent)
            for block, result in _in_order(chunks, reader, work, threads, line):
                block.first_line = line
                line += block.line_count
                after = bytes_read(stream)
                block.file_bytes, before = after - before, after
                yield block, result
                del block, result  # Or they stay in memory while the next ones are read.
    except (OSError, EOFError, zlib.error) as error:
        raise PipelineError(f"{path.name} cannot be read: {error}.") from error


def _in_order(
    chunks: Iterator[bytes],
    reader: _Reader,
    work: Callable[[Block], _Result],
    threads: int,
    line: int,
) -> Iterator[tuple[Block, _Result]]:
    def read(text: bytes) -> tuple[Block, _Result]:
        block = reader.read_plain(text)
        return block, work(block)

    splitter = _Splitter(chunks, reader.quote)
    texts = iter(splitter) if reader.plain_dialect else iter(())
    pending: deque[tuple[bytes, Future[tuple[Block, _Result]]]] = deque()
    unread: list[bytes] = []
    with ThreadPoolExecutor(threads) as pool:
        for text in itertools.islice(texts, threads):
            pending.append((text, pool.submit(read, text)))
        while pending:
            text, future = pending.popleft()
            try:
                found = future.result()
            except NotPlainError:
                unread = [text, *(other for other, _ in pending)]
                break
            # Not before: blocks wait in memory.
            for text in itertools.islice(texts, 1):
                pending.append((text, pool.submit(read, text)))
            line += found[0].line_count
            yield found
            del found, future
    pending.clear()
    for block in reader.read_any(itertools.chain(unread, [splitter.rest], chunks), line - 1):
        yield block, work(block)


class _Splitter:
    """A text cut into texts of whole records, as long as it is plain.

    Attributes:
        rest: What was read and not given yet.
    """

    def __init__(self, chunks: Iterator[bytes], quote: bytes):
        self._chunks = chunks
        self._quote = quote
        self.rest = b""

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            text = self.rest + chunk
            end = self._last_record_end(text)
            if not end and len(text) > MAX_RECORD_BYTES:
                end = len(text)  # No record of a plain file: whoever reads it says so.
            self.rest = text[end:]
            if end:
                yield text[:end]
        if self.rest:
            text, self.rest = self.rest, b""
            yield text

    def _last_record_end(self, text: bytes) -> int:
        """Where the last whole record ends in a text that begins with a record; 0 if none does."""
        end = text.rfind(b"\n") + 1
        if not self._quote:
            return end
        quotes = text.count(self._quote, 0, end)
        while end and quotes % 2:
            before = text.rfind(b"\n", 0, end - 1) + 1
            quotes -= text.count(self._quote, before, end)
            end = before
        return end


class _Reader:
    """Reads texts of whole records.

    Attributes:
        plain_dialect: Whether Arrow can read the dialect at all.
        quote: The character around fields.
    """

    def __init__(self, file: str, dialect: Dialect, width: int, trailing: bool):
        self._file = file
        self._dialect = dialect
        self._width = width
        self._trailing = trailing
        self.quote = dialect.quotechar.encode()
        self.plain_dialect = dialect.escapechar is None and all(
            len(character.encode()) < 2 for character in (dialect.delimiter, dialect.quotechar)
        )
        beside = self.quote + dialect.delimiter.encode() + b"\r\n"
        self._beside_quotes = np.zeros(256, dtype=bool)
        self._beside_quotes[list(beside)] = True

    def read_plain(self, text: bytes) -> Block:
        """The records of a plain text.

        Raises:
            NotPlainError: It is not plain.
        """
        self._check_plain(text)
        if b"\0" in text or text.startswith(codecs.BOM_UTF8) or not _is_utf8(text):
            # Arrow drops a mark at the start; records with other damage are located one by one.
            (block,) = self.read_any([text], 0, whole=True)
            return block
        malformed: dict[int, str] = {}

        def note(row: pa.csv.InvalidRow) -> str:
            malformed[row.number - 1] = self._count(row.actual_columns)
            return "skip"

        width = self._width + self._trailing
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
                    delimiter=self._dialect.delimiter,
                    quote_char=self._dialect.quotechar or False,
                    newlines_in_values=bool(self.quote) and self.quote in text,
                    invalid_row_handler=note,
                ),
                pa.csv.ConvertOptions(
                    default_column_type=pa.binary(), strings_can_be_null=False, null_values=[]
                ),
            )
            columns = [column.combine_chunks().cast(pa.binary()) for column in table.columns]
        else:
            columns = [pa.array([], pa.binary())] * width
        # The text is known to be UTF-8, so that its fields need no second check.
        return self._as_block([column.view(pa.string()) for column in columns], malformed, text)

    def _as_block(
        self, columns: list[pa.StringArray], malformed: dict[int, str], text: bytes
    ) -> Block:
        extents = functools.cache(lambda: _extents(text, self.quote))
        rows = np.arange(len(columns[0]) + len(malformed))
        kept = np.delete(rows, list(malformed))
        if self._trailing:
            filled = pc.not_equal(columns.pop(), "").to_numpy(zero_copy_only=False)
            malformed |= dict.fromkeys(kept[filled].tolist(), self._count(self._width + 1))
            kept = kept[~filled]
            columns = [column.filter(pa.array(~filled)) for column in columns]
        line_count = text.count(b"\n") + (not text.endswith(b"\n"))
        one_line_each = len(rows) == line_count  # Empty lines and breaks within quotes only add.

        def lines() -> np.ndarray:
            if one_line_each:
                return kept
            starts, _, breaks = extents()
            return np.searchsorted(breaks, starts[kept])

        def record(number: int) -> str:
            starts, ends, _ = extents()
            return text[starts[number] : ends[number]].rstrip(b"\r\n").decode()

        def line(number: int) -> int:
            starts, _, breaks = extents()
            return int(np.searchsorted(breaks, starts[number]))

        rejected = [
            Rejected(line(number), "", *_kind(malformed[number]), record(number))
            for number in sorted(malformed)
        ]
        return Block(columns, rejected, line_count, lines, lambda row: record(kept[row]))

    def _check_plain(self, text: bytes) -> None:
        if b"\r" in text and text.count(b"\r") != text.count(b"\r\n"):
            raise NotPlainError
        if len(text) > MAX_RECORD_BYTES:
            starts, ends, _ = _extents(text, self.quote)
            if (ends - starts).max(initial=0) > MAX_RECORD_BYTES:
                raise NotPlainError  # Python's csv says where it is.
        if not self.quote or self.quote not in text:
            return
        # A quote opens behind a delimiter or a line break and closes before one; others come in
        # pairs.
        codes = np.frombuffer(text, np.uint8)
        places = np.flatnonzero(codes == self.quote[0])
        opening, closing = places[0::2], places[1::2]
        before = codes[opening[opening > 0] - 1]
        after = codes[closing[closing < len(codes) - 1] + 1]
        beside = self._beside_quotes
        if len(places) % 2 or not (beside[before].all() and beside[after].all()):
            raise NotPlainError

    def read_any(
        self, texts: Iterable[bytes], line: int, *, whole: bool = False
    ) -> Iterator[Block]:
        """The records of a text in pieces, whatever it is like, in blocks.

        Args:
            texts: UTF-8; bytes that are none are kept.
            line: Number of its first line, from 0.
            whole: Whether all of it is one block.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        lines = split_lines(decoder.decode(text) for text in texts)
        records = read_records(_counted(lines, count := [0]), self._dialect, self._file, line)
        first = line
        block: list[Record] = []
        length = 0
        for record in records:
            block.append(record)
            length += len(record.text)
            if length > BLOCK_BYTES and not whole:
                yield self._from_records(block, first, line + count[0])
                block, length, first = [], 0, line + count[0]
        if block or whole or line + count[0] > first:
            yield self._from_records(block, first, line + count[0])

    def _from_records(self, records: list[Record], first: int, end: int) -> Block:
        good: list[Record] = []
        rejected: list[Rejected] = []
        for record in records:
            kind = record.malformed or self._wrong_width(record.fields)
            if kind:
                at = record.line - first
                rejected.append(Rejected(at, "", *_kind(kind), record.text))
            else:
                good.append(record)
        columns = [
            pa.array([record.fields[place] for record in good], pa.string())
            for place in range(self._width)
        ]
        lines = np.array([record.line - first for record in good], dtype=np.int64)
        return Block(columns, rejected, end - first, lambda: lines, lambda row: good[row].text)

    def _wrong_width(self, fields: list[str]) -> str:
        if len(fields) != self._width + self._trailing:
            return self._count(len(fields))
        return self._count(len(fields)) if self._trailing and fields[-1] else ""

    def _count(self, fields: int) -> str:
        if fields < self._width + self._trailing:
            return f"too few fields: {fields} instead of {self._width + self._trailing}"
        return f"too many fields: {fields} instead of {self._width}"


def _kind(malformed: str) -> tuple[str, str]:
    """The kind of a reason, and the reason."""
    return malformed.partition(": ")[0], malformed


def _is_utf8(text: bytes) -> bool:
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            return False
    return True


def _extents(text: bytes, quote: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each record of a plain text begins and ends, and where its line breaks are."""
    codes = np.frombuffer(text, np.uint8)
    breaks = np.flatnonzero(codes == _LINE_FEED)
    ends = breaks if text.endswith(b"\n") else np.append(breaks, len(codes))
    if quote and quote in text:  # A line break within quotes ends no record.
        opened = np.searchsorted(np.flatnonzero(codes == quote[0]), ends)
        ends = ends[opened % 2 == 0]
    starts = np.append(0, ends[:-1] + 1)
    first = codes[np.minimum(starts, len(codes) - 1)]
    blank = (ends == starts) | ((ends == starts + 1) & (first == _CARRIAGE_RETURN))
    return starts[~blank], ends[~blank], breaks


def _counted(lines: Iterator[str], count: list[int]) -> Iterator[str]:
    for line in lines:
        count[0] += 1
        yield line


# --- the body of a file ----------------------------------------------------------------------


def _body(chunks: Iterator[bytes], encoding: str, extent: Extent) -> Iterator[bytes]:
    """What follows the header, as UTF-8; lines to skip are empty, the footer is left out."""
    first = next(chunks, b"")[extent.mark :]
    chunks = itertools.chain([first], chunks)
    if encoding != "utf-8":
        chunks = _transcode(chunks, encoding)
    chunks = _without_head(chunks, extent)
    return _without_footer(chunks, extent.footer) if extent.footer else chunks


def _transcode(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The text as UTF-8. What cannot be decoded becomes bytes that are no UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)("mark_undecodable")
    for chunk in chunks:
        yield decoder.decode(chunk).encode(errors="surrogateescape")
    yield decoder.decode(b"", final=True).encode(errors="surrogateescape")


def mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    """Surrogates in place of bytes that cannot be decoded, whatever the encoding."""
    assert isinstance(error, UnicodeDecodeError)
    raw = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + max(byte, 0x80)) for byte in raw), error.end


codecs.register_error("mark_undecodable", mark_undecodable)


def _without_head(chunks: Iterator[bytes], extent: Extent) -> Iterator[bytes]:
    wanted = max([extent.head, *(line + 1 for line in extent.skipped)])
    text = b""
    ends: list[int] = []
    for chunk in chunks:
        text += chunk
        if not text.endswith(b"\r"):  # The LF that may follow belongs to it.
            ends = _line_ends(text, wanted)
            if len(ends) == wanted:
                break
    else:
        ends = _line_ends(text, wanted)
        ends += [len(text)] * (wanted - len(ends))
    kept = text[ends[extent.head - 1] :]
    for line in sorted(set(extent.skipped) - set(range(extent.head)), reverse=True):
        start, end = ends[line - 1] - ends[extent.head - 1], ends[line] - ends[extent.head - 1]
        content = kept[start:end].rstrip(b"\r\n")
        kept = kept[:start] + kept[start + len(content) :]
    yield kept
    yield from chunks


def _line_ends(text: bytes, most: int | None = None) -> list[int]:
    return [match.end() for match in itertools.islice(_LINE_END.finditer(text), most)]


def _without_footer(chunks: Iterator[bytes], lines: int) -> Iterator[bytes]:
    held = b""
    for chunk in chunks:
        held += chunk
        ends = _line_ends(held)
        if len(ends) > lines:
            yield held[: ends[-lines - 1]]
            held = held[ends[-lines - 1] :]
    starts = [0, *_line_ends(held)]
    if starts[-1] == len(held):
        starts.pop()
    yield held[: starts[-lines]] if len(starts) >= lines else b""
