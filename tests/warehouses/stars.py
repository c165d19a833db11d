"""Small stars, loaded into any warehouse."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from config.aggregates import AGGREGATES, Rules
from config.bookkeeping import LOG_INSTANCE_ACTIVITY
from config.declarations import Column, Table, Type
from config.warehouse import (
    DIM_APPLICATION_INSTANCE,
    DIM_APPLICATION_TYPE,
    DIM_LOG_INSTANCE,
    DIM_POINT,
    DIM_UNIT,
    FACT_LOGS,
    TABLES,
)
from tasks.core.partition import Partition
from tasks.enrichment.star import arrow_schema
from tasks.warehouse.load import Course, Enriched, replace_dimension, replace_partitions
from tasks.warehouse.log_days import Derivation
from tasks.warehouse.open import open_warehouse

BINARY = Partition("LOG_RCD_B", Path("LOG_RCD_B.csv"), 0)
FLOAT = Partition("LOG_RCD_F", Path("LOG_RCD_F.csv"), 1)


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def rows_of(url: str, sql: str) -> list[tuple]:
    """The rows; times as SQLite has them, whole numbers whole."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(file_of(url))) as connection:
            return connection.execute(sql).fetchall()
    with connect(url) as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        return [tuple(map(_plain, row)) for row in connection.exec_driver_sql(sql)]


def connect(url: str) -> sa.Connection:
    return sa.create_engine(url, poolclass=sa.NullPool).connect()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="microseconds")
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    return value


def change(url: str, *statements: str) -> None:
    """Run statements as someone else would, in one transaction."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(file_of(url))) as connection, connection:
            for statement in statements:
                connection.execute(statement)
        return
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as server:
        for statement in statements:
            server.exec_driver_sql(statement)


def receipts(url: str) -> dict[tuple[str, str], str]:
    return {loaded: row.receipt for loaded, row in open_warehouse(url).receipts().items()}


def as_table(table: Table, rows: list[tuple]) -> pa.Table:
    names = [column.name for column in table.columns]
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    return pa.table(columns, schema=arrow_schema(table))


DERIVED = Derivation(Rules("UTC", 3, ("ALARM",)), "settings")


def nothing() -> None:
    """What a load calls before it commits."""


def load(
    url: str,
    table: Table,
    rows: list[tuple],
    receipt: str = "1",
    before_commit: Callable[[], None] = nothing,
) -> int:
    """Load a dimension; members are given without `is_retained`."""
    batches = as_table(table, [(*row, 0) for row in rows]).to_batches()
    return replace_dimension(open_warehouse(url), table, batches, receipt, before_commit, Mock())


def load_units(url: str, *units: int, **how: Any) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown"), *((unit, f"Unit {unit}") for unit in units)], **how)


def load_facts(
    url: str,
    *rows: tuple,
    receipt: str = "1",
    before_commit: Callable[[], None] = nothing,
    others: dict[Partition, str] | None = None,
) -> tuple[list[str], int]:
    """Load facts as the float records; `others` are partitions with rows that stay."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "enriched.parquet")
        pq.write_table(as_table(FACT_LOGS, list(rows)), path)
        digests = {FLOAT: receipt, **(others or {})}
        partitions = {one: Enriched(digest, path) for one, digest in digests.items()}
        return replace_partitions(
            open_warehouse(url), partitions, DERIVED, receipt, Course(before_commit, Mock())
        )


def load_dimensions(url: str, units: tuple[int, ...] = (7, 8)) -> None:
    load(url, DIM_APPLICATION_TYPE, [(-1, "Unknown"), (1, "Rack")])
    load_units(url, *units)
    instances = [(-1, "Unknown", -1, -1, -1), *((unit * 10, "x", 0, 1, unit) for unit in units)]
    load(url, DIM_APPLICATION_INSTANCE, instances)
    load(url, DIM_POINT, [(-1, "Unknown", None, -1, -1), (1, "Door", "DI", -1, -1)])
    logs: list[tuple] = [(-1, -1, "Unknown", -1, -1, -1, None, None)]
    logs += [(unit, 1, "Door", unit * 10, 1, unit, 2, 180) for unit in units]
    load(url, DIM_LOG_INSTANCE, logs)


def fact(row: int, unit: int, at: datetime | None = None) -> tuple:
    return (10_000_000_000 + row, unit, unit * 10, 1, 1, unit, at, 1.0, None, None, "F", 1)


NOON = datetime(2024, 6, 1, 12)
HOSTILE = ["", " ", "a ", "A", "a'b", "''", "','", "\\", "\\N", "\\'", "NULL", "\n", "\r\n\t", "\0"]
HOSTILE += ['"', "%", "%s", "ß", "\U0001f9ca", "x" * 70_000, "1',NULL\n2,'y"]


def dump(url: str) -> dict[str, list[tuple]]:
    """The rows of the star and of what is derived from it."""
    names = (*TABLES, *AGGREGATES, LOG_INSTANCE_ACTIVITY.name)
    return {name: sorted(rows_of(url, f"SELECT * FROM {name}"), key=repr) for name in names}


def redeclared(nullable: bool = False) -> Table:
    more = Column("site", Type.TEXT, "Where 100% of it is.", nullable)
    key, name, retained = DIM_UNIT.columns
    return Table(DIM_UNIT.name, DIM_UNIT.grain, (key, name, more, retained), "unit_id")
