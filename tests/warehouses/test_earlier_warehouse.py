"""A warehouse of an earlier version is rebuilt once, and what others put into it stays."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Project, unwrapped

EARLIER = (Path(__file__).parent / "warehouse_0_4.sql").read_text(encoding="utf-8")
OTHERS = """
CREATE TABLE mine (log_id INTEGER);
INSERT INTO mine VALUES (7);
CREATE VIEW my_view AS SELECT u.unit_name, count(*) AS facts FROM fact_logs JOIN dim_unit u
    USING (unit_id) GROUP BY 1 ORDER BY 1;
CREATE INDEX my_index ON fact_logs (recorded_at);
CREATE TRIGGER my_trigger AFTER UPDATE ON dim_unit BEGIN SELECT 1; END;
"""
CATALOG = "SELECT name, sql FROM sqlite_schema WHERE name LIKE 'my%' OR name = 'mine' ORDER BY 1"
MESSAGE = "is of an earlier version: every table is loaded again"


@pytest.fixture
def earlier(ran: Project) -> Project:
    """A project whose warehouse is the one that version 0.4 made of the miniature."""
    for path in ran.folder.glob("data_warehouse.db*"):
        path.unlink()
    with closing(sqlite3.connect(ran.database)) as connection:
        connection.executescript(EARLIER + OTHERS)
        connection.execute("PRAGMA journal_mode = WAL")
    return ran


def test_it_is_rebuilt_once_and_what_others_made_stays(earlier: Project) -> None:
    from tests.runs import fresh_project

    made_by_others = earlier.query(CATALOG)
    counts = earlier.query("SELECT * FROM my_view")
    result = earlier.passes("AllReports")
    assert unwrapped(result.err).count(MESSAGE) == 1
    rebuilt, fresh = earlier.outputs(), fresh_project(earlier).outputs()
    del rebuilt["figures"], fresh["figures"]  # Which name the index of the others.
    assert rebuilt == fresh
    assert earlier.query(CATALOG) == made_by_others
    assert earlier.query("SELECT * FROM my_view") == counts
    assert earlier.query("SELECT * FROM mine") == [(7,)]
    indexes = earlier.query("SELECT name FROM pragma_index_list('fact_logs') WHERE origin = 'c'")
    assert indexes == [("my_index",)]
    left = earlier.query("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")
    assert [name for (name,) in left] == [
        "data_dictionary",
        "dim_application_instance",
        "dim_application_type",
        "dim_log_instance",
        "dim_point",
        "dim_unit",
        "fact_log_days",
        "fact_log_gaps",
        "fact_logs",
        "load_receipt",
        "log_instance_activity",
        "mine",
    ]
    assert earlier.luigi("AllReports").ran == []


@pytest.mark.soak
def test_a_column_that_others_added_is_not_dropped(earlier: Project) -> None:
    earlier.change("ALTER TABLE dim_unit ADD COLUMN site TEXT")
    earlier.change("UPDATE dim_unit SET site = 'Bern' WHERE unit_id = 7")
    before = earlier.query("SELECT * FROM dim_unit")
    result = earlier.fails("AllReports")
    assert "it has columns that are not declared: site." in unwrapped(result.err)
    assert earlier.query("SELECT * FROM dim_unit") == before
    earlier.change("ALTER TABLE dim_unit DROP COLUMN site")
    assert earlier.luigi("AllReports").status == 0
