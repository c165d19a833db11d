"""Reconciliation: what the files hold against what the warehouse holds, count by count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from config.aggregates import FACT_LOG_DAYS
from config.bookkeeping import LOG_INSTANCE_ACTIVITY
from config.declarations import UNKNOWN
from config.sources import LOG_KINDS, POINT, SOURCES
from config.warehouse import DIM_LOG_INSTANCE, DIM_POINT, DIMENSIONS, FACT_LOGS
from tasks.core.arrow import parquet_rows, read_parquet
from tasks.core.errors import PipelineError
from tasks.core.files import write_csv
from tasks.core.partition import Partition
from tasks.enrichment.enrich import EnrichedCounts
from tasks.staging.audit import read_audit
from tasks.warehouse.interface import Warehouse
from tasks.warehouse.tables import metadata

_LISTED = 10


class Count(NamedTuple):
    """A count that has to be the same in two places."""

    what: str
    expected_in: str
    expected: int
    found_in: str
    found: int


def count_partition(
    partition: Partition, staged: int, enriched: EnrichedCounts, warehouse: Warehouse, counted: bool
) -> dict[str, Any]:
    """Count the log records of one partition where they are staged, enriched and loaded.

    Args:
        partition: The partition.
        staged: How many rows of it are staged.
        enriched: Its enriched log records.
        warehouse: The warehouse.
        counted: Whether the facts are elsewhere, and the warehouse has their counts alone.

    Returns:
        kind; staged: rows; timed: enriched records with a time; loaded: facts of that kind whose
        unit is that of their log instance; units: [unit, enriched, loaded] of each.
    """
    with warehouse.connect() as connection:
        of_partition = {"partition": partition.id, "kind": partition.kind}
        sql = _COUNTED_BY_UNIT if counted else _loaded_by_unit(warehouse.no_time)
        rows = connection.execute(sa.text(sql), of_partition).all()
    found = {int(unit): int(count) for unit, count in rows}
    expected = enriched.units
    return {
        "kind": partition.kind,
        "staged": staged,
        "timed": enriched.timed,
        "loaded": sum(found.values()),
        "units": [
            (unit, expected.get(unit, 0), found.get(unit, 0)) for unit in {*expected, *found}
        ],
    }


_COUNTED_BY_UNIT = (
    "SELECT chain.unit_id, sum(own.record_count)"
    f" FROM {LOG_INSTANCE_ACTIVITY.name} AS own JOIN {DIM_LOG_INSTANCE.name} AS chain"
    " ON chain.point_log_inst_id = own.point_log_inst_id"
    " WHERE own.partition_id = :partition AND own.log_kind = :kind GROUP BY chain.unit_id"
)


def _loaded_by_unit(no_time: str) -> str:
    """A query for facts by unit. Each log instance is a range of the key: nothing is sorted."""
    facts = (
        f"(SELECT count(*) FROM {FACT_LOGS.name} AS fact WHERE"
        " fact.point_log_inst_id = own.point_log_inst_id AND fact.partition_id = own.partition_id"
        " AND fact.log_kind = :kind AND fact.unit_id = chain.unit_id AND fact.recorded_at"
    )
    timed = f"{facts} BETWEEN own.first_recorded_at AND own.last_recorded_at)"
    return (
        f"SELECT unit_id, sum(facts) FROM (SELECT chain.unit_id, {timed} + {facts} = {no_time})"
        f" AS facts FROM {LOG_INSTANCE_ACTIVITY.name} AS own JOIN {DIM_LOG_INSTANCE.name} AS chain"
        " ON chain.point_log_inst_id = own.point_log_inst_id WHERE own.partition_id = :partition"
        ") AS counted GROUP BY unit_id"
    )


def reconcile(
    audits: Mapping[str, Path],
    staged: Mapping[str, Path],
    partitions: list[dict[str, Any]],
    warehouse: Warehouse,
    all_points: bool,
) -> list[Count]:
    """All counts of files and warehouse.

    Args:
        audits: Source -> its audit.
        staged: Source that does not come in partitions -> its staged rows.
        partitions: What `count_partition` counted in each.
        warehouse: The warehouse.
        all_points: Whether the points that nobody logs are loaded too.
    """
    totals = pd.DataFrame(partitions).groupby("kind")[["staged", "loaded"]].sum()
    rows = {name: parquet_rows(path) for name, path in staged.items()}
    rows |= {LOG_KINDS[kind]: int(count) for kind, count in totals["staged"].items()}
    return [
        *_count_files(audits, rows),
        *_count_members(staged, warehouse, all_points),
        *_count_records(partitions, totals),
        _count_days(partitions, warehouse),
    ]


def write_counts(counts: Sequence[Count], into: Path, bom: bool | None) -> None:
    """Write a CSV file with the columns of Count; `bom` as for `write_csv`."""
    write_csv(into, Count._fields, (count._asdict() for count in counts), bom)


def refuse_differences(counts: Sequence[Count]) -> None:
    """Raise PipelineError, listing the counts that differ, if any does."""
    different = [count for count in counts if count.expected != count.found]
    if different:
        listed = [
            f"{c.what}: {c.expected_in} {c.expected:,}, {c.found_in} {c.found:,}"
            for c in different[:_LISTED]
        ]
        more = len(different) - len(listed)
        raise PipelineError(
            "The warehouse does not hold what the files hold:",
            [*listed, *([f"... and {more:,} more"] if more else [])],
            "Load again: python -m tasks forget LoadDimension --downstream, then run.",
        )


def _count_files(audits: Mapping[str, Path], rows: Mapping[str, int]) -> Iterator[Count]:
    for name, path in audits.items():
        audit = read_audit(path)
        found = rows[name] + audit.rejected
        yield Count(f"rows of {name}", "file", audit.rows, "staged + quarantined", found)


def _count_members(
    staged: Mapping[str, Path], warehouse: Warehouse, all_points: bool
) -> Iterator[Count]:
    with warehouse.connect() as connection:
        for name, table in DIMENSIONS.items():
            members = sa.select(sa.func.count()).select_from(metadata().tables[name])
            key = table.column(table.key_columns[0])
            if SOURCES[key.source].primary_key == key.source_column:  # Unique, never unknown.
                known = parquet_rows(staged[key.source])
            else:
                keys = pc.unique(read_parquet(staged[key.source], key.source_column).column(0))
                if table is DIM_POINT and all_points:
                    points = read_parquet(staged[POINT.name], key.name).column(0)
                    keys = pc.unique(pa.concat_arrays([keys, *points.chunks]))
                known = len(keys.filter(pc.not_equal(keys, UNKNOWN)))
            # The unknown member comes on top.
            found = connection.scalar(members) or 0
            yield Count(f"members of {name}", "staged", known + 1, name, found)


def _count_days(partitions: list[dict[str, Any]], warehouse: Warehouse) -> Count:
    days = metadata().tables[FACT_LOG_DAYS.name]
    with warehouse.connect() as connection:
        found = connection.scalar(sa.select(sa.func.sum(days.columns.record_count))) or 0
    expected = sum(counts["timed"] for counts in partitions)
    return Count("records with a time", "enriched", expected, FACT_LOG_DAYS.name, int(found))


def _count_records(partitions: list[dict[str, Any]], totals: pd.DataFrame) -> Iterator[Count]:
    units = pd.DataFrame(
        [[counts["kind"], *unit] for counts in partitions for unit in counts["units"]],
        columns=["kind", "unit", "enriched", "loaded"],
    )
    per_unit = units.groupby(["kind", "unit"]).sum()
    for kind in LOG_KINDS:
        staged, loaded = (int(count) for count in totals.loc[kind])
        yield Count(f"{kind} records", "staged", staged, FACT_LOGS.name, loaded)
        if kind in per_unit.index:
            for row in per_unit.loc[kind].itertuples(name=None):
                unit, enriched, found = (int(number) for number in row)
                what = f"{kind} records of unit {unit}"
                yield Count(what, "enriched", enriched, FACT_LOGS.name, found)
