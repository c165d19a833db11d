"""CSV files as batches of text columns, as they came: nothing converted, nothing dropped unseen.

Nearly every file is plain: UTF-8, quotes where the standard has them. Such a file falls into
blocks of whole records that can be read side by side (`plain_blocks`). Any other is read from
its first byte to its last by one reader (`CsvText`).
"""

from __future__ import annotations

import bisect
import codecs
import itertools
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tasks.errors import PipelineError
from tasks.headers import records, shorten
from tasks.source_files import bytes_read, open_bytes

BLOCK_BYTES = 8 * 2**20
"""How much is read at a time; also the length of the longest record that can be read."""

PLAIN_BLOCK_BYTES = 2 * 2**20
"""How much of a plain file is read at a time; some such blocks are in memory together."""

_SCANNED_BYTES = 2**20


class NotPlainError(Exception):
    """A file that `plain_blocks` cannot read: `CsvText` can, or tells what is wrong with it."""


class Malformed(NamedTuple):
    """Why a record has no columns."""

    kind: str
    detail: str


class Block(NamedTuple):
    """Some records of a plain file, in a row.

    Attributes:
        text: The records as they came, all of them whole.
        names: The columns; None if the first record names them.
        file_bytes: How much of the file was read for it.
    """

    text: bytes
    names: tuple[str, ...] | None
    file_bytes: int = 0

    def read(self) -> tuple[list[pa.StringArray], dict[int, Malformed]]:
        """The columns of the well-formed records, and the malformed among all by number from 0.

        Raises:
            NotPlainError: The block is not plain after all.
        """
        quotes = b'"' in self.text
        _refuse_unplain(self.text, quotes)
        malformed: dict[int, Malformed] = {}
        # Arrow counts from 1 and counts the header.
        first = 1 if self.names is not None else 2

        def note(row: pa.csv.InvalidRow) -> str:
            malformed[row.number - first] = _malformation(row)
            return "skip"

        try:
            table = pa.csv.read_csv(
                pa.py_buffer(self.text),
                pa.csv.ReadOptions(
                    # One thread: the numbers of malformed rows are known in file order only.
                    use_threads=False,
                    block_size=len(self.text) + 1,
                    column_names=self.names,
                ),
                pa.csv.ParseOptions(newlines_in_values=quotes, invalid_row_handler=note),
                pa.csv.ConvertOptions(
                    default_column_type=pa.binary(), strings_can_be_null=False, null_values=[]
                ),
            )
        except pa.ArrowInvalid as error:
            raise NotPlainError from error
        columns = [column.cast(pa.binary()).combine_chunks() for column in table.columns]
        # The block is known to be UTF-8, so that its fields need no second look.
        return [column.view(pa.string()) for column in columns], malformed

    def locate(self, numbers: Sequence[int]) -> tuple[dict[int, tuple[int, str]], int]:
        """Line (from 0, in the block) and text of some records, and the number of lines.

        Args:
            numbers: Of the records, from 0 in the block; the header counts if it is in it.
        """
        codes = np.frombuffer(self.text, np.uint8)
        breaks = np.flatnonzero(codes == _LINE_FEED)
        found: dict[int, tuple[int, str]] = {}
        if numbers:
            ends = breaks if self.text.endswith(b"\n") else np.append(breaks, len(codes))
            if b'"' in self.text:  # A line break among quotes ends no record.
                opened = np.searchsorted(np.flatnonzero(codes == _QUOTE), ends)
                ends = ends[opened % 2 == 0]
            starts = np.append(0, ends[:-1] + 1)
            first = codes[np.minimum(starts, len(codes) - 1)]
            blank = (ends == starts) | ((ends == starts + 1) & (first == _CARRIAGE_RETURN))
            starts, ends = starts[~blank], ends[~blank]
            lines = np.searchsorted(breaks, starts[numbers])
            for number, line in zip(numbers, lines.tolist(), strict=True):
                record = self.text[starts[number] : ends[number]].rstrip(b"\r\n")
                found[number] = line, record.decode()
        return found, len(breaks)


def plain_blocks(path: Path, names: tuple[str, ...]) -> Iterator[Block]:
    """A plain file in blocks of whole records.

    Args:
        path: The CSV file.
        names: Its columns.

    Raises:
        NotPlainError: The file is not plain, or cannot be read.
    """
    try:
        with open_bytes(path) as stream:
            rest = stream.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8)
            named = False
            before = 0

            def block(text: bytes) -> Block:
                nonlocal before, named
                start, before = before, bytes_read(stream)
                first, named = not named, True
                return Block(text, None if first else names, before - start)

            while read := stream.read(PLAIN_BLOCK_BYTES):
                text = rest + read
                if len(read) < PLAIN_BLOCK_BYTES:  # The last one need not end in a line break.
                    rest = text
                    break
                end = _last_record_end(text)
                rest = text[end:]
                yield block(text[:end])
            if rest:
                yield block(rest)
    except (OSError, EOFError, zlib.error) as error:
        raise NotPlainError from error


