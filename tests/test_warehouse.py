"""Loads replace whole tables or leave them as they were."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from config.declarations import Column, Table, Type
from config.warehouse import (
    DIM_APPLICATION_INSTANCE,
    DIM_APPLICATION_TYPE,
    DIM_LOG_INSTANCE,
    DIM_UNIT,
    FACT_LOGS,
    TABLES,
)
from tasks.core.errors import PipelineError
from tasks.enrichment.star import arrow_schema
from tasks.freshness.task import Receipt
from tasks.warehouse.load import connect, database_path, load_receipt, replace_rows
from tasks.warehouse.tables import metadata

RECEIPT = Receipt(code=1, declarations={}, inputs={"x": "1"}, outputs={"rows": "1"})


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'warehouse.db'}"


def rows_of(url: str, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(database_path(url))) as connection:
        return connection.execute(sql).fetchall()


def load(url: str, table: Table, rows: list[tuple], receipt: Receipt = RECEIPT) -> int:
    names = [column.name for column in table.columns]
    schema = arrow_schema(table)
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    return replace_rows(url, table, pa.table(columns, schema=schema).to_batches(), receipt)


def load_dimensions(url: str, units: tuple[int, ...] = (7, 8)) -> None:
    load(url, DIM_APPLICATION_TYPE, [(-1, "Unknown"), (1, "Rack")])
    load(url, DIM_UNIT, [(-1, "Unknown"), *((unit, f"Unit {unit}") for unit in units)])
    instances = [(-1, -1, -1, -1), *((unit * 10, 0, 1, unit) for unit in units)]
    load(url, DIM_APPLICATION_INSTANCE, instances)
    logs: list[tuple] = [(-1, -1, -1, -1, -1, None, None)]
    logs += [(unit, 1, unit * 10, 1, unit, 2, 180) for unit in units]
    load(url, DIM_LOG_INSTANCE, logs)


def fact(log_id: int, unit: int) -> tuple:
    return (log_id, unit, unit * 10, 1, 1, unit, None, 1.0, None, "F")


def test_a_refused_load_leaves_the_previous_rows_and_receipt(url: str) -> None:
    load_dimensions(url)
    load(url, FACT_LOGS, [fact(1, 7)])
    with pytest.raises(PipelineError) as refused:
        load(url, FACT_LOGS, [fact(1, 7), fact(2, 99)], Receipt(2, {}, {}, {}))
    first, *others = str(refused.value).splitlines()
    assert first == "fact_logs: 3 rows refer to rows that are not there; the former rows stand."
    assert sorted(others) == [
        "  row 2 refers to dim_application_instance",
        "  row 2 refers to dim_log_instance",
        "  row 2 refers to dim_unit",
    ]
    assert rows_of(url, "SELECT log_id FROM fact_logs") == [(1,)]
    assert load_receipt(url, "fact_logs") == RECEIPT


def test_a_load_whose_rows_break_off_leaves_the_previous_rows(url: str) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown"), (7, "Unit 7")])
    good = pa.table({"unit_id": [1], "unit_name": ["x"]}, schema=arrow_schema(DIM_UNIT))

    def breaks_off() -> Iterator[pa.RecordBatch]:
        yield from good.to_batches()
        raise OSError("the disk went away")

    with pytest.raises(PipelineError, match=r"dim_unit could not be loaded(?s:.*)disk went away"):
        replace_rows(url, DIM_UNIT, breaks_off(), RECEIPT)
    assert rows_of(url, "SELECT unit_id FROM dim_unit") == [(-1,), (7,)]
    assert load_receipt(url, "dim_unit") == RECEIPT


def test_a_key_that_stands_twice_is_refused(url: str) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    with pytest.raises(PipelineError, match="UNIQUE constraint failed: dim_unit.unit_id"):
        load(url, DIM_UNIT, [(7, "a"), (7, "b")])
    assert rows_of(url, "SELECT * FROM dim_unit") == [(-1, "Unknown")]


def test_a_missing_value_in_a_required_column_is_refused(url: str) -> None:
    load_dimensions(url)
    row = list(fact(1, 7))
    row[9] = None
    batch = pa.RecordBatch.from_pydict(
        {column.name: pa.array([row[at]]) for at, column in enumerate(FACT_LOGS.columns)}
    )
    with pytest.raises(PipelineError, match="NOT NULL constraint failed: fact_logs.log_kind"):
        replace_rows(url, FACT_LOGS, [batch], RECEIPT)


def test_a_table_without_rows_can_be_loaded(url: str) -> None:
    load_dimensions(url)
    load(url, FACT_LOGS, [fact(1, 7)])
    assert load(url, FACT_LOGS, []) == 0
    assert rows_of(url, "SELECT count(*) FROM fact_logs") == [(0,)]


def test_members_stay_while_rows_refer_to_them_and_go_with_the_last(url: str) -> None:
    load_dimensions(url)
    load(url, FACT_LOGS, [fact(1, 7), fact(2, 8)])
    load_dimensions(url, units=(7,))
    assert rows_of(url, "SELECT unit_id FROM dim_unit") == [(-1,), (7,), (8,)]
    assert rows_of(url, "SELECT log_id, unit_id FROM fact_logs") == [(1, 7), (2, 8)]
    assert rows_of(url, "PRAGMA foreign_key_check") == []

    load(url, FACT_LOGS, [fact(1, 7)])
    assert rows_of(url, "SELECT unit_id FROM dim_unit") == [(-1,), (7,)]
    assert rows_of(url, "SELECT app_instance_id FROM dim_application_instance") == [(-1,), (70,)]
    assert rows_of(url, "SELECT * FROM retained_member") == []
    assert load_receipt(url, "dim_unit") == RECEIPT


def test_a_reader_sees_the_former_rows_until_the_commit(url: str) -> None:
    load_dimensions(url)
    load(url, FACT_LOGS, [fact(1, 7)])
    seen: list[list[int]] = []

    def look() -> None:
        # In another process: this one may not open the file while it loads.
        code = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
            "print([i for (i,) in c.execute('SELECT log_id FROM fact_logs')])"
        )
        command = [sys.executable, "-c", code, str(database_path(url))]
        seen.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))

    batch = pa.RecordBatch.from_pylist(
        [dict(zip(arrow_schema(FACT_LOGS).names, fact(2, 8), strict=True))],
        schema=arrow_schema(FACT_LOGS),
    )
    replace_rows(url, FACT_LOGS, [batch], RECEIPT, before_commit=look)
    look()
    assert seen == [[1], [2]]


def test_a_column_that_someone_added_stays(url: str) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    with closing(sqlite3.connect(database_path(url))) as connection, connection:
        connection.execute("ALTER TABLE dim_unit ADD COLUMN note TEXT DEFAULT 'none'")
    load(url, DIM_UNIT, [(-1, "Unknown"), (7, "Unit 7")])
    assert rows_of(url, "SELECT unit_id, note FROM dim_unit") == [(-1, "none"), (7, "none")]


def redeclared() -> Table:
    more = Column("site", Type.TEXT, "Where it stands.", nullable=True)
    return Table(DIM_UNIT.name, DIM_UNIT.grain, (*DIM_UNIT.columns, more), "unit_id")


def test_a_table_that_is_declared_anew_is_made_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    monkeypatch.setitem(TABLES, "dim_unit", redeclared())
    load(url, redeclared(), [(-1, "Unknown", None), (7, "Unit 7", "Bern")])
    assert rows_of(url, "SELECT * FROM dim_unit") == [(-1, "Unknown", None), (7, "Unit 7", "Bern")]


def test_a_table_is_not_made_again_over_columns_that_nobody_declared(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    with closing(sqlite3.connect(database_path(url))) as connection, connection:
        connection.execute("ALTER TABLE dim_unit ADD COLUMN note TEXT")
    monkeypatch.setitem(TABLES, "dim_unit", redeclared())
    with pytest.raises(PipelineError) as refused:
        load(url, redeclared(), [(-1, "Unknown", None)])
    assert str(refused.value) == (
        "dim_unit is declared anew and has to be made again, but it has columns that are not "
        "declared: note.\nDeclare them in config/warehouse.py, or drop them. The former rows stand."
    )


def test_a_load_waits_for_another_writer_and_says_so(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    code = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('BEGIN IMMEDIATE'); print('locked', flush=True); time.sleep(1.5);"
        "c.execute('COMMIT')"
    )
    command = [sys.executable, "-c", code, str(database_path(url))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "locked\n"
        assert load(url, DIM_UNIT, [(-1, "Unknown"), (7, "Unit 7")]) == 2
        assert writer.wait() == 0
    assert "dim_unit: another program writes to the warehouse; waiting" in caplog.text


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "not.db"
    path.write_text("hello " * 1000)
    with pytest.raises(
        PipelineError, match=r"not\.db cannot be opened:\n  file is not a database\n"
    ):
        load(f"sqlite:///{path}", DIM_UNIT, [(-1, "Unknown")])
    assert path.read_text() == "hello " * 1000


@pytest.mark.parametrize("given", ["postgresql://u:pw@h/db", "sqlite://", "sqlite:///:memory:"])
def test_other_warehouses_are_refused_without_showing_a_password(given: str) -> None:
    with pytest.raises(PipelineError, match="a file database of SQLite is needed") as refused:
        database_path(given)
    assert "pw" not in str(refused.value)


def test_the_warehouse_is_not_changed_through_a_connection_that_reads(url: str) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    engine = connect(url)
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError, match="readonly"):
        connection.execute(sa.text("DELETE FROM dim_unit"))
    engine.dispose()


def test_every_declared_table_can_be_made_and_every_reference_leads_somewhere() -> None:
    engine = sa.create_engine("sqlite://")
    metadata().create_all(engine)
    for table in TABLES.values():
        assert table.grain.startswith("one row per ")
        assert table.primary_key in {column.name for column in table.columns}
        assert all(len(column.description) > 10 for column in table.columns)
        for target, key in table.references.values():
            assert TABLES[target].primary_key == key
    inspector = sa.inspect(engine)
    assert set(inspector.get_table_names()) == set(TABLES)


def test_closing_the_load_leaves_no_side_files(url: str) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    assert load_receipt(url, "dim_unit") is not None
    folder = database_path(url).parent
    assert [path.name for path in folder.iterdir()] == ["warehouse.db"]
