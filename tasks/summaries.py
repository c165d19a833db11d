"""Summaries: log instances and log records for each unit, application instance or type."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from config.declarations import UNKNOWN
from tasks.star_schema import metadata
from tasks.warehouse import connect

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


def summarise(
    level: str, log_instances: pd.DataFrame, records: pd.DataFrame, names: pd.DataFrame
) -> pd.DataFrame:
    """One row per key that has a log instance or a log record, sorted by key.

    Args:
        level: The key: unit_id, app_instance_id or app_type_id.
        log_instances: Per key, log_count and the counts of distinct others.
        records: Per key, record_count, digital_count, float_count and the first and last time.
        names: Per key, what it is called and belongs to.

    >>> logs = pd.DataFrame({"unit_id": [7], "log_count": [2], "app_instance_count": [1]})
    >>> records = pd.DataFrame({"unit_id": [-1, 7], "record_count": [1, 5], "digital_count": [1, 0],
    ...     "float_count": [0, 5], "first_recorded_at": None, "last_recorded_at": None})
    >>> names = pd.DataFrame({"unit_id": [-1, 7], "unit_name": ["Unknown", "Unit 7"]})
    >>> summarise("unit_id", logs, records, names)[["unit_id", "log_count", "record_count"]]
       unit_id  log_count  record_count
    0       -1          0             1
    1        7          2             5

    Raises:
        pandas.errors.MergeError: One of the tables holds a key twice.
    """
    summary = log_instances.merge(records, on=level, how="outer", validate="1:1")
    summary = summary.merge(names, on=level, how="left", validate="1:1")
    counts = [name for name in COLUMNS[level] if name.endswith("_count")]
    summary[counts] = summary[counts].fillna(0).astype("int64")
    return summary.sort_values(level, ignore_index=True)[list(COLUMNS[level])]


def write_summary(warehouse_url: str, level: str, into: Path) -> int:
    """Write the summary of one level as CSV and return its number of rows."""
    engine = connect(warehouse_url)
    with engine.connect() as connection:
        log_instances, records, names = (
            pd.read_sql(query, connection)
            for query in (_log_instances(level), _records(level), _names(level))
        )
    engine.dispose()
    summary = summarise(level, log_instances, records, names)
    for column in ("first_recorded_at", "last_recorded_at"):
        summary[column] = summary[column].map(_time_text)
    summary.to_csv(into, index=False, lineterminator="\n")
    return len(summary)


def _time_text(moment: pd.Timestamp) -> str:
    """A time by itself: pandas would write all of a column as finely as its finest."""
    return "" if pd.isna(moment) else str(moment.to_pydatetime())


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
    facts = metadata().tables["fact_logs"]
    return sa.select(
        facts.c[level],
        sa.func.count().label("record_count"),
        sa.func.sum(sa.case((facts.c.log_kind == "B", 1), else_=0)).label("digital_count"),
        sa.func.sum(sa.case((facts.c.log_kind == "F", 1), else_=0)).label("float_count"),
        sa.func.min(facts.c.recorded_at).label("first_recorded_at"),
        sa.func.max(facts.c.recorded_at).label("last_recorded_at"),
    ).group_by(facts.c[level])


def _names(level: str) -> sa.Select:
    tables = metadata().tables
    instances, types = tables["dim_application_instance"], tables["dim_application_type"]
    match level:
        case "unit_id":
            return sa.select(tables["dim_unit"])
        case "app_type_id":
            return sa.select(types)
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
