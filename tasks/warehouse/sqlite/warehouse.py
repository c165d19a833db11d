"""The warehouse in an SQLite file, and reading it.

Rows are read through Python's SQLite and loaded through ADBC, which brings another copy of SQLite:
a connection of one is closed before the other opens the file, or locks would be dropped.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from config.bookkeeping import LOAD_RECEIPT, LoadReceipt
from config.declarations import Table
from config.warehouse import NO_TIME
from tasks.core.waiting import OTHERS, REPORTED_S, Limit
from tasks.warehouse.receipts import valid_receipts
from tasks.warehouse.sqlite.file import (
    BEGIN,
    CACHE_KIB,
    explained,
    is_absent_or_damaged,
    triggers,
    wait_for_lock,
)

if TYPE_CHECKING:
    import sqlalchemy as sa

    from tasks.warehouse.interface import Copy
    from tasks.warehouse.sqlite.transaction import SqliteTransaction


_Result = TypeVar("_Result")


class SqliteWarehouse:
    """A warehouse in a file.

    Args:
        path: The file.
        wait: How long to wait for other programs that use it.
    """

    def __init__(self, path: Path, wait: Limit = OTHERS):
        self._wait = wait
        self.file: Path | None = path
        self._path = path
        self.name = str(path)
        self.no_time = f"'{NO_TIME}'"

    def connect(self) -> sa.Connection:
        """A connection that cannot write."""
        return self._engine.connect()

    @functools.cached_property
    def _engine(self) -> sa.Engine:
        import sqlalchemy as sa

        # Without a pool no connection is open when a process is forked.
        return sa.create_engine("sqlite://", creator=self._reading, poolclass=sa.pool.NullPool)

    def exists(self) -> bool:
        """Whether the file exists."""
        return self._path.exists()

    def receipts(self) -> dict[tuple[str, str], LoadReceipt]:
        """Those of tables that have their triggers. Needs no SQLAlchemy."""
        results = self._read(
            f"SELECT {', '.join(LoadReceipt._fields)} FROM {LOAD_RECEIPT.name}",
            "SELECT tbl_name, name FROM sqlite_schema",
        )
        if results is None:
            return {}
        self._remove_unused_journal()
        receipts = [LoadReceipt(*row) for row in results[0]]
        return valid_receipts(receipts, set(results[1]), triggers)

    def missing_tables(self) -> list[str]:
        """Tables that were loaded and do not exist any more."""
        loaded = self._read(
            f"SELECT DISTINCT table_name FROM {LOAD_RECEIPT.name}"
            " WHERE table_name NOT IN (SELECT name FROM sqlite_schema)"
        )
        return [LOAD_RECEIPT.name] if loaded is None else [name for (name,) in loaded[0]]

    def changed_loads(self) -> list[tuple[str, str]] | None:
        """(table, partition) of the loads whose rows are no longer as they were loaded.

        Reads every row. None if there is no file, or if it is damaged beyond its rows.
        """
        from tasks.warehouse.sqlite.verify import is_sound, rows
        from tasks.warehouse.verify import changed_loads

        receipts = self.receipts().values()

        def find(connection: sqlite3.Connection) -> list[tuple[str, str]] | None:
            if not is_sound(connection):
                return None
            return changed_loads(lambda table: rows(connection, table), receipts)

        return self._ask(find)

    def forget(self, table: str, partitions: Iterable[str] | None = None) -> None:
        """Remove receipts of partitions, or all of a table, if the file has any."""
        if not self._path.exists():
            return
        own = f"DELETE FROM {LOAD_RECEIPT.name} WHERE table_name = ?"

        def remove(wait_s: float) -> None:
            with closing(sqlite3.connect(self._path, timeout=wait_s)) as connection, connection:
                connection.execute(BEGIN)
                if not connection.execute(f"PRAGMA table_info({LOAD_RECEIPT.name})").fetchall():
                    return
                if partitions is None:
                    connection.execute(own, (table,))
                else:
                    some = [(table, partition) for partition in partitions]
                    connection.executemany(f"{own} AND partition_name = ?", some)

        try:
            wait_for_lock(self._path, remove, self._wait)
        except sqlite3.Error as error:
            what = f"The warehouse {self._path} cannot be opened:"
            raise explained(what, self._path, error) from error

    def catalog_digest(self) -> str | None:
        """The digest of `sqlite_schema`; None if there is no database."""
        catalog = self._read("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2")
        return None if catalog is None else hashlib.sha256(json.dumps(catalog).encode()).hexdigest()

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

    def copying(
        self, call: Callable[..., Any], at_once: Callable[[], int]
    ) -> AbstractContextManager[Copy | None]:
        """None: a file has one writer."""
        return contextlib.nullcontext()

    def transaction(self, table: Table) -> AbstractContextManager[SqliteTransaction]:
        """A load of a table: committed at the end, or rolled back; waits for other writers.

        Readers see the previous rows meanwhile, but when facts are loaded for the first time.

        Raises:
            PipelineError: SQLite refuses something: why, and what to do.
        """
        from tasks.warehouse.sqlite.transaction import transaction

        return transaction(self._path, table, self._wait)

    def _remove_unused_journal(self) -> None:
        """Remove a journal that a killed load made and did not begin to write."""
        journal = Path(f"{self._path}-journal")
        if journal.exists():
            with (
                contextlib.suppress(sqlite3.Error, OSError),
                closing(sqlite3.connect(self._path, timeout=0)) as connection,
            ):
                # SQLite rolls back what a journal holds before it gives this lock; nobody else
                # has the file open for writing then.
                connection.execute(BEGIN)
                journal.unlink(missing_ok=True)

    def _reading(self) -> sqlite3.Connection:
        """A connection that sees the rows of one moment, and waits for nobody from then on."""
        return wait_for_lock(self._path, self._begin_reading, self._wait)

    def _begin_reading(self, wait_s: float) -> sqlite3.Connection:
        # Not mode=ro: such a connection leaves its -wal and -shm files behind when it closes.
        uri = self._path.absolute().as_uri()
        connection = sqlite3.connect(f"{uri}?mode=rw", uri=True, timeout=wait_s)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM sqlite_schema")
            # SQLAlchemy ends this transaction and begins others.
            connection.execute(f"PRAGMA busy_timeout = {int(REPORTED_S * 1000)}")
        except sqlite3.OperationalError as error:
            connection.close()
            if "unable to open" not in str(error) and "readonly" not in str(error):
                raise
            # In a folder that may not be written to nobody else writes either.
            return sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True)
        return connection

    def _read(self, *queries: str) -> list[list[tuple]] | None:
        """The rows of each query; None as for `_ask`."""
        return self._ask(
            lambda connection: [connection.execute(query).fetchall() for query in queries]
        )

    def _ask(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result | None:
        """What is read; None if a file or table does not exist, or the file is damaged."""
        if not self._path.exists():
            return None
        try:
            with closing(self._reading()) as connection:
                # Damaged text is found where it is compared.
                connection.text_factory = lambda text: text.decode(errors="surrogateescape")
                return work(connection)
        except UnicodeDecodeError:  # SQLite's message shows text of a damaged catalog.
            return None
        except sqlite3.Error as error:
            if is_absent_or_damaged(error):
                return None
            what = f"The warehouse {self._path} cannot be read:"
            raise explained(what, self._path, error) from error
