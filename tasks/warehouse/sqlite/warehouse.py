"""The warehouse in an SQLite file: reading it, beginning loads, explaining errors.

Rows are read through Python's SQLite and loaded through ADBC, which brings another copy of SQLite:
a connection of one is closed before the other opens the file, or locks would be dropped.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from config.declarations import Table
from config.warehouse import BOOKKEEPING, FACT_LOGS, LOAD_RECEIPT, TABLES
from tasks.core.errors import PipelineError, advice
from tasks.warehouse.receipts import LoadReceipt
from tasks.warehouse.sqlite.catalog import (
    Fetch,
    create_sql,
    fits,
    guards,
    index_names,
    shape,
    triggers,
)
from tasks.warehouse.sqlite.transaction import CACHE_KIB, WAIT_MS, SqliteTransaction

if TYPE_CHECKING:
    import sqlalchemy as sa

_SHORT_WAIT_S = 5

_PAGE_BYTES = 16_384
"""Page size of a new file; also what is written to find out whether there is room."""

_EARLIER_TABLES = ("log_tally", "loaded_part", "retained_member", LOAD_RECEIPT.name)
"""Bookkeeping of earlier versions, the receipts last: while they exist, the version is known."""

logger = logging.getLogger("pipeline")


class SqliteWarehouse:
    """A warehouse in a file."""

    def __init__(self, path: Path):
        self._path = path

    def engine(self) -> sa.Engine:
        """An engine that cannot write."""
        import sqlalchemy as sa

        return sa.create_engine("sqlite://", creator=self._reading, poolclass=sa.pool.NullPool)

    def receipts(self) -> dict[tuple[str, str], LoadReceipt]:
        """Those of tables that have their triggers and indexes. Needs no SQLAlchemy."""
        results = self._read(
            f"SELECT {', '.join(LoadReceipt._fields)} FROM {LOAD_RECEIPT.name}",
            "SELECT tbl_name, name FROM sqlite_schema",
        )
        if results is None:
            return {}
        receipts, catalog = [LoadReceipt(*row) for row in results[0]], set(results[1])
        whole = {
            name
            for name, table in TABLES.items()
            if guards(name) | {(name, index) for index in index_names(table)} <= catalog
        }
        found = {(r.table_name, r.partition): r for r in receipts if r.table_name in whole}
        facts = found.get((FACT_LOGS.name, ""))
        in_partitions = sum(r.row_count for r in found.values() if r.partition)
        if facts is not None and facts.row_count != in_partitions:
            del found[FACT_LOGS.name, ""]  # Someone removed or changed a receipt.
        return found

    def forget(self, table: str) -> None:
        """Remove receipts, if the file has any."""
        if self._path.exists():
            with _writing(self._path) as connection:
                if connection.execute(f"PRAGMA table_info({LOAD_RECEIPT.name})").fetchall():
                    connection.execute(
                        f"DELETE FROM {LOAD_RECEIPT.name} WHERE table_name = ?", (table,)
                    )

    def catalog_digest(self) -> str | None:
        """The digest of `sqlite_schema`; None if there is no database."""
        catalog = self._read("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2")
        return None if catalog is None else hashlib.sha256(json.dumps(catalog).encode()).hexdigest()

    def create_sql(self, connection: sa.Connection, table: str) -> str:
        """The statement that creates a table as it is in the database."""
        import sqlalchemy as sa

        query = sa.text("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = :name")
        return str(connection.scalar(query, {"name": table}) or "")

    def size_bytes(self, connection: sa.Connection, table: str) -> int | None:
        """Pages of a table and its indexes, counted; None if SQLite cannot say."""
        import sqlalchemy as sa

        query = sa.text(
            "SELECT sum(pgsize) FROM dbstat WHERE name IN"
            " (SELECT name FROM sqlite_schema WHERE tbl_name = :name)"
        )
        try:
            return connection.scalar(query, {"name": table})
        except sa.exc.DBAPIError:  # An SQLite built without dbstat.
            return None

    def triggers(self, table: str) -> dict[str, str]:
        """The triggers that invalidate a table's receipts: name -> CREATE statement."""
        return triggers(table)

    @contextlib.contextmanager
    def transaction(self, table: Table) -> Iterator[SqliteTransaction]:
        """Readers see the previous rows meanwhile, but when facts are loaded for the first time."""
        import adbc_driver_manager
        import adbc_driver_sqlite

        _prepare(self._path)
        try:
            with (
                closing(adbc_driver_sqlite.connect(str(self._path))) as database,
                closing(adbc_driver_manager.AdbcConnection(database)) as connection,
            ):
                try:
                    connection.set_autocommit(False)
                    transaction = SqliteTransaction(connection)
                    transaction.lock(table.name)
                    yield transaction
                    connection.commit()
                except BaseException:
                    # On a full disk SQLite has rolled back by itself, and says so by an error.
                    with contextlib.suppress(adbc_driver_manager.Error):
                        connection.rollback()
                    raise
        except adbc_driver_manager.Error as error:
            what = f"{table.name} could not be loaded into {self._path}; the previous rows stay."
            raise _explained(what, self._path, error) from error
        if table.name == FACT_LOGS.name:
            _use_write_ahead_log(self._path)

    def _reading(self) -> sqlite3.Connection:
        # Not mode=ro: such a connection leaves its -wal and -shm files behind when it closes.
        uri = self._path.absolute().as_uri()
        connection = sqlite3.connect(f"{uri}?mode=rw", uri=True, timeout=_SHORT_WAIT_S)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            connection.execute("SELECT 1 FROM sqlite_schema")
        except sqlite3.OperationalError as error:
            connection.close()
            if "unable to open" not in str(error) and "readonly" not in str(error):
                raise
            # In a folder that may not be written to nobody else writes either.
            return sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True)
        return connection

    def _read(self, *queries: str) -> list[list[tuple]] | None:
        """The rows of each query; None if the file or what is asked for does not exist."""
        if not self._path.exists():
            return None
        try:
            with closing(self._reading()) as connection:
                return [connection.execute(query).fetchall() for query in queries]
        except sqlite3.Error:
            return None  # If the file is damaged, the load reports it.


