"""Tables of all kinds, values that are easily damaged, and what is in the way meanwhile."""

from __future__ import annotations

import concurrent.futures
import contextlib
import random
import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa

from config.declarations import Type
from tasks.core.errors import PipelineError
from tasks.schema_change.change import AddColumn, Names
from tasks.schema_change.interface import NUMBER
from tasks.schema_change.live import Copy
from tasks.schema_change.machine import SchemaChange
from tasks.schema_change.mariadb import Mariadb
from tasks.schema_change.open import open_database
from tasks.schema_change.postgresql import Postgresql
from tasks.schema_change.runs import State
from tasks.schema_change.sqlite import Sqlite
from tests.schema_change.live import COLUMNS, Live, made_up
from tests.ui import wait_for

KINDS = {"sqlite": Sqlite, "postgresql": Postgresql, "mariadb": Mariadb}


def changed(live: Live, table: str = "t", **asked: Any) -> None:
    change = live.change(table=table, **asked)
    change.run()
    change.switch()
    change.sign_off()


@pytest.mark.parametrize(
    "rows", [0, 120, *(pytest.param(n, marks=pytest.mark.soak) for n in (1, 50, 100))]
)
def test_tables_of_any_size_keep_their_rows(live: Live, rows: int) -> None:
    live.create(rows)
    before = live.rows()
    changed(live)
    assert live.rows() == before
    assert len(before) == rows
    live.run("insert into t (a, b) values (100000, 'new')")
    assert live.run("select q from t where a = 100000") == [(7,)]


@pytest.mark.parametrize(
    ("type", "default", "nullable"),
    [
        (Type.INTEGER, None, True),
        (Type.INTEGER, -(2**40), False),
        (Type.NUMBER, 0.1, False),
        (Type.TEXT, 'it\'s 50% :x \\ "ü😀"', False),
        (Type.TEXT, "", True),
        (Type.TIMESTAMP, "2024-05-01 12:00:00.123456", False),
    ],
)
def test_the_new_column_has_its_default(
    live: Live, type: Type, default: Any, nullable: bool
) -> None:
    live.create(rows=10)
    changed(live, column='new "column"', type=type, default=default, nullable=nullable)
    new: sa.ColumnElement[Any] = sa.table("t", sa.column('new "column"')).columns[0]
    query = sa.select(new).distinct()
    with live.engine.connect() as connection:
        (found,) = connection.scalars(query)
    assert (found if found is None or type is not Type.TIMESTAMP else str(found)) == default


def test_a_column_that_no_row_could_have_is_refused() -> None:
    with pytest.raises(PipelineError, match="t.q: existing rows would have no value"):
        AddColumn("t", "q", Type.INTEGER, nullable=False)
    with pytest.raises(PipelineError, match="cannot be the name"):
        AddColumn("t" * 64, "q", Type.INTEGER)


@pytest.mark.parametrize("table", ["T" * 63, "a b\"c%d:e'f", "ü" * 31])
def test_names_may_be_long_and_need_quotes(live: Live, table: str) -> None:
    quoted = '"' + table.replace('"', '""') + '"'
    change = live.change(table=table)
    if live.kind == "mariadb" and table.startswith("ü"):
        live.run(f'create table "{table}" (id int primary key)')
        with pytest.raises(PipelineError, match="its name comes behind that of its shadow"):
            change.run()
        return
    live.run(live.ddl("create table {t} (id {int} primary key)", t=quoted))
    live.run(f"insert into {quoted} values (1), (2)")
    change.run()
    change.switch()
    live.run(f"delete from {quoted} where id = 1")
    change.revert()
    assert live.run(f"select * from {quoted}") == [(2,)]


def test_numbers_that_the_database_gives_go_on(live: Live) -> None:
    given = {
        "sqlite": "integer primary key autoincrement",
        "postgresql": "bigint generated always as identity primary key",
        "mariadb": "bigint auto_increment primary key",
    }
    live.run(
        f"create table t (id {given[live.kind]}, x {'integer' if live.kind == 'sqlite' else 'int'},"
        " double_x bigint generated always as (x * 2) stored)",
        *("insert into t (x) values (5)",) * 9,
        "delete from t where id > 3",
    )
    change = live.change()
    change.run()
    change.switch()
    live.run("insert into t (x) values (6)")
    change.revert()
    live.run("insert into t (x) values (7)")
    assert live.run("select id, x, double_x from t where id > 3") == [(10, 6, 12), (11, 7, 14)]


