"""Local times of the hour that occurs twice, resolved by the order of the records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.arrow import PARQUET, open_parquet

_DAY_US = 24 * 3600 * 1_000_000
_FAR = 2**62


class RepeatedHour:
    """The records of a file whose local time names two instants: 40 bytes each."""

    def __init__(self) -> None:
        self._found: list[np.ndarray] = []
        self._rows = 0
        self._steps = 0
        self._first: int | None = None
        self._last = 0

    def add(self, instances: pa.Array, times: pa.Array, later: pa.Array) -> None:
        """Add the next staged rows.

        Args:
            instances: Their log instances.
            times: Their times; the earlier instant where there are two.
            later: The later instant; else null.
        """
        if times.null_count < len(times):
            first, self._last = pc.first(times).value, pc.last(times).value
            self._first = first if self._first is None else self._first
        if later.null_count < len(later):
            names = instances.to_numpy()
            instants = times.cast(pa.int64()).fill_null(0).to_numpy()
            order = np.argsort(names, kind="stable")
            same = names[order][1:] == names[order][:-1]
            steps = np.where(same, np.diff(instants[order]), 0)
            self._steps += int(np.sign(steps).sum())
            # How far each record is from its neighbours that have another time.
            beside = np.stack([np.append(0, steps), np.append(steps, 0)])
            gaps = np.empty(len(instants), dtype=np.int64)
            gaps[order] = np.where(beside == 0, _FAR, np.abs(beside)).min(axis=0)
            rows = np.flatnonzero(later.is_valid().to_numpy(zero_copy_only=False))
            second = later.drop_null().cast(pa.int64()).to_numpy()
            columns = [rows + self._rows, names[rows], instants[rows], second, gaps[rows]]
            self._found.append(np.stack(columns))
        self._rows += len(times)

    def resolve(self, staged: Path) -> dict[str, int]:
        """Give the later instant to the rows that it belongs to; how many are resolved, and not.

        In the order of the file (from the end, if it begins with the latest), the records of a
        log instance run through the hour twice: from where they fall back on, it is the second
        time. Where they do not fall back once, the earlier instant stays.
        """
        if not self._found:
            return {}
        found = np.concatenate(self._found, axis=1)
        # Where no block has two records of a log instance, the file as a whole shows it.
        if (self._steps or self._last - (self._first or 0)) < 0:
            found = found[:, ::-1]
        days = (found[2] + _DAY_US // 2) // _DAY_US
        order = np.lexsort((days, found[1]))
        found, days = found[:, order], days[order]
        ends = np.flatnonzero((np.diff(found[1]) != 0) | (np.diff(days) != 0)) + 1
        moved, resolved = [], 0
        for group in np.split(found, ends, axis=1):
            switch = _second_run(*group[2:])
            if switch:
                resolved += group.shape[1]
                moved.append(group[:, switch:])
        if moved:
            rows = np.concatenate(moved, axis=1)
            _replace_times(staged, rows[:, np.argsort(rows[0])])
        counts = {"resolved": resolved, "ambiguous": found.shape[1] - resolved}
        return {f"in the repeated hour, {how}": count for how, count in counts.items() if count}


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
    with open_parquet(staged) as file:
        schema, start = file.schema_arrow, 0
        place = schema.get_field_index("recorded_at")
        with pq.ParquetWriter(temporary, schema, **PARQUET) as writer:
            for number in range(file.metadata.num_row_groups):
                table = file.read_row_group(number)
                first, end = np.searchsorted(moved[0], [start, start + len(table)])
                column = table["recorded_at"].combine_chunks()
                mask = np.zeros(len(table), dtype=bool)
                mask[moved[0, first:end] - start] = True
                instants = pa.array(moved[3, first:end]).cast(column.type)
                column = pc.replace_with_mask(column, pa.array(mask), instants)
                writer.write_table(table.set_column(place, schema.field(place), column))
                start += len(table)
    temporary.replace(staged)
