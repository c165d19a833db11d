"""Staging: each source file as Parquet, one staged row per valid source row, with declared types.

No joins. A row that cannot be read is quarantined unchanged, with its file, line and reason. In a
reference source (any but the log records), an invalid cell of a nullable column becomes null.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from config.declarations import Source, Type
from tasks.core.arrow import PARQUET
from tasks.core.progress import Advance, no_progress
from tasks.core.text import count_of
from tasks.parsing.numbers import is_known_sentinel
from tasks.parsing.times import calendar_formats, outside_window
from tasks.parsing.types import observe_type
from tasks.sources.csv_blocks import Block
from tasks.sources.csv_records import Rejected
from tasks.sources.inspection import SourceFile, inspect_file
from tasks.staging.audit import Audit, most_frequent, write_cells, write_quarantine
from tasks.staging.batch import Batch, arrow_schema, count_values, read_batch
from tasks.staging.failures import (
    Samples,
    ambiguous_times,
    no_numbers,
    propose,
    too_many_rejected,
)
from tasks.staging.keys import Duplicates, KeyDigest
from tasks.staging.losses import Losses
from tasks.staging.repeated_hour import RepeatedHour

_OBSERVED_ROWS = 10_000
"""From so many rows the types of columns are guessed, for the reports."""

_FEWEST_VALUES = 20
"""A file with fewer values is not rejected because none is a number."""

_MOST_SENTINELS = 10_000
"""At most about so many different sentinels are counted."""


class Outputs(NamedTuple):
    """The files that staging writes.

    Attributes:
        rows: The staged rows, Parquet.
        quarantine: Rows that are not staged, CSV; not made if there are none.
        cells: Cells that were emptied, CSV; not made if there are none.
        keys: Digest of the staged key columns; tasks that read only keys compare this file.
    """

    rows: Path
    quarantine: Path
    cells: Path | None = None
    keys: Path | None = None


def stage_file(
    path: Path,
    source: Source,
    out: Outputs,
    *,
    displayed: str | None = None,
    threads: int = 1,
    advance: Advance = no_progress,
) -> Audit:
    """Stage one CSV file block by block; the file is never in memory as a whole.

    Args:
        path: The CSV file.
        source: Its declaration, with the settings.
        out: The files to write.
        displayed: Name of the CSV file in messages; its own by default.
        threads: How many blocks are read in parallel.
        advance: Called with the bytes and rows read.

    Raises:
        PipelineError: The file does not fit its declaration, is ambiguous, or more than
            `source.max_rejected` of its rows cannot be read.
    """
    file = inspect_file(path, source)
    staged = _Staged(file, displayed or path.name)
    blocks = file.read(lambda block: read_batch(block, source, file.layout), threads)
    with pq.ParquetWriter(out.rows, arrow_schema(source, file.layout), **PARQUET) as writer:
        for block, batch in blocks:
            writer.write_table(staged.add(block, batch))
            advance(block.file_bytes, len(block.lines) + len(block.malformed))
            del block, batch
    staged.finish(out)
    return staged.audit


class _Staged:
    """Counts and findings of one file: collected per block by `add`, checked by `finish`."""

    def __init__(self, file: SourceFile, displayed: str):
        self._file = file
        self._source = source = file.source
        layout = file.layout
        self.audit = Audit(
            source=source.name,
            file=displayed,
            header=list(layout.header),
            recognised={name: layout.header_of(name) for name in layout.recognised},
            absent=list(layout.absent),
            notes=list(file.notes),
            warnings=list(file.warnings),
            nulls={column.name: 0 for column in source.columns},
            max_sentinels=source.max_sentinels,
        )
        self._rejected: list[Rejected] = []
        self._emptied: list[Rejected] = []
        self._samples = Samples(file)
        self._sentinels: Counter[str] = Counter()
        self._numbers = 0
        # Time formats that epoch numbers would fit too; None before the first such block.
        self._calendars: list[str] | None = None
        self._extreme_times: set[object] = set()
        self._last_staged = self._end_line = 0
        # A row of a reference source has a primary key, one of log records has a time.
        self._duplicates = Duplicates(source.primary_key) if source.primary_key else None
        self._keys = KeyDigest(source)
        self._losses = Losses(source)
        self._hour = RepeatedHour()

    # --- block by block

    def add(self, block: Block, batch: Batch) -> pa.Table:
        """Count a block; return its staged rows."""
        audit = self.audit
        if not audit.observed_types and len(batch.table):
            audit.observed_types = {
                name: observe_type(column[:_OBSERVED_ROWS], self._source)
                for name, column in zip(audit.header, block.columns, strict=True)
            }
        self._samples.add(block, batch)
        left_out = list(batch.rejected)
        if self._duplicates is not None:
            left_out += self._duplicates.add(block, batch)
        # Marks are per row: the sentinel in place of the value; for a time in the hour that clocks
        # repeat, the later of the two instants.
        table, marks, lines = batch.table, batch.marks, block.lines
        if left_out:
            kept = np.ones(len(lines), dtype=bool)
            kept[left_out] = False
            table, marks = (one.filter(pa.array(kept)) for one in (table, marks))
            lines = lines[kept]
        self._rejected += [*batch.rejected.values(), *block.malformed]
        for row in batch.emptied.keys() - left_out:
            self._emptied += batch.emptied[row]
        if self._duplicates is None:
            self._add_losses(block, batch)
            self._add_values(batch, marks)
            self._add_times(batch, table, marks)
        else:
            self._keys.add(table)
        audit.rows += len(block.lines) + len(block.malformed)
        audit.staged += len(table)
        for name in audit.nulls:
            audit.nulls[name] += table[name].null_count
        if len(lines):
            self._last_staged = int(lines[-1])
        self._end_line = block.end
        return table

    def _add_losses(self, block: Block, batch: Batch) -> None:
        self._losses.add(batch.rejected, batch.table)
        (at, *_) = self._file.layout.recognised["point_log_inst_id"]
        for row in block.malformed:
            fields = row.text.split(self._file.dialect.delimiter)
            self._losses.add_malformed(row.kind, fields[at] if at < len(fields) else "")

    def _add_values(self, batch: Batch, marks: pa.Table) -> None:
        self.audit.values += batch.values
        self._numbers += batch.numbers
        for word, (value, rows) in batch.states.items():
            _, known = self.audit.states.get(word, (value, 0))
            self.audit.states[word] = (value, known + rows)
        counts = count_values(marks["sentinel"])
        self.audit.word_rows += counts.total()
        if len(self._sentinels) < _MOST_SENTINELS:
            self._sentinels.update(counts)

    def _add_times(self, batch: Batch, table: pa.Table, marks: pa.Table) -> None:
        times = table["recorded_at"].combine_chunks()
        self._count_times("outside time_window", outside_window(times, self._source).true_count)
        instances, later = table["point_log_inst_id"], marks["later"]
        self._hour.add(instances.combine_chunks(), times, later.combine_chunks())
        if batch.epochs and self._calendars != []:
            # Only the formats that fit the digits of every block.
            fitting = calendar_formats(batch.digits, self._source)
            before = fitting if self._calendars is None else self._calendars
            self._calendars = [one for one in before if one in fitting]
        self._extreme_times |= {*pc.min_max(times).as_py().values()} - {None}

    def _count_times(self, kind: str, rows: int) -> None:
        if rows:
            self.audit.times[kind] = self.audit.times.get(kind, 0) + rows

    # --- at the end of the file

    def finish(self, out: Outputs) -> None:
        """Check the file as a whole, complete the audit and write what was rejected."""
        audit, source = self.audit, self._source
        if self._duplicates is not None:
            repeated, audit.repeated_keys = self._duplicates.explain(out.rows)
            self._rejected += repeated
        self._rejected.sort()
        self._emptied.sort()
        audit.quarantined = _count_kinds(self._rejected)
        audit.emptied = _count_kinds(self._emptied)
        audit.words = most_frequent(self._sentinels)
        has_no_numbers = not self._numbers and not all(
            is_known_sentinel(text, source) for text in self._sentinels
        )
        if self._calendars:
            raise ambiguous_times(audit, source, self._calendars, self._samples)
        if has_no_numbers and audit.values >= _FEWEST_VALUES:
            raise no_numbers(audit, source, self._sentinels)
        lost = sorted([*self._rejected, *self._emptied])
        # Lines after the last staged row may be a footer.
        footer = range(self._last_staged + 1, self._end_line if self._last_staged else 1)
        proposed = propose(lost, self._samples, self._file, footer)
        limit = Fraction(str(source.max_rejected)) * audit.rows
        if source.max_rejected < 1 and audit.rejected_or_emptied > limit:
            raise too_many_rejected(audit, source, lost, proposed)
        audit.times |= self._hour.resolve(out.rows)
        audit.warnings += [*self._warn(has_no_numbers), *self._losses.warnings(out.rows)]
        if proposed:
            audit.warnings.append(f"settings that would read rejected rows or cells:\n{proposed}")
        if self._rejected:
            write_quarantine(out.quarantine, audit.file, self._rejected)
        if self._emptied and out.cells is not None:
            write_cells(out.cells, self._emptied)
        if out.keys is not None:
            out.keys.write_text(f"{self._keys.hexdigest()}\n", encoding="ascii", newline="\n")

    def _warn(self, has_no_numbers: bool) -> Iterator[str]:
        audit, source = self.audit, self._source
        words = ", ".join(f"{word} ({rows:,})" for word, rows in list(audit.words.items())[:5])
        if has_no_numbers:
            yield f"none of the {audit.values:,} values is a number: {words}"
        elif audit.has_many_sentinels:
            yield (
                f"{audit.word_rows:,} of {audit.values:,} values are sentinels in place of a "
                f"number ({audit.word_rows / audit.values:.1%}, max_sentinels is "
                f"{source.max_sentinels:.1%}): {words}"
            )
        if outside := audit.times.get("outside time_window", 0):
            yield (
                f"{count_of(outside, 'time')} outside time_window "
                f"({' to '.join(source.time_window)}), loaded as written"
            )
        if ambiguous := audit.times.get("in the repeated hour, ambiguous", 0):
            yield (
                f"{count_of(ambiguous, 'time')} in the hour that the clocks of "
                f"{source.source_timezone} repeat: the order of the records does not show which "
                "of two is meant, the first was taken"
            )
        for kind, rows in audit.quarantined.items():
            if "does not exist" in kind:  # A local time that the clocks skip.
                yield f"{count_of(rows, 'row')} rejected: {kind}"
        header = audit.recognised.get("recorded_at", "recorded_at")
        is_guessed = header.lower() != "recorded_at" and not self._file.warnings
        is_guessed &= any(
            column.header is None for column in source.columns if column.type is Type.TIMESTAMP
        )
        if is_guessed and audit.staged > 1 and len(self._extreme_times) == 1:
            yield (
                f"recorded_at was guessed from {header}, which is the same in all rows:\n"
                f"[{source.name}]\nrecorded_at = {header}"
            )


def _count_kinds(rejected: Iterable[Rejected]) -> dict[str, int]:
    return dict(sorted(Counter(one.kind for one in rejected).items()))
