"""A warehouse in an SQLite file."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from config.bookkeeping import ALL_TABLES
from config.warehouse import (
    DIM_UNIT,
    TABLES,
)
from tasks.core.errors import PipelineError
from tasks.warehouse.log_instance_activity import facts_of
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.tables import metadata
from tests.conftest import Project
from tests.warehouses.stars import (
    change,
    fact,
    file_of,
    load,
    load_dimensions,
    load_facts,
    receipts,
    redeclared,
    rows_of,
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'warehouse.db'}"


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
        "postgresql://u:pw@h",
        "oracle://u@h/db?password=pw",
        "sqlite:///x.db?key=pw",
        "mysql+pymysql://u:pw@h/db",
        "mysql://u:pw@h/db",
        "mariadb://u:pw@h/db",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_other_warehouses_are_rejected_without_showing_what_is_secret(given: str) -> None:
    with pytest.raises(PipelineError, match="warehouse_url: .* names no warehouse") as failed:
        open_warehouse(given)
    assert "mariadb+pymysql://USER@HOST:3306/DATABASE" in str(failed.value)
    assert "pw" not in str(failed.value)


def test_no_output_of_a_run_shows_what_is_secret(project: Project) -> None:
    secret = {"PIPELINE_WAREHOUSE_URL": "sqlite:///x.db?key=TOPSECRET"}
    for result in (
        project.luigi("AllReports", env=secret),
        project.tasks("where", env=secret),
        project.tasks("status", env=secret),
        project.tasks("forget", "--all", env=secret),
    ):
        assert "TOPSECRET" not in result.log + result.out
    for path in project.folder.rglob("*"):
        assert "TOPSECRET" not in path.name
        assert not path.is_file() or b"TOPSECRET" not in path.read_bytes()


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
