"""Activity of the log: when each log instance recorded, and how far apart.

A part of the log records is measured by itself, streaming (`measure_activity`); what the parts
tell adds up exactly (`merge_activity`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from config.declarations import UNKNOWN
from config.sources import LOG_KINDS
from tasks.core.arrow import read_parquet
from tasks.run.progress import Advance, untold
from tasks.staging.stage import PARQUET

_BATCH_ROWS = 65_536  # So that the log instances of a batch have numbers of 16 bits.
_MOST_DAYS = 1_000_000
"""Log instances x days held in memory before they are written."""

_KEPT_STEPS = 32
"""Different steps that are kept of each log instance: its most frequent ones."""

_HOUR_US = 3_600_000_000
DAY_US = 24 * _HOUR_US
_LONGEST_STEP = 2**40  # Seconds; far more than from year 1 to year 9999.

_HOURLY_DAYS = 7
"""What spans more is not told by the hour."""

DAYS_SCHEMA = pa.schema(
    [("point_log_inst_id", pa.int64()), ("day", pa.date32()), ("records", pa.int64())]
)
"""One row per log instance and UTC day with a record; several, to be added, if there are a lot."""

INSTANCES_SCHEMA = pa.schema(
    [
        pa.field("point_log_inst_id", pa.int64()),
        pa.field("records", pa.int64()),
        pa.field("untimed", pa.int64()),  # Those of them without a time.
        pa.field("first_us", pa.int64()),  # Microseconds since 1970, UTC.
        pa.field("last_us", pa.int64()),
        pa.field("steps", pa.int64()),  # From one record with a time to the next one in the file.
        pa.field("backward", pa.int64()),  # Those of them that go back in time.
        pa.field("repeated", pa.int64()),  # Those that are none: the same time twice.
        pa.field("step_s", pa.list_(pa.int64())),  # The most frequent lengths, whole seconds.
        pa.field("step_counts", pa.list_(pa.int64())),
    ]
)
"""One row per log instance with a record."""


class PartActivity(NamedTuple):
    """What `measure_activity` wrote of a part of the log records."""

    log_kind: str
    days: Path
    instances: Path
    hours: Path


# --- one part --------------------------------------------------------------------------------


def measure_activity(
    staged: Path, days: Path, instances: Path, hours: Path, advance: Advance = untold
) -> int:
    """Measure a part of the log records, streaming; its number of records.

    Memory grows with log instances and their days, not with records.

    Args:
        staged: The part, staged.
        days: Parquet file to write, as DAYS_SCHEMA has it.
        instances: Parquet file to write, as INSTANCES_SCHEMA has it.
        hours: JSON file to write: "records"; "untimed", those without a time; "hours", pairs of
            the hour (counted since 1970) and its records, or null if it is of more than a week.
        advance: Told of each batch, in rows.
    """
    measured = _Measured()
    with pq.ParquetFile(staged) as file, pq.ParquetWriter(days, DAYS_SCHEMA, **PARQUET) as writer:
        for batch in file.iter_batches(_BATCH_ROWS, columns=["point_log_inst_id", "recorded_at"]):
            measured.add(batch["point_log_inst_id"], batch["recorded_at"])
            advance(len(batch), len(batch))
            if len(measured.days) > _MOST_DAYS and measured.days.settle() > _MOST_DAYS // 2:
                writer.write_table(measured.take_days())
        writer.write_table(measured.take_days())
    table = measured.by_instance()
    pq.write_table(table, instances, **PARQUET)
    records, untimed = (int(table[name].to_numpy().sum()) for name in ("records", "untimed"))
    found = None if measured.hours is None else sorted(measured.hours.items())
    content = {"records": records, "untimed": untimed, "hours": found}
    hours.write_text(json.dumps(content) + "\n", encoding="utf-8", newline="\n")
    return records


class _PairCounts:
    """How often each pair of numbers occurs.

    Args:
        kept: How many second numbers of each first one are kept when there are more: the most
            frequent, whose counts may then be too low. None: all.
    """

    def __init__(self, kept: int | None = None):
        self._kept = kept
        self._columns: tuple[np.ndarray, ...] = (np.empty(0, np.int64),) * 3
        self._new: list[tuple[np.ndarray, ...]] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> None:
        self._new.append((first, second, counts))
        self._size += len(first)
        if self._size > max(4 * _BATCH_ROWS, 2 * len(self._columns[0])):
            self.settle()

    def settle(self) -> int:
        """Hold each pair once; how many there are."""
        if self._new:
            added = zip(self._columns, *self._new, strict=True)
            counted = add_up(*(np.concatenate(column) for column in added))
            self._columns = counted if self._kept is None else _most(counted, self._kept)
            self._new = []
            self._size = len(self._columns[0])
        return self._size

    def columns(self) -> tuple[np.ndarray, ...]:
        """The pairs and their counts, in order."""
        self.settle()
        return self._columns


def add_up(*columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Each different row of all columns but the last, in order, with the sum of the last."""
    *keys, counts = columns
    order = np.lexsort(keys[::-1])
    keys, counts = [key[order] for key in keys], counts[order]
    starts = np.flatnonzero(np.logical_or.reduce([_begins(key) for key in keys]))
    sums = np.add.reduceat(counts, starts) if len(counts) else counts
    return (*(key[starts] for key in keys), sums)


