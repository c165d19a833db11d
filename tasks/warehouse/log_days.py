"""The tables that are derived from the facts: replaced where a load of facts changed something."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from config.aggregates import AGGREGATES, FACT_LOG_DAYS, FACT_LOG_GAPS, Rules
from config.bookkeeping import LOAD_RECEIPT, LOG_INSTANCE_ACTIVITY, LoadReceipt
from config.declarations import Column, Table, Type
from config.warehouse import FACT_LOGS
from tasks.core.progress import Phases, no_progress
from tasks.enrichment.star import arrow_schema
from tasks.measures.days import RECORDS, Calendar, Intervals, measure_days
from tasks.warehouse.digests import digest_text, digested, rows_digest

if TYPE_CHECKING:
    from tasks.warehouse.interface import Transaction

_FACTS = FACT_LOGS.name
_LAST_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999: later times would not be in order as text."""

_FOLLOWED = {FACT_LOG_DAYS.name: ("day", "first_day", "last_day")} | {
    FACT_LOG_GAPS.name: ("began_at", "begin_at", "end_at")
}
"""Table -> its column, and the columns of `day_range` between which it is replaced."""

_RECORD = (
    "f.point_log_inst_id, f.recorded_at, coalesce(f.value, 0.0) AS value,"
    " CASE WHEN f.value IS NULL THEN 0 ELSE 1 END + CASE f.log_kind WHEN 'B' THEN 2 ELSE 0 END"
    " AS flags,"
    " coalesce(f.status, '') AS status"
)
_ORDER = ", ".join(f"f.{name}" for name in FACT_LOGS.key_columns)


_DAY_RANGE = Table(
    name="day_range",
    grain="one row per log instance whose days change",
    columns=(
        Column("point_log_inst_id", Type.INTEGER, "The log instance."),
        Column("first_day", Type.TEXT, "The first of the days."),
        Column("last_day", Type.TEXT, "The last of the days."),
        Column("begin_at", Type.TIMESTAMP, "When the first day begins, UTC."),
        Column("end_at", Type.TIMESTAMP, "When the last day ends, UTC."),
        Column("read_from", Type.TIMESTAMP, "The record before, UTC."),
        Column("read_to", Type.TIMESTAMP, "The record after, UTC."),
    ),
    primary_key="point_log_inst_id",
)


class Derivation(NamedTuple):
    """What the tables are made by.

    Attributes:
        rules: The settings.
        digest: Of all that they are made from, but for the facts.
    """

    rules: Rules
    digest: str


def are_current(db: Transaction, digest: str) -> bool:
    """Whether the tables belong to the facts that are in the warehouse.

    A load begins by removing the receipts of tables that others changed.
    """
    loaded = f"SELECT table_name FROM {LOAD_RECEIPT.name} WHERE receipt = '{digest}'"
    found = {name for (name,) in db.query(loaded)}
    return found >= set(AGGREGATES)


def remember_changes(db: Transaction, partitions: str) -> None:
    """Note where the facts of partitions are: before they are removed, after they are added.

    Args:
        db: The load.
        partitions: A condition on the partition_id of `log_instance_activity`.
    """
    times = "first_recorded_at, last_recorded_at"
    found = f"SELECT point_log_inst_id, {times} FROM {LOG_INSTANCE_ACTIVITY.name}"
    changed = f"{found} WHERE {partitions} AND first_recorded_at IS NOT NULL"
    db.run(f"CREATE TEMPORARY TABLE IF NOT EXISTS changed AS {found} WHERE FALSE")
    db.run(f"INSERT INTO changed {changed}")


def derive(
    db: Transaction, by: Derivation, everything: bool, progress: Phases
) -> list[LoadReceipt]:
    """Replace what is derived from facts that changed; the receipts of the tables.

    Args:
        db: The load.
        by: How.
        everything: Whether all is made again, not only what `remember_changes` noted.
        progress: The records that are read.
    """
    query = "SELECT point_log_inst_id, log_interval FROM dim_log_instance WHERE log_interval > 0"
    found = np.array(db.query(f"{query} ORDER BY 1"), np.int64).reshape(-1, 2)
    intervals = Intervals(found[:, 0], found[:, 1])
    ranges = None if everything else _ranges(db, by.rules, intervals)
    records = _all_records(db) if everything else _records_of_ranges()
    left = {} if everything else _remove_ranges(db)
    progress.begin("summing up by day")
    days, gaps = measure_days(_read(db, records, progress), by.rules, intervals)
    return append_derived(db, (_within(ranges, days), _within(ranges, gaps)), left, by.digest)


