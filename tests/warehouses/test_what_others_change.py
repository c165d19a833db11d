"""What others change in a warehouse is noticed, and what is theirs stays: in every database."""

from __future__ import annotations

import contextlib
import re

import pytest

from config.bookkeeping import LOAD_RECEIPT
from config.warehouse import DIM_UNIT, FACT_LOGS, TABLES
from tasks.core.errors import PipelineError
from tasks.warehouse.open import open_warehouse
from tests.runs import soak
from tests.staged import refusal
from tests.warehouses.stars import (
    BINARY,
    NOON,
    change,
    dump,
    fact,
    load,
    load_dimensions,
    load_facts,
    load_units,
    receipts,
    redeclared,
    rows_of,
)


def test_a_view_of_someone_else_on_one_of_ours_is_never_dropped(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7))
    change(url, "CREATE VIEW mine AS SELECT log_id, unit_name FROM v_logs")
    monkeypatch.setitem(TABLES, "dim_unit", redeclared())
    with contextlib.suppress(PipelineError):  # PostgreSQL names the view, and changes nothing.
        load(url, redeclared(), [(-1, "Unknown", "?"), (7, "Unit 7", "Bern"), (8, "Unit 8", "")])
    assert rows_of(url, "SELECT unit_name FROM mine") == [("Unit 7",)]


def test_a_receipt_of_a_partition_that_is_removed_takes_the_table_along(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7))
    change(url, "DELETE FROM load_receipt WHERE partition_name = 'LOG_RCD_F'")
    assert ("fact_logs", "") not in receipts(url)


_COPIED = ", ".join(column.name for column in FACT_LOGS.columns).replace("log_id", "log_id + 9", 1)
CHANGES = {
    "UPDATE dim_unit SET unit_name = 'x' WHERE unit_id = 7": {("dim_unit", "")},
    "DELETE FROM fact_logs WHERE log_id = 10000000001": {
        ("fact_logs", ""),
        ("fact_logs", "LOG_RCD_F"),
    },
    f"INSERT INTO fact_logs SELECT {_COPIED} FROM fact_logs WHERE log_id = 10000000001": {
        ("fact_logs", ""),
        ("fact_logs", "LOG_RCD_F"),
    },
    "UPDATE fact_logs SET value = 2": {("fact_logs", ""), ("fact_logs", "LOG_RCD_F")},
    "DELETE FROM log_instance_activity": {("fact_logs", ""), ("fact_logs", "LOG_RCD_F")},
    "UPDATE fact_log_days SET record_count = 9": {("fact_log_days", ""), ("fact_logs", "")},
    "DROP VIEW v_logs": {("fact_logs", "")},
}


@pytest.mark.parametrize("url", ["sqlite", "postgresql", soak("mariadb")], indirect=True)
def test_what_others_change_is_noticed_and_loaded_again(url: str) -> None:
    load_dimensions(url)
    load_facts(url, receipt="0", others={BINARY: "x"})
    facts = fact(1, 7, at=NOON), fact(2, 8)
    load_facts(url, *facts, others={BINARY: "x"})
    before, stored = receipts(url), dump(url)
    for statement, noticed in CHANGES.items():
        change(url, statement)
        assert set(before) - set(receipts(url)) == noticed, statement
        if "dim_unit" in statement:
            load(url, DIM_UNIT, [(-1, "Unknown"), (7, "Unit 7"), (8, "Unit 8")])
        load_facts(url, *facts, others={BINARY: "x"})
        assert receipts(url) == before, statement
        assert dump(url) == stored, statement


def test_a_table_without_its_triggers_is_loaded_again(url: str) -> None:
    load_units(url, 7)
    on = " ON dim_unit" if url.startswith("postgresql") else ""
    change(url, f"DROP TRIGGER dim_unit_update_invalidates_receipt{on}")
    assert ("dim_unit", "") not in receipts(url)
    load_units(url, 7)
    assert ("dim_unit", "") in receipts(url)


def test_loads_are_forgotten(url: str) -> None:
    load_dimensions(url)
    load_facts(url, receipt="0", others={BINARY: "x"})
    load_facts(url, fact(1, 7), others={BINARY: "x"})
    warehouse = open_warehouse(url)
    warehouse.forget("fact_logs", ["LOG_RCD_F"])
    left = receipts(url)
    assert ("fact_logs", "LOG_RCD_B") in left
    assert not {("fact_logs", "LOG_RCD_F"), ("fact_logs", "")} & set(left)
    warehouse.forget("dim_unit")
    assert ("dim_unit", "") not in receipts(url)


def test_a_table_that_does_not_exist_any_more_is_named(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7))
    assert open_warehouse(url).missing_tables() == []
    change(url, "DROP VIEW v_gaps", "DROP TABLE fact_log_gaps")
    assert open_warehouse(url).missing_tables() == ["fact_log_gaps"]


def test_a_view_of_someone_else_is_not_replaced(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7))
    change(url, "DROP VIEW v_gaps", "CREATE VIEW v_gaps AS SELECT 1 AS mine")
    text = refusal(load_facts, url, receipt="2")
    assert text.startswith("v_gaps exists in the warehouse and is not the pipeline's view.")
    assert rows_of(url, "SELECT * FROM v_gaps") == [(1,)]
    assert rows_of(url, "SELECT count(*) FROM fact_logs") == [(1,)]


def test_what_no_trigger_noticed_is_found_by_its_digest(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7, at=NOON))
    warehouse = open_warehouse(url)
    assert warehouse.changed_loads() == []
    stored = rows_of(url, "SELECT * FROM load_receipt")
    change(url, "UPDATE fact_logs SET value = 2", "UPDATE dim_unit SET unit_name = 'x'")
    names = ", ".join(column.name for column in LOAD_RECEIPT.columns)
    lines = (
        ", ".join("NULL" if value is None else f"'{value}'" for value in row) for row in stored
    )
    rows = ", ".join(f"({line})" for line in lines)
    change(url, "DELETE FROM load_receipt", f"INSERT INTO load_receipt ({names}) VALUES {rows}")
    assert set(warehouse.changed_loads() or ()) == {("fact_logs", "LOG_RCD_F"), ("dim_unit", "")}


def test_a_table_of_someone_else_is_neither_used_nor_dropped(url: str) -> None:
    change(url, "CREATE TABLE dim_unit (unit_id INTEGER PRIMARY KEY, is_retained BIGINT)")
    change(url, "INSERT INTO dim_unit VALUES (1, 2)")
    message = refusal(load, url, DIM_UNIT, [(-1, "Unknown")])
    assert message.startswith(
        "dim_unit exists in the warehouse, is not the pipeline's, and differs:\n"
        "  unit_id: declared "
    )
    assert re.search(
        r"^  unit_name: declared (long)?text .*not null, found none$", message, re.M | re.I
    )
    assert re.search(r"^Rename it, or name another (file|schema|database) in ", message, re.M)
    assert rows_of(url, "SELECT * FROM dim_unit") == [(1, 2)]


def test_a_table_with_our_comment_is_ours_without_a_receipt_too(server: str) -> None:
    load_units(server, 7)
    change(
        server,
        "DELETE FROM load_receipt",
        "ALTER TABLE dim_unit DROP COLUMN unit_name",
        "ALTER TABLE dim_unit ADD COLUMN unit_name VARCHAR(9)",
    )
    load_units(server, 7)
    assert rows_of(server, "SELECT unit_name FROM dim_unit WHERE unit_id = 7") == [("Unit 7",)]
