"""Changes of the source columns are reported, and the steps for a live table do what they say."""

from __future__ import annotations

import html
import random
import re
import shutil
import sqlite3
from contextlib import closing

import pytest

from tasks.reports.schema_change import Step, abandon_steps, native_steps, shadow_steps
from tasks.reports.source_columns import NewColumn, read_new_columns
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.tables import LiveTable, describe_tables
from tests.conftest import Project, unwrapped


def test_columns_that_appear_vanish_or_change_type_are_reported(ran: Project) -> None:
    ran.edit("POINT.csv", "point_id,app_instance_id,io_address", "point_id,app_instance_id,io")
    log = ran.data / "LOG_RCD_F.csv"
    log.write_text(
        re.sub(r"(?m)$", ",x", log.read_text().strip()).replace("status,x", "status,<b>|new")
    )
    ran.edit("APP_INSTANCE.csv", "Case 1", "1")
    for name in ("Rack A", "Fan 1", "Odd one", "No such reference", "Case 2"):
        ran.edit("APP_INSTANCE.csv", name, "2.5")
    (ran.data / "LOG_RCD_B.csv").write_text(
        "point_log_inst_id,log_time,log_value\n3,2024-06-01 00:00:00,1\n"
    )
    (ran.data / "LOG_RCD_F").mkdir()
    (ran.data / "LOG_RCD_F" / "2024-05.csv").write_text(
        "point_log_inst_id,log_time,log_value,status,Quality\n"
        "1,2024-05-01 00:00:00,1,OK,192\n1,2024-05-01 00:01:00,1,OK,\n"
        "1,2024-05-01 00:02:00,1,OK,0.5\n"
    )
    ran.configure("[LOG_RCD_F]\nnew_columns = evolve")
    result = ran.passes("AllReports")
    text = ran.report("schema_change.md")
    page = html.unescape(ran.report("index.html"))
    assert "Since the last run that recorded them (" in text
    console = re.sub(r"\n {5}(?=\S)", " ", result.out)
    assert "Source columns that changed since " in console
    for source, *lines in (
        (
            "POINT",
            "new: io, passed through staging as text: 8 of 8 rows have a value, type text",
            "vanished: io_address; it was passed through",
            "perhaps io_address was renamed io; nothing was assumed",
        ),
        ("APP_INSTANCE", "app_instance_name looked like text and now looks like number"),
        (
            "LOG_RCD_B",
            "vanished: log_rcd_id; it was passed through",
            "vanished: status; status is NULL now",
        ),
        (
            "LOG_RCD_F",
            "new: <b>|new, passed through staging as text in 1 of 2 files: 8 of 11 rows have a "
            "value, type text",
            "new: quality, passed through staging as text in 1 of 2 files: 2 of 11 rows have a "
            "value, type number",
        ),
    ):
        for line in lines:
            assert f"\n  {source}: {line}\n" in console
            assert f"<li>{line}</li>" in page
        marked = [re.sub(r"([<>|])", r"\\\1", line) for line in lines]
        assert "".join([f"- {source}\n", *(f"  - {line}\n" for line in marked)]) in text
    assert "LOG_RCD_B: vanished: status; status is NULL now" in unwrapped(result.err)

    *_, quality = new = read_new_columns(ran.reports / "schema_change.json")
    assert [one.header for one in new] == ["io", "<b>|new", "Quality"]
    assert quality == NewColumn(
        source="LOG_RCD_F",
        header="Quality",
        since=quality.since,
        recognised="",
        type="number",
        values=2,
        rows=11,
        files=1,
        all_files=2,
        contract="evolve",
        table="fact_logs",
        column="quality",
        in_table=False,
    )
    assert new[0].in_table  # dim_point has the further columns of POINT.
    plans = [
        "luigi --module tasks SchemaChangePlan --table fact_logs --column b_new --type text "
        "--local-scheduler",
        "luigi --module tasks SchemaChangePlan --table fact_logs --column quality --type number "
        "--local-scheduler",
    ]
    for command in plans:
        assert f"\n  {command}\n" in result.out
        assert f"\n{command}\n" in text
        assert f"<pre>{command}</pre>" in page
    assert ran.report("schema_change.json")["plans"] == plans

    ran.edit("APP_TYPE.csv", "3,Suction Group", "3,Pump")
    ran.passes("SchemaChangeReport")
    text = ran.report("schema_change.md")
    assert "No column appeared, vanished or changed its type" in text
    assert "The last change was first seen " in text
    assert "vanished: io_address" in text
    assert plans[1] in text

    (ran.reports / "schema_change.md").unlink()
    ran.passes("SchemaChangeReport")
    assert "vanished: io_address" in ran.report("schema_change.md")


