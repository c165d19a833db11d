"""Local times of the hour that occurs twice, resolved by the order of the records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_HALF_DAY_US = 12 * 3600 * 1_000_000
_FAR = 2**62


class RepeatedHour:
    """The records of a file whose local time names two instants: 40 bytes each."""

    def __init__(self) -> None:
        self._found: list[np.ndarray] = []
        self._forward = 0
        self._ends: tuple[int, int] | None = None

    def pass_by(self, values: pa.Array) -> None:
        """Note in which direction the times of all rows run, given the next ones."""
        if values.null_count < len(values):
            first, last = pc.first(values).value, pc.last(values).value
            self._ends = (self._ends[0] if self._ends else first, last)

    def add(self, position: int, instances: pa.Array, values: pa.Array, later: pa.Array) -> None:
        """Add the next staged rows.

        Args:
            position: Of the first of them among all.
            instances: Their log instances.
            values: Their times; the earlier instant where there are two.
            later: The later instant; else null.
        """
        if later.null_count == len(later):
            return
        names = instances.to_numpy()
        times = values.cast(pa.int64()).fill_null(0).to_numpy()
        order = np.argsort(names, kind="stable")
        same = names[order][1:] == names[order][:-1]
        steps = np.where(same, np.diff(times[order]), 0)
        self._forward += int(np.sign(steps).sum())
        # How far each record is from its neighbours that have another time.
        beside = np.stack([np.append(0, steps), np.append(steps, 0)])
        gaps = np.empty(len(times), dtype=np.int64)
        gaps[order] = np.where(beside == 0, _FAR, np.abs(beside)).min(axis=0)
        rows = np.flatnonzero(later.is_valid().to_numpy(zero_copy_only=False))
        second = later.drop_null().cast(pa.int64()).to_numpy()
        columns = [rows + position, names[rows], times[rows], second, gaps[rows]]
        self._found.append(np.stack(columns))

    def resolve(self, staged: Path) -> tuple[int, int]:
        """Give the later instant to the rows that it belongs to; how many are resolved, and not.

        In the order of the file (from the end, if it begins with the latest), the records of a
        log instance run through the hour twice: from where they fall back on, it is the second
        time. Where they do not fall back once, the earlier instant stays.
        """
        if not self._found:
            return 0, 0
        found = np.concatenate(self._found, axis=1)
        found = found[:, np.argsort(found[0], kind="stable")]
        # Where no block has two records of a log instance, the file as a whole shows it.
        first, last = self._ends or (0, 0)
        if (self._forward or last - first) < 0:
            found = found[:, ::-1]
        days = (found[2] + _HALF_DAY_US) // (2 * _HALF_DAY_US)
        order = np.lexsort((days, found[1]))
        found, days = found[:, order], days[order]
        ends = np.flatnonzero((np.diff(found[1]) != 0) | (np.diff(days) != 0)) + 1
        moved, resolved = [], 0
        for group in np.split(np.arange(found.shape[1]), ends):
            switch = _second_run(*found[2:, group])
            if switch:
                resolved += len(group)
                moved.append(found[:, group[switch:]])
        if moved:
            rows = np.concatenate(moved, axis=1)
            _replace_times(staged, rows[:, np.argsort(rows[0])])
        return resolved, found.shape[1] - resolved


def _second_run(times: np.ndarray, later: np.ndarray, gaps: np.ndarray) -> int:
    """Where the second run through the hour begins; 0 if the order does not show it."""
    repeated = later[0] - times[0]
    steps = np.diff(times)
    falls = np.flatnonzero(steps < 0)
    # A small step back may be two records in the wrong order.
    if len(falls) == 1 and -3 * steps[falls[0]] >= repeated:
        return int(falls[0]) + 1
    # Once an hour; two equal times among closer ones are a record and its copy.
    hourly = len(times) == 2 and steps[0] == 0 and repeated <= gaps.min()
    return 1 if hourly else 0


def _replace_times(staged: Path, moved: np.ndarray) -> None:
    """Write a staged file again, with other times in some rows (as `RepeatedHour` holds them)."""
    temporary = staged.with_name(f"{staged.name}.times")
    with pq.ParquetFile(staged) as file:
        schema, start = file.schema_arrow, 0
        with pq.ParquetWriter(temporary, schema, compression="zstd", compression_level=1) as writer:
            for number in range(file.metadata.num_row_groups):
                table = file.read_row_group(number)
                first, end = np.searchsorted(moved[0], [start, start + len(table)])
                mask = np.zeros(len(table), dtype=bool)
                mask[moved[0, first:end] - start] = True
                column = table["recorded_at"].combine_chunks()
                instants = pa.array(moved[3, first:end]).cast(column.type)
                place = schema.get_field_index("recorded_at")
                replaced = pc.replace_with_mask(column, pa.array(mask), instants)
                writer.write_table(table.set_column(place, schema.field(place), replaced))
                start += len(table)
    temporary.replace(staged)
