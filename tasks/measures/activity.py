"""Activity: when each log instance recorded, and how far apart its records are.

A partition of the log records is measured by itself, row group by row group (`measure_activity`).
What is measured of all partitions adds up (`merge_activity`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from config.declarations import UNKNOWN
from tasks.core.arrow import PARQUET, open_parquet, read_parquet
from tasks.core.partition import Partition
from tasks.core.progress import Advance, no_progress
from tasks.parsing.numbers import INSTANT

_KEPT_STEPS = 32
"""Lengths of steps that are kept of each log instance: its most frequent ones."""

_HOUR_US = 3_600_000_000
_MANY_ROWS = 262_144

DAYS = pa.schema([("point_log_inst_id", pa.int64()), ("day", pa.date32()), ("records", pa.int64())])
"""One row per log instance and UTC day with a record."""

HOURS = pa.schema(
    [
        ("hour", INSTANT),
        ("records", pa.int64()),
        ("first_recorded_at", INSTANT),
        ("last_recorded_at", INSTANT),
    ]
)
"""One row per hour with a record."""

STEPS = pa.schema(
    [("point_log_inst_id", pa.int64()), ("step_s", pa.int64()), ("steps", pa.int64())]
)
"""One row per log instance and length of a step in whole seconds, at least 1.

