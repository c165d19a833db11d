"""Loads into MariaDB for tests of what is particular to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from config.aggregates import Rules
from config.declarations import Table
from config.warehouse import (
    DIM_APPLICATION_INSTANCE,
    DIM_APPLICATION_TYPE,
    DIM_LOG_INSTANCE,
    DIM_POINT,
    DIM_UNIT,
    FACT_LOGS,
)
from tasks.core.partition import Partition
from tasks.enrichment.star import arrow_schema
from tasks.warehouse.load import Enriched, replace_dimension, replace_partitions
from tasks.warehouse.log_days import Derivation
from tasks.warehouse.open import open_warehouse

BINARY = Partition("LOG_RCD_B", Path("LOG_RCD_B.csv"), 0)
FLOAT = Partition("LOG_RCD_F", Path("LOG_RCD_F.csv"), 1)
DERIVED = Derivation(Rules("UTC", 3, ("AL%ARM\\",)), "settings")
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
HOSTILE = ["", " ", "a ", "A", "a'b", "''", "','", "\\", "\\N", "\\'", "NULL", "\n", "\r\n\t", "\0"]
HOSTILE += ['"', "%", "%s", "ß", "\U0001f9ca", "x" * 70_000, "1',NULL\n2,'y"]


def nothing() -> None:
    """What a load calls before it commits."""


def rows_of(url: str, sql: str) -> list[tuple]:
    with closing(connect(url)) as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


def change(url: str, *statements: str) -> None:
    with closing(connect(url)) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()


def connect(url: str) -> sa.Connection:
    return sa.create_engine(url, poolclass=sa.NullPool).connect()


def receipts(url: str) -> dict[tuple[str, str], str]:
    return {loaded: row.receipt for loaded, row in open_warehouse(url).receipts().items()}


def as_table(table: Table, rows: list[tuple]) -> pa.Table:
    names = [column.name for column in table.columns]
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    return pa.table(columns, schema=arrow_schema(table))


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


def load_dimensions(url: str, units: tuple[int, ...] = (7, 8)) -> None:
    load(url, DIM_APPLICATION_TYPE, [(-1, "Unknown"), (1, "Rack")])
    load_units(url, *units)
    instances = [(-1, "Unknown", -1, -1, -1), *((unit * 10, "x", 0, 1, unit) for unit in units)]
    load(url, DIM_APPLICATION_INSTANCE, instances)
    load(url, DIM_POINT, [(-1, "Unknown", None, -1, -1), (1, "Door", "DI", -1, -1)])
    logs: list[tuple] = [(-1, -1, "Unknown", -1, -1, -1, None, None)]
    logs += [(unit, 1, "Door", unit * 10, 1, unit, 2, 180) for unit in units]
    load(url, DIM_LOG_INSTANCE, logs)


def fact(row: int, unit: int, at: datetime | None = None, part: Partition = FLOAT) -> tuple:
    number = part.id * 10_000_000_000 + row
    return (number, unit, unit * 10, 1, 1, unit, at, 1.0, None, None, part.kind, part.id)


def load_facts(
    url: str,
    folder: Path,
    rows: dict[Partition, list[tuple]],
    before_commit: Callable[[], None] = nothing,
) -> list[str]:
    """Load partitions; those loaded. What is loaded of each is known by its rows."""
    partitions = {}
    for one, facts in rows.items():
        path = folder / f"{one.id}.parquet"
        pq.write_table(as_table(FACT_LOGS, facts), path)
        partitions[one] = Enriched(repr(facts), path)
    warehouse = open_warehouse(url)
    return replace_partitions(warehouse, partitions, DERIVED, "1", before_commit, Mock())[0]


@pytest.fixture
def loaded(mariadb: str, tmp_path: Path) -> str:
    """The URL of a database with two partitions of facts."""
    load_dimensions(mariadb)
    facts = {FLOAT: [fact(1, 7, NOON), fact(2, 8)], BINARY: [fact(1, 8, NOON, BINARY)]}
    load_facts(mariadb, tmp_path, facts)
    return mariadb


@pytest.fixture
def units(mariadb: str) -> str:
    """The URL of a database with two units."""
    load_units(mariadb, 7, 8)
    return mariadb
