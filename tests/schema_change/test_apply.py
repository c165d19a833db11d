"""The change of the live warehouse, from a new column in a file on: as people make it."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from config.added import added_columns
from config.declarations import Type
from tasks.core.errors import PipelineError
from tasks.reports.source_columns import NewColumn
from tasks.schema_change.apply import Permission, apply, declare, withdraw
from tasks.schema_change.change import AddColumn
from tasks.schema_change.commands import act
from tasks.schema_change.interface import Database
from tasks.schema_change.open import open_database
from tasks.schema_change.plan import NATIVE, SHADOW
from tasks.schema_change.plan_page import write_plan
from tests.conftest import ROOT, Project, unwrapped
from tests.runs import add_partition
from tests.terminal import on_terminal
from tests.ui import wait_for

WALK = (
    (ROOT / "docs" / "schema-change.md").read_text(encoding="utf-8").partition("## Walk-through")[2]
)
COLUMN = ("--table", "fact_logs", "--column", "setpoint", "--type", "integer")
SETPOINTS = "SELECT log_id, setpoint FROM fact_logs WHERE partition_id = 1 ORDER BY log_id"


CHANGE = AddColumn("fact_logs", "setpoint", Type.INTEGER)
FREE = Permission(without_rehearsal=True, confirm=lambda _: True)


def with_setpoints(project: Project) -> None:
    """The float records get a column with the numbers of the rows."""
    path = project.data / "LOG_RCD_F.csv"
    header, *rows = path.read_text().splitlines()
    numbered = [f"{header},setpoint", *(f"{row},{number}" for number, row in enumerate(rows))]
    path.write_text("\n".join(numbered) + "\n")


def everything(project: Project) -> list[tuple]:
    """The catalog, but for the row of the change, and for quotes around names."""
    return project.query(
        "SELECT type, name, tbl_name, replace(sql, '\"', '') FROM sqlite_schema"
        " WHERE tbl_name <> 'schema_change_run' ORDER BY 1, 2"
    )


@pytest.fixture
def here(ran: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The warehouse of the project, which is the current folder."""
    monkeypatch.chdir(ran.folder)
    live = open_database(f"sqlite:///{ran.database}")
    yield live
    live.close()


def made(live: Database, strategy: str, permission: Permission = FREE) -> str:
    """Make the change; what it says."""
    return apply(live, CHANGE, strategy, Path("reports"), permission, lambda _: None)


def carried_on(live: Database, action: str) -> None:
    """`python -m tasks schema-change`, in this process."""
    assert [*act(live, action, "fact_logs", Path("reports"), lambda _: None)]
    live.close()


def test_the_walk_through_of_the_documentation(ran: Project) -> None:
    with_setpoints(ran)
    shown, commands, waiting = "", 0, []
    for kind, text in re.findall(r"```(ini|sh|text)\n(.*?)```", WALK, re.DOTALL):
        if kind == "ini":
            ran.configure(text)
        for line in text.splitlines():
            commands += kind == "sh"
            if kind == "sh" and line.endswith("&"):
                waiting.append(ran.start(*shlex.split(line)[:-1]))
                wait_for(lambda: "ready" in ran.tasks("schema-change", "status").out)
            elif kind == "sh":
                words = shlex.split(line.replace("python -m tasks", "controller-logs"))
                run = ran.run if "Rehearsal" in line else ran.forked  # It starts processes.
                result = run(*words)
                assert result.status == 0, (line, result.log)
                shown = f"{result.out}\n{unwrapped(result.err)}"
            elif kind == "text":
                assert line in shown
    assert commands == 9
    assert [process.wait(60) for process in waiting] == [0]
    assert ran.query(SETPOINTS) == [(10_000_000_001 + row, row) for row in range(8)]
    catalog = {name for _, name, _, _ in everything(ran)}
    assert not [name for name in catalog if "fact_logs__" in name]
    assert {
        f"fact_logs_{event}_invalidates_receipt" for event in ("insert", "update", "delete")
    } <= (catalog)
    assert ran.passes("AllReports").built == ["ReportPage", "SchemaChangeReport"]
    described = "SELECT description FROM data_dictionary WHERE column_name = 'setpoint'"
    assert "added to the live table" in ran.query(described)[0][0]


