"""The warehouse in an SQLite file, and reading it.

Rows are read through Python's SQLite and loaded through ADBC, which brings another copy of SQLite:
a connection of one is closed before the other opens the file, or locks would be dropped.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sqlite3
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING

from config.declarations import Table
from config.warehouse import FACT_LOGS, LOAD_RECEIPT, TABLES, LoadReceipt
from tasks.warehouse.sqlite.file import (
    CACHE_KIB,
    SHORT_WAIT_S,
    guards,
    index_names,
    triggers,
    writing,
)

if TYPE_CHECKING:
    import sqlalchemy as sa

    from tasks.warehouse.sqlite.transaction import SqliteTransaction


class SqliteWarehouse:
    """A warehouse in a file."""

    def __init__(self, path: Path):
        self._path = path

    def connect(self) -> sa.Connection:
        """A connection that cannot write."""
        return self._engine.connect()

    @functools.cached_property
    def _engine(self) -> sa.Engine:
        import sqlalchemy as sa

        # Without a pool no connection is open when a process is forked.
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
            with writing(self._path) as connection:
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

    def transaction(self, table: Table) -> AbstractContextManager[SqliteTransaction]:
        """A load of a table: committed at the end, or rolled back; waits for other writers.

        Readers see the previous rows meanwhile, but when facts are loaded for the first time.

        Raises:
            PipelineError: SQLite refuses something: why, and what to do.
        """
        from tasks.warehouse.sqlite.transaction import transaction

        return transaction(self._path, table)

    def _reading(self) -> sqlite3.Connection:
        # Not mode=ro: such a connection leaves its -wal and -shm files behind when it closes.
        uri = self._path.absolute().as_uri()
        connection = sqlite3.connect(f"{uri}?mode=rw", uri=True, timeout=SHORT_WAIT_S)
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
