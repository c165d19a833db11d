"""MariaDB as the warehouse: loads, and the same reports as SQLite."""

from __future__ import annotations

import logging
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from config.declarations import Column, Table, Type
from config.warehouse import (
    DIM_UNIT,
    FACT_LOGS,
)
from tasks.warehouse.load import replace_dimension
from tasks.warehouse.open import open_warehouse
from tests.conftest import Project, make_project
from tests.hostile import make_hostile
from tests.mariadb import (
    BINARY,
    FLOAT,
    HOSTILE,
    NOON,
    as_table,
    fact,
    load,
    load_dimensions,
    load_facts,
    load_units,
    nothing,
    receipts,
    rows_of,
)
from tests.servers import Server
from tests.staged import refusal

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


@pytest.mark.parametrize(
    ("rows", "why"),
    [([(7, "a"), (7, "b")], "Duplicate entry '7'"), ([(7, None)], "'unit_name'")],
)
def test_a_row_that_breaks_a_constraint_is_rejected(
    mariadb: str, rows: list[tuple], why: str
) -> None:
    load_units(mariadb, 7)
    assert why in refusal(load, mariadb, DIM_UNIT, rows)
    assert rows_of(mariadb, "SELECT unit_id FROM dim_unit") == [(-1,), (7,)]
    assert receipts(mariadb) == {("dim_unit", ""): "1"}


def test_rows_that_break_off_leave_the_previous_ones(mariadb: str) -> None:
    load_units(mariadb, 7)

    def breaks_off() -> Iterator[pa.RecordBatch]:
        yield from as_table(DIM_UNIT, [(1, "x", 0)]).to_batches()
        raise BrokenPipeError("the disk went away")

    with pytest.raises(BrokenPipeError, match="the disk went away"):
        replace_dimension(open_warehouse(mariadb), DIM_UNIT, breaks_off(), "2", nothing, Mock())
    assert rows_of(mariadb, "SELECT unit_id FROM dim_unit") == [(-1,), (7,)]
    assert receipts(mariadb) == {("dim_unit", ""): "1"}


def test_only_partitions_that_changed_are_loaded(loaded: str, tmp_path: Path) -> None:
    before = open_warehouse(loaded).receipts()
    assert rows_of(loaded, "SELECT count(*) FROM v_logs") == [(3,)]
    facts = {FLOAT: [fact(1, 7, NOON), fact(2, 8)], BINARY: [fact(3, 7, NOON, BINARY)]}
    assert load_facts(loaded, tmp_path, facts) == ["LOG_RCD_B"]
    after = open_warehouse(loaded).receipts()
    assert after["fact_logs", "LOG_RCD_F"] == before["fact_logs", "LOG_RCD_F"]
    assert rows_of(loaded, "SELECT log_id, unit_id FROM fact_logs ORDER BY 1") == [
        (3, 7),
        (10_000_000_001, 7),
        (10_000_000_002, 8),
    ]
    days = "SELECT point_log_inst_id, record_count FROM fact_log_days"
    assert rows_of(loaded, days) == [(7, 2)]
    assert open_warehouse(loaded).changed_loads() == []
    assert load_facts(loaded, tmp_path, {BINARY: facts[BINARY]}) == []
    assert rows_of(loaded, "SELECT log_id FROM fact_logs") == [(3,)]


def test_members_stay_while_facts_refer_to_them(loaded: str, tmp_path: Path) -> None:
    load_dimensions(loaded, units=(7,))
    assert rows_of(loaded, "SELECT unit_id, is_retained FROM dim_unit") == [
        (-1, 0),
        (7, 0),
        (8, 1),
    ]
    load_facts(loaded, tmp_path, {FLOAT: [fact(1, 7)]})
    assert rows_of(loaded, "SELECT unit_id FROM dim_unit") == [(-1,), (7,)]


def test_facts_without_a_member_are_refused(loaded: str, tmp_path: Path) -> None:
    text = refusal(load_facts, loaded, tmp_path, {FLOAT: [fact(1, 99)]})
    assert text.startswith("fact_logs: 3 rows refer to rows that do not exist")
    assert rows_of(loaded, "SELECT count(*) FROM fact_logs") == [(3,)]


def test_the_database_describes_itself(loaded: str) -> None:
    comment = "SELECT table_comment FROM information_schema.tables WHERE table_name = 'fact_logs'"
    assert (FACT_LOGS.grain,) in rows_of(loaded, comment)
    created = rows_of(loaded, "SHOW CREATE TABLE fact_logs")[0][1]
    assert created.count("COMMENT") == 1 + len(FACT_LOGS.columns)
    assert created.count("FOREIGN KEY") == len(FACT_LOGS.references)
    assert "`recorded_at` datetime(6) NOT NULL" in created


# --- the whole pipeline ----------------------------------------------------------------------


def test_reports_and_digests_are_those_of_sqlite(
    hostile: Project, mariadb: str, tmp_path: Path
) -> None:
    project = make_project(tmp_path / "project")
    make_hostile(project)
    env = {"PIPELINE_WAREHOUSE_URL": mariadb}
    project.passes("AllReports", env=env)
    for path in sorted(hostile.reports.glob("*.csv")):
        if path.name != "history.csv":
            assert (project.reports / path.name).read_bytes() == path.read_bytes(), path.name
    digests = "SELECT table_name, partition_name, rows_digest FROM load_receipt ORDER BY 1, 2"
    with closing(sqlite3.connect(hostile.database)) as connection:
        assert rows_of(mariadb, digests) == connection.execute(digests).fetchall()
    verified = project.run(sys.executable, "-m", "tasks", "verify", env=env)
    assert verified.status == 0, verified.log
    assert not project.passes("AllReports", env=env).built
    password = str(sa.make_url(mariadb).password)
    assert not any(password.encode() in path.read_bytes() for path in files(project.folder))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
