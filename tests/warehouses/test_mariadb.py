"""MariaDB as the warehouse: loads, and the same reports as SQLite."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from config.declarations import Column, Table, Type
from config.warehouse import (
    DIM_UNIT,
)
from tasks.warehouse.open import open_warehouse
from tests.mariadb import (
    FLOAT,
    HOSTILE,
    NOON,
    fact,
    load,
    load_dimensions,
    load_facts,
    rows_of,
)
from tests.servers import Server

# --- loads -----------------------------------------------------------------------------------


def test_texts_are_stored_as_they_are(mariadb: str) -> None:
    load(mariadb, DIM_UNIT, list(enumerate(HOSTILE)))
    found = rows_of(mariadb, "SELECT unit_name FROM dim_unit ORDER BY unit_id")
    assert [text for (text,) in found] == HOSTILE
    assert open_warehouse(mariadb).changed_loads() == []


def test_times_and_missing_values_are_stored(mariadb: str, tmp_path: Path) -> None:
    load_dimensions(mariadb)
    times = [datetime(1, 1, 1, 0, 0, 1, tzinfo=UTC), NOON.replace(microsecond=1)]
    times.append(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    load_facts(mariadb, tmp_path, {FLOAT: [fact(i, 7, at) for i, at in enumerate([None, *times])]})
    found = rows_of(mariadb, "SELECT recorded_at, status FROM v_logs ORDER BY log_id")
    assert found == [(None, None), *((at.replace(tzinfo=None), None) for at in times)]
    assert open_warehouse(mariadb).changed_loads() == []


def test_doubles_are_stored_to_the_last_bit(mariadb: str) -> None:
    values = np.random.default_rng(1).integers(0, 2**64, 20_000, np.uint64).view(np.float64)
    extremes = [0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1, 1e23, 9e15 + 1]
    values = np.concatenate([values[np.isfinite(values)], extremes, np.negative(extremes)])
    table = Table("d", "x", (Column("id", Type.INTEGER, ""), Column("v", Type.NUMBER, "")), "id")
    with open_warehouse(mariadb).transaction(DIM_UNIT) as db:
        db.create_temporary(table, pa.table({"id": range(len(values)), "v": values}))
        found = np.array(db.query("SELECT v FROM d ORDER BY id"))[:, 0]
    assert ((found + 0.0).view(np.uint64) == (values + 0.0).view(np.uint64)).all()


def test_without_local_infile_rows_are_inserted(
    mariadb: str, mariadb_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    mariadb_server.execute("SET GLOBAL local_infile = 0")
    try:
        with caplog.at_level(logging.INFO, "pipeline"):
            load(mariadb, DIM_UNIT, list(enumerate(HOSTILE)))
    finally:
        mariadb_server.execute("SET GLOBAL local_infile = 1")
    found = rows_of(mariadb, "SELECT unit_name FROM dim_unit ORDER BY unit_id")
    assert [text for (text,) in found] == HOSTILE
    assert caplog.text.count("local_infile off") == 1
    assert open_warehouse(mariadb).changed_loads() == []
