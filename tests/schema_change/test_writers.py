"""What is written while a table is changed, on all databases, against a ledger of the writers."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks.schema_change.machine import SchemaChange
from tasks.schema_change.rehearsal import PASSED
from tasks.schema_change.runs import State
from tests.schema_change.live import Live, writing
from tests.schema_change.test_rehearsal import rehearsed


def modes(live: Live) -> tuple[str, ...]:
    """The isolation of the writers; SQLite has one."""
    return ("", "") if live.kind == "sqlite" else ("", "READ COMMITTED", "REPEATABLE READ")


def test_no_write_is_lost_until_the_switch_and_after_a_revert(live: Live) -> None:
    live.create(rows=1_500)
    change = live.change(lambda state, watermark: time.sleep(0.01))

    with writing(live, *modes(live)) as ledger:
        change.run()
        change.switch()
        time.sleep(0.2)
    assert live.rows() == ledger
    assert {values for (values,) in live.run("select distinct q from t")} == {7}

    with writing(live, *modes(live)) as ledger:
        time.sleep(0.2)
        change.revert()
        time.sleep(0.1)
    assert live.rows() == ledger
    status = change.status()
    assert status is not None
    assert status.run.state is State.REVERTED


@pytest.mark.soak
@pytest.mark.parametrize("attempt", range(5))
def test_no_write_is_lost_again_and_again(live: Live, attempt: int) -> None:
    live.create(rows=3_000)
    change = live.change()
    with writing(live, *modes(live), *modes(live)) as ledger:
        change.run()
        change.switch()
        time.sleep(0.3)
        change.revert()
    assert live.rows() == ledger


def test_a_snapshot_from_before_the_switch_writes_nothing_silently(live: Live) -> None:
    """What was applied last is not in the snapshot: a deletion would find no row."""
    if live.kind != "postgresql":
        pytest.skip("Writes of other databases see the rows that are committed")
    live.create(rows=10)
    change = live.change()
    change.run()
    with live.new_engine().connect() as early:
        early.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ")
        early.exec_driver_sql("select 1 from pg_class")
        live.run("insert into t (a, b) values (1, 'late')")
        switching = threading.Thread(target=change.switch)
        switching.start()
        while not live.run("select 1 from pg_class where relname = 't__old'"):
            time.sleep(0.05)
        with pytest.raises(sa.exc.DBAPIError, match="could not serialize"):
            early.exec_driver_sql("delete from t where b = 'late'")
        early.exec_driver_sql("ROLLBACK")
        switching.join()
    live.run("delete from t where b = 'late'")
    change.revert()
    assert live.run("select count(*) from t where b = 'late'") == [(0,)]


def test_a_connection_that_is_closed_in_a_rehearsal_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = Live(f"sqlite:///{tmp_path / 'live.db'}")
    live.run("pragma journal_mode = wal")
    live.create(rows=50)

    def follow(change: SchemaChange, _: object) -> None:
        for _ in range(5):  # The last one of a process removes the log, if it knows no others.
            change.database.close()
            time.sleep(0.1)
            change.database.count("t")

    monkeypatch.setattr(SchemaChange, "follow", follow)
    result = rehearsed(live)
    assert result["verdict"] == PASSED, result["problems"]