def _last_record_end(text: bytes) -> int:
    """Where the last whole record ends in a text that begins with a record.

    >>> _last_record_end(b'a,b' + bytes([10]) + b'c,"d' + bytes([10]))
    4
    """
    end = text.rfind(b"\n") + 1
    quotes = text.count(b'"', 0, end)
    while end and quotes % 2:
        before = text.rfind(b"\n", 0, end - 1) + 1
        quotes -= text.count(b'"', before, end)
        end = before
    if not end:
        raise NotPlainError
    return end


def _refuse_unplain(text: bytes, quotes: bool) -> None:
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise NotPlainError from error
    if b"\r" in text and text.count(b"\r") != text.count(b"\r\n"):
        raise NotPlainError
    if not quotes:
        return
    # A quote opens behind a comma or a line break and closes before one; others come in pairs.
    codes = np.frombuffer(text, np.uint8)
    places = np.flatnonzero(codes == _QUOTE)
    opening, closing = places[0::2], places[1::2]
    before = codes[opening[opening > 0] - 1]
    after = codes[closing[closing < len(codes) - 1] + 1]
    plain = len(places) % 2 == 0 and _BESIDE_QUOTES[before].all() and _BESIDE_QUOTES[after].all()
    if not plain:
        raise NotPlainError


_QUOTE, _LINE_FEED, _CARRIAGE_RETURN = b'"\n\r'
_BESIDE_QUOTES = np.zeros(256, dtype=bool)
_BESIDE_QUOTES[list(b',"\r\n')] = True


def _malformation(row: pa.csv.InvalidRow) -> Malformed:
    wrong = "too few" if row.actual_columns < row.expected_columns else "too many"
    return Malformed(f"{wrong} fields", f"{row.actual_columns} instead of {row.expected_columns}")


@dataclass
class CsvText:
    """Streams a CSV file.

    Records are counted from 0 without the header and without empty lines.

    Attributes:
        malformed: Record number -> why it has no columns. Filled while the batches are read.
        file_bytes: How much of the file was read so far.
    """

    path: Path
    malformed: dict[int, Malformed] = field(default_factory=dict)
    file_bytes: int = 0
    _last_malformed: str = field(default="", repr=False)

    def batches(self) -> Iterator[list[pa.BinaryArray]]:
        """The columns of each block of well-formed records, by position, as bytes.

        Raises:
            PipelineError: The file cannot be unpacked, a quoted field is never closed, or a
                record is longer than a block.
        """
        try:
            yield from self._read(_scan(self.path))
        except pa.ArrowInvalid as error:
            self._explain(error)
        except (OSError, EOFError, zlib.error) as error:
            raise PipelineError(f"{self.path.name} cannot be read: {error}.") from error

    def _read(self, nature: _Nature) -> Iterator[list[pa.BinaryArray]]:
        last = b""
        with open_bytes(self.path) as stream:
            stream.read(nature.mark)
            reader = pa.csv.open_csv(
                _BytesForArrow(stream, nature.utf8),
                pa.csv.ReadOptions(
                    # One thread: the numbers of malformed rows are known in file order only.
                    use_threads=False,
                    block_size=BLOCK_BYTES,
                ),
                pa.csv.ParseOptions(
                    newlines_in_values=True, invalid_row_handler=self._note_malformed
                ),
                pa.csv.ConvertOptions(
                    default_column_type=pa.binary(), strings_can_be_null=False, null_values=[]
                ),
            )
            for batch in reader:
                self.file_bytes = bytes_read(stream)
                if len(batch):
                    columns = [column.cast(pa.binary()) for column in batch.columns]
                    last = b"".join(column[-1].as_py() for column in columns)
                    yield columns if nature.utf8 else [_original_bytes(c) for c in columns]
        # Only if a quote stays open can the last record hold the file's last line break.
        breaks = any(end in last + self._last_malformed.encode() for end in (b"\n", b"\r"))
        if breaks or (nature.quotes and not nature.ends_with_line):
            for _ in records(self.path):
                pass

    def _note_malformed(self, row: pa.csv.InvalidRow) -> str:
        self._last_malformed = row.text
        # Arrow counts from 1 and counts the header.
        self.malformed[row.number - 2] = _malformation(row)
        return "skip"

    def _explain(self, error: pa.ArrowInvalid) -> None:
        """Raise what is wrong with a file that Arrow refuses; return if it has a header alone."""
        count = 0
        for line, text in records(self.path):
            count += 1
            if len(text.encode(errors="surrogateescape")) >= BLOCK_BYTES:
                raise PipelineError(
                    f"{self.path.name}: line {line}: a record of more than {BLOCK_BYTES:,} bytes.",
                    [f"it begins: {shorten(text)}"],
                    "Usually a quote is opened and not closed where it should be.",
                ) from error
        if count > 1:
            raise PipelineError(f"{self.path.name} cannot be read as CSV: {error}.") from error


