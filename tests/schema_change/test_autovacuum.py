"""PostgreSQL: autovacuum at a table keeps no change from its locks."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from config.declarations import Type
from tasks.schema_change.change import AddColumn
from tasks.schema_change.machine import SchemaChange, add_natively
from tasks.schema_change.open import open_database
from tests.schema_change.live import Live
from tests.servers import Server

SLOW = (
    "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 0,"
    " autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"
)
AT_WORK = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'autovacuum: VACUUM%big%'"


@pytest.fixture
def busy(postgresql: str, postgresql_server: Server) -> Iterator[Live]:
    """A table that autovacuum is at, for minutes unless it makes way."""
    live = Live(postgresql)
    postgresql_server.execute("ALTER SYSTEM SET autovacuum_naptime = 1", "SELECT pg_reload_conf()")
    live.run(
        "CREATE TABLE big (id bigint PRIMARY KEY, v text)",
        f"ALTER TABLE big SET ({SLOW})",
        "INSERT INTO big SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n",
        "UPDATE big SET v = v || 'y'",
    )
    wait_for_autovacuum(live)
    yield live
    postgresql_server.execute("ALTER SYSTEM RESET autovacuum_naptime", "SELECT pg_reload_conf()")
    live.close()


def wait_for_autovacuum(live: Live) -> None:
    until = time.monotonic() + 60
    while live.run(AT_WORK) == [(0,)]:
        assert time.monotonic() < until, "autovacuum does not begin"
        time.sleep(0.1)


def test_a_change_takes_its_locks_from_autovacuum(busy: Live) -> None:
    database = open_database(busy.url)
    change = SchemaChange(database, AddColumn("big", "quality", Type.INTEGER))
    change.run()
    wait_for_autovacuum(busy)
    change.switch()
    assert change.measured.retries.get("locked", 0) <= 1
    change.sign_off()
    database.close()
    assert busy.run("SELECT count(*), count(quality) FROM big") == [(20_000, 0)]


def test_alter_table_takes_its_lock_from_autovacuum(busy: Live) -> None:
    database = open_database(busy.url)
    measured = add_natively(database, AddColumn("big", "quality", Type.INTEGER))
    database.close()
    assert measured.retries == {}
