"""The warehouse, an SQLite file: loads, their receipts, and connections to read it.

All that is particular to SQLite stands here. A load replaces one table's rows in one
transaction: readers see the former rows or the new ones (write-ahead log), a failed load
leaves the former ones, and the load's receipt is committed with its rows. Triggers remove the
receipt when anyone else changes a row, so that the next run mends the table.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.declarations import Table
from config.warehouse import DIMENSIONS, TABLES
from tasks.errors import PipelineError
from tasks.freshness import Receipt, digest_of

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

_PREFIX = "sqlite:///"
_WAIT_MS = 3_600_000
"""How long a load waits for another program that writes."""

_SHORT_WAIT_S = 5

logger = logging.getLogger("luigi-interface")

_CACHE_KIB = 65_536
"""Page cache of a load, for the look-ups of its foreign keys."""

_EVENTS = ("INSERT", "UPDATE", "DELETE")

_BOOKKEEPING = """
CREATE TABLE IF NOT EXISTS load_receipt (
    table_name TEXT NOT NULL PRIMARY KEY,
    receipt TEXT NOT NULL,
    row_count INTEGER NOT NULL,
    loaded_at DATETIME NOT NULL
);
CREATE TABLE IF NOT EXISTS retained_member (
    table_name TEXT NOT NULL,
    member_key INTEGER NOT NULL,
    PRIMARY KEY (table_name, member_key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS data_dictionary (
    table_name TEXT NOT NULL,
    column_name TEXT NOT NULL,
    type TEXT NOT NULL,
    description TEXT NOT NULL,
    PRIMARY KEY (table_name, column_name)
);
"""


def database_path(url: str) -> Path:
    """The file behind a warehouse URL.

    Raises:
        PipelineError: The URL names no SQLite file.
    """
    if not url.startswith(_PREFIX) or url == _PREFIX or ":memory:" in url:
        scheme = url.partition(":")[0]
        raise PipelineError(
            f"warehouse_url: a file database of SQLite is needed, not {scheme}.",
            remedy="Give it as sqlite:///data_warehouse.db, or sqlite:////folder/file.db.",
        )
    return Path(url.removeprefix(_PREFIX))


def connect(url: str) -> sa.Engine:
    """An engine that reads the warehouse. Dispose of it when done."""
    import sqlalchemy as sa

    path = database_path(url).absolute()
    return sa.create_engine(
        "sqlite://",
        creator=lambda: _open_read_only(path),
        poolclass=sa.pool.NullPool,
    )


def _open_read_only(path: Path) -> sqlite3.Connection:
    # Not mode=ro: such a connection leaves its -wal and -shm files behind when it closes.
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=_SHORT_WAIT_S)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("SELECT 1 FROM sqlite_schema")
    except sqlite3.OperationalError as error:
        connection.close()
        if "unable to open" not in str(error) and "readonly" not in str(error):
            raise
        # In a folder that may not be written to nobody else writes either.
        return sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    return connection


# --- receipts --------------------------------------------------------------------------------


def load_receipt(url: str, table: str) -> Receipt | None:
    """The receipt of a table's last load; None if the table or the receipt is not there."""
    answers = _ask(
        url,
        f"SELECT receipt FROM load_receipt WHERE table_name = '{table}'",
        f"SELECT name FROM sqlite_schema WHERE tbl_name = '{table}' UNION ALL"
        f" SELECT column_name FROM data_dictionary WHERE table_name = '{table}'",
    )
    if answers is None:
        return None
    receipts, parts = answers
    whole = _parts(TABLES[table]) <= {name for (name,) in parts}
    return Receipt.from_json(receipts[0][0]) if receipts and whole else None


def _ask(url: str, *queries: str) -> list[list[tuple]] | None:
    """The answers of the warehouse; None if it is not there or lacks what is asked for."""
    path = database_path(url).absolute()
    if not path.exists():
        return None
    try:
        with closing(_open_read_only(path)) as connection:
            return [connection.execute(query).fetchall() for query in queries]
    except sqlite3.Error:
        return None  # If it is damaged, the load will tell.


def _parts(table: Table) -> set[str]:
    """What a loaded table has: itself, its triggers, its indexes, its dictionary."""
    return {
        table.name,
        *(f"{table.name}_{event}_voids_receipt" for event in _EVENTS),
        *(f"ix_{table.name}_{column}" for column in table.indexes),
        *(column.name for column in table.columns),
    }


def catalog_digest(url: str) -> str | None:
    """The digest of the warehouse's catalog, whoever made what is in it; None if there is none."""
    answers = _ask(url, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")
    return None if answers is None else digest_of(answers)


def forget_load(url: str, table: str) -> None:
    """Remove a load's receipt; its rows stay."""
    path = database_path(url)
    if path.exists():
        with _writing(path) as connection:
            connection.executescript(_BOOKKEEPING)
            connection.execute("DELETE FROM load_receipt WHERE table_name = ?", (table,))


# --- loading ---------------------------------------------------------------------------------


def replace_rows(
    url: str,
    table: Table,
    batches: Iterable[pa.RecordBatch],
    receipt: Receipt,
    before_commit: Callable[[], None] = lambda: None,
) -> int:
    """Replace all rows of a table, in one transaction with the receipt.

    Members of a dimension that the new rows lack stay while rows of other tables refer to them;
    the load that removes the last such reference removes them.

    Args:
        url: The warehouse.
        table: Declaration of the table.
        batches: Its rows, with columns as declared.
        receipt: What they were made from.
        before_commit: Called when all is loaded and checked; may raise. It must not open the
            database: closing any connection of Python's own SQLite would drop the locks of the
            one that loads.

    Returns:
        The number of rows loaded.

    Raises:
        PipelineError: The rows do not fit the table. The former ones then still stand.
    """
    import adbc_driver_sqlite.dbapi
    import pyarrow as pa

    path = database_path(url)
    _prepare(path)
    with (
        closing(adbc_driver_sqlite.dbapi.connect(str(path))) as connection,
        closing(connection.cursor()) as cursor,
    ):
        try:
            load = _Load(cursor, table)
            load.begin(receipt)
            load.make_table()
            load.set_aside()
            stored = (_as_stored(batch) for batch in batches)
            first = next(stored, None)
            if first is not None:
                reader = pa.RecordBatchReader.from_batches(first.schema, _chain(first, stored))
                cursor.adbc_ingest(table.name, reader, mode="append")
            rows = load.finish()
            before_commit()
            load.record(receipt, rows)
            connection.commit()
        except adbc_driver_sqlite.dbapi.Error as error:
            # On a full disk SQLite has rolled back by itself, and says so by an error.
            with contextlib.suppress(adbc_driver_sqlite.dbapi.Error):
                connection.rollback()
            raise PipelineError(
                f"{table.name} could not be loaded into {path}; the former rows stand.",
                [str(error)],
            ) from error
        except BaseException:
            with contextlib.suppress(adbc_driver_sqlite.dbapi.Error):
                connection.rollback()
            raise
    return rows


def watch(table: str) -> list[str]:
    """Statements that make any change of a table's rows void its receipt."""
    return [
        f"CREATE TRIGGER {table}_{event}_voids_receipt AFTER {event} ON {table}"
        f" BEGIN DELETE FROM load_receipt WHERE table_name = '{table}'; END"
        for event in _EVENTS
    ]


def unwatch(table: str) -> list[str]:
    """Statements that take these triggers away."""
    return [f"DROP TRIGGER IF EXISTS {table}_{event}_voids_receipt" for event in _EVENTS]


def _chain(first: pa.RecordBatch, others: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    yield first
    yield from others


def _as_stored(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Times as SQLAlchemy and SQLite's own functions write them, so that they compare as text."""
    import pyarrow as pa

    arrays = {
        field.name: column.cast(pa.timestamp("us")).cast(pa.string())
        if pa.types.is_timestamp(field.type)
        else column
        for field, column in zip(batch.schema, batch.columns, strict=True)
    }
    return pa.RecordBatch.from_pydict(arrays)


def _prepare(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _writing(path) as connection:
        # Readers keep seeing the former rows while a load is under way.
        connection.execute("PRAGMA journal_mode = WAL")
        there = connection.execute(
            "SELECT count(*) FROM sqlite_schema WHERE name IN (?, ?, ?)",
            ("load_receipt", "retained_member", "data_dictionary"),
        ).fetchone()
        if there != (3,):
            connection.executescript(_BOOKKEEPING)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of Python's SQLite that writes a little, and commits."""
    try:
        with closing(sqlite3.connect(path, timeout=_SHORT_WAIT_S)) as connection, connection:
            yield connection
    except sqlite3.Error as error:
        raise PipelineError(
            f"The warehouse {path} cannot be opened: {error}.",
            remedy="If another program writes to it, try again when it is done. If the file is "
            "damaged or no database, move it away and run again: all of it is made from the CSV "
            "files.",
        ) from error


class _Load:
    """The steps of one load, in one transaction of one cursor."""

    def __init__(self, cursor: Any, table: Table):
        from sqlalchemy.dialects import sqlite
        from sqlalchemy.schema import CreateIndex, CreateTable

        from tasks.star_schema import metadata

        self.cursor = cursor
        self.table = table
        self.columns = ", ".join(column.name for column in table.columns)
        declared = metadata().tables[table.name]
        dialect = sqlite.dialect()
        self.create_table = str(CreateTable(declared).compile(dialect=dialect)).strip()
        self.create_indexes = {
            str(index.name): str(CreateIndex(index).compile(dialect=dialect))
            for index in sorted(declared.indexes, key=lambda index: str(index.name))
        }

    def query(self, sql: str) -> list[tuple]:
        """Run a statement and fetch what it gives."""
        self.cursor.execute(sql)
        rows: list[tuple] = self.cursor.fetchall()
        return rows

    def begin(self, receipt: Receipt) -> None:
        """Take the write lock, by a first statement that writes; wait if another run has it."""
        from adbc_driver_sqlite.dbapi import Error

        self.query(f"PRAGMA cache_size = -{_CACHE_KIB}")
        first = f"DELETE FROM load_receipt WHERE table_name = '{self.table.name}'"
        try:
            self.query("PRAGMA busy_timeout = 0")
            self.query(first)
        except Error as error:
            if "locked" not in str(error):
                raise
            logger.warning("%s: another program writes to the warehouse; waiting", self.table.name)
            self.query(f"PRAGMA busy_timeout = {_WAIT_MS}")
            self.query(first)
        names = {name for (name,) in self.query("SELECT name FROM sqlite_schema")}
        self.tables = [name for name in TABLES if name in names]
        for name in self.tables:
            for statement in unwatch(name):
                self.query(statement)

    def make_table(self) -> None:
        """See that the table is there as declared; columns that someone added may stay."""
        if self.table.name in self.tables:
            if self._fits():
                return
            surplus = [name for name in self._live_columns() if name not in self._declared()]
            if surplus:
                raise PipelineError(
                    f"{self.table.name} is declared anew and has to be made again, but it has "
                    f"columns that are not declared: {', '.join(surplus)}.",
                    remedy="Declare them in config/warehouse.py, or drop them. "
                    "The former rows stand.",
                )
        else:
            self.tables.append(self.table.name)
            self.query(self.create_table)

    def _fits(self) -> bool:
        declared = self._declared()
        live = self._live_columns()
        return all(live.get(name) == shape for name, shape in declared.items()) and (
            set(live) != set(declared) or self._live_sql() == self.create_table
        )

    def _live_sql(self) -> str:
        (row,) = self.query(
            f"SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = '{self.table.name}'"
        )
        return str(row[0]).strip()

    def _live_columns(self) -> dict[str, tuple]:
        """Column -> type, NOT NULL, place in the primary key."""
        rows = self.query(f"PRAGMA table_info({self.table.name})")
        return {name: (kind, notnull, key) for _, name, kind, notnull, _, key in rows}

    def _declared(self) -> dict[str, tuple]:
        with closing(sqlite3.connect(":memory:")) as scratch:
            scratch.execute(self.create_table)
            rows = scratch.execute(f"PRAGMA table_info({self.table.name})").fetchall()
        return {name: (kind, notnull, key) for _, name, kind, notnull, _, key in rows}

    def set_aside(self) -> None:
        """Empty the table, keeping in `former` the members that other tables refer to."""
        name, key = self.table.name, self.table.primary_key
        references = " UNION ".join(
            f"SELECT {column} FROM {child.name}"
            for child in TABLES.values()
            for column, (parent, _) in child.references.items()
            if parent == name and child.name in self.tables
        )
        self.former = bool(references) and name in DIMENSIONS
        if self.former:
            self.query(
                f"CREATE TEMP TABLE former AS SELECT * FROM {name} WHERE {key} IN ({references})"
            )
        for index in self.create_indexes:
            self.query(f"DROP INDEX IF EXISTS {index}")
        if self._fits():
            self.query(f"DELETE FROM {name}")
        else:
            self.query(f"DROP TABLE {name}")
            self.query(self.create_table)

    def finish(self) -> int:
        """Put back what is still referred to, index, check; return the number of new rows."""
        name, key = self.table.name, self.table.primary_key
        ((rows,),) = self.query(f"SELECT count(*) FROM {name}")
        if self.former:
            lacking = f"FROM former WHERE {key} NOT IN (SELECT {key} FROM {name})"
            self.query(f"DELETE FROM retained_member WHERE table_name = '{name}'")
            self.query(f"INSERT INTO retained_member SELECT '{name}', {key} {lacking}")
            self.query(f"INSERT INTO {name} ({self.columns}) SELECT {self.columns} {lacking}")
            self.query("DROP TABLE former")
        self._drop_retained()
        for statement in self.create_indexes.values():
            self.query(statement)
        violations = self.query(f"PRAGMA foreign_key_check({name})")
        if violations:
            raise PipelineError(
                f"{name}: {len(violations):,} rows refer to rows that are not there; "
                "the former rows stand.",
                [f"row {row} refers to {parent}" for _, row, parent, _ in violations[:5]],
            )
        return int(rows)

    def _drop_retained(self) -> None:
        """Remove the retained members that no row refers to any more, children first."""
        for parent in reversed(DIMENSIONS.values()):
            if parent.name not in self.tables:
                continue
            mine = f"(SELECT member_key FROM retained_member WHERE table_name = '{parent.name}')"
            if self.query(f"SELECT count(*) FROM {mine}") == [(0,)]:
                continue
            free = " AND ".join(
                f"{parent.primary_key} NOT IN (SELECT {column} FROM {child.name})"
                for child in TABLES.values()
                for column, (name, _) in child.references.items()
                if name == parent.name and child.name in self.tables
            )
            self.query(f"DELETE FROM {parent.name} WHERE {parent.primary_key} IN {mine} AND {free}")
            self.query(
                f"DELETE FROM retained_member WHERE table_name = '{parent.name}'"
                f" AND member_key NOT IN (SELECT {parent.primary_key} FROM {parent.name})"
            )

    def record(self, receipt: Receipt, rows: int) -> None:
        """Write the receipt and the data dictionary, and watch for changes by others."""
        name = self.table.name
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        self.cursor.execute(
            "INSERT INTO load_receipt (table_name, receipt, row_count, loaded_at)"
            " VALUES (?, ?, ?, ?)",
            (name, receipt.to_json(), rows, now),
        )
        self.query(f"DELETE FROM data_dictionary WHERE table_name = '{name}'")
        entries = [("", "table", self.table.grain)]
        entries += [(c.name, c.type.value, c.description) for c in self.table.columns]
        for column, kind, description in entries:
            self.cursor.execute(
                "INSERT INTO data_dictionary VALUES (?, ?, ?, ?)", (name, column, kind, description)
            )
        for watched in self.tables:
            for statement in watch(watched):
                self.query(statement)