class _BytesForArrow:
    """A stream in blocks that Arrow reads right.

    None ends between CR and LF: Arrow would drop the LF there. If the file is not UTF-8, every
    byte comes as the character of that number, which turns back into the byte: Arrow cannot tell
    of malformed rows that are not UTF-8, and its own decoder would cut the blocks anew.
    """

    closed = False

    def __init__(self, stream: IO[bytes], utf8: bool):
        self._stream = stream
        self._utf8 = utf8
        self._held = b""

    def read(self, size: int) -> bytes:
        """The next block, `size` bytes of the file at most; empty at the end only."""
        block = self._read(size)
        return block if self._utf8 else block.decode("latin-1").encode()

    def _read(self, size: int) -> bytes:
        block = self._held
        while len(block) < size and block.endswith(b"\r") or not block:
            more = self._stream.read(size - len(block))
            if not more:
                self._held = b""
                return block
            block += more
        kept = block.rstrip(b"\r") or block
        self._held = block[len(kept) :]
        return kept


@dataclass(frozen=True)
class _Nature:
    """What a file's bytes are like: length of its byte order mark, UTF-8, quotes, last line."""

    mark: int
    utf8: bool
    quotes: bool
    ends_with_line: bool


def _scan(path: Path) -> _Nature:
    decoder = codecs.getincrementaldecoder("utf-8")()
    mark, utf8, quotes, last = 0, True, False, b"\n"
    with open_bytes(path) as stream:
        while block := stream.read(_SCANNED_BYTES):
            if last == b"\n" and block.startswith(codecs.BOM_UTF8) and stream.tell() == len(block):
                mark = len(codecs.BOM_UTF8)
            quotes = quotes or b'"' in block
            last = block[-1:]
            if utf8:
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    utf8 = False
    if utf8:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            utf8 = False
    return _Nature(mark, utf8, quotes, last in b"\r\n")


def _original_bytes(column: pa.BinaryArray) -> pa.BinaryArray:
    """The bytes of a column that was read as Latin-1."""
    if pc.all(pc.string_is_ascii(column.cast(pa.string()))).as_py():
        return column
    items = [item.decode().encode("latin-1") for item in column.to_pylist()]
    return pa.array(items, pa.binary())


def among_all(skipped: Iterable[int], positions: Sequence[int]) -> list[int]:
    """The numbers, counted among all items, of items counted without the skipped ones.

    >>> among_all({0, 3}, [0, 1, 2])  # What is left of 0, 1, 2, 3, 4.
    [1, 2, 4]
    """
    left_out = np.array(sorted(skipped), dtype=np.int64)
    # The k-th skipped item shifts everything behind it by one.
    shifts = left_out - np.arange(len(left_out))
    wanted = np.array(positions, dtype=np.int64)
    found: list[int] = (wanted + np.searchsorted(shifts, wanted, side="right")).tolist()
    return found


def locate_in_blocks(
    blocks: Iterable[Block], sizes: Sequence[int], numbers: Iterable[int], threads: int = 1
) -> dict[int, tuple[int, str]]:
    """Line number and text as it came, of the records of a plain file with these numbers.

    Args:
        blocks: The file, as `plain_blocks` gives it.
        sizes: How many records, without the header, each block has.
        numbers: Records to find, from 0 without the header.
        threads: How many blocks are looked through side by side.
    """
    starts = [0, *itertools.accumulate(sizes)]
    wanted: dict[int, list[int]] = {}
    for number in sorted(set(numbers)):
        at = bisect.bisect_right(starts, number) - 1
        wanted.setdefault(at, []).append(number - starts[at] + (at == 0))
    found: dict[int, tuple[int, str]] = {}
    lines = 1
    with ThreadPoolExecutor(threads) as pool:
        looking: deque[Future[tuple[dict[int, tuple[int, str]], int]]] = deque()
        numbered = enumerate(blocks)
        for at in itertools.count():
            for of, block in itertools.islice(numbered, threads + 1 - len(looking)):
                looking.append(pool.submit(block.locate, wanted.get(of, [])))
            if not looking:
                return found
            located, count = looking.popleft().result()
            for number, (line, text) in located.items():
                found[starts[at] + number - (at == 0)] = lines + line, text
            lines += count
    return found


def locate(path: Path, numbers: Sequence[int]) -> dict[int, tuple[int, str]]:
    """Line number and text as it came, of the records with these numbers."""
    wanted = set(numbers)
    found: dict[int, tuple[int, str]] = {}
    if wanted:
        for number, record in enumerate(records(path), start=-1):  # The header is record -1.
            if number in wanted:
                found[number] = record
                if len(found) == len(wanted):
                    break
    return found
