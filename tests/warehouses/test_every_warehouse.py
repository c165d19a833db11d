"""What holds in every database: loads replace whole tables or leave them as they were."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from config.bookkeeping import ALL_TABLES
from config.declarations import Column, Table, Type
from config.warehouse import DIM_UNIT, FACT_LOGS, TABLES
from tasks.core.errors import PipelineError
from tasks.core.waiting import Limit
from tasks.warehouse.load import replace_dimension
from tasks.warehouse.open import open_warehouse
from tests.staged import refusal
from tests.warehouses.stars import (
    BINARY,
    HOSTILE,
    NOON,
    as_table,
    change,
    fact,
    file_of,
    load,
    load_dimensions,
    load_facts,
    load_units,
    nothing,
    receipts,
    redeclared,
    rows_of,
)


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


def test_a_reader_that_stays_does_not_hold_up_a_load(server: str) -> None:
    load_dimensions(server)
    load_facts(server, fact(1, 7))
    with open_warehouse(server).connect() as connection:
        count = sa.text("SELECT count(*) FROM v_logs")
        assert connection.scalar(count) == 1
        load_facts(server, fact(1, 7), fact(2, 8), receipt="2")
        assert connection.scalar(count) == 1


def test_a_load_waits_for_another_and_says_so(server: str) -> None:
    load_units(server, 7)
    impatient = open_warehouse(server, Limit(0.5, "max_wait_s"))
    with (
        open_warehouse(server).transaction(DIM_UNIT),
        pytest.raises(PipelineError, match=r"(?i)another (run|load) is (?s:.*)waited for 0\.5 s"),
        impatient.transaction(DIM_UNIT),
    ):
        pass


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


def test_texts_are_stored_as_they_are(url: str) -> None:
    texts = [text for text in HOSTILE if "\0" not in text or not url.startswith("postgresql")]
    load(url, DIM_UNIT, list(enumerate(texts)))
    found = rows_of(url, "SELECT unit_name FROM dim_unit ORDER BY unit_id")
    assert [text for (text,) in found] == texts
    assert open_warehouse(url).changed_loads() == []


def test_doubles_are_stored_to_the_last_bit(url: str) -> None:
    values = np.random.default_rng(1).integers(0, 2**64, 20_000, np.uint64).view(np.float64)
    extremes = [0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1, 1e23, 9e15 + 1]
    values = np.concatenate([values[np.isfinite(values)], extremes, np.negative(extremes)])
    table = Table("d", "x", (Column("id", Type.INTEGER, ""), Column("v", Type.NUMBER, "")), "id")
    with open_warehouse(url).transaction(DIM_UNIT) as db:
        db.create_temporary(table, pa.table({"id": range(len(values)), "v": values}))
        found = np.array(db.query("SELECT v FROM d ORDER BY id"))[:, 0]
    assert ((found + 0.0).view(np.uint64) == (values + 0.0).view(np.uint64)).all()


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


def test_a_server_that_does_not_answer_is_named_without_the_password(server: str) -> None:
    parsed = sa.make_url(server)
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