def test_a_frozen_source_fails_until_its_new_columns_are_accepted(ran: Project) -> None:
    ran.configure("[source defaults]\nnew_columns = freeze")
    rows = [line.split(",") for line in (ran.data / "POINT.csv").read_text().splitlines()]
    reordered = [[address, key, instance] for key, instance, address in rows]
    note = ["#note", *("x" for _ in rows[1:])]
    (ran.data / "POINT.csv").write_text(
        "".join(",".join([*row, text]) + "\n" for row, text in zip(reordered, note, strict=True))
    )
    (ran.data / "LOG_RCD_F").mkdir()
    (ran.data / "LOG_RCD_F" / "2024-05.csv").write_text(
        "point_log_inst_id,log_time,log_value,status,Quality\n1,2024-05-01 00:00:00,1,OK,192\n"
    )
    # The page and the history of headers are no record of what was accepted.
    shutil.rmtree(ran.reports)
    (ran.staging / "audit" / "header_history.json").unlink()
    ran.edit("APP_TYPE.csv", "app_type_id,name", "app_type_id,NAME,name")
    ran.edit("LOG_INSTANCE.csv", "point_log_inst_id,point_id", "point_log_inst_id,point")
    problems = (
        "  APP_TYPE.csv: column 'name' is duplicated, as number 2 and 3: rename or remove one\n"
        "  POINT.csv: column '#note' is new, and new_columns = freeze\n"
        "  LOG_INSTANCE.csv: column 'point_id' is missing; the file has: point_log_inst_id, point, "
        "eng_unit_id, log_interval\n"
        "  LOG_RCD_F/2024-05.csv: column 'Quality' is new, and new_columns = freeze\n"
    )
    assert problems in ran.fails("AllStaged").log
    ran.edit("APP_TYPE.csv", "app_type_id,NAME,name", "app_type_id,name")
    ran.edit("LOG_INSTANCE.csv", "point_log_inst_id,point,", "point_log_inst_id,point_id,")
    accepted = (
        "[POINT]\naccepted_columns = \\x23note\n[LOG_RCD_F]\naccepted_columns = quality\n"
        "accepted_columns accepts the new columns; new_columns = ignore accepts all that come."
    )
    assert accepted in ran.fails("AllStaged").log

    shipped = (ran.folder / "luigi.cfg").read_text()
    ran.configure(accepted.rpartition("\n")[0])
    result = ran.passes("AllStaged")
    assert set(result.built) == {"CheckSources", "CsvToParquet:POINT", "CsvToParquet:LOG_RCD_F"}
    # What was staged is accepted; the lines are no longer needed.
    (ran.folder / "luigi.cfg").write_text(shipped)
    assert ran.passes("CheckSources").built == ["CheckSources"]
    assert ran.passes("AllStaged").built == []


def test_a_frozen_source_of_which_nothing_is_recorded_accepts_its_columns(
    project: Project,
) -> None:
    project.configure("[POINT]\nnew_columns = freeze")
    result = project.passes("CheckSources")
    assert "POINT: new_columns = freeze, but no columns are recorded yet" in unwrapped(result.err)


def test_a_column_whose_values_no_longer_have_its_type_fails_above_the_limit(ran: Project) -> None:
    path = ran.data / "LOG_INSTANCE.csv"
    header, *rows = path.read_text().splitlines()
    units = [re.sub(r"^(\d+,\d*,)[^,]*", r"\1Celsius", row) for row in rows]
    path.write_text("\n".join([header, *units]) + "\n")
    error = ran.fails("CsvToParquet", "--table", "LOG_INSTANCE").log
    assert "8 x eng_unit_id is not an integer" in error
    assert ran.query("SELECT count(*) FROM dim_log_instance WHERE eng_unit_id > 0") != [(0,)]


