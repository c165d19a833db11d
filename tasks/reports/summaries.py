"""Summaries: log instances and log records for each unit, application instance or type.

The records were counted while they were loaded (`log_instance_activity`); none is read again here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from config.declarations import UNKNOWN
from tasks.core.spreadsheet import write_csv
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.tables import metadata

COUNTS = ("log_count", "record_count", "digital_count", "float_count")
COLUMNS: dict[str, tuple[str, ...]] = {
    "unit_id": (
        "unit_id",
        "unit_name",
        *COUNTS,
        "app_instance_count",
        "first_recorded_at",
        "last_recorded_at",
    ),
    "app_instance_id": (
        "app_instance_id",
        *COUNTS,
        "unit_id",
        "app_type_id",
        "app_type_description",
        "first_recorded_at",
        "last_recorded_at",
    ),
    "app_type_id": (
        "app_type_id",
        "app_type_description",
        *COUNTS,
        "app_instance_count",
        "unit_count",
        "first_recorded_at",
        "last_recorded_at",
    ),
}
"""Level -> the columns of its summary; the first is the key."""


Rows = Mapping[int, Mapping[str, object]]
"""Key -> what is known of it, by column."""


def summarise(level: str, log_instances: Rows, records: Rows, names: Rows) -> list[dict[str, Any]]:
    """One row per key that has a log instance or a log record, sorted by key.

    Args:
        level: The key: unit_id, app_instance_id or app_type_id.
        log_instances: Per key, log_count and the counts of distinct others.
        records: Per key, record_count, digital_count, float_count and the first and last time.
        names: Per key, what it is called and belongs to.

    >>> logs = {7: {"log_count": 2, "app_instance_count": 1}}
    >>> records = {-1: {"record_count": 1}, 7: {"record_count": 5, "float_count": 5}}
    >>> names = {-1: {"unit_name": "Unknown"}, 7: {"unit_name": "Unit 7"}}
    >>> rows = summarise("unit_id", logs, records, names)
    >>> [(row["unit_name"], row["log_count"], row["record_count"]) for row in rows]
    [('Unknown', 0, 1), ('Unit 7', 2, 5)]
    """
    counts = {name: 0 for name in COLUMNS[level] if name.endswith("_count")}
    return [
        {
            level: key,
            **counts,
            **names.get(key, {}),
            **log_instances.get(key, {}),
            **records.get(key, {}),
        }
        for key in sorted({*log_instances, *records})
    ]


def write_summary(warehouse_url: str, level: str, into: Path, bom: bool | None = None) -> int:
    """Write the summary of one level as CSV and return its number of rows.

    Args:
        warehouse_url: The warehouse.
        level: The key.
        into: CSV file to write.
        bom: As for `write_csv`.
    """
    engine = open_warehouse(warehouse_url).engine()
    with engine.connect() as connection:
        log_instances, records, names = (
            {row[level]: dict(row) for row in connection.execute(query).mappings()}
            for query in (_log_instances(level), _records(level), _names(level))
        )
    engine.dispose()
    rows = summarise(level, log_instances, records, names)
    for row in rows:
        for column in ("first_recorded_at", "last_recorded_at"):
            row[column] = _time_text(row.get(column))
    write_csv(into, COLUMNS[level], rows, bom)
    return len(rows)


def _time_text(moment: datetime | None) -> str:
    """A time, as fine as it is."""
    return "" if moment is None else str(moment)


def _distinct_known(column: sa.Column) -> sa.ColumnElement[int]:
    """How many different members, the unknown one aside."""
    return sa.func.count(sa.distinct(sa.case((column != UNKNOWN, column))))


def _log_instances(level: str) -> sa.Select:
    logs = metadata().tables["dim_log_instance"]
    return (
        sa.select(
            logs.c[level],
            sa.func.count().label("log_count"),
            _distinct_known(logs.c.app_instance_id).label("app_instance_count"),
            _distinct_known(logs.c.unit_id).label("unit_count"),
        )
        .where(logs.c.point_log_inst_id != UNKNOWN)
        .group_by(logs.c[level])
    )


def _records(level: str) -> sa.Select:
    logs = metadata().tables["dim_log_instance"]
    tally = metadata().tables["log_instance_activity"]
    count = tally.c.record_count
    of = (
        # First by log instance, in whose order the tally is: there are far fewer than of its rows.
        sa.select(
            tally.c.point_log_inst_id,
            sa.func.sum(count).label("record_count"),
            sa.func.sum(sa.case((tally.c.log_kind == "B", count), else_=0)).label("digital_count"),
            sa.func.sum(sa.case((tally.c.log_kind == "F", count), else_=0)).label("float_count"),
            sa.func.min(tally.c.first_recorded_at).label("first_recorded_at"),
            sa.func.max(tally.c.last_recorded_at).label("last_recorded_at"),
        )
        .group_by(tally.c.point_log_inst_id)
        .subquery()
    )
    counts = [sa.func.sum(of.c[name]).label(name) for name in _SUMS]
    return (
        sa.select(
            logs.c[level],
            *counts,
            sa.func.min(of.c.first_recorded_at).label("first_recorded_at"),
            sa.func.max(of.c.last_recorded_at).label("last_recorded_at"),
        )
        .join_from(of, logs, logs.c.point_log_inst_id == of.c.point_log_inst_id)
        .group_by(logs.c[level])
    )


_SUMS = ("record_count", "digital_count", "float_count")


def _names(level: str) -> sa.Select:
    tables = metadata().tables
    instances, types = tables["dim_application_instance"], tables["dim_application_type"]
    match level:
        case "unit_id":
            return sa.select(tables["dim_unit"])
        case "app_type_id":
            # Those of log instances: far fewer than there are.
            used = sa.select(tables["dim_log_instance"].c.app_type_id)
            return sa.select(types).where(types.c.app_type_id.in_(used))
    logged = sa.select(tables["dim_log_instance"].c.app_instance_id)
    return (
        sa.select(
            instances.c.app_instance_id,
            instances.c.unit_id,
            instances.c.app_type_id,
            types.c.app_type_description,
        )
        .join(types, types.c.app_type_id == instances.c.app_type_id)
        .where(instances.c.app_instance_id.in_(logged))
    )