def test_an_abort_and_a_revert_leave_the_catalog_as_it_was(ran: Project, here: Database) -> None:
    before, facts = everything(ran), ran.facts()
    write_plan(here, CHANGE, ran.reports)
    with_setpoints(ran)
    made(here, SHADOW)
    ran.passes("LoadFactLogs")  # Old code, while its writes are captured.
    carried_on(here, "abort")
    assert (everything(ran), ran.facts()) == (before, facts)

    made(here, SHADOW)
    carried_on(here, "switch")
    ran.passes("LoadFactLogs")  # New code, which fills the column, while the old table is kept.
    assert len(ran.query(SETPOINTS)) == 8
    ran.change("UPDATE fact_logs SET value = 99 WHERE log_id = 10000000001")
    carried_on(here, "revert")
    assert everything(ran) == before
    assert ran.query("SELECT value FROM fact_logs WHERE log_id = 10000000001") == [(99.0,)]
    assert json.loads((ran.folder / "config" / "added_columns.json").read_text()) == []
    ran.passes("LoadFactLogs")
    assert ran.facts() == facts


def test_what_is_missing_before_a_live_table_is_changed(ran: Project, here: Database) -> None:
    before = everything(ran)
    asking = Permission(without_rehearsal=False, confirm=lambda _: True)

    def refused(text: str, strategy: str = "", permission: Permission = asking) -> None:
        with pytest.raises(PipelineError, match=text):
            made(here, strategy, permission)
        assert everything(ran) == before

    refused("There is no plan of this change")
    write_plan(here, CHANGE, ran.reports)
    refused("has not been rehearsed with success: 0 rehearsals")
    rehearsal = {
        "plan_digest": CHANGE.digest(),
        "fingerprint": here.describe("fact_logs").fingerprint(),
        "strategy": "native",
        "verdict": "failed",
        "problems": ["2 rows lost"],
    }
    path = ran.reports / "schema_change" / "rehearsal.json"
    path.write_text(json.dumps(rehearsal))
    refused("2 rows lost")
    path.write_text(json.dumps(rehearsal | {"verdict": "passed"}))
    refused("not been rehearsed", SHADOW)
    ran.change("CREATE INDEX by_status ON fact_logs (status)")
    before = everything(ran)
    refused("has been changed since the plan was made", permission=FREE)
    ran.change("DROP INDEX by_status")
    before = everything(ran)
    asked: list[str] = []

    def refuse(name: str) -> bool:
        asked.append(name)
        return False

    refused("its name was not given", "", Permission(without_rehearsal=True, confirm=refuse))
    assert asked == ["fact_logs"]

    made(here, "", asking)
    assert ran.query("SELECT max(setpoint) FROM fact_logs") == [(None,)]
    with_setpoints(ran)
    ran.passes("LoadFactLogs")
    assert [setpoint for _, setpoint in ran.query(SETPOINTS)] == [*range(8)]


KILLED = """
import os, sys
from luigi.cmdline import luigi_run
from tasks.warehouse import load

real, calls = load.replace_partitions, []

def call(*args, **how):
    calls.append(args)
    return real(*args, **how) if len(calls) < 3 else os._exit(9)

load.replace_partitions = call
luigi_run(sys.argv[1:])
"""


def test_a_column_is_filled_partition_by_partition(ran: Project, here: Database) -> None:
    rows = "point_log_inst_id,log_time,log_value,setpoint\n1,2024-05-01,4,{}\n"
    for number in range(3):
        add_partition(ran, f"{number}.csv", rows.format(number))
    ran.passes("LoadFactLogs")
    facts = ran.facts()
    write_plan(here, CHANGE, ran.reports)
    made(here, NATIVE)
    (ran.folder / "luigi").write_text(KILLED)
    run = (sys.executable, "luigi", "--module", "tasks", "LoadFactLogs", "--local-scheduler")
    assert ran.run(*run, "--workers", "1").status == 9
    filled = "SELECT setpoint FROM fact_logs WHERE setpoint IS NOT NULL ORDER BY 1"
    assert len(ran.query(filled)) < 3
    assert len(ran.facts()) == len(facts)

    again = ran.passes("LoadFactLogs")
    assert "Loaded fact_logs: 16 rows from 3 of 5 files" in again.log  # Two were done.
    assert ran.query(filled) == [(0,), (1,), (2,)]
    assert [row[:8] for row in ran.facts()] == [row[:8] for row in facts]


