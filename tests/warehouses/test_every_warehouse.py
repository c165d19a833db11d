"""What holds in every database: loads replace whole tables or leave them as they were."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import pytest
import sqlalchemy as sa

from config.bookkeeping import ALL_TABLES, LOAD_RECEIPT
from config.warehouse import DIM_UNIT, FACT_LOGS, TABLES
from tasks.core.errors import PipelineError
from tasks.warehouse.load import replace_dimension
from tasks.warehouse.open import open_warehouse
from tests.staged import refusal
from tests.warehouses.stars import (
    BINARY,
    NOON,
    as_table,
    change,
    dump,
    fact,
    file_of,
    load,
    load_dimensions,
    load_facts,
    nothing,
    receipts,
    redeclared,
    rows_of,
)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'warehouse.db'}"
    return str(request.getfixturevalue(request.param))


def test_a_refused_load_leaves_the_previous_rows_and_receipt(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7))
    before = receipts(url)
    first, *others = refusal(load_facts, url, fact(1, 7), fact(2, 99), receipt="2").splitlines()
    assert first.startswith("fact_logs: ")
    assert first.endswith("rows refer to rows that do not exist; the previous rows are unchanged.")
    dimensions = ("dim_application_instance", "dim_log_instance", "dim_unit")
    if url.startswith("postgresql"):  # It ends a load at the first such row.
        detail = r'  DETAIL:  Key \(\w+\)=\(\d+\) is not present in table "\w+"\.'
        assert re.fullmatch(detail, others[-1])
    else:
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

    with pytest.raises((PipelineError, OSError), match="disk went away"):
        replace_dimension(open_warehouse(url), DIM_UNIT, breaks_off(), "2", nothing, Mock())
    assert rows_of(url, "SELECT unit_id FROM dim_unit") == [(-1,), (7,)]
    assert receipts(url) == {("dim_unit", ""): "1"}


@pytest.mark.parametrize(
    ("rows", "kind", "column"),
    [
        ([(7, "a"), (7, "b")], "(?i)unique|duplicate", "dim_unit"),
        ([(7, None)], "(?i)null", "unit_name"),
    ],
)
def test_a_row_that_breaks_a_constraint_is_rejected(
    url: str, rows: list[tuple], kind: str, column: str
) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    with pytest.raises(PipelineError, match=kind) as rejected:
        load(url, DIM_UNIT, rows)
    assert column in str(rejected.value)
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
    missing = "unit_id NOT IN (SELECT unit_id FROM dim_unit)"
    assert rows_of(url, f"SELECT count(*) FROM fact_logs WHERE {missing}") == [(0,)]

    load_facts(url, fact(1, 7), receipt="2")
    assert rows_of(url, "SELECT unit_id FROM dim_unit") == [(-1,), (7,)]
    assert rows_of(url, "SELECT app_instance_id FROM dim_application_instance") == [(-1,), (70,)]
    assert receipts(url)["dim_unit", ""] == "1"


def test_a_reader_sees_the_previous_rows_until_the_commit(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7))
    seen: list[list[int]] = []

    def look() -> None:
        if not url.startswith("sqlite"):
            seen.append([row for (row,) in rows_of(url, "SELECT log_id FROM fact_logs")])
            return
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


def test_a_column_that_may_be_null_is_added(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    change(url, "ALTER TABLE dim_unit ADD COLUMN note TEXT")
    monkeypatch.setitem(TABLES, "dim_unit", redeclared(nullable=True))
    load(url, TABLES["dim_unit"], [(-1, "Unknown", None), (7, "Unit 7", "Bern")])
    assert rows_of(url, "SELECT * FROM dim_unit WHERE unit_id = 7") == [
        (7, "Unit 7", 0, None, "Bern")
    ]
    if not url.startswith("sqlite"):
        columns = sa.inspect(sa.create_engine(url, poolclass=sa.NullPool)).get_columns("dim_unit")
        assert columns[-1]["comment"] == "Where 100% of it is."


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


def test_the_warehouse_is_not_changed_through_a_connection_that_reads(url: str) -> None:
    load(url, DIM_UNIT, [(-1, "Unknown")])
    reading = open_warehouse(url).connect()
    with reading, pytest.raises(sa.exc.DBAPIError, match="(?i)read.?only"):
        reading.execute(sa.text("DELETE FROM dim_unit"))


CHANGES = {
    "UPDATE dim_unit SET unit_name = 'x' WHERE unit_id = 7": {("dim_unit", "")},
    "DELETE FROM fact_logs WHERE log_id = 10000000001": {
        ("fact_logs", ""),
        ("fact_logs", "LOG_RCD_F"),
    },
    "UPDATE fact_logs SET value = 2": {("fact_logs", ""), ("fact_logs", "LOG_RCD_F")},
    "DELETE FROM log_instance_activity": {("fact_logs", ""), ("fact_logs", "LOG_RCD_F")},
    "UPDATE fact_log_days SET record_count = 9": {("fact_log_days", ""), ("fact_logs", "")},
    "DROP VIEW v_logs": {("fact_logs", "")},
}


def test_what_others_change_is_noticed_and_loaded_again(url: str) -> None:
    load_dimensions(url)
    facts = fact(1, 7, at=NOON), fact(2, 8)
    load_facts(url, *facts)
    before, stored = receipts(url), dump(url)
    for statement, noticed in CHANGES.items():
        change(url, statement)
        assert set(before) - set(receipts(url)) == noticed, statement
        if "dim_unit" in statement:
            load(url, DIM_UNIT, [(-1, "Unknown"), (7, "Unit 7"), (8, "Unit 8")])
        load_facts(url, *facts)
        assert receipts(url) == before, statement
        assert dump(url) == stored, statement


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


VALUES = [
    (1.5, "OK", NOON),
    (-0.0, "ä 🧊 '\\\"%;\t\n", NOON.replace(microsecond=1)),
    (1.7976931348623157e308, "", datetime(1, 1, 1, 0, 0, 1)),
    (5e-324, " padded ", datetime(9999, 12, 31, 23, 59, 59, 999999)),
    (0.1 + 0.2, "\\N", None),
    (None, None, NOON),
    (1e15 + 0.3, "null", datetime(1969, 12, 31, 23, 59, 59, 999999)),
]


def test_values_come_back_as_they_were_loaded(url: str) -> None:
    load_dimensions(url)
    rows = [
        (10_000_000_000 + at, 7, 70, 1, 1, 7, time, value, text, text, "F", 1)
        for at, (value, text, time) in enumerate(VALUES)
    ]
    load_facts(url, *rows)
    assert open_warehouse(url).changed_loads() == []
    found = rows_of(url, "SELECT value, value_text, recorded_at FROM v_logs ORDER BY log_id")
    times = [time and time.isoformat()[11:19] for *_, time in VALUES]
    assert [(value, text) for value, text, _ in found] == [(v, t) for v, t, _ in VALUES]
    assert [time and time[11:19] for *_, time in found] == times
    assert load_facts(url, *rows) == ([], len(rows))


def test_tables_and_columns_are_described(url: str) -> None:
    load_dimensions(url)
    load_facts(url, fact(1, 7))
    rows = rows_of(url, "SELECT column_name, description FROM data_dictionary")
    assert ("value", FACT_LOGS.column("value").description) in rows
    if url.startswith("sqlite"):
        return
    inspector = sa.inspect(sa.create_engine(url, poolclass=sa.NullPool))
    for name, table in ALL_TABLES.items():
        assert inspector.get_table_comment(name)["text"] == table.grain
        described = {column.name: column.description for column in table.columns}
        comments = {column["name"]: column["comment"] for column in inspector.get_columns(name)}
        assert comments == described
        references = {key["constrained_columns"][0] for key in inspector.get_foreign_keys(name)}
        assert references == set(table.references)
        assert inspector.get_pk_constraint(name)["constrained_columns"] == list(table.key_columns)


def test_a_table_of_someone_else_is_neither_used_nor_dropped(url: str) -> None:
    if url.startswith("sqlite"):
        pytest.skip("a file has no other tables")
    change(url, "CREATE TABLE dim_unit (unit_id BIGINT, mine VARCHAR(9))")
    change(url, "INSERT INTO dim_unit VALUES (1, 'x')")
    message = refusal(load, url, DIM_UNIT, [(-1, "Unknown")])
    assert "dim_unit" in message
    assert "unit_name: " in message
    assert rows_of(url, "SELECT * FROM dim_unit") == [(1, "x")]


def test_a_server_that_does_not_answer_is_named_without_the_password(url: str) -> None:
    if url.startswith("sqlite"):
        pytest.skip("a file needs no server")
    parsed = sa.make_url(url)
    for wrong in (
        parsed.set(port=1, password="TOPSECRET"),
        parsed.set(password="TOPSECRET"),
        parsed.set(database="other", password="TOPSECRET"),
    ):
        other = wrong.render_as_string(hide_password=False)
        place = f"{wrong.host}:{wrong.port}/{wrong.database}"
        for use in (receipts, lambda at: load(at, DIM_UNIT, [(-1, "Unknown")])):
            with pytest.raises(PipelineError) as failed:
                use(other)
            assert place in str(failed.value)
            assert "TOPSECRET" not in str(failed.value)
