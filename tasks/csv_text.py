"""CSV files as batches of text columns, as they came: nothing converted, nothing dropped unseen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from tasks.errors import PipelineError
from tasks.source_files import records, shorten

BLOCK_BYTES = 8 * 2**20
"""How much is read at a time; also the length of the longest record that can be read."""


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
            PipelineError: A quoted field is never closed, or a record is longer than a block.
        """
        last_text = b""
        try:
            reader = pa.csv.open_csv(
                self.path,
                # One thread: the numbers of malformed rows are known in file order only.
                pa.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
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
                    last_text = b"".join(column[-1].as_py() for column in columns)
                    yield columns
        except pa.ArrowInvalid as error:
            self._explain(error)
        # Only a quote that stays open lets the last record hold the file's last line break.
        if any(end in last_text + self._last_malformed.encode() for end in (b"\n", b"\r")):
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
        for line, text in records(self.path):
            if len(text.encode(errors="surrogateescape")) >= BLOCK_BYTES:
                raise PipelineError(
                    f"{self.path.name}: line {line}: a record of more than {BLOCK_BYTES:,} bytes.",
                    [f"it begins: {shorten(text)}"],
                    "Usually a quote is opened and not closed where it should be.",
                ) from error
        raise PipelineError(f"{self.path.name} cannot be read as CSV: {error}.") from error


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