# --- the file --------------------------------------------------------------------------------


@contextlib.contextmanager
def _writing(path: Path, wait_s: float = _SHORT_WAIT_S) -> Iterator[sqlite3.Connection]:
    """A connection of Python's SQLite that writes a little, and commits."""
    try:
        with closing(sqlite3.connect(path, timeout=wait_s)) as connection, connection:
            yield connection
    except sqlite3.Error as error:
        raise _explained(f"The warehouse {path} cannot be opened:", path, error) from error


def _prepare(path: Path) -> None:
    """Create the file and the bookkeeping tables, in place of those of an earlier version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another run may be loading for the first time: then even reading has to wait.
    with _writing(path, WAIT_MS / 1000) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # Of a file that is new.

        def fetch(sql: str) -> list[tuple]:
            return connection.execute(sql).fetchall()

        if not _unfit_bookkeeping(fetch):
            return
        fetch("BEGIN IMMEDIATE")
        unfit = _unfit_bookkeeping(fetch)
        if LOAD_RECEIPT in unfit and shape(fetch, LOAD_RECEIPT.name)[0]:
            logger.info("%s is of an earlier version: every table is loaded again", path)
            triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE"
            for (name,) in fetch(f"{triggers} '%_voids_receipt'"):
                fetch(f"DROP TRIGGER {name}")
            for name in _EARLIER_TABLES:
                fetch(f"DROP TABLE IF EXISTS {name}")
        for table in unfit:
            fetch(f"DROP TABLE IF EXISTS {table.name}")
            fetch(create_sql(table))


def _unfit_bookkeeping(fetch: Fetch) -> list[Table]:
    return [table for table in BOOKKEEPING.values() if not fits(fetch, table)]


def _use_write_ahead_log(path: Path) -> None:
    """From now on readers see the previous rows during a load.

    Until facts have been loaded for the first time there is nothing to read beside a load, and
    without a write-ahead log every page is written once.
    """
    with _writing(path) as connection:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            # Someone else uses the database. The next load of facts tries again.


# --- errors ----------------------------------------------------------------------------------

_REMEDIES = {
    "locked": "Another program writes to it: try again when it is done.",
    "malformed": "The file is damaged: move it away and run again: all of it is made from the CSV "
    "files.",
    "not a database": "The file is damaged or no database: move it away and run again: all of it "
    "is made from the CSV files.",
}


def _explained(what: str, path: Path, error: Exception) -> PipelineError:
    """An error with its cause and remedy.

    To be called when all connections are closed: the file may be opened here, which drops locks.
    """
    message = str(error).partition("\nquery was:")[0]  # Which may be long, and hold any word.
    for words, remedy in _REMEDIES.items():
        if words in message:
            return PipelineError(what, [message], remedy)
    place, cause = _obstacle(path)
    if "disk is full" in message:  # It need not be any more.
        place, cause = path.parent, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if cause is None:
        return PipelineError(what, [message])
    return PipelineError(what, [message, f"{place}: {cause.strerror or cause}"], advice(cause))


def _obstacle(path: Path) -> tuple[Path, OSError | None]:
    """What the system says if the folder of the warehouse, or its file, is written to."""
    place = path.parent
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(bytes(_PAGE_BYTES))
        place = path
        if os.path.lexists(path):
            path.open("r+b").close()
    except OSError as error:
        return place, error
    return place, None