def append_derived(
    db: Transaction, rows: tuple[pd.DataFrame, pd.DataFrame], left: Mapping[str, int], receipt: str
) -> list[LoadReceipt]:
    """Add the rows that `measure_days` returns to the derived tables; the receipts of these.

    Args:
        db: The load.
        rows: Days and gaps.
        left: Table -> the digest of the rows that are in it already.
        receipt: What they were made from.
    """
    names = ", ".join(f"'{name}'" for name in AGGREGATES)
    db.run(f"DELETE FROM {LOAD_RECEIPT.name} WHERE table_name IN ({names})")
    digests = Counter(left)
    return [
        _append(db, table, _as_declared(table, found), digests, receipt)
        for table, found in zip(AGGREGATES.values(), rows, strict=True)
    ]


def _all_records(db: Transaction) -> str:
    return (
        f"SELECT {_RECORD} FROM {_FACTS} AS f WHERE f.recorded_at <> {db.no_time} ORDER BY {_ORDER}"
    )


def _records_of_ranges() -> str:
    # The order of a cross join is kept: each range is one of the key.
    return (
        f"SELECT {_RECORD} FROM day_range AS r CROSS JOIN {_FACTS} AS f"
        " WHERE f.point_log_inst_id = r.point_log_inst_id"
        f" AND f.recorded_at BETWEEN r.read_from AND r.read_to ORDER BY {_ORDER}"
    )


def _read(db: Transaction, sql: str, progress: Phases) -> Iterator[pa.RecordBatch]:
    for batch in db.read(sql):
        has_value = pc.equal(pc.bit_wise_and(batch["flags"], 1), 1)
        columns = {
            "point_log_inst_id": batch["point_log_inst_id"],
            "recorded_at": batch["recorded_at"].cast(pa.timestamp("us")),
            "value": pc.if_else(has_value, batch["value"], None).cast(pa.float64()),
            "is_digital": pc.greater_equal(batch["flags"], 2),
            "status": batch["status"],
        }
        yield pa.record_batch(columns, schema=RECORDS)
        progress.advance(len(batch), len(batch))


# --- where facts changed ---------------------------------------------------------------------


def _ranges(db: Transaction, rules: Rules, intervals: Intervals) -> pd.DataFrame:
    """The days of each log instance that change; also as the temporary table `day_range`.

    They begin with the day of the last record before the first change, whose state now lasts to
    another record, and end when the state of the last change ends. The records that are read
    include the one before and the one after.
    """
    before = (
        f"SELECT max(f.recorded_at) FROM {_FACTS} AS f WHERE f.point_log_inst_id ="
        f" c.point_log_inst_id AND f.recorded_at < c.began AND f.recorded_at > {db.no_time}"
    )
    changed = db.query(
        f"SELECT c.point_log_inst_id, coalesce(({before}), c.began), c.ended FROM ("
        "SELECT point_log_inst_id, min(first_recorded_at) AS began, max(last_recorded_at) AS ended"
        " FROM changed GROUP BY point_log_inst_id) AS c ORDER BY 1"
    )
    keys, first, last = zip(*changed, strict=True) if changed else ((), (), ())
    key = np.array(keys, np.int64)
    calendar = Calendar(rules.timezone)
    longest = intervals.longest_us(key, rules.max_gap)
    first_day = calendar.days(_microseconds(first))
    last_day = calendar.days(np.minimum(_microseconds(last) + longest, _LAST_US))
    begin = calendar.starts(first_day)
    end = np.minimum(calendar.starts(last_day + 1) - 1, _LAST_US)
    ranges = pd.DataFrame(
        {
            "point_log_inst_id": key,
            "first_day": first_day,
            "last_day": last_day,
            "begin_at": begin,
            "end_at": end,
        }
    )
    _store(db, ranges)
    return ranges


def _microseconds(times: tuple[str | datetime, ...]) -> np.ndarray:
    return pa.array(times).cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()


