"""Staging: each source file as Parquet, one row for one row, under declared names and types.

Nothing is joined, dropped unseen or made up. What cannot be read as declared is quarantined:
the row as it came, with its file, line and reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from config.declarations import Source, Type
from tasks.core.text import count_of
from tasks.parsing.numbers import is_known_sentinel
from tasks.parsing.times import calendar_formats, outside_window
from tasks.run.progress import Advance, untold
from tasks.sources.csv_blocks import Block
from tasks.sources.csv_records import Rejected
from tasks.sources.inspection import SourceFile, inspect_file
from tasks.staging.audit import Audit, most_frequent
from tasks.staging.batch import (
    Batch,
    Invalid,
    arrow_schema,
    count_words,
    observe_type,
    read_batch,
    text_of,
)
from tasks.staging.failures import (
    Samples,
    ambiguous_times,
    no_numbers,
    propose,
    too_many_rejected,
)
from tasks.staging.keys import Duplicate, KeyDigest, SeenKeys
from tasks.staging.losses import Losses
from tasks.staging.quarantine import write_cells, write_quarantine
from tasks.staging.repeated_hour import RepeatedHour

PARQUET = {"compression": "zstd", "compression_level": 1}
"""As fast to write as the default, at half the size; see docs/benchmarks.md."""

_SLICED_ROWS = 100
_OBSERVED_ROWS = 10_000
_FIRST_SAMPLED_ROWS = 1000
_SAMPLED_ROWS = 10
_FEWEST_VALUES = 20
_MOST_WORDS = 10_000


class Outputs(NamedTuple):
    """The files that staging writes.

    Attributes:
        rows: The staged rows, Parquet.
        quarantine: Rows that are not staged, CSV; not made if there are none.
        cells: Cells that were emptied, CSV; likewise.
        keys: A digest of the staged keys: what reads only these sees whether they changed.
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
    advance: Advance = untold,
) -> Audit:
    """Stage one CSV file, streaming.

    Args:
        path: The CSV file.
        source: Its declaration, with the settings.
        out: The files to write.
        displayed: The name of the CSV file for people, if not its own.
        threads: How many blocks are read in parallel.
        advance: Called with the bytes and rows read.

    Raises:
        PipelineError: The file does not fit its declaration, may be read in two ways, or more of
            it than `source.max_rejected` cannot be read.
    """
    file = inspect_file(path, source)
    staged = _Staged(file, displayed or path.name)

    def read(block: Block) -> Batch:
        return read_batch(block.columns, source, file.layout)

    with pq.ParquetWriter(out.rows, arrow_schema(source, file.layout), **PARQUET) as writer:
        for block, batch in file.read(read, threads):
            writer.write_table(staged.add(block, batch))
            advance(block.file_bytes, len(batch.table) + len(block.malformed))
            del block, batch
    staged.finish(out)
    return staged.audit