def test_columns_that_are_joined_are_recognised_both(ran: Project) -> None:
    (ran.data / "LOG_RCD_F.csv").write_text(
        "point_log_inst_id,Date,Time,value,more\n1,2024-06-01,00:00,1,x\n1,2024-06-01,00:03,2,x\n"
    )
    ran.configure("[LOG_RCD_F]\nrecorded_at = Date, Time")
    ran.passes("AllReports")
    text = ran.report("schema_change.md")
    recognised = "recognised as recorded_at: 2 of 2 rows have a value, type timestamp"
    assert f"  - new: date, {recognised}\n" in text
    assert f"  - new: time, {recognised}\n" in text
    assert "  - new: more, passed through staging as text: 2 of 2 rows have a value" in text


def test_a_damaged_history_starts_again(ran: Project) -> None:
    assert "This is the first run that was recorded" in ran.report("schema_change.md")
    (ran.staging / "audit" / "header_history.json").write_text("[{")
    ran.passes("AllReports")
    assert "This is the first run that was recorded" in ran.report("schema_change.md")


@pytest.fixture
def live(ran: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project's warehouse with many facts, so that copying takes several chunks."""
    monkeypatch.setattr("tasks.reports.schema_change.CHUNK_ROWS", 7)
    with closing(sqlite3.connect(ran.database)) as connection, connection:
        for log_id in range(100, 160):
            connection.execute(
                "INSERT INTO fact_logs SELECT ?, unit_id, app_instance_id, app_type_id, point_id,"
                " point_log_inst_id, recorded_at, value, value_text, status, log_kind, partition_id"
                " FROM fact_logs WHERE log_id = 5",
                (log_id,),
            )
    return ran


def fact_logs(project: Project) -> LiveTable:
    tables = describe_tables(open_warehouse(f"sqlite:///{project.database}"))
    return next(table for table in tables if table.name == "fact_logs")


def carry_out(connection: sqlite3.Connection, step: Step) -> list[tuple]:
    """Run a step's statements; what its queries give."""
    given: list[tuple] = []
    while True:
        before = connection.total_changes
        for statement in step.statements:
            given += connection.execute(statement).fetchall()
        if not step.repeat or connection.total_changes == before:
            return given


def test_the_report_describes_the_live_tables(ran: Project) -> None:
    text = ran.report("schema_change.md")
    row = next(line for line in text.splitlines() if line.startswith("| fact_logs |"))
    assert "| 13 |" in row
    assert "| point_log_inst_id, recorded_at, log_id | none |" in row
    dim_unit = next(line for line in text.splitlines() if line.startswith("| dim_unit |"))
    assert "fact_logs.unit_id" in dim_unit
    for words in (
        "pt-online-schema-change --alter",
        "gh-ost --host=HOST",
        "It refuses this table",
        "strategy 2, shadow table and rolling update",
        "Rollback",
    ):
        assert words in text


def test_the_commands_in_the_report_are_the_steps_that_are_tested(ran: Project) -> None:
    text = ran.report("schema_change.md")
    table = fact_logs(ran)
    for step in (*native_steps(table), *shadow_steps(table), *abandon_steps(table)):
        assert "".join(f"{statement};\n" for statement in step.statements) in text


def test_the_native_steps_add_and_drop_the_column(live: Project) -> None:
    before = live.facts()
    add, drop = native_steps(fact_logs(live))
    with closing(sqlite3.connect(live.database, isolation_level=None)) as connection:
        carry_out(connection, add)
        assert live.facts() == [(*row, None) for row in before]
        carry_out(connection, drop)
    assert live.facts() == before


def test_a_load_keeps_a_column_that_was_added_natively(live: Project) -> None:
    with closing(sqlite3.connect(live.database, isolation_level=None)) as connection:
        carry_out(connection, native_steps(fact_logs(live))[0])
    live.edit("LOG_RCD_F.csv", "1e2", "1e3")
    assert live.luigi("AllReports").status == 0
    names = [name for (name,) in live.query("SELECT name FROM pragma_table_info('fact_logs')")]
    assert names[-1] == "new_column"


def write_something(connection: sqlite3.Connection, chance: random.Random) -> None:
    """What an application might do to the table meanwhile."""
    key = chance.choice([*range(1, 14), *range(100, 175)])
    columns = "unit_id, app_instance_id, app_type_id, point_id, point_log_inst_id, log_kind,"
    columns += " partition_id, recorded_at"
    values = "7, 100, 1, 1000, 1, 'F', 0, '2024-06-01 00:00:00.000000'"
    match chance.randrange(5):
        case 0:
            connection.execute("DELETE FROM fact_logs WHERE log_id = ?", (key,))
        case 1:
            connection.execute(
                f"INSERT OR IGNORE INTO fact_logs (log_id, {columns}) VALUES (?, {values})", (key,)
            )
        case 2:
            connection.execute(
                "UPDATE fact_logs SET value = ? WHERE log_id = ?", (chance.random(), key)
            )
        case 3:
            connection.execute(
                f"INSERT OR REPLACE INTO fact_logs (log_id, {columns}, value)"
                f" VALUES (?, {values}, 5)",
                (key,),
            )
        case 4:
            connection.execute(
                "UPDATE OR IGNORE fact_logs SET log_id = ? WHERE log_id = ?", (key + 1, key)
            )


@pytest.mark.parametrize("seed", range(5))
def test_the_shadow_table_takes_over_every_write_that_came_meanwhile(
    live: Project, seed: int
) -> None:
    chance = random.Random(seed)
    table = fact_logs(live)
    *steps, verify, swap, clean_up = shadow_steps(table)
    with (
        closing(sqlite3.connect(live.database, isolation_level=None)) as worker,
        closing(sqlite3.connect(live.database, isolation_level=None)) as writer,
    ):
        for step in steps:
            rounds = 6 if step.repeat else 1
            for _ in range(rounds):
                write_something(writer, chance)
                carry_out(worker, Step(step.title, step.statements))
                write_something(writer, chance)
        for step in steps:
            if step.repeat:
                carry_out(worker, step)
        assert carry_out(worker, verify) == []
        write_something(writer, chance)
        before = live.facts()
        assert carry_out(worker, swap) == []
        assert live.facts() == [(*row, None) for row in before]
        write_something(writer, chance)
        carry_out(worker, clean_up)
    assert live.query("PRAGMA foreign_key_check") == []
    assert live.query("PRAGMA integrity_check") == [("ok",)]
    left = live.query("SELECT name FROM sqlite_schema WHERE tbl_name LIKE 'fact_logs%' ORDER BY 1")
    assert [name for (name,) in left] == [
        "fact_logs",
        "fact_logs_delete_invalidates_receipt",
        "fact_logs_insert_invalidates_receipt",
        "fact_logs_update_invalidates_receipt",
    ]
    # The pipeline goes on with the new table and owns its rows again.
    assert live.luigi("AllReports").status == 0
    assert len(live.facts()) == 13


def test_verifying_finds_a_value_that_differs(live: Project) -> None:
    table = fact_logs(live)
    *steps, verify, _, _ = shadow_steps(table)
    with closing(sqlite3.connect(live.database, isolation_level=None)) as worker:
        for step in steps:
            carry_out(worker, step)
        worker.execute("UPDATE fact_logs_new SET value = 99 WHERE log_id = 10000000001")
        assert len(carry_out(worker, verify)) == 2


def test_giving_up_leaves_the_catalog_as_it_was(live: Project) -> None:
    catalog = "SELECT type, name, sql FROM sqlite_schema WHERE name <> 'sqlite_sequence' ORDER BY 2"
    before, facts = live.query(catalog), live.facts()
    table = fact_logs(live)
    with closing(sqlite3.connect(live.database, isolation_level=None)) as worker:
        for step in shadow_steps(table)[:5]:
            carry_out(worker, step)
        for step in abandon_steps(table):
            carry_out(worker, step)
    assert live.query(catalog) == before
    assert live.facts() == facts


@pytest.mark.parametrize("name", ["dim_unit", "dim_application_instance"])
def test_a_table_that_others_refer_to_can_be_swapped(live: Project, name: str) -> None:
    tables = describe_tables(open_warehouse(f"sqlite:///{live.database}"))
    table = next(table for table in tables if table.name == name)
    before = live.query(f"SELECT * FROM {name}")
    with closing(sqlite3.connect(live.database, isolation_level=None)) as worker:
        for step in shadow_steps(table):
            assert carry_out(worker, step) == []
    assert live.query(f"SELECT * FROM {name}") == [(*row, None) for row in before]
    assert live.query("PRAGMA foreign_key_check") == []
    children = live.query("SELECT sql FROM sqlite_schema WHERE name = 'fact_logs'")
    assert f"REFERENCES {name} " in children[0][0]