def _store(db: Transaction, ranges: pd.DataFrame) -> None:
    begin, end = (
        pa.array(ranges[name].to_numpy(), pa.timestamp("us")) for name in ("begin_at", "end_at")
    )
    columns = {
        "point_log_inst_id": pa.array(ranges["point_log_inst_id"]),
        "first_day": pa.array(_day_texts(ranges["first_day"]), pa.string()),
        "last_day": pa.array(_day_texts(ranges["last_day"]), pa.string()),
        "begin_at": begin,
        "end_at": end,
        "read_from": begin,
        "read_to": end,
    }
    db.create_temporary(_DAY_RANGE, pa.table(columns))
    facts = f"FROM {_FACTS} AS f WHERE f.point_log_inst_id = day_range.point_log_inst_id"
    before = f"SELECT max(f.recorded_at) {facts} AND f.recorded_at < begin_at"
    after = f"SELECT min(f.recorded_at) {facts} AND f.recorded_at > end_at"
    db.run(
        f"UPDATE day_range SET read_to = coalesce(({after}), end_at),"
        f" read_from = coalesce(({before} AND f.recorded_at > {db.no_time}), begin_at)"
    )


def _within(ranges: pd.DataFrame | None, rows: pd.DataFrame) -> pd.DataFrame:
    """Of rows that were measured, those in the ranges."""
    if ranges is None or rows.empty:
        return rows
    column, first, last = _FOLLOWED[_table_of(rows).name]
    at = np.searchsorted(ranges["point_log_inst_id"], rows["point_log_inst_id"])
    begin, end = ranges[first].to_numpy()[at], ranges[last].to_numpy()[at]
    return rows[(rows[column] >= begin) & (rows[column] <= end)]


def _table_of(rows: pd.DataFrame) -> Table:
    return FACT_LOG_DAYS if "day" in rows.columns else FACT_LOG_GAPS


# --- rows ------------------------------------------------------------------------------------


def _remove_ranges(db: Transaction) -> dict[str, int]:
    """Remove the rows of the ranges; table -> the digest of the rows that stay."""
    left = {}
    receipts = f"SELECT table_name, rows_digest FROM {LOAD_RECEIPT.name} WHERE partition_name = ''"
    digests = dict(db.query(receipts))
    for name, (column, first, last) in _FOLLOWED.items():
        table = AGGREGATES[name]
        own = (
            f"FROM day_range AS r CROSS JOIN {name} AS own WHERE own.point_log_inst_id ="
            f" r.point_log_inst_id AND own.{column} BETWEEN r.{first} AND r.{last}"
        )
        removed = sum(rows_digest(batch) for batch in _stored(db, table, own))
        left[name] = int(digests[name], 16) - removed
        owned = ", ".join(f"own.{key}" for key in table.key_columns)
        db.remove(table, f"SELECT {owned} {own}")
    return left


def _stored(db: Transaction, table: Table, source: str) -> Iterator[pa.RecordBatch]:
    """Rows of a table as they were loaded, of the type that is declared."""
    schema = arrow_schema(table)
    # A column's type is found in its first rows, which may all be NULL.
    columns = ", ".join(
        f"coalesce(own.{field.name}, 0.0) AS {field.name},"
        f" CASE WHEN own.{field.name} IS NULL THEN 1 ELSE 0 END AS no_{field.name}"
        if field.nullable
        else f"own.{field.name}"
        for field in schema
    )
    for batch in db.read(f"SELECT {columns} {source}"):
        arrays = []
        at = 0
        for field in schema:
            array = batch.column(at)
            if field.nullable:
                at += 1
                array = pc.if_else(pc.equal(batch.column(at), 1), None, array)
            at += 1
            naive = array.cast(pa.timestamp("us")) if pa.types.is_timestamp(field.type) else array
            arrays.append(naive.cast(field.type))
        yield pa.record_batch(arrays, schema=schema)


def _as_declared(table: Table, rows: pd.DataFrame) -> pa.Table:
    schema = arrow_schema(table)
    if rows.empty:
        return schema.empty_table()
    rows = rows.assign(
        **{name: _day_texts(rows[name]) for name in ("day",) if name in rows.columns}
    )
    return pa.Table.from_pandas(rows[schema.names], schema, preserve_index=False)


def _append(
    db: Transaction, table: Table, rows: pa.Table, digests: Counter[str], receipt: str
) -> LoadReceipt:
    db.append(table.name, digested(rows.to_batches(), digests, table.name), no_progress)
    ((count,),) = db.query(f"SELECT count(*) FROM {table.name}")
    digest = digest_text(digests[table.name])
    return LoadReceipt(table.name, "", None, receipt, uuid.uuid4().hex, count, digest, None)


def _day_texts(days: pd.Series) -> list[str]:
    return days.to_numpy().astype("datetime64[D]").astype(str).tolist()