class _Staged:
    """What is known of a file's rows, block by block."""

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
        self._duplicates: list[tuple[Rejected, Duplicate, pa.Table]] = []
        self._seen = SeenKeys()
        self._keys = KeyDigest(source)
        self._words: Counter[str] = Counter()
        self._numbers = 0
        self._losses = Losses(source)
        self._hour = RepeatedHour()
        self._samples = Samples()
        self._blocks = 0
        self._calendars: list[str] | None = None
        self._times: set[object] = set()
        self._last_line = self._last_staged = 0

    def add(self, block: Block, batch: Batch) -> pa.Table:
        """Account for a block; the rows of it that are staged."""
        audit = self.audit
        if not audit.rows and len(batch.table):
            audit.observed_types = self._observe(block.columns)
        self._take_samples(block.columns, batch)
        lines = block.lines() + block.first_line
        out = set(batch.rejected)
        for row, invalid in batch.rejected.items():
            self._rejected.append(_rejected(invalid, int(lines[row]), block.text(row)))
        if self._source.primary_key is not None:
            out |= self._find_duplicates(block, batch, lines)
        for cell in batch.emptied:
            if cell.row not in out:
                self._emptied.append(_rejected(cell, int(lines[cell.row]), cell.text))
        (key, *_) = self._file.layout.recognised[self._source.required[0]]
        for bad in block.malformed:
            self._rejected.append(bad._replace(line=bad.line + block.first_line))
            self._losses.add_malformed(bad.kind, bad.text.split(self._file.dialect.delimiter), key)
        for invalid in batch.unread:
            self._samples.add(invalid)
        self._losses.add(batch.rejected, batch.table)
        table = _without(batch.table, out)
        self._add_values(batch, out)
        self._add_times(batch, table, out)
        audit.rows += len(batch.table) + len(block.malformed)
        audit.staged += len(table)
        for name in audit.nulls:
            audit.nulls[name] += table[name].null_count
        if self._source.primary_key is not None:
            self._keys.add(table)
        self._last_line = block.first_line + block.line_count - 1
        if len(table):
            self._last_staged = int((np.delete(lines, list(out)) if out else lines)[-1])
        return table

    def _observe(self, columns: Sequence[pa.StringArray]) -> dict[str, str]:
        return {
            name: observe_type(column[:_OBSERVED_ROWS], self._source)
            for name, column in zip(self._file.layout.header, columns, strict=True)
        }

    def _take_samples(self, columns: Sequence[pa.StringArray], batch: Batch) -> None:
        self._blocks += 1
        if self._blocks & (self._blocks - 1):  # Of the first block, the second, the fourth, ...
            return
        rows = _SAMPLED_ROWS if self.audit.rows else _FIRST_SAMPLED_ROWS
        first = [column[:rows] for column in columns]
        for column in self._source.columns:
            places = self._file.layout.recognised.get(column.name)
            if places is not None and column.type is not Type.TEXT:
                text = text_of(first, places, self._source)
                values = batch.table[column.name][:rows].combine_chunks()
                self._samples.take_valid(column.name, text, values)

    def _find_duplicates(self, block: Block, batch: Batch, lines: np.ndarray) -> set[int]:
        key = self._source.primary_key
        assert key is not None
        keys = batch.table[key].combine_chunks().fill_null(0).to_numpy()
        out = list(batch.rejected)
        columns = (np.delete(one, out) for one in (np.arange(len(keys)), keys, lines))
        found = self._seen.add(*columns)
        for one in found:
            kind = f"{key} is duplicated"
            row = Rejected(int(lines[one.row]), key, kind, "", block.text(one.row))
            # A copy: a slice would keep the whole block in memory.
            self._duplicates.append((row, one, batch.table.take([one.row])))
        return {one.row for one in found}

    def _add_values(self, batch: Batch, out: set[int]) -> None:
        self.audit.values += batch.values
        self._numbers += batch.numbers
        for word, (value, rows) in batch.states.items():
            known = self.audit.states.get(word, (value, 0))
            self.audit.states[word] = (value, known[1] + rows)
        if batch.sentinels.null_count < len(batch.sentinels):
            kept = _without(pa.table({"word": batch.sentinels}), out)["word"]
            found = count_words(kept.combine_chunks())
            self.audit.word_rows += found.total()
            if len(self._words) < _MOST_WORDS:
                self._words.update(found)

    def _add_times(self, batch: Batch, table: pa.Table, out: set[int]) -> None:
        if batch.later is None:
            return
        times = table["recorded_at"].combine_chunks()
        self._hour.pass_by(times)
        ends = pa.array(pc.min_max(times).as_py().values(), times.type)
        if outside_window(ends, self._source).true_count:
            outside = outside_window(times, self._source).true_count
            self._count_times("outside time_window", outside)
        if batch.later.null_count < len(batch.later):
            later = _without(pa.table({"later": batch.later}), out)["later"].combine_chunks()
            instances = table["point_log_inst_id"].combine_chunks()
            self._hour.add(self.audit.staged, instances, times, later)
        if batch.epochs and self._calendars != []:
            fitting = calendar_formats(batch.digits, self._source)
            before = fitting if self._calendars is None else self._calendars
            self._calendars = [one for one in before if one in fitting]
        if len(self._times) < 2:
            self._times.update(times.drop_null().unique()[:2].to_pylist())

    def _count_times(self, kind: str, rows: int) -> None:
        if rows:
            self.audit.times[kind] = self.audit.times.get(kind, 0) + rows

    # --- at the end of the file

    def finish(self, out: Outputs) -> None:
        """Check the file as a whole, complete the audit and write what was rejected."""
        audit, source = self.audit, self._source
        self._explain_duplicates(out.rows)
        self._rejected.sort()
        self._emptied.sort()
        audit.quarantined = _count_kinds(self._rejected)
        audit.emptied = _count_kinds(self._emptied)
        audit.words = most_frequent(self._words)
        unknown = [word for word in self._words if not is_known_sentinel(word, source)]
        wordy = bool(unknown) and not self._numbers
        if self._calendars:
            raise ambiguous_times(audit, source, self._calendars, self._samples)
        if wordy and audit.values >= _FEWEST_VALUES:
            raise no_numbers(audit, source, self._words)
        lost = [*self._rejected, *self._emptied]
        # Where no row is staged, what comes behind the last one is no footer.
        behind = range(self._last_staged + 1, self._last_line + 1 if self._last_staged else 1)
        proposed = propose(lost, self._samples, self._file, behind)
        most = Fraction(str(source.max_rejected)) * audit.rows
        if audit.rejected_or_emptied > most < audit.rows:
            raise too_many_rejected(audit, source, sorted(lost), proposed)
        resolved, ambiguous = self._hour.resolve(out.rows)
        self._count_times("in the repeated hour, resolved", resolved)
        self._count_times("in the repeated hour, ambiguous", ambiguous)
        audit.warnings += [
            *self._warn(wordy),
            *self._losses.warnings(out.rows),
            *([f"settings that would read rejected rows or cells:\n{proposed}"] * bool(proposed)),
        ]
        if self._rejected:
            write_quarantine(out.quarantine, audit.file, self._rejected)
        if self._emptied and out.cells is not None:
            write_cells(out.cells, self._emptied)
        if out.keys is not None:
            out.keys.write_text(f"{self._keys.hexdigest()}\n", encoding="ascii", newline="\n")

    def _explain_duplicates(self, staged: Path) -> None:
        """Reject the rows whose key is duplicated; say where the first is, and if it differs."""
        if not self._duplicates:
            return
        key = self._source.primary_key
        repeats = pa.concat_tables([table for _, _, table in self._duplicates])
        kept = _rows_of_keys(staged, str(key), repeats[key].combine_chunks())
        firsts = kept.take(pc.index_in(repeats[key], kept[key].combine_chunks()))
        same = np.ones(len(repeats), dtype=bool)
        for one, other in zip(repeats.columns, firsts.columns, strict=True):
            equal = pc.or_(
                pc.fill_null(pc.equal(one, other), False), pc.and_(one.is_null(), other.is_null())
            )
            same &= equal.to_numpy()
        for (row, duplicate, _), is_same in zip(self._duplicates, same.tolist(), strict=True):
            has = "the same values" if is_same else "other values"
            reason = f"{row.kind}: {duplicate.key}; line {duplicate.first_line} has {has}"
            self._rejected.append(row._replace(reason=reason))
        counts = {"same": int(same.sum()), "different": int((~same).sum())}
        self.audit.repeated_keys = {how: count for how, count in counts.items() if count}

    def _warn(self, wordy: bool) -> Iterator[str]:
        audit, source = self.audit, self._source
        words = ", ".join(f"{word} ({rows:,})" for word, rows in list(audit.words.items())[:5])
        if wordy:
            yield f"none of the {audit.values:,} values is a number: {words}"
        elif audit.has_many_sentinels:
            yield (
                f"{audit.word_rows:,} of {audit.values:,} values are sentinels in place of a "
                f"number ({audit.word_rows / audit.values:.1%}, max_sentinels is "
                f"{source.max_sentinels:.1%}): {words}"
            )
        outside = audit.times.get("outside time_window", 0)
        if outside:
            yield (
                f"{count_of(outside, 'time')} outside time_window "
                f"({' to '.join(source.time_window)}), loaded as written"
            )
        ambiguous = audit.times.get("in the repeated hour, ambiguous", 0)
        if ambiguous:
            yield (
                f"{count_of(ambiguous, 'time')} in the hour that the clocks of "
                f"{source.source_timezone} repeat: the order of the records does not show which "
                "of two is meant, the first was taken"
            )
        for kind, rows in audit.quarantined.items():
            if "does not exist" in kind:
                yield f"{count_of(rows, 'row')} rejected: {kind}"
        header = audit.recognised.get("recorded_at", "recorded_at")
        guessed = self._is_guessed("recorded_at", header) and not self._file.warnings
        if guessed and audit.staged > 1 and len(self._times) == 1:
            yield (
                f"recorded_at was guessed from {header}, which is the same in all rows:\n"
                f"[{source.name}]\nrecorded_at = {header}"
            )

    def _is_guessed(self, name: str, header: str) -> bool:
        declared = (column for column in self._source.columns if column.name == name)
        return header.lower() != name and any(column.header is None for column in declared)


