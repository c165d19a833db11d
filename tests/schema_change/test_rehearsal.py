"""Rehearsals through the command line; what must make one fail; pt-online-schema-change itself."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from config.declarations import Type
from tasks.core.errors import PipelineError
from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import NUMBER, Database
from tasks.schema_change.live import Copy, LiveTable
from tasks.schema_change.open import open_database
from tasks.schema_change.percona import PtOnlineSchemaChange
from tasks.schema_change.plan import NATIVE, SHADOW, TOOL, TOOLS
from tasks.schema_change.rehearsal import FAILED, PASSED, Settings, rehearse
from tasks.schema_change.scratch import scratch
from tasks.schema_change.workload import Rates, Workload
from tests.conftest import Project, unwrapped
from tests.schema_change.live import Live, in_child
from tests.servers import children

CHANGE = AddColumn("t", "q", Type.INTEGER, 7)
RATES = Rates(100, 40, 2, 1)
ROWS = 2_500
"""Every second row is written to; the first is not."""


def rehearsed(live: Live, strategy: str = SHADOW, broken: type | None = None) -> dict[str, Any]:
    """The result; the live database must be as before."""
    database = open_database(live.url)
    if broken is not None:
        database = type("Broken", (broken, type(database)), {})(database.url)
    before = live.catalog()
    try:
        result = rehearse(database, CHANGE, Settings(strategy, seconds=0.3, rates=RATES))
    finally:
        database.close()
    assert live.catalog() == before
    return result


def database_of(request: pytest.FixtureRequest, kind: str) -> Live:
    if kind == "sqlite":
        live = Live(f"sqlite:///{request.getfixturevalue('tmp_path')}/live.db")
        live.run("PRAGMA journal_mode = WAL")
        return live
    return Live(request.getfixturevalue(kind))


# --- the load, and its ledger ----------------------------------------------------------------


def test_the_ledger_finds_what_is_lost_resurrected_and_stale(live: Live) -> None:
    live.create(rows=300)
    database = open_database(live.url)
    with Workload(database, database.describe("t"), RATES) as workload:
        time.sleep(1.5)
    found = workload.compare()
    assert (found.lost, found.resurrected, found.stale) == ([], [], [])
    assert found.keys > 300

    ledger = workload.done.ledger
    present = [key for key, states in ledger.items() if states[-1] is not None]
    (absent, *_) = [key for key, states in ledger.items() if states == [None]]
    where = "WHERE a = :a AND b = :b"
    with live.engine.connect() as connection:
        for sql, (a, b) in (
            (f"DELETE FROM t {where}", present[0]),
            (f"UPDATE t SET note = 'other' {where}", present[1]),
            ("INSERT INTO t (a, b) VALUES (:a, :b)", absent),
        ):
            number = int(str(a))
            assert connection.execute(sa.text(sql), {"a": number, "b": b}).rowcount == 1
    found = workload.compare()
    database.close()
    assert (found.lost, found.resurrected, found.stale) == ([present[0]], [absent], [present[1]])


def test_a_stall_is_measured_from_when_a_write_was_due(live: Live) -> None:
    live.create(rows=50)
    database = open_database(live.url)
    lock = {
        "sqlite": ["BEGIN IMMEDIATE"],
        "postgresql": ["BEGIN", "LOCK TABLE t"],
        "mariadb": ["LOCK TABLES t WRITE"],
    }
    with Workload(database, database.describe("t"), RATES) as workload, live.engine.connect() as c:
        time.sleep(0.3)
        for sql in lock[live.kind]:
            c.exec_driver_sql(sql)
        time.sleep(1)
        c.exec_driver_sql("UNLOCK TABLES" if live.kind == "mariadb" else "ROLLBACK")
        time.sleep(0.3)
    database.close()
    writes = workload.done.writes
    latencies = [one.done - one.due for one in writes if not one.code]
    assert len(latencies) >= len(writes) - 2  # A deadlock ends one of a server's transactions.
    assert max(latencies) > 0.9
    assert sum(latency > 0.4 for latency in latencies) > 30  # Those behind it, too.


# --- rehearsals that pass --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "strategies"),
    [
        ("sqlite", [NATIVE, SHADOW]),
        ("mariadb", [TOOL]),
        pytest.param("postgresql", [NATIVE, SHADOW], marks=pytest.mark.soak),
        pytest.param("mariadb", [NATIVE, SHADOW, TOOL], marks=pytest.mark.soak),
    ],
)
def test_a_rehearsal_from_the_command_line(
    request: pytest.FixtureRequest, project: Project, kind: str, strategies: list[str]
) -> None:
    live = database_of(request, kind)
    live.create(rows=ROWS)
    rows, before = live.rows(), live.catalog()
    arguments = [
        *("SchemaChangeRehearsal", "--table", "t", "--column", "q", "--type", "integer"),
        *("--default", "7", "--seconds", "0.5", "--writes-per-s", "100", "--rows", "2000"),
    ]
    env = {"PIPELINE_WAREHOUSE_URL": live.url}
    for strategy in strategies:
        done = project.passes(*arguments, "--strategy", strategy, env=env)
        assert "rows lost, resurrected, stale" in done.log
        result = project.report(f"schema_change/rehearsal_t_q.{strategy}.json")
        assert (result["verdict"], result["problems"]) == (PASSED, [])
        assert (result["plan_digest"], result["rows"]) == (CHANGE.digest(), 2_000)
        assert result["ledger"]["lost"] == result["ledger"]["stale"] == 0
        assert result["ledger"]["keys"] > 1_000
        if strategy != NATIVE:
            assert result["copied_rows"] >= 1_900
    assert (live.rows(), live.catalog()) == (rows, before)

    page = (project.reports / "schema_change/rehearsal_t_q.html").read_text(encoding="utf-8")
    assert page.count("<td>0, 0, 0 of ") == len(strategies)
    assert page.count("<svg") == 2 * len(strategies)
    if kind == "mariadb":
        assert "gh-ost: not run" in page
        assert str(sa.make_url(live.url).password) not in page
    else:
        failed = project.fails(*arguments, "--strategy", TOOL, env=env)
        assert "no online schema change tool exists" in unwrapped(failed.err)
        assert "strategy shadow" in unwrapped(failed.err)
        assert "no online schema change tool exists" in page


def test_an_empty_table_is_not_rehearsed(live: Live) -> None:
    live.create()
    with pytest.raises(PipelineError, match="has no rows"):
        rehearsed(live)


def test_the_copy_of_a_killed_rehearsal_is_removed_by_the_next_one(live: Live) -> None:
    live.create(rows=10)
    database = open_database(live.url)

    def copies() -> list[str]:
        if live.kind == "sqlite":
            return [path.name for path in Path(str(database.url.database)).parent.glob("schema_*")]
        names = sa.inspect(database.connection).get_schema_names()
        return [name for name in names if name.startswith("schema_change_scratch_")]

    def killed() -> None:
        with scratch(open_database(live.url), "t", None):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(live, killed)
    (left,) = copies()
    with scratch(database, "t", None), scratch(open_database(live.url), "t", None):
        assert len(copies()) == 2  # Both are in use.
        assert left not in copies()
    assert copies() == []
    database.close()


# --- faults, each of which must make one fail ------------------------------------------------


class Waiting:
    """Waits after the last look at the log, before names are exchanged, while writes come."""

    def _release(self, *arguments: Any) -> None:
        time.sleep(0.3)
        super()._release(*arguments)  # type: ignore[misc]


class LockedLate:
    """Locks the tables only after that."""

    def _lock(self, *arguments: Any) -> None:
        self.late = arguments

    def _release(self, *arguments: Any) -> None:
        time.sleep(0.3)
        super()._lock(*self.late)  # type: ignore[misc]
        super()._release(*arguments)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("broken", "verdict"),
    [pytest.param(Waiting, PASSED, marks=pytest.mark.soak), (LockedLate, FAILED)],
)
def test_without_the_lock_writes_are_lost(postgresql: str, broken: type, verdict: str) -> None:
    live = Live(postgresql)
    live.create(rows=ROWS)
    result = rehearsed(live, broken=broken)
    assert result["verdict"] == verdict, result["problems"]
    ledger = result["ledger"]
    damaged = ledger["lost"] + ledger["resurrected"] + ledger["stale"]
    assert bool(damaged) == (verdict == FAILED), result["problems"]


class Overtaken:
    """When all rows are copied, a change with a lower number commits after one with a higher."""

    slow: sa.Connection | None = None
    is_copied = False

    def end_copy(self, copy: Copy) -> None:
        super().end_copy(copy)  # type: ignore[misc]
        self.is_copied = True

    def read_log(self: Any, copy: Copy, limit: int) -> list[int]:
        if self.is_copied:
            type(self).is_copied = self.is_copied = False
            self.slow, fast = self.engine().connect(), self.engine().connect()
            self.slow.exec_driver_sql("BEGIN")
            # Of a row that no writer of the workload may change once more.
            self.slow.exec_driver_sql("INSERT INTO t (a, b) VALUES (-1000000, 'own')")
            fast.exec_driver_sql("UPDATE t SET note = note WHERE a = (SELECT max(a) FROM t)")
            fast.close()
        return list(super().read_log(copy, limit))  # type: ignore[misc]

    def consumed(self: Any, log: sa.TableClause, read: Sequence[int]) -> Any:
        if self.slow is not None:
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 2:  # Rows are applied; next, the log entries are removed.
                self.slow.exec_driver_sql("COMMIT")
                self.slow.close()
        return self.which(log, read)

    def which(self, log: sa.TableClause, read: Sequence[int]) -> Any:
        return Database.consumed(self, log, read)  # type: ignore[arg-type]


class ByGreatest(Overtaken):
    """Removes all log entries up to the greatest number that was read."""

    def which(self, log: sa.TableClause, read: Sequence[int]) -> Any:
        return log.c[NUMBER] <= max(read)


@pytest.mark.parametrize(
    ("broken", "verdict"),
    [pytest.param(Overtaken, PASSED, marks=pytest.mark.soak), (ByGreatest, FAILED)],
)
def test_a_log_consumed_by_the_greatest_number_is_noticed(
    postgresql: str, broken: type, verdict: str
) -> None:
    """In MariaDB the worker would wait for the slower transaction."""
    live = Live(postgresql)
    live.create(rows=ROWS)
    result = rehearsed(live, broken=broken)
    assert result["verdict"] == verdict, result["problems"]
    if verdict == FAILED:
        assert "The copy of t differs from the table" in result["problems"][0]


class Corrupting:
    """A value of some rows is not what was copied; writers may put one of them right."""

    def end_copy(self: Any, copy: Copy) -> None:
        super().end_copy(copy)  # type: ignore[misc]
        sql = f"UPDATE {self.quote(copy.target)} SET x = 0.25 WHERE a = :a AND b = :b"
        for a, b in self.fetch(f"SELECT a, b FROM {copy.source} ORDER BY a, b LIMIT 9"):
            self.connection.execute(sa.text(sql), {"a": a, "b": b})


@pytest.mark.parametrize(
    "kind",
    ["sqlite", *(pytest.param(k, marks=pytest.mark.soak) for k in ("postgresql", "mariadb"))],
)
def test_corrupted_values_are_noticed(request: pytest.FixtureRequest, kind: str) -> None:
    live = database_of(request, kind)
    live.create(rows=ROWS)
    result = rehearsed(live, broken=Corrupting)
    assert result["verdict"] == FAILED
    assert "The copy of t differs from the table" in result["problems"][0]


class Unreadable:
    """The name is missing for a moment."""

    def exchange(self: Any, *arguments: Any) -> None:
        self.run("ALTER TABLE t RENAME TO t_away")
        time.sleep(0.3)
        self.run("ALTER TABLE t_away RENAME TO t")
        super().exchange(*arguments)  # type: ignore[misc]


@pytest.mark.soak
def test_errors_of_readers_make_it_fail(postgresql: str) -> None:
    live = Live(postgresql)
    live.create(rows=ROWS)
    result = rehearsed(live, broken=Unreadable)
    assert result["verdict"] == FAILED
    assert re.search(r"Readers had errors: \d+ x 42P01", "\n".join(result["problems"]))
    assert result["errors"]["writers"]["42P01"] > 0


# --- pt-online-schema-change -----------------------------------------------------------------


@pytest.mark.parametrize(
    "comment", [pytest.param("", marks=pytest.mark.soak), "COMMENT 'Generated'"]
)
def test_a_column_that_the_tool_leaves_blank_is_noticed(mariadb: str, comment: str) -> None:
    live = Live(mariadb)
    live.run(
        f"create table t (a bigint primary key, note varchar(20) not null default '' {comment})",
        *(f"insert into t values ({n}, 'note {n}')" for n in range(50)),
    )
    result = rehearsed(live, TOOL)
    if comment:
        assert "The copy of t differs from the table" in result["problems"][0]
    assert result["verdict"] == (FAILED if comment else PASSED), result["problems"]


def test_a_killed_tool_is_cleared_away_and_begins_again(mariadb: str) -> None:
    live = Live(mariadb)
    live.create(rows=500)
    before, rows = live.catalog(), live.rows()
    database = open_database(live.url)

    class Left(PtOnlineSchemaChange):
        def clean(self) -> None:
            """Leaves all as the killed process did."""

    def kill() -> None:
        (process,) = [pid for pid in children(os.getpid()) if is_tool(pid)]
        os.kill(process, signal.SIGKILL)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)  # Its pipe is closed from now on.

    with pytest.raises(PipelineError, match="exit status -9"):
        Left(database, CHANGE, lambda phase: None).run(kill)
    assert {name for (name, *_) in live.run("show tables")} == {"t", "_t_new"}
    assert len(live.run("show triggers")) == 3
    live.run("update t set note = 'still written' where a > 0")

    tool, ran = PtOnlineSchemaChange(database, CHANGE, lambda phase: None), list[str]()
    sa.event.listen(
        tool._database.connection.engine,
        "before_cursor_execute",
        lambda c, cursor, sql, *_: ran.append(" ".join(sql.split()[:2])),
    )
    tool.clean()
    drops = [sql for sql in ran if sql.startswith("DROP")]
    assert drops == ["DROP TRIGGER"] * 3 + ["DROP TABLE"]
    assert live.catalog() == before

    tool.run()
    tool.sign_off()
    database.close()
    assert live.rows().keys() == rows.keys()
    assert live.run("select distinct q from t") == [(7,)]
    assert len(live.run("show triggers")) == 0


def is_tool(process: int) -> bool:
    return b"pt-online-schema-change" in Path(f"/proc/{process}/cmdline").read_bytes()


def test_the_password_is_on_no_command_line(mariadb: str) -> None:
    database = open_database(mariadb)
    live = LiveTable("t", "", (), ("a",))
    for tool in TOOLS.values():
        arguments = " ".join(tool.command(database, CHANGE, live))
        assert str(database.url.password) not in arguments
        assert str(database.url.username) not in arguments
    database.close()
