"""CSV files as batches of text columns, as they came: nothing converted, nothing dropped unseen."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tasks.errors import PipelineError
from tasks.source_files import open_bytes, records, shorten

BLOCK_BYTES = 8 * 2**20
"""How much is read at a time; also the length of the longest record that can be read."""

_SCANNED_BYTES = 2**20


@dataclass
class CsvText:
    """Streams a CSV file.

    Records are counted from 0 without the header and without empty lines.

    Attributes:
        malformed: Record number -> kind and detail of why it has no columns. Filled while the
            batches are read.
    """

    path: Path
    malformed: dict[int, tuple[str, str]] = field(default_factory=dict)
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
        wrong = "too few" if row.actual_columns < row.expected_columns else "too many"
        self._last_malformed = row.text
        # Arrow counts from 1 and counts the header.
        self.malformed[row.number - 2] = (
            f"{wrong} fields",
            f"{row.actual_columns} instead of {row.expected_columns}",
        )
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
