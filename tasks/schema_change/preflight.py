"""What a server can do by itself, tried on a copy, and what could be in the way of a change."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from tasks.core.text import displayed_size
from tasks.schema_change import runs
from tasks.schema_change.change import AddColumn, Names
from tasks.schema_change.interface import Database
from tasks.schema_change.live import LiveTable

CATALOG, ONLINE, COPIES, REFUSED = "catalog", "online", "copies", "refused"
"""What ALTER TABLE does: changes the catalog alone; reads or writes all rows while others write;
writes all rows while others wait; fails."""


@dataclass(frozen=True)
class Native:
    """What ALTER TABLE does on a copy of the table.

    Attributes:
        way: CATALOG, ONLINE, COPIES or REFUSED.
        seen: By what that was seen.
    """

    way: str
    seen: str


def try_natively(copy: Database, change: AddColumn) -> Native:
    """What ALTER TABLE does on a copy; the copy is as before afterwards."""
    try:
        return _TRIED[copy.kind](copy, change)
    except sa.exc.DBAPIError as error:
        return Native(REFUSED, str(error.orig or error).strip())


def _alter(copy: Database, change: AddColumn) -> str:
    clause = change.clause(copy.connection.dialect)
    return f"ALTER TABLE {copy.quote(change.table)} ADD COLUMN {clause}"


def _try_sqlite(copy: Database, change: AddColumn) -> Native:
    copy.run("BEGIN IMMEDIATE")
    try:
        copy.run(_alter(copy, change))
    finally:
        copy.run("ROLLBACK")
    return Native(CATALOG, "SQLite took it on an empty copy; it rewrites no row for ADD COLUMN.")


def _try_postgresql(copy: Database, change: AddColumn) -> Native:
    query = "SELECT relfilenode FROM pg_class WHERE oid = CAST(:t AS regclass)"
    table = copy.quote(change.table)
    copy.run("BEGIN")
    try:
        before = copy.fetch(query, t=table)
        copy.run(_alter(copy, change))
        same = copy.fetch(query, t=table) == before
    finally:
        copy.run("ROLLBACK")
    seen = "The table's file (relfilenode) "
    return Native(CATALOG, f"{seen}stayed.") if same else Native(COPIES, f"{seen}was replaced.")


def _try_mariadb(copy: Database, change: AddColumn) -> Native:
    ways = {"INSTANT": CATALOG, "NOCOPY": ONLINE, "INPLACE": ONLINE, "COPY": COPIES}
    for algorithm, way in ways.items():
        lock = ", LOCK=NONE" if way == ONLINE else ""
        try:
            copy.run(f"{_alter(copy, change)}, ALGORITHM={algorithm}{lock}")
        except sa.exc.DBAPIError:
            if algorithm == "COPY":
                raise
            continue
        table, column = copy.quote(change.table), copy.quote(change.column)
        copy.run(f"ALTER TABLE {table} DROP COLUMN {column}")
        return Native(way, f"MariaDB took ALGORITHM={algorithm}{lock} on a copy.")
    raise AssertionError


_TRIED: dict[str, Callable[[Database, AddColumn], Native]] = {
    "SQLite": _try_sqlite,
    "PostgreSQL": _try_postgresql,
    "MariaDB": _try_mariadb,
}


# --- what could be in the way ----------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """A question before a change.

    Attributes:
        is_ok: None if the answer is for a person to judge.
    """

    what: str
    answer: str
    is_ok: bool | None


def check(live: Database, table: LiveTable, change: AddColumn) -> list[Check]:
    """The questions, with their present answers."""
    names = Names(change.table)
    left = [name for name in (names.shadow, names.old, names.log) if live.exists(name)]
    run = runs.load(live.connection, change.table)
    busy = f"{run.change.column} is {run.state}" if run and run.state not in runs.ENDED else ""
    is_new = not table.has(change.column)
    obstacles = live.obstacles(table)
    own, others = len(table.references), len(table.referred_by)
    return [
        Check("The table has no such column", _yes(is_new), is_new),
        Check("No other change of the table is under way", busy or "yes", not busy),
        Check("Nothing is left of an earlier change", ", ".join(left) or "yes", not left),
        Check("A shadow can take its place", "; ".join(obstacles) or "yes", not obstacles),
        Check("Foreign keys", f"{own} of this table, {others} that refer to it", None),
        *_CHECKS[live.kind](live, change, live.size_bytes(change.table)),
    ]


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _check_sqlite(live: Database, change: AddColumn, size: int | None) -> Iterator[Check]:
    folder = Path(live.url.database or "").absolute().parent
    free = shutil.disk_usage(folder).free
    is_enough = None if size is None else free > 3 * size
    # The shadow, and the journal of the copy.
    yield Check(
        "Disk space for a shadow and the journal, three times the table",
        f"the table: {displayed_size(size)}; free: {displayed_size(free)}",
        is_enough,
    )
    mode = live.run("PRAGMA journal_mode").scalar_one()
    note = "" if mode == "wal" else ": readers wait while a chunk is committed"
    yield Check("Journal", f"{mode}{note}", None)


def _check_postgresql(live: Database, change: AddColumn, size: int | None) -> Iterator[Check]:
    yield _disk(size)
    ((owns, makes, scratches),) = live.fetch(
        "SELECT pg_has_role(relowner, 'USAGE'), has_schema_privilege(relnamespace, 'CREATE'),"
        " has_database_privilege(current_database(), 'CREATE') FROM pg_class"
        " WHERE oid = CAST(:t AS regclass)",
        t=live.quote(change.table),
    )
    yield Check("Privilege: owner of the table", _yes(owns), owns)
    yield Check("Privilege: CREATE in the schema, for shadow and log", _yes(makes), makes)
    yield Check("Privilege: CREATE in the database, for rehearsals", _yes(scratches), scratches)
    ((long,),) = live.fetch(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND xact_start < now() - interval '1 second'"
    )
    yield Check("No transaction is open for more than a second", f"{long} are", long == 0)


def _check_mariadb(live: Database, change: AddColumn, size: int | None) -> Iterator[Check]:
    yield _disk(size)
    grants = " ".join(str(row[0]) for row in live.run("SHOW GRANTS"))
    needed = ("SELECT", "INSERT", "DELETE", "CREATE", "DROP", "ALTER", "TRIGGER", "LOCK TABLES")
    missing = [p for p in needed if p not in grants and "ALL PRIVILEGES" not in grants]
    yield Check(
        "Privileges", ", ".join(missing) + " are missing" if missing else "yes", not missing
    )
    log, trusts = live.run("SELECT @@log_bin, @@log_bin_trust_function_creators").one()
    may = bool(trusts) or not log or "ALL PRIVILEGES ON *.*" in grants or "SUPER" in grants
    yield Check("Triggers can be created while a binary log is written", _yes(may), may)
    if "PROCESS" not in grants and "ALL PRIVILEGES ON *.*" not in grants:
        what = "Long transactions, and TRUNCATE TABLE in the course of S2, can be seen"
        yield Check(what, "no, they need the privilege PROCESS: see that there are none", None)
        return
    ((long,),) = live.fetch(
        "SELECT count(*) FROM information_schema.innodb_trx"
        " WHERE trx_started < now() - INTERVAL 1 SECOND"
    )
    yield Check("No transaction is open for more than a second", f"{long} are", long == 0)


def _disk(size: int | None) -> Check:
    needed = f"needed: {displayed_size(size)}; the server does not say what is free"
    return Check("Disk space for a second table", needed, None)


_CHECKS: dict[str, Callable[[Database, AddColumn, int | None], Iterator[Check]]] = {
    "SQLite": _check_sqlite,
    "PostgreSQL": _check_postgresql,
    "MariaDB": _check_mariadb,
}