def _rows_of_keys(staged: Path, key: str, keys: pa.Array) -> pa.Table:
    """The staged rows that have one of some keys."""
    found = []
    with pq.ParquetFile(staged) as file:
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            ends = group.column(file.schema_arrow.get_field_index(key)).statistics
            if group.num_rows == 0:
                continue
            inside = pc.and_(pc.greater_equal(keys, ends.min), pc.less_equal(keys, ends.max))
            if not inside.true_count:
                continue
            mask = pc.is_in(file.read_row_group(number, [key])[key], keys)
            if pc.any(mask).as_py():
                found.append(file.read_row_group(number).filter(mask))
    return pa.concat_tables(found)


def _rejected(invalid: Invalid, line: int, text: str) -> Rejected:
    return Rejected(line, invalid.column, invalid.kind, invalid.reason, text)


def _count_kinds(rejected: Iterable[Rejected]) -> dict[str, int]:
    return dict(sorted(Counter(one.kind for one in rejected).items()))


def _without(table: pa.Table, rejected: set[int]) -> pa.Table:
    """The other rows. Where few are rejected, nothing is copied."""
    if len(rejected) > _SLICED_ROWS:
        mask = np.ones(len(table), dtype=bool)
        mask[list(rejected)] = False
        return table.filter(pa.array(mask))
    slices, start = [], 0
    for row in sorted(rejected):
        slices.append(table.slice(start, row - start))
        start = row + 1
    return pa.concat_tables([*slices, table.slice(start)])
