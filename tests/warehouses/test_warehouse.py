"""Loads replace whole tables or leave them as they were."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from config.aggregates import Rules
from config.bookkeeping import ALL_TABLES
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
from tasks.core.errors import PipelineError
from tasks.core.partition import Partition
from tasks.enrichment.star import arrow_schema
from tasks.warehouse.load import Enriched, replace_dimension, replace_partitions
from tasks.warehouse.log_days import Derivation
from tasks.warehouse.log_instance_activity import facts_of
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.tables import metadata
from tests.conftest import Project
from tests.staged import refusal

BINARY = Partition("LOG_RCD_B", Path("LOG_RCD_B.csv"), 0)
FLOAT = Partition("LOG_RCD_F", Path("LOG_RCD_F.csv"), 1)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'warehouse.db'}"


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def rows_of(url: str, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(file_of(url))) as connection:
        return connection.execute(sql).fetchall()


def change(url: str, *statements: str) -> None:
    with closing(sqlite3.connect(file_of(url))) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def receipts(url: str) -> dict[tuple[str, str], str]:
    return {loaded: row.receipt for loaded, row in open_warehouse(url).receipts().items()}


def as_table(table: Table, rows: list[tuple]) -> pa.Table:
    names = [column.name for column in table.columns]
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    return pa.table(columns, schema=arrow_schema(table))


DERIVED = Derivation(Rules("UTC", 3, ("ALARM",)), "settings")


def nothing() -> None:
    """What a load calls before it commits."""


def load(url: str, table: Table, rows: list[tuple], receipt: str = "1") -> int:
    """Load a dimension; members are given without `is_retained`."""
    batches = as_table(table, [(*row, 0) for row in rows]).to_batches()
    return replace_dimension(open_warehouse(url), table, batches, receipt, nothing, Mock())


def load_facts(
    url: str,
    *rows: tuple,
    receipt: str = "1",
    before_commit: Callable[[], None] = nothing,
    others: dict[Partition, str] | None = None,
) -> tuple[list[str], int]:
    """Load facts as the float records; `others` are partitions with rows that stay."""
    path = file_of(url).parent / "enriched.parquet"
    pq.write_table(as_table(FACT_LOGS, list(rows)), path)
    digests = {FLOAT: receipt, **(others or {})}
    partitions = {one: Enriched(digest, path) for one, digest in digests.items()}
    return replace_partitions(
        open_warehouse(url), partitions, DERIVED, receipt, before_commit, Mock()
    )


def load_dimensions(url: str, units: tuple[int, ...] = (7, 8)) -> None:
    load(url, DIM_APPLICATION_TYPE, [(-1, "Unknown"), (1, "Rack")])
    load(url, DIM_UNIT, [(-1, "Unknown"), *((unit, f"Unit {unit}") for unit in units)])
    instances = [(-1, "Unknown", -1, -1, -1), *((unit * 10, "x", 0, 1, unit) for unit in units)]
    load(url, DIM_APPLICATION_INSTANCE, instances)
    load(url, DIM_POINT, [(-1, "Unknown", None, -1, -1), (1, "Door", "DI", -1, -1)])
    logs: list[tuple] = [(-1, -1, "Unknown", -1, -1, -1, None, None)]
    logs += [(unit, 1, "Door", unit * 10, 1, unit, 2, 180) for unit in units]
    load(url, DIM_LOG_INSTANCE, logs)


def fact(row: int, unit: int) -> tuple:
    return (10_000_000_000 + row, unit, unit * 10, 1, 1, unit, None, 1.0, None, None, "F", 1)


def test_a_refused_load_leaves_the_previous_rows_and_receipt(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7))
    before = receipts(url)
    first, *others = refusal(load_facts, url, fact(1, 7), fact(2, 99), receipt="2").splitlines()
    assert first == (
        "fact_logs: 3 rows refer to rows that do not exist; the previous rows are unchanged."
    )
    dimensions = ("dim_application_instance", "dim_log_instance", "dim_unit")
    assert others == [f"  1 refer to {name}" for name in dimensions]
    assert rows_of(url, "SELECT log_id FROM fact_logs") == [(10_000_000_001,)]
    assert receipts(url) == before
    assert before["fact_logs", "LOG_RCD_F"] == "1"


def test_a_load_whose_rows_break_off_leaves_the_previous_rows(url: str) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown"), (7, "Unit 7")])
    good = as_table(DIM_UNIT, [(1, "x", 0)])

    def breaks_off() -> Iterator[pa.RecordBatch]:
        yield from good.to_batches()
        raise OSError("the disk went away")

    with pytest.raises(PipelineError, match=r"dim_unit could not be loaded(?s:.*)disk went away"):
        replace_dimension(open_warehouse(url), DIM_UNIT, breaks_off(), "2", nothing, Mock())
    assert rows_of(url, "SELECT unit_id FROM dim_unit") == [(-1,), (7,)]
    assert receipts(url) == {("dim_unit", ""): "1"}


@pytest.mark.parametrize(
    ("rows", "kind", "column"),
    [([(7, "a"), (7, "b")], "UNIQUE", "unit_id"), ([(7, None)], "NOT NULL", "unit_name")],
)
def test_a_row_that_breaks_a_constraint_is_rejected(
    url: str, rows: list[tuple], kind: str, column: str
) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    with pytest.raises(PipelineError, match=f"{kind} constraint failed: dim_unit.{column}"):
        load(url, DIM_UNIT, rows)
    assert rows_of(url, "SELECT * FROM dim_unit") == [(-1, "Unknown", 0)]


def test_a_table_without_rows_can_be_loaded(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7))
    assert load_facts(url, receipt="2") == (["LOG_RCD_F"], 0)
    assert rows_of(url, "SELECT count(*) FROM fact_logs") == [(0,)]


def test_members_stay_while_rows_refer_to_them_and_go_with_the_last(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7), fact(2, 8))
    load_dimensions(url, units=(7,))
    assert rows_of(url, "SELECT unit_id, is_retained FROM dim_unit") == [(-1, 0), (7, 0), (8, 1)]
    assert rows_of(url, "SELECT unit_id FROM fact_logs ORDER BY log_id") == [(7,), (8,)]
    assert rows_of(url, "PRAGMA foreign_key_check") == []

    load_facts(url, fact(1, 7), receipt="2")
    assert rows_of(url, "SELECT unit_id FROM dim_unit") == [(-1,), (7,)]
    assert rows_of(url, "SELECT app_instance_id FROM dim_application_instance") == [(-1,), (70,)]
    assert receipts(url)["dim_unit", ""] == "1"


def test_a_reader_sees_the_previous_rows_until_the_commit(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7))
    seen: list[list[int]] = []

    def look() -> None:
        # In another process: this one may not open the file while it loads.
        code = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
            "print([i for (i,) in c.execute('SELECT log_id FROM fact_logs')])"
        )
        command = [sys.executable, "-c", code, str(file_of(url))]
        seen.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))

    load_facts(url, fact(2, 8), receipt="2", before_commit=look)
    look()
    assert seen == [[10_000_000_001], [10_000_000_002]]


def test_a_column_that_someone_added_stays(url: str) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    change(url, "ALTER TABLE dim_unit ADD COLUMN note TEXT DEFAULT 'none'")
    load(url, DIM_UNIT, [(-1, "Unknown"), (7, "Unit 7")])
    assert rows_of(url, "SELECT unit_id, note FROM dim_unit") == [(-1, "none"), (7, "none")]


def redeclared(nullable: bool = False) -> Table:
    more = Column("site", Type.TEXT, "Where the unit is.", nullable)
    key, name, retained = DIM_UNIT.columns
    return Table(DIM_UNIT.name, DIM_UNIT.grain, (key, name, more, retained), "unit_id")


def test_a_table_that_is_declared_differently_is_rebuilt(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    monkeypatch.setitem(TABLES, "dim_unit", redeclared())
    load(url, redeclared(), [(-1, "Unknown", "?"), (7, "Unit 7", "Bern")])
    assert rows_of(url, "SELECT unit_id, unit_name, site FROM dim_unit") == [
        (-1, "Unknown", "?"),
        (7, "Unit 7", "Bern"),
    ]


def test_a_column_that_may_be_null_is_added(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    change(url, "ALTER TABLE dim_unit ADD COLUMN note TEXT")
    monkeypatch.setitem(TABLES, "dim_unit", redeclared(nullable=True))
    load(url, TABLES["dim_unit"], [(-1, "Unknown", None), (7, "Unit 7", "Bern")])
    assert rows_of(url, "SELECT * FROM dim_unit WHERE unit_id = 7") == [
        (7, "Unit 7", 0, None, "Bern")
    ]


def test_a_table_is_not_rebuilt_over_columns_that_nobody_declared(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    change(url, "ALTER TABLE dim_unit ADD COLUMN note TEXT")
    monkeypatch.setitem(TABLES, "dim_unit", redeclared())
    assert refusal(load, url, redeclared(), [(-1, "Unknown", "?")]) == (
        "dim_unit is declared differently and has to be rebuilt, but it has columns that are not "
        "declared: note.\nDeclare them in config/warehouse.py, or drop them. The previous rows are "
        "unchanged."
    )


def test_a_table_whose_columns_are_in_another_order_is_kept(url: str) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    change(
        url,
        "ALTER TABLE dim_unit RENAME TO other",
        "CREATE TABLE dim_unit (mine TEXT, is_retained INTEGER NOT NULL, unit_name TEXT NOT NULL,"
        " unit_id INTEGER PRIMARY KEY NOT NULL)",
        "DROP TABLE other",
    )
    load(url, DIM_UNIT, [(-1, "Unknown"), (7, "Unit 7")])
    assert rows_of(url, "SELECT * FROM dim_unit WHERE unit_id = 7") == [(None, 0, "Unit 7", 7)]


def test_what_others_put_on_a_table_stays_when_it_is_rebuilt(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    change(
        url,
        "CREATE TABLE mine (unit_id INTEGER)",
        "CREATE VIEW my_view AS SELECT unit_name FROM dim_unit",
        "CREATE INDEX my_index ON dim_unit (unit_name)",
        "CREATE TRIGGER my_trigger AFTER DELETE ON dim_unit BEGIN"
        " INSERT INTO mine VALUES (OLD.unit_id); END",
    )
    catalog = "SELECT name, sql FROM sqlite_schema WHERE name LIKE '%my_%' OR name = 'mine'"
    before = rows_of(url, catalog)
    monkeypatch.setitem(TABLES, "dim_unit", redeclared())
    load(url, redeclared(), [(7, "Unit 7", "")])
    assert sorted(rows_of(url, catalog)) == sorted(before)
    assert rows_of(url, "SELECT * FROM my_view") == [("Unit 7",)]


def test_the_facts_of_a_partition_are_ranges_of_the_key(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7))
    facts = facts_of("partition_id = 1", "log_id", "''")
    plan = rows_of(url, f"EXPLAIN QUERY PLAN {facts}")
    assert [step for *_, step in plan if "fact" in step] == [
        f"SEARCH fact USING PRIMARY KEY (point_log_inst_id=? AND {times})"
        for times in ("recorded_at>? AND recorded_at<?", "recorded_at=?")
    ]


def test_a_receipt_of_a_partition_that_is_removed_takes_the_table_along(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7))
    change(url, "DELETE FROM load_receipt WHERE partition_name = 'LOG_RCD_F'")
    assert ("fact_logs", "") not in receipts(url)


def test_only_partitions_that_changed_are_loaded(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7))
    loads = open_warehouse(url).receipts()
    assert load_facts(url, others={BINARY: "x"})[0] == ["LOG_RCD_B"]
    again = open_warehouse(url).receipts()
    assert again["fact_logs", "LOG_RCD_F"] == loads["fact_logs", "LOG_RCD_F"]
    assert again["fact_logs", ""].load_id != loads["fact_logs", ""].load_id


def test_a_file_that_is_not_a_database_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "not.db"
    path.write_text("hello " * 1000)
    with pytest.raises(
        PipelineError, match=r"not\.db cannot be opened:\n  file is not a database\n"
    ):
        load(f"sqlite:///{path}", DIM_UNIT, [(-1, "Unknown")])
    assert path.read_text() == "hello " * 1000


@pytest.mark.parametrize(
    "given",
    [
        "postgresql://u:pw@h/db",
        "postgresql://u@h/db?password=pw",
        "sqlite:///x.db?key=pw",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_other_warehouses_are_rejected_without_showing_what_is_secret(given: str) -> None:
    with pytest.raises(PipelineError, match="a file database of SQLite without options") as failed:
        open_warehouse(given)
    assert "pw" not in str(failed.value)


def test_no_output_of_a_run_shows_what_is_secret(project: Project) -> None:
    secret = {"PIPELINE_WAREHOUSE_URL": "sqlite:///x.db?key=TOPSECRET"}
    for command in (
        ["luigi", "--module", "tasks", "AllReports", "--local-scheduler"],
        [sys.executable, "-m", "tasks", "where"],
        [sys.executable, "-m", "tasks", "status"],
        [sys.executable, "-m", "tasks", "forget", "--all"],
    ):
        result = project.run(*command, env=secret)
        assert "TOPSECRET" not in result.log + result.out
    for path in project.folder.rglob("*"):
        assert "TOPSECRET" not in path.name
        assert not path.is_file() or b"TOPSECRET" not in path.read_bytes()


def test_the_warehouse_is_not_changed_through_a_connection_that_reads(url: str) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    reading = open_warehouse(url).connect()
    with reading, pytest.raises(sa.exc.OperationalError, match="readonly"):
        reading.execute(sa.text("DELETE FROM dim_unit"))


def test_every_declared_table_can_be_made_and_every_reference_leads_somewhere() -> None:
    engine = sa.create_engine("sqlite://")
    metadata().create_all(engine)
    for table in ALL_TABLES.values():
        assert table.grain.startswith("one row per ")
        assert {*table.key_columns} <= {column.name for column in table.columns}
        assert all(len(column.description) > 10 for column in table.columns)
        for target, key in table.references.values():
            assert TABLES[target].primary_key == key
    inspector = sa.inspect(engine)
    assert set(inspector.get_table_names()) == set(ALL_TABLES)


def test_closing_the_load_leaves_no_side_files(url: str) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    assert receipts(url)
    folder = file_of(url).parent
    assert [path.name for path in folder.iterdir()] == ["warehouse.db"]