A step leads from a record with a time to the next one in the file, back in time or forward.
Left out are steps of no length, and lengths that are not among the most frequent ones.
"""

INSTANCES = pa.schema(
    [
        ("point_log_inst_id", pa.int64()),
        ("records", pa.int64()),
        ("untimed", pa.int64()),  # Records without a time.
        ("first_recorded_at", INSTANT),  # Null if all records are untimed.
        ("last_recorded_at", INSTANT),
    ]
)
"""One row per log instance with a record."""


class _Sums:
    """Rows added up: one row per different keys, with the sums of the other columns.

    Of `first_recorded_at` it is the minimum, of `last_recorded_at` the maximum.

    Args:
        schema: Of the rows.
        keys: How many columns are keys, the first ones.
        kept: How many second keys are kept of each first key: those with the largest sums. When
            more rows come, these sums may be too low. None: all.
    """

    def __init__(self, schema: pa.Schema, keys: int, kept: int | None = None):
        self._keys = schema.names[:keys]
        self._others = schema.names[keys:]
        self._kept = kept
        self._tables = [schema.empty_table()]
        self._new_rows = 0

    def add(self, *columns: pa.Array | pa.ChunkedArray | np.ndarray) -> None:
        """Add rows, given by their columns."""
        table = pa.table(list(columns), schema=self._tables[0].schema)
        self._tables.append(table)
        self._new_rows += len(table)
        if self._new_rows > max(_MANY_ROWS, 2 * len(self._tables[0])):
            self._tables, self._new_rows = [self._added_up(2)], 0

    def table(self) -> pa.Table:
        """The rows, sorted by their keys."""
        return self._added_up(1).sort_by([(key, "ascending") for key in self._keys])

    def _added_up(self, spare: int) -> pa.Table:
        """One row per different keys, with so many times more second keys than are kept at last."""
        how = {"first_recorded_at": "min", "last_recorded_at": "max"}
        table = (
            pa.concat_tables(self._tables)
            .group_by(self._keys, use_threads=False)
            .aggregate([(name, how.get(name, "sum")) for name in self._others])
            .rename_columns([*self._keys, *self._others])
            .cast(self._tables[0].schema)
        )
        return table if self._kept is None else _most(table, spare * self._kept)


def _most(table: pa.Table, kept: int) -> pa.Table:
    """The rows with the largest sums of each first key; of equal sums, the lower second keys."""
    first, second, sums = table.column_names
    frame = table.to_pandas().sort_values([sums, second], ascending=[False, True])
    return table.take(pa.array(frame.groupby(first).head(kept).index))


def measure_activity(staged: Path, out: Mapping[str, Path], advance: Advance = no_progress) -> int:
    """Measure a partition of the log records, by row groups, and return its number of records.

    Memory grows with log instances and their days, not with records.

    Args:
        staged: The partition, staged.
        out: Parquet files to write: "days", "hours", "steps" and "instances", each as its schema
            says, sorted by its keys.
        advance: Called for each row group, with its rows.
    """
    days, hours = _Sums(DAYS, 2), _Sums(HOURS, 1)
    steps, instances = _Sums(STEPS, 2, kept=_KEPT_STEPS), _Sums(INSTANCES, 1)
    records = 0
    latest = np.empty(0, np.int64), np.empty(0, np.int64)
    with open_parquet(staged) as file:
        for group in range(file.num_row_groups):
            columns = ["point_log_inst_id", "recorded_at"]
            table = file.read_row_group(group, columns, use_threads=False)
            keys, times = table.columns
            untimed = pc.cast(times.is_null(), pa.int64())
            instances.add(keys, _ones(keys), untimed, times, times)

            keys, times = table.drop_null().columns
            us = times.cast(pa.int64()).to_numpy()
            hour = pa.array(us // _HOUR_US * _HOUR_US).cast(INSTANT)
            days.add(keys, hour.cast(pa.date32()), _ones(keys))
            hours.add(hour, _ones(keys), times, times)
            keys, seconds, latest = _steps(keys.to_numpy(), us, latest)
            steps.add(keys, seconds, _ones(keys))
            records += len(table)
            advance(len(table), len(table))
    found = {"days": days, "hours": hours, "steps": steps, "instances": instances}
    for name, sums in found.items():
        pq.write_table(sums.table(), out[name], **PARQUET)
    return records


def _ones(rows: pa.ChunkedArray | np.ndarray) -> np.ndarray:
    return np.ones(len(rows), np.int64)


def _steps(
    keys: np.ndarray, us: np.ndarray, latest: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The steps of a row group: their log instances and lengths, and the latest records after it.

    Args:
        keys: The log instances of its records.
        us: The times of its records.
        latest: Keys and times of the last record of each log instance before it.
    """
    keys, us = np.concatenate([latest[0], keys]), np.concatenate([latest[1], us])
    order = pc.sort_indices(pa.array(keys)).to_numpy()  # Stable: each record stays before its next.
    keys, us = keys[order], us[order]
    same = keys[1:] == keys[:-1]
    length_us = np.abs(np.diff(us))
    steps = same & (length_us > 0)
    seconds = np.maximum((length_us[steps] + 500_000) // 1_000_000, 1)
    last = np.append(~same, True)[: len(keys)]
    return keys[1:][steps], seconds, (keys[last], us[last])


@dataclass(frozen=True)
class Activity:
    """What is measured of all partitions together.

    Attributes:
        hours: log_kind, then as HOURS.
        unit_days: unit_id, day, records: one row per unit and UTC day with a record. Records whose
            log instance has no unit are of unit -1.
        instances: log_kind, then as INSTANCES, then steps: from a record with a time to the next
            one in the same partition. One row per kind and log instance.
        steps: As STEPS.
    """

    hours: pd.DataFrame
    unit_days: pd.DataFrame
    instances: pd.DataFrame
    steps: pd.DataFrame


def merge_activity(
    measured: Mapping[Partition, Mapping[str, Path]], log_instances: pa.Table
) -> Activity:
    """Add up what was measured of each partition.

    Args:
        measured: Partition -> its files, as `measure_activity` wrote them.
        log_instances: `point_log_inst_id` and `unit_id` of each.
    """
    kind = pa.field("log_kind", pa.string())
    hours = _Sums(pa.schema([kind, *HOURS]), 2)
    unit_days = _Sums(pa.schema([("unit_id", pa.int64()), *list(DAYS)[1:]]), 2)
    instances = _Sums(pa.schema([kind, *INSTANCES, ("steps", pa.int64())]), 2)
    steps = _Sums(STEPS, 2, kept=_KEPT_STEPS)
    for partition, files in measured.items():
        tables = {name: read_parquet(file) for name, file in files.items()}
        hours.add(pa.repeat(partition.kind, len(tables["hours"])), *tables["hours"].columns)
        keys, *others = tables["days"].columns
        rows = pc.index_in(keys, log_instances["point_log_inst_id"])
        unit_days.add(log_instances["unit_id"].take(rows).fill_null(UNKNOWN), *others)
        found = tables["instances"]
        timed = pc.subtract(found["records"], found["untimed"])
        between = pc.max_element_wise(pc.subtract(timed, 1), 0)
        instances.add(pa.repeat(partition.kind, len(found)), *found.columns, between)
        steps.add(*tables["steps"].columns)
    merged = (hours, unit_days, instances, steps)
    return Activity(*(sums.table().to_pandas(date_as_object=False) for sums in merged))
