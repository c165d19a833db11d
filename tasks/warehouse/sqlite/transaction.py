"""One load into an SQLite file, through ADBC."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import adbc_driver_manager
import adbc_driver_sqlite
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateColumn, CreateTable

from config.aggregates import AGGREGATES
from config.bookkeeping import ALL_TABLES, BOOKKEEPING, LOAD_RECEIPT, LOG_INSTANCE_ACTIVITY
from config.declarations import Table
from config.views import View
from config.warehouse import FACT_LOGS, NO_TIME, TABLES
from tasks.core.arrow import BATCH_ROWS
from tasks.core.files import create_database
from tasks.core.progress import Advance, no_progress
from tasks.core.waiting import REPORTED_S, Limit
from tasks.warehouse.adbc import AdbcTransaction
from tasks.warehouse.receipts import guarded_tables, guards
from tasks.warehouse.shapes import Shape
from tasks.warehouse.sqlite.file import (
    BEGIN,
    CACHE_KIB,
    PAGE_BYTES,
    UPDATE_CACHE_KIB,
    explained,
    is_locked,
    live_shape,
    triggers,
    wait_for_lock,
)
from tasks.warehouse.tables import metadata
from tasks.warehouse.views import view_query

_EARLIER_TABLES = ("log_tally", "loaded_part", "retained_member", LOAD_RECEIPT.name)
"""Bookkeeping of earlier versions, the receipts last: while they exist, the version is known."""

_OURS = "-- Made by the pipeline; each load of the facts makes it again."

logger = logging.getLogger("pipeline")


# --- beginning a load ------------------------------------------------------------------------


@contextlib.contextmanager
def transaction(path: Path, table: Table, wait: Limit) -> Iterator[SqliteTransaction]:
    """Begin a load of a table; commit it at the end, or roll it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    create_database(path)
    what = f"The warehouse {path} cannot be opened:"
    try:
        with (
            closing(adbc_driver_sqlite.connect(str(path))) as database,
            closing(adbc_driver_manager.AdbcConnection(database)) as connection,
        ):
            load = SqliteTransaction(connection)
            wait_for_lock(path, load.begin, wait)
            what = f"{table.name} could not be loaded into {path}; the previous rows stay."
            try:
                _prepare(path, load)
                yield load
                load.commit()
            except BaseException:
                # On a full disk SQLite has rolled back by itself, and says so by an error.
                with contextlib.suppress(adbc_driver_manager.Error):
                    load.run("ROLLBACK")
                raise
            what = f"The warehouse {path} cannot be changed to a write-ahead log:"
            if table.name == FACT_LOGS.name:
                _use_write_ahead_log(load)
    except adbc_driver_manager.Error as error:
        raise explained(what, path, error) from error


def _prepare(path: Path, load: SqliteTransaction) -> None:
    """Create the bookkeeping tables, in place of those of an earlier version.

    Raises:
        PipelineError: In a file that no load has written to, a table has the name of one of ours.
    """
    if not load.columns(LOAD_RECEIPT.name):
        for table in ALL_TABLES.values():
            found = live_shape(load.query, table.name)
            found.refuse(table.name, declared_shape(table), "file in warehouse_url")
    unfit = [table for table in BOOKKEEPING.values() if not load.fits(table)]
    if LOAD_RECEIPT in unfit and load.columns(LOAD_RECEIPT.name):
        logger.info("%s is of an earlier version: every table is loaded again", path)
        triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE"
        for (name,) in load.query(f"{triggers} '%_voids_receipt'"):
            load.run(f"DROP TRIGGER {name}")
        for name in _EARLIER_TABLES:
            load.run(f"DROP TABLE IF EXISTS {name}")
    for table in unfit:
        load.run(f"DROP TABLE IF EXISTS {table.name}")
        load.run(create_sql(table))


def _use_write_ahead_log(load: SqliteTransaction) -> None:
    """From now on readers see the previous rows during a load.

    Until facts have been loaded for the first time there is nothing to read beside a load, and
    without a write-ahead log every page is written once.
    """
    try:
        load.query(f"PRAGMA busy_timeout = {int(REPORTED_S * 1000)}")
        load.query("PRAGMA journal_mode = WAL")
    except adbc_driver_manager.Error as error:
        if not is_locked(error):
            raise
        # Someone else uses the database. The next load of facts tries again.


def create_sql(table: Table) -> str:
    """The statement that creates a table."""
    declared = metadata(table).tables[table.name]
    # Only a column whose type is INTEGER becomes the table's row id.
    sql = str(CreateTable(declared).compile(dialect=sqlite.dialect())).replace("BIGINT", "INTEGER")
    return sql.strip() + (" WITHOUT ROWID" if len(table.key_columns) > 1 else "")


def removal(table: Table, keys: str) -> str:
    """The statement that removes the rows whose keys a query finds."""
    # SQLite would read the whole table if the query itself had a UNION.
    found = f"SELECT * FROM ({keys})"
    return f"DELETE FROM {table.name} WHERE ({', '.join(table.key_columns)}) IN ({found})"


def declared_shape(table: Table) -> Shape:
    """A table as declared."""
    with closing(sqlite3.connect(":memory:")) as scratch:
        scratch.execute(create_sql(table))
        return live_shape(lambda sql: scratch.execute(sql).fetchall(), table.name)


# --- its steps -------------------------------------------------------------------------------