def test_a_column_with_another_name_than_in_the_files_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = NewColumn(
        "LOG_RCD_F", "Signal", "", "", "integer", 8, 8, 1, 1, "evolve", "fact_logs",
        "fact_logs_signal", in_table=False,
    )  # fmt: skip
    (tmp_path / "schema_change.json").write_text(json.dumps({"new": [dataclasses.asdict(new)]}))
    monkeypatch.chdir(tmp_path)
    change = AddColumn("fact_logs", "fact_logs_signal", Type.INTEGER)
    for _ in range(2):  # A second time changes nothing.
        assert "the next load fills it" in declare(change, tmp_path)
    (column,) = added_columns("fact_logs", "LOG_RCD")
    assert (column.name, column.aliases, column.nullable, column.origin) == (
        "fact_logs_signal", ("signal",), True, "LOG_RCD.fact_logs_signal"
    )  # fmt: skip
    withdraw(change)
    assert added_columns("fact_logs") == ()
    for other in (
        AddColumn("dim_unit", "site", Type.TEXT),
        AddColumn("fact_logs", "site", Type.TEXT, "", nullable=False),
    ):
        assert "no load fills it" in declare(other, tmp_path)
    assert added_columns("fact_logs") == ()


def test_commands_say_what_they_cannot_do(ran: Project) -> None:
    def shown(*arguments: str) -> tuple[int, str]:
        result = ran.tasks("schema-change", *arguments)
        return result.status, result.out + result.err

    assert shown("status") == (0, "No schema change with a shadow table has been begun.\n")
    assert shown("switch", "fact_logs") == (2, "No schema change of fact_logs has been begun.\n")
    assert shown("abort") == (2, "schema-change abort needs the name of one table.\n")
    ran.database.unlink()
    assert "data_warehouse.db does not exist" in shown("status")[1]
    assert not ran.database.exists()


@pytest.mark.soak
@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_loads_go_on_in_a_change_on_a_server(
    project: Project,
    server: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = request.getfixturevalue(server)
    path = project.folder / "luigi.cfg"
    path.write_text(path.read_text().replace("sqlite:///data_warehouse.db", url))
    monkeypatch.chdir(project.folder)
    project.passes("LoadFactLogs")
    with_setpoints(project)
    live = open_database(url)
    write_plan(live, CHANGE, project.reports)
    made(live, SHADOW)
    live.close()
    log = project.data / "LOG_RCD_B.csv"
    log.write_text(log.read_text().replace("00:02:00", "00:02:30"))
    project.passes("LoadFactLogs")
    carried_on(live, "switch")
    project.passes("LoadFactLogs")
    with sa.create_engine(url).connect() as connection:
        rows = [tuple(row) for row in connection.exec_driver_sql(SETPOINTS)]
        kept = connection.exec_driver_sql("SELECT count(*) FROM fact_logs__old").scalar()
    assert rows == [(10_000_000_001 + row, row) for row in range(8)]
    assert kept == 13
    carried_on(live, "sign-off")
    assert project.passes("LoadFactLogs").built == []


def test_nobody_can_be_asked_in_the_night(ran: Project, here: Database) -> None:
    write_plan(here, CHANGE, ran.reports)
    done = subprocess.run(
        ["luigi", "--module", "tasks", "SchemaChangeApply", *COLUMN, "--no-rehearsal"]
        + ["--local-scheduler"],
        cwd=ran.folder,
        env=ran.environment(),
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # Without a terminal.
    )
    assert "Nobody can be asked" in done.stderr
    assert not here.describe("fact_logs").has("setpoint")


def test_a_person_at_a_terminal_is_asked_for_the_tables_name(ran: Project, here: Database) -> None:
    write_plan(here, CHANGE, ran.reports)
    command = ["luigi", "--module", "tasks", "SchemaChangeApply", *COLUMN, "--no-rehearsal"]
    for typed, status in ((b"fact_log\n", 30), (b"fact_logs\n", 0)):
        assert not here.describe("fact_logs").has("setpoint")
        here.close()
        seen = on_terminal(
            ran, [*command, "--local-scheduler"], interrupt_at="To agree, type", typed=typed
        )
        assert seen.status == status, seen.lines
        assert ("its name was not given" in "\n".join(seen.lines)) is (status == 30)
    assert here.describe("fact_logs").has("setpoint")


@pytest.mark.parametrize("content", ["<<<<<<< HEAD\n", "[{}]", '[{"table": "fact_logs"}]', "7"])
def test_a_damaged_file_of_added_columns_is_named(project: Project, content: str) -> None:
    (project.folder / "config" / "added_columns.json").write_text(content)
    result = project.run("luigi", "--module", "tasks", "AllReports", "--local-scheduler")
    assert result.status != 0
    assert "added_columns.json cannot be read" in result.err
    assert "Traceback" not in result.err