def test_rows_exchange_unique_values_while_they_are_copied(live: Live) -> None:
    live.run(live.ddl("create table t (id {int} primary key, u {key} unique)"))
    live.run(*(f"insert into t values ({n}, 'u{n}')" for n in range(120)))

    def exchange(state: State, watermark: str) -> None:
        if state is State.COPYING and watermark:
            # Both rows are copied, or one; the value of a row that is deleted is used again.
            live.run(
                "update t set u = 'x' where id = 10",
                "update t set u = 'u10' where id = 110",
                "update t set u = 'u110' where id = 10",
                "delete from t where id = 20",
                "update t set u = 'u20' where id = 100",
                "update t set u = 'u100' where id = 30",
            )

    change = live.change(exchange)
    change.run()
    change.switch()
    found = {row[0]: row[1] for row in live.run("select id, u from t")}
    assert {n: found.get(n) for n in (10, 20, 30, 100, 110)} == {
        10: "u110", 20: None, 30: "u100", 100: "u20", 110: "u10",
    }  # fmt: skip


# --- faults ----------------------------------------------------------------------------------

DAMAGE = {
    "blank": "update {t} set note = ''",
    "NULL for ''": "update {t} set note = null where note = ''",
    "'' for NULL": "update {t} set note = '' where note is null",
    "case": "update {t} set note = 'A' where note = 'a'",
    "spaces": "update {t} set note = 'trailing' where note = 'trailing  '",
    "a float's last bit": "update {t} set x = 0.10000000000000002 where x = 0.1",
    "a microsecond": "update {t} set at = '2024-05-01 12:00:00.000001'"
    " where a = (select min(a) from t)",
    "a row less": "delete from {t} where a = (select max(a) from t)",
    "the default": "update {t} set q = 8 where a = (select max(a) from t)",
}


def test_a_damaged_copy_is_not_switched(live: Live) -> None:
    live.create(rows=60)
    change = live.change()
    change.run(until=State.DRAINED)
    again = ("delete from t__new", f"insert into t__new ({COLUMNS}) select {COLUMNS} from t")
    for damage, sql in DAMAGE.items():
        before = live.run("select * from t__new order by a, b")
        live.run(sql.format(t="t__new"))
        assert live.run("select * from t__new order by a, b") != before, damage
        with pytest.raises(PipelineError, match="The copy of t differs from the table:"):
            change.run()
        live.run(*again)
    with pytest.raises(PipelineError, match="is drained; this needs: ready"):
        change.switch()
    change.run()
    change.abort()


def servers_alone(live: Live) -> Any:
    if live.kind == "sqlite":
        pytest.skip("SQLite has one writer at a time and no log")
    return KINDS[live.kind]


def test_a_change_that_commits_late_is_applied(live: Live) -> None:
    late_writer(live, servers_alone(live))
    assert live.run("select note from t where a = 1") == [("late",)]


def test_a_log_that_is_read_by_position_loses_a_change_that_commits_late(live: Live) -> None:
    opened: Any = servers_alone(live)

    class ByPosition(opened):
        position = 0

        def read_log(self, copy: Copy, limit: int) -> list[int]:
            found = [n for n in super().read_log(copy, limit) if n > self.position]
            self.position = max([self.position, *found])
            return found

    late_writer(live, ByPosition)
    assert live.run("select note from t where a = 1") != [("late",)]


def late_writer(live: Live, opened: Any) -> None:
    """A change gets its number before another one, and is committed behind it."""
    live.create()
    live.insert([made_up(random.Random(n), n, "b") for n in range(5)])
    change = live.change(opened=lambda url: opened(sa.make_url(url)))
    change.run()
    with live.new_engine().connect() as connection:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("update t set note = 'late' where a = 1")
        live.run("update t set note = 'early' where a = 2")
        until = time.monotonic() + 0.3
        change.follow(lambda: time.monotonic() > until)
        connection.exec_driver_sql("COMMIT")
    change.switch()
    assert live.run("select note from t where a = 2") == [("early",)]