class SqliteTransaction(AdbcTransaction):
    """One transaction of one ADBC connection."""

    no_time = f"'{NO_TIME}'"
    read_options = {"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)}

    def begin(self, wait_s: float) -> None:
        """Begin the transaction; fail if another program uses the file for so many seconds."""
        self.query(f"PRAGMA busy_timeout = {int(wait_s * 1000)}")
        self.query(f"PRAGMA page_size = {PAGE_BYTES}")  # Of a file that is new.
        self.run(BEGIN)
        self.query(f"PRAGMA cache_size = -{CACHE_KIB}")
        self.query("PRAGMA threads = 2")

    def commit(self) -> None:
        """Commit; nothing waits, since `begin` took all locks."""
        self.run("COMMIT")

    def as_stored(self, batch: pa.RecordBatch, keys: Sequence[str]) -> pa.RecordBatch:
        """Times as SQLAlchemy and SQLite's functions write them, so that they compare as text."""
        columns = []
        for field, column in zip(batch.schema, batch.columns, strict=True):
            if pa.types.is_timestamp(field.type):
                text = column.cast(pa.timestamp("us")).cast(pa.string())
                column = pc.fill_null(text, NO_TIME) if field.name in keys else text
            columns.append(column)
        return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)

    def create_temporary(self, table: Table, rows: pa.Table) -> None:
        """Create a temporary table with these rows."""
        self.run(create_sql(table).replace("CREATE TABLE", "CREATE TEMPORARY TABLE", 1))
        self.append(table.name, rows.to_batches(), no_progress, temporary=True)

    def replace(self, table: Table, batches: Iterable[pa.RecordBatch], advance: Advance) -> None:
        """Put rows in the place of all rows of a table."""
        self.empty(table)
        self.append(table.name, batches, advance)

    def empty(self, table: Table) -> None:
        """Remove all rows."""
        self.run(f"DELETE FROM {table.name}")

    def remove(self, table: Table, keys: str) -> None:
        """Remove the rows whose keys a query finds."""
        self.run(removal(table, keys))

    def columns(self, table: str) -> list[str]:
        """In their order, in lower case: SQLite does not tell names apart by case."""
        names = self.query(f"SELECT lower(name) FROM pragma_table_info('{table}')")
        return [name for (name,) in names]

    def fits(self, table: Table) -> bool:
        """Whether a table has the declared columns, types and keys."""
        return live_shape(self.query, table.name).has(declared_shape(table))

    def create(self, table: Table) -> None:
        """Create a table; the indexes and triggers of others are created again."""
        own = triggers(table.name)
        of_earlier_versions = f"ix_{table.name}_"
        others = self.query(
            f"SELECT name, sql FROM sqlite_schema WHERE tbl_name = '{table.name}'"
            " AND type IN ('index', 'trigger') AND sql IS NOT NULL"
        )
        self.run(f"DROP TABLE IF EXISTS {table.name}")
        self.run(create_sql(table))
        for name, sql in others:
            if name not in own and not name.startswith(of_earlier_versions):
                self.run(sql)

    def add_column(self, table: Table, name: str) -> None:
        """Add a declared column that may be NULL; the rows stay."""
        column = metadata(table).tables[table.name].columns[name]
        sql = CreateColumn(column).compile(dialect=sqlite.dialect())
        self.run(f"ALTER TABLE {table.name} ADD COLUMN {sql}".replace("BIGINT", "INTEGER"))

    def create_view(self, view: View, alarms: Sequence[str]) -> None:
        """Create a view, in place of the one of its name."""
        self.run(f"DROP VIEW IF EXISTS {view.name}")
        self.run(f"CREATE VIEW {view.name} AS {_OURS}\n{view_query(view, alarms, _time)}")

    def is_taken(self, name: str) -> bool:
        """Whether a table or view of someone else has the name."""
        found = self.query(f"SELECT sql FROM sqlite_schema WHERE lower(name) = '{name}'")
        return any(_OURS not in sql for (sql,) in found)

    def prepare_updates(self) -> None:
        """Use a larger page cache: pages all over the table are changed."""
        self.query(f"PRAGMA cache_size = -{UPDATE_CACHE_KIB}")

    def any_missing(self, parent: str, key: str, values: Iterable[int]) -> bool:
        """Whether a table lacks a row for one of some keys."""
        missing = f"value NOT IN (SELECT {key} FROM {parent})"
        listed = json.dumps(list(values))
        return bool(self.query(f"SELECT 1 FROM json_each('{listed}') WHERE {missing} LIMIT 1"))

    def violations(self, table: str) -> list[str]:
        """The parent of each row that has none, by SQLite's own check, which reads every row."""
        return [parent for _, _, parent, _ in self.query(f"PRAGMA foreign_key_check({table})")]

    def is_guarded(self, table: str) -> bool:
        """Whether all triggers exist, and what is counted of the table."""
        return guards(table, triggers) <= set(
            self.query("SELECT tbl_name, name FROM sqlite_schema")
        )

    def drop_triggers(self) -> None:
        """Drop the triggers of all tables."""
        for name in (*TABLES, *AGGREGATES, LOG_INSTANCE_ACTIVITY.name):
            for trigger in triggers(name):
                self.run(f"DROP TRIGGER IF EXISTS {trigger}")

    def create_triggers(self, table: str) -> None:
        """Create the triggers of a table and of what is counted of it."""
        for on in guarded_tables(table):
            for sql in triggers(on).values():
                self.run(sql)

    def used_bytes(self) -> int:
        """The pages in use."""
        pages, free, size = (
            self.query(f"PRAGMA {name}")[0][0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)


def _time(column: str, is_nullable: bool) -> str:
    """A time as a view has it: without zero fractions, NULL where there is none."""
    text = f"replace({column}, '.000000', '')"
    return f"nullif({text}, '{NO_TIME}')" if is_nullable else text