def _begins(values: np.ndarray) -> np.ndarray:
    """Where a value is another one than that before it, or the first one."""
    new = np.ones(len(values), bool)
    new[1:] = values[1:] != values[:-1]
    return new


def _most(pairs: tuple[np.ndarray, ...], kept: int) -> tuple[np.ndarray, ...]:
    """The pairs with the most frequent second numbers of each first one, in order as given."""
    first, second, counts = pairs
    order = np.lexsort((second, -counts, first))
    starts = np.flatnonzero(_begins(first[order]))
    sizes = np.diff(starts, append=len(first))
    rank = np.arange(len(first)) - np.repeat(starts, sizes)
    places = np.sort(order[rank < kept])
    return first[places], second[places], counts[places]


_FIRST, _LAST = np.iinfo(np.int64).max, np.iinfo(np.int64).min
_EMPTY = {
    "records": 0,
    "untimed": 0,
    "first_us": _FIRST,
    "last_us": _LAST,
    "steps": 0,
    "backward": 0,
    "repeated": 0,
    "latest_us": _LAST,  # Of the record before, to see the step over the border of two batches.
}


class _Measured:
    """What was seen of a part so far. Log instances are numbered as they come."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._of = {name: np.empty(0, np.int64) for name in _EMPTY}
        self.days = _PairCounts()
        self._steps = _PairCounts(2 * _KEPT_STEPS)
        self.hours: Counter[int] | None = Counter()

    def add(self, keys: pa.Array, times: pa.Array) -> None:
        """Take up a batch of at most 65,536 records."""
        if len(keys) == 0:
            return
        encoded = keys.dictionary_encode()
        numbers = self._number(encoded.dictionary.to_pylist())
        local = encoded.indices.to_numpy().astype(np.uint16)
        of = self._of
        of["records"][numbers] += np.bincount(local, minlength=len(numbers))
        moments = times.view(pa.int64())
        if moments.null_count:
            timed = moments.is_valid().to_numpy(zero_copy_only=False)
            of["untimed"][numbers] += np.bincount(local[~timed], minlength=len(numbers))
            local, moments = local[timed], moments.drop_null()
            if len(local) == 0:
                return
        moments = moments.to_numpy()
        self._add_hours(moments)
        order = np.argsort(local, kind="stable")  # By log instance, else as they stand.
        self._add_timed(numbers, local[order].astype(np.int64), moments[order])

    def _number(self, keys: list[int]) -> np.ndarray:
        known = self._numbers
        numbers = np.array([known.setdefault(key, len(known)) for key in keys])
        for name, values in self._of.items():
            if len(values) < len(known):
                more = np.full(max(len(known), len(values)), _EMPTY[name], np.int64)
                self._of[name] = np.concatenate([values, more])
        return numbers

    def _add_hours(self, moments: np.ndarray) -> None:
        if self.hours is not None:
            found, counts = np.unique(moments // _HOUR_US, return_counts=True)
            self.hours.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
            if max(self.hours) - min(self.hours) > _HOURLY_DAYS * 24:
                self.hours = None  # They are never asked for.

    def _add_timed(self, numbers: np.ndarray, local: np.ndarray, moments: np.ndarray) -> None:
        """Records by log instance (`numbers[local]`), those of each in the order of the file."""
        of = self._of
        starts = np.flatnonzero(_begins(local))
        here = numbers[local[starts]]
        before = np.empty_like(moments)
        before[1:] = moments[:-1]
        before[starts] = of["latest_us"][here]
        of["latest_us"][here] = moments[np.append(starts[1:], len(moments)) - 1]
        of["first_us"][here] = np.minimum(
            of["first_us"][here], np.minimum.reduceat(moments, starts)
        )
        of["last_us"][here] = np.maximum(of["last_us"][here], np.maximum.reduceat(moments, starts))

        day = moments // DAY_US
        self.days.add(*_count_pairs(numbers, local, day))

        known = before != _LAST
        local, step = local[known], (moments[known] - before[known])
        for name, chosen in (("steps", None), ("backward", step < 0), ("repeated", step == 0)):
            some = local if chosen is None else local[chosen]
            of[name][numbers] += np.bincount(some, minlength=len(numbers))
        # Back in time as well: some exports have the newest first.
        moved = step != 0
        seconds = np.clip((np.abs(step[moved]) + 500_000) // 1_000_000, 1, _LONGEST_STEP - 1)
        self._steps.add(*_count_pairs(numbers, local[moved], seconds))

    def take_days(self) -> pa.Table:
        """The records by log instance and day; they are forgotten here."""
        number, day, counts = self.days.columns()
        self.days = _PairCounts()
        keys = np.array(list(self._numbers), np.int64)[number]
        keys, day, counts = add_up(keys, day, counts)
        days = pa.array(day.astype(np.int32)).cast(pa.date32())
        return pa.table([keys, days, counts], schema=DAYS_SCHEMA)

    def by_instance(self) -> pa.Table:
        """What is known of each log instance."""
        known = len(self._numbers)
        keys = np.array(list(self._numbers), np.int64)
        of = {name: values[:known] for name, values in self._of.items() if name != "latest_us"}
        order = np.argsort(keys)
        number, seconds, counts = _most(self._steps.columns(), _KEPT_STEPS)
        steps = add_up(keys[number], seconds, counts)
        return _instances_table(
            {"point_log_inst_id": keys[order], **{name: of[name][order] for name in of}}, steps
        )


def _instances_table(of: Mapping[str, np.ndarray], steps: tuple[np.ndarray, ...]) -> pa.Table:
    """Rows of INSTANCES_SCHEMA, from its columns but for the lists, and the steps, both by key."""
    keys, seconds, counts = steps
    ends = np.searchsorted(keys, of["point_log_inst_id"], "right")
    offsets = pa.array(np.append(0, ends).astype(np.int32))
    untimed = of["records"] == of["untimed"]
    return (
        pa.table(
            {
                **{
                    name: pa.array(values, mask=untimed if name.endswith("_us") else None)
                    for name, values in of.items()
                },
                "step_s": pa.ListArray.from_arrays(offsets, pa.array(seconds)),
                "step_counts": pa.ListArray.from_arrays(offsets, pa.array(counts)),
            }
        )
        .select(INSTANCES_SCHEMA.names)
        .cast(INSTANCES_SCHEMA)
    )


def _count_pairs(
    numbers: np.ndarray, local: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, ...]:
    """How often each value occurs with each log instance (`numbers[local]`) of a batch."""
    lowest = values.min(initial=_LONGEST_STEP)
    pairs, counts = np.unique((local << 41) + (values - lowest), return_counts=True)
    return numbers[pairs >> 41], (pairs & (2**41 - 1)) + lowest, counts


# --- several parts ---------------------------------------------------------------------------


def add_parts(parts: Sequence[PartActivity], days: Path, instances: Path, hours: Path) -> None:
    """Write what was measured of several parts of one kind as if it had been measured of one.

    But for the steps, as in `merge_activity`, of which the most frequent ones of each log instance
    are kept.

    Args:
        parts: What was measured.
        days: Parquet file to write, as `measure_activity` does.
        instances: Likewise.
        hours: JSON file to write, likewise.
    """
    counted = _PairCounts()
    kept = [json.loads(part.hours.read_text(encoding="utf-8")) for part in parts]
    for part in parts:
        table = read_parquet(part.days)
        counted.add(
            table["point_log_inst_id"].to_numpy(),
            table["day"].cast(pa.int32()).to_numpy().astype(np.int64),
            table["records"].to_numpy(),
        )
    keys, day, counts = counted.columns()
    dates = pa.array(day.astype(np.int32)).cast(pa.date32())
    pq.write_table(pa.table([keys, dates, counts], schema=DAYS_SCHEMA), days, **PARQUET)
    of, steps = _merge_instances(pa.concat_tables([read_parquet(part.instances) for part in parts]))
    pq.write_table(_instances_table(of, steps), instances, **PARQUET)
    hourly = _add_hours(content["hours"] for content in kept)
    content = {
        "records": sum(content["records"] for content in kept),
        "untimed": sum(content["untimed"] for content in kept),
        "hours": None if hourly is None else sorted(hourly.items()),
    }
    hours.write_text(json.dumps(content) + "\n", encoding="utf-8", newline="\n")


def _add_hours(parts: Iterable[Sequence[tuple[int, int]] | None]) -> Counter[int] | None:
    """Records by hour; None if they span more than a week."""
    hourly: Counter[int] = Counter()
    for part in parts:
        if part is None:
            return None
        hourly.update(dict(part))
    lasts = max(hourly) - min(hourly) if hourly else 0
    return None if lasts > _HOURLY_DAYS * 24 else hourly


# --- all parts -------------------------------------------------------------------------------


@dataclass
class Activity:
    """What all parts tell together.

    Attributes:
        daily: Kind of log record -> unit, day (counted since 1970) and number of records, as three
            arrays; each unit and day once, in order. Records whose log instance has no unit are
            of unit -1.
        hourly: Kind of log record -> hour (counted since 1970) -> records; None if they span more
            than a week.
        untimed: Kind of log record -> records without a time.
        instances: The columns of INSTANCES_SCHEMA but for the lists, sorted by log instance;
            `first_us` and `last_us` are 0 where no record has a time.
        steps: Log instance, length of a step in whole seconds, number of such steps, as three
            arrays; each log instance and length once, in order.
        lasting: Kind of log record -> log instances with a record of it that has a time, and the
            first and last of these times, as three arrays.
        span_us: The first and last time of all, microseconds since 1970; None if there is none.
    """

    daily: dict[str, tuple[np.ndarray, ...]]
    hourly: dict[str, Counter[int]] | None
    untimed: dict[str, int]
    instances: dict[str, np.ndarray]
    steps: tuple[np.ndarray, ...]
    lasting: dict[str, tuple[np.ndarray, ...]]
    span_us: tuple[int, int] | None


def merge_activity(parts: Sequence[PartActivity], chains: pa.Table) -> Activity:
    """Add up what was measured of each part; the same however the records come in parts.

    But for the steps: that from the last record of one part to the first of the next is in none.

    Args:
        parts: What was measured.
        chains: As `resolve_log_instances` gives them: which log instance is of which unit.
    """
    daily = {kind: _PairCounts() for kind in LOG_KINDS}
    hourly: dict[str, Counter[int]] | None = {kind: Counter() for kind in LOG_KINDS}
    untimed = dict.fromkeys(LOG_KINDS, 0)
    instances = {kind: [INSTANCES_SCHEMA.empty_table()] for kind in LOG_KINDS}
    for part in parts:
        with pq.ParquetFile(part.days) as file:
            for batch in file.iter_batches(use_threads=False):
                units = _units(batch["point_log_inst_id"], chains)
                days = batch["day"].view(pa.int32()).to_numpy().astype(np.int64)
                daily[part.log_kind].add(units, days, batch["records"].to_numpy())
        content = json.loads(part.hours.read_text(encoding="utf-8"))
        untimed[part.log_kind] += content["untimed"]
        if content["hours"] is None:
            hourly = None
        elif hourly is not None:
            hourly[part.log_kind].update(dict(content["hours"]))
        instances[part.log_kind].append(read_parquet(part.instances))
    of_kinds = {kind: pa.concat_tables(tables) for kind, tables in instances.items()}
    of, steps = _merge_instances(pa.concat_tables(of_kinds.values()))
    lasting = {kind: _lasting(table) for kind, table in of_kinds.items()}
    timed = of["records"] > of["untimed"]
    span = None
    if timed.any():
        span = (int(of["first_us"][timed].min()), int(of["last_us"][timed].max()))
        if span[1] - span[0] > _HOURLY_DAYS * DAY_US:
            hourly = None
    counted = {kind: counts.columns() for kind, counts in daily.items()}
    return Activity(counted, hourly, untimed, of, steps, lasting, span)


def _lasting(parts: pa.Table) -> tuple[np.ndarray, ...]:
    """Each log instance with a time, and its first and last one."""
    timed = parts.filter(pc.greater(parts["records"], parts["untimed"]))
    found = timed.group_by("point_log_inst_id", use_threads=False).aggregate(
        [("first_us", "min"), ("last_us", "max")]
    )
    columns = ("point_log_inst_id", "first_us_min", "last_us_max")
    return tuple(found[name].to_numpy() for name in columns)


def _units(keys: pa.Array, chains: pa.Table) -> np.ndarray:
    rows = pc.index_in(keys, chains["point_log_inst_id"].combine_chunks())
    units: np.ndarray = chains["unit_id"].combine_chunks().take(rows).fill_null(UNKNOWN).to_numpy()
    return units


def _merge_instances(parts: pa.Table) -> tuple[dict[str, np.ndarray], tuple[np.ndarray, ...]]:
    """One row per log instance of the rows of all parts, and their steps."""
    keys = parts["point_log_inst_id"].to_numpy()
    lists = parts["step_s"].combine_chunks()
    steps = add_up(
        np.repeat(keys, lists.value_lengths().to_numpy()),
        lists.flatten().to_numpy(),
        parts["step_counts"].combine_chunks().flatten().to_numpy(),
    )
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(_begins(keys[order]))
    of = {"point_log_inst_id": keys[order][starts]}
    timed = (parts["records"].to_numpy() > parts["untimed"].to_numpy())[order]
    for name in _EMPTY.keys() & set(INSTANCES_SCHEMA.names):
        values = parts[name].fill_null(0).to_numpy()[order]
        merge: np.ufunc = np.add
        if name == "first_us":
            merge, values = np.minimum, np.where(timed, values, _FIRST)
        elif name == "last_us":
            merge, values = np.maximum, np.where(timed, values, _LAST)
        of[name] = merge.reduceat(values, starts) if len(starts) else values
    return of, _most(steps, _KEPT_STEPS)