def test_a_run_that_waits_applies_what_changes_until_another_one_switches(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.create(rows=60)
    live.change().run()
    live.close()
    began, over = threading.Event(), threading.Event()

    def stop() -> bool:
        began.set()
        return over.is_set()

    def fail(*_: object) -> None:
        raise PipelineError("no lock")

    def wait() -> None:
        with contextlib.closing(open_database(live.url)) as database:
            SchemaChange.stored(database, "t").follow(stop)

    with concurrent.futures.ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as stack:
        stack.callback(over.set)
        waiting = pool.submit(wait)
        assert began.wait(60)
        other = live.change()
        with monkeypatch.context() as patched:
            patched.setattr(other.database, "exchange", fail)
            patched.setattr("socket.gethostname", lambda: "elsewhere")
            with pytest.raises(PipelineError, match="no lock"):
                other.switch()
        other = live.change()
        live.run("update t set note = 'meanwhile' where a > 0")
        wait_for(lambda: (now := other.status()) and now.backlog == 0)
        time.sleep(0.3)
        assert not waiting.done()
        other.switch()
        found = other.status()
        live.close()
        waiting.result(60)
    assert live.run("select count(*) from t where q = 7 and note = 'meanwhile' and a > 0") != [(0,)]
    assert found
    assert found.run.state is State.SOAK


def test_writes_wait_while_the_tables_are_switched(live: Live) -> None:
    assert written_during_switch(live, servers_alone(live)) == []


def test_without_the_lock_a_write_during_the_switch_is_lost(live: Live) -> None:
    opened: Any = servers_alone(live)

    class Unlocked(opened):
        def _lock(self, *_: object) -> None:
            """PostgreSQL: no lock."""

        def _rename(self, _: object, table: str, target: str, aside: str) -> None:
            """MariaDB: the lock ends before the tables are renamed."""
            self.run("UNLOCK TABLES")
            self.probe()
            self.run(f"DROP TABLE {aside}")
            self.run(f"RENAME TABLE {table} TO {aside}, {target} TO {table}")

    assert written_during_switch(live, Unlocked) == [(1,)]


def written_during_switch(live: Live, opened: Any) -> list[tuple]:
    """The rows that were acknowledged during a switch, and are not in the table behind it."""
    live.create(rows=5)
    acknowledged = set()
    impatient = "lock_timeout = 100" if live.kind == "postgresql" else "lock_wait_timeout = 0"

    class Observed(opened):
        def probe(self) -> None:
            with (
                contextlib.suppress(sa.exc.DBAPIError),
                live.new_engine().connect() as connection,
            ):
                connection.exec_driver_sql(f"SET {impatient}")
                connection.exec_driver_sql("insert into t (a, b) values (1, 'switch')")
                acknowledged.add((1,))

        def apply(self, copy: Copy, limit: int, is_copied: bool) -> int:
            applied: int = super().apply(copy, limit, is_copied)
            if limit == 50_000 and not applied:  # The last time, in the exchange.
                self.probe()
            return applied

    change = live.change(opened=lambda url: Observed(sa.make_url(url)))
    change.run()
    change.switch()
    return sorted(acknowledged - set(live.run("select a from t where b = 'switch'")))


# --- others ----------------------------------------------------------------------------------


def test_a_long_transaction_delays_the_triggers_and_the_switch_and_no_writer(live: Live) -> None:
    servers_alone(live)
    live.create(rows=20)
    slowest = 0.0
    change = live.change()
    for step in (change.run, change.switch):
        with live.new_engine().connect() as blocking:
            blocking.exec_driver_sql("BEGIN")
            blocking.exec_driver_sql("update t set v = 1 where a = (select min(a) from t)")
            thread = threading.Thread(target=step)
            thread.start()
            until = time.monotonic() + 2
            while time.monotonic() < until:
                began = time.monotonic()
                live.run(f"insert into t (a, b) values ({time.monotonic_ns()}, 'w')")
                slowest = max(slowest, time.monotonic() - began)
            assert thread.is_alive()
            blocking.exec_driver_sql("COMMIT")
            thread.join()
    assert slowest < 1.5
    assert change.measured.retries["locked"] > 0
    status = change.status()
    assert status is not None
    assert status.run.state is State.SOAK


def test_a_connection_that_is_killed_is_made_again(live: Live) -> None:
    servers_alone(live)
    live.create(rows=200)
    victim = "pg_backend_pid()" if live.kind == "postgresql" else "connection_id()"
    kill = "select pg_terminate_backend({})" if live.kind == "postgresql" else "kill {}"
    killed = []

    def lose(state: State, watermark: str) -> None:
        if state not in killed and state in (State.COPYING, State.SWAPPING, State.SWAPPED):
            killed.append(state)
            (number,) = change.database.fetch(f"select {victim}")[0]
            live.run(kill.format(number))

    rows = live.rows()
    change = live.change(lose)
    change.run()
    change.switch()
    assert change.measured.retries["lost"] == 3
    assert live.rows() == rows


def test_truncate_is_captured_or_noticed(live: Live) -> None:
    servers_alone(live)
    live.create(rows=100)
    change = live.change()
    change.run()
    live.run("truncate table t")
    if live.kind == "mariadb":
        with pytest.raises(PipelineError, match="t has been changed by someone else"):
            change.switch()
    else:
        change.switch()
        assert live.rows() == {}


def test_the_log_has_the_columns_of_the_key(live: Live) -> None:
    servers_alone(live)
    live.create(rows=1)
    change = live.change()
    change.run()
    columns = change.database.column_names(Names("t").log)
    assert columns == {"a", "b", NUMBER}
    assert open_database(live.url).kind == change.database.kind
