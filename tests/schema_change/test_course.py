"""The course of a change on all databases: states, ends, and what the catalog is afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from tasks.core.errors import PipelineError
from tasks.schema_change.interface import Database
from tasks.schema_change.machine import SchemaChange
from tasks.schema_change.open import open_database
from tasks.schema_change.runs import ENDED, State
from tests.runs import soak
from tests.schema_change.live import Live, in_child

FAMILY = (
    "create table p (id {int} primary key)",
    "insert into p values (1), (2), (3)",
    "create table t (id {int} primary key, p {int}, self {int}, note {key} unique,"
    " x {real} check (x > 0), constraint to_p foreign key (p) references p (id),"
    " constraint to_self foreign key (self) references t (id) on delete set null)",
    "create index by_x on t (x)",
    "create table c (id {int} primary key, t {int}, constraint to_t foreign key (t)"
    " references t (id) on delete cascade)",
    "create table audit (n {int})",
    "create view v as select id, note from t where x < 100",
    "insert into t values (1, 1, null, 'one', 1.5), (2, 2, 1, 'two', 2.5), (3, 3, 2, 'x', 3.5)",
    "insert into c values (1, 1), (2, 3)",
)
TRIGGER = {
    "sqlite": ("create trigger ut after insert on t begin insert into audit values (new.id); end",),
    "mariadb": (
        "create trigger ut after insert on t for each row insert into audit values (new.id)",
    ),
    "postgresql": (
        "create function ut() returns trigger language plpgsql as"
        " $$begin insert into audit values (new.id); return null; end$$",
        "create trigger ut after insert on t for each row execute function ut()",
    ),
}


@pytest.fixture
def family(live: Live) -> Live:
    """A table with a parent, a child, a reference to itself, a view, an index and a trigger."""
    live.run(*(live.ddl(sql) for sql in FAMILY), *TRIGGER[live.kind])
    return live


def finish(change: SchemaChange) -> None:
    """Do what can be done next, until the old table is removed."""
    while True:
        status = change.status()
        if status is None or "run" in status.next_steps:
            change.run()
        elif status.run.state in ENDED:
            return
        else:
            getattr(change, status.next_steps[0])()


def without_column(catalog: list[str]) -> list[str]:
    """A catalog after the change as it was before."""
    cut = [line.replace(", q INTEGER DEFAULT 7", "") for line in catalog]
    return sorted(line for line in cut if " q bigint" not in line.replace('"', ""))


def same(one: list[str], other: list[str]) -> bool:
    def words(lines: list[str]) -> list[str]:
        return sorted(line.rstrip(",") for line in lines)

    return words(one) == words(other)


def test_abort_leaves_the_catalog_as_it_was(family: Live) -> None:
    before = family.catalog()
    for state in (State.COPYING, State.READY):
        change = family.change()
        change.run(until=state)
        change.abort()
        assert family.catalog() == before, state


def test_what_depends_on_the_table_works_as_before_after_the_switch(family: Live) -> None:
    before = family.catalog()
    change = family.change()
    change.run()
    change.switch()

    family.run("insert into t (id, p, self, note, x) values (4, 1, 3, 'four', 4.5)")
    assert family.run("select n from audit") == [(4,)]
    assert family.run("select id from v order by id") == [(1,), (2,), (3,), (4,)]
    for refused in (
        "insert into t (id, p) values (5, 9)",
        "insert into t (id, self) values (5, 9)",
        "insert into c values (3, 9)",
        "insert into t (id, note) values (5, 'one')",
        "insert into t (id, x) values (5, -1)",
        "delete from p where id = 1",
    ):
        with pytest.raises(sa.exc.DBAPIError):
            family.run(refused)
    family.run("delete from t where id = 3")
    assert family.run("select id from c") == [(1,)]
    family.run("delete from p where id = 3")

    change.sign_off()
    assert same(without_column(family.catalog()), before)


def test_revert_loses_no_later_write_and_leaves_the_catalog_as_it_was(family: Live) -> None:
    before = family.catalog()
    change = family.change()
    change.run()
    change.switch()
    family.run(
        "insert into t (id, note, q) values (4, '', 1)",
        "delete from c where t = 3",
        "update t set id = 30, note = null where id = 3",
        "delete from t where id = 2",
    )

    change.revert()

    found = family.run("select id, note, self from t order by id")
    assert found == [(1, "one", None), (4, "", None), (30, None, None)]
    family.run("insert into t (id) values (5)")
    assert family.run("select n from audit order by n") == [(4,), (5,)]
    assert same(family.catalog(), before)


def test_rows_and_their_parents_are_deleted_while_they_are_copied(family: Live) -> None:
    def delete(state: State, watermark: str) -> None:
        if state is State.DRAINED:
            family.run("delete from t where id = 3", "delete from p where id = 3")

    change = family.change(delete)
    change.run()
    family.run("delete from t where id = 2", "delete from p where id = 2")
    change.switch()
    family.run("delete from t where id = 1", "delete from p where id = 1")
    assert family.run("select count(*) from t") == [(0,)]


# --- kills -----------------------------------------------------------------------------------


class Killed:
    """Kills this process behind so many statements."""

    def __init__(self, statements: int):
        self.left = statements

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


REACHED = (
    State.PLANNED,
    State.SHADOW_READY,
    State.COPYING,
    State.DRAINED,
    State.READY,
    State.SWAPPING,
    State.SWAPPED,
    State.SOAK,
)


@pytest.mark.soak
def test_a_run_that_is_killed_in_any_state_is_resumed(live: Live) -> None:
    killed_in(live, REACHED)


def test_a_run_that_is_killed_is_resumed(live: Live) -> None:
    killed_in(live, (State.COPYING, State.SWAPPING))


def killed_in(live: Live, states: Sequence[State]) -> None:
    live.create(rows=180)
    before, rows = live.catalog(), live.rows()
    for state in states:

        def kill(found: State, watermark: str, state: State = state) -> None:
            if found is state and (state is not State.COPYING or watermark):
                os.kill(os.getpid(), signal.SIGKILL)

        def work(kill: Any = kill) -> None:
            finish(live.change(kill))

        assert in_child(live, work)
        change = live.change()
        stored = change.status()
        assert stored is not None
        assert stored.run.state is state
        finish(change)
        ended = change.status()
        assert ended is not None
        assert ended.run.copied_rows == 180  # Not a row was copied again.
        assert live.rows() == rows
        assert same(without_column(live.catalog()), before)
        live.run("alter table t drop column q", "delete from schema_change_run")


@pytest.mark.soak
def test_a_revert_that_is_killed_is_resumed(live: Live) -> None:
    live.create(rows=60)
    before, rows = live.catalog(), live.rows()
    for state in (State.REVERTING, State.TAKEN_BACK):

        def work(state: State = state) -> None:
            change = live.change(
                lambda found, _: os.kill(os.getpid(), signal.SIGKILL) if found is state else None
            )
            change.run()
            change.switch()
            change.revert()

        assert in_child(live, work)
        change = live.change()
        change.run()
        if "revert" in (found := change.status()).next_steps:  # type: ignore[union-attr]
            assert found
            change.revert()
        assert same(live.catalog(), before)
        assert live.rows() == rows


STEP = int(os.environ.get("KILL_STEP", "7"))
"""Between the statements at which a run is killed; 1 for all of them."""


def opened_to_be_killed(url: str, statements: int) -> Database:
    database = open_database(url)
    engine = database._engine
    sa.event.listen(engine, "before_cursor_execute", Killed(statements))
    return database


@pytest.mark.soak
@pytest.mark.parametrize("is_back", [False, True])
def test_a_run_that_is_killed_at_any_statement_is_resumed(family: Live, is_back: bool) -> None:
    before = family.catalog()
    rows = family.run("select * from t order by id")
    for statements in range(0, 2_000, STEP):

        def work(statements: int = statements) -> None:
            change = family.change(opened=lambda url: opened_to_be_killed(url, statements))
            if is_back:
                change.run()
                change.switch()
                change.revert()
            else:
                finish(change)

        was_killed = in_child(family, work)
        change = family.change()
        if is_back:
            status = change.status()
            if status is None or status.run.state is not State.REVERTED:
                change.run()
                status = change.status()
                assert status is not None
                if status.run.state is State.READY:
                    change.switch()
                if status.run.state in (State.READY, State.SOAK):
                    change.revert()
        else:
            finish(change)
        found = family.catalog() if is_back else without_column(family.catalog())
        assert same(found, before), statements
        assert family.run("select id, p, self, note, x from t order by id") == rows
        family.run("delete from schema_change_run")
        if not is_back:
            family.run("alter table t drop column q")
        if not was_killed:
            break
    else:
        pytest.fail("The run did not come to its end.")


@pytest.mark.parametrize("live", ["mariadb"], indirect=True)
@pytest.mark.parametrize(
    "statement", ["ALTER TABLE t__new ADD", soak("CREATE DEFINER"), soak("UNLOCK")]
)
def test_what_a_killed_switch_has_removed_is_there_again(family: Live, statement: str) -> None:
    """Names of triggers and keys are unique in MariaDB: for a moment no table has them."""
    before = family.catalog()
    family.change().run()

    def opened(url: str) -> Database:
        database = open_database(url)

        def kill(_c: object, _k: object, sql: str, *_: object) -> None:
            if sql.startswith(statement):
                os.kill(os.getpid(), signal.SIGKILL)

        sa.event.listen(database._engine, "before_cursor_execute", kill)
        return database

    assert in_child(family, family.change(opened=opened).switch)
    change = family.change()
    change.run()
    if statement == "UNLOCK":  # The server renames, or finds out first that nobody waits for it.
        finish(change)
        assert same(without_column(family.catalog()), before)
        return
    change.abort()
    assert family.catalog() == before


# --- refusals --------------------------------------------------------------------------------


def test_a_table_without_a_primary_key_is_refused(live: Live) -> None:
    live.run(live.ddl("create table t (a {int})"))
    with pytest.raises(PipelineError, match="t has no primary key"):
        live.change().run()


def test_names_that_are_taken_are_refused(live: Live) -> None:
    live.create()
    live.run(live.ddl("create table t__old (a {int} primary key)"))
    with pytest.raises(PipelineError, match="a table t__old exists"):
        live.change().run()
    with pytest.raises(PipelineError, match="it has a column V already"):
        live.change(column="V").run()
    with pytest.raises(PipelineError, match="There is no table absent"):
        live.change(table="absent").run()


def test_two_runs_at_a_table_are_refused(live: Live) -> None:
    live.create()
    first = live.change()
    first.run()
    live.opened.clear()
    with pytest.raises(PipelineError, match="Another run is at the schema change of t"):
        live.change().run()
    first.database.close()
    with pytest.raises(PipelineError, match="Another schema change of t is under way"):
        live.change(column="other").run()


def test_a_table_that_someone_else_changes_is_not_switched(live: Live) -> None:
    live.create(rows=10)
    change = live.change()
    change.run()
    live.run(live.ddl("alter table t add column other {int}"))
    with pytest.raises(PipelineError, match="t has been changed by someone else"):
        change.switch()
    status = change.status()
    assert status is not None
    assert status.run.state is State.READY
    change.abort()
    change = live.change()
    change.run()
    change.switch()
    assert len(live.run("select * from t")[0]) == 8


def test_what_a_state_does_not_allow_is_refused(live: Live) -> None:
    live.create()
    change = live.change()
    for step in (change.switch, change.sign_off, change.revert, change.abort):
        with pytest.raises(PipelineError, match="is not begun"):
            step()
    change.run()
    with pytest.raises(PipelineError, match="is ready; this needs: soak"):
        change.sign_off()
    change.switch()
    with pytest.raises(PipelineError, match="is soak"):
        change.abort()
