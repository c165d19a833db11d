"""One load into an SQLite file, through ADBC."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from config.declarations import UNKNOWN, Table, Type
from config.views import Computed, View, declared_column
from config.warehouse import FACT_LOGS, NO_TIME, TABLES
from tasks.core.arrow import BATCH_ROWS
from tasks.core.files import create_database
from tasks.core.progress import Advance, no_progress
from tasks.core.text import spellings
from tasks.core.waiting import REPORTED_S, Limit
from tasks.warehouse.sqlite.file import (
    BEGIN,
    CACHE_KIB,
    PAGE_BYTES,
    UPDATE_CACHE_KIB,
    Fetch,
    explained,
    guarded_tables,
    guards,
    is_locked,
    shape,
    triggers,
    wait_for_lock,
)
from tasks.warehouse.tables import metadata

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
    """Create the bookkeeping tables, in place of those of an earlier version."""
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


def fits(fetch: Fetch, table: Table) -> bool:
    """Whether a table has the declared columns, types and keys; others may have added columns."""
    with closing(sqlite3.connect(":memory:")) as scratch:
        scratch.execute(create_sql(table))
        declared, references = shape(lambda sql: scratch.execute(sql).fetchall(), table.name)
    live, live_references = shape(fetch, table.name)
    same = all(live.get(name) == column for name, column in declared.items())
    return same and references <= live_references


# --- its steps -------------------------------------------------------------------------------


class SqliteTransaction:
    """One transaction of one ADBC connection."""

    def __init__(self, connection: adbc_driver_manager.AdbcConnection):
        self._connection = connection

    def query(self, sql: str) -> list[tuple]:
        """The rows, of types that Arrow finds."""
        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
            statement.set_sql_query(sql)
            handle, _ = statement.execute_query()
            with pa.RecordBatchReader._import_from_c(handle.address) as reader:
                columns = reader.read_all().to_pydict().values()
        return list(zip(*columns, strict=True))

    def read(self, sql: str) -> Iterator[pa.RecordBatch]:
        """The rows, in batches; each is read while the one before is used.

        A column is of the type that Arrow finds in its first rows.
        """
        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
            statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)})
            statement.set_sql_query(sql)
            handle, _ = statement.execute_query()
            with pa.RecordBatchReader._import_from_c(handle.address) as reader:
                yield from _ahead(reader, no_progress)

    def run(self, sql: str) -> None:
        """Run a statement that returns nothing."""
        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
            statement.set_sql_query(sql)
            statement.execute_update()

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

    def append(self, table: str, batches: Iterable[pa.RecordBatch], advance: Advance) -> None:
        """Add rows by ADBC's bulk insert."""
        keys = ALL_TABLES[table].key_columns
        stored = _ahead((_as_stored(batch, keys) for batch in batches), advance)
        first = next(stored, None)
        if first is None:
            return
        options = {
            "adbc.ingest.target_table": table,
            "adbc.ingest.mode": "adbc.ingest.mode.append",
        }
        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
            statement.set_options(**options)
            rows = itertools.chain([first], stored)
            statement.bind_stream(pa.RecordBatchReader.from_batches(first.schema, rows))
            statement.execute_update()

    def append_temporary(self, table: str, rows: pa.Table) -> None:
        """Add rows to a temporary table."""
        options = {
            "adbc.ingest.target_table": table,
            "adbc.ingest.mode": "adbc.ingest.mode.append",
            "adbc.ingest.temporary": "true",
        }
        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
            statement.set_options(**options)
            statement.bind_stream(rows.to_reader())
            statement.execute_update()

    def columns(self, table: str) -> list[str]:
        """In their order, in lower case: SQLite does not tell names apart by case."""
        names = self.query(f"SELECT lower(name) FROM pragma_table_info('{table}')")
        return [name for (name,) in names]

    def fits(self, table: Table) -> bool:
        """Whether a table has the declared columns, types and keys."""
        return fits(self.query, table)

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
        """Create a view, in place of the one of its name.

        Args:
            view: The view.
            alarms: Statuses that are alarms, in any case.
        """
        columns = ", ".join(map(_view_column, view.columns))
        quoted = ("'{}'".format(word.replace("'", "''")) for word in sorted(spellings(alarms)))
        source = view.source.format(alarms=", ".join(quoted), unknown=UNKNOWN)
        self.run(f"DROP VIEW IF EXISTS {view.name}")
        self.run(f"CREATE VIEW {view.name} AS {_OURS}\nSELECT {columns}\nFROM {source}")

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
        return guards(table) <= set(self.query("SELECT tbl_name, name FROM sqlite_schema"))

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


def _view_column(column: str | Computed) -> str:
    """A column as a view selects it: times without zero fractions, NULL where there is none."""
    if isinstance(column, Computed):
        return f"{column.sql} AS {column.column.name}"
    declared = declared_column(column)
    if declared.type is not Type.TIMESTAMP:
        return column
    text = f"replace({column}, '.000000', '')"
    if declared.nullable:
        text = f"nullif({text}, '{NO_TIME}')"
    return f"{text} AS {declared.name}"


def _ahead(batches: Iterable[pa.RecordBatch], advance: Advance) -> Iterator[pa.RecordBatch]:
    """The same batches, each made while the one before is used.

    Args:
        batches: The batches.
        advance: Called with the rows of each when the next one is asked for. Here, since another
            generator around this one would keep another batch in memory.
    """
    source = iter(batches)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, source, None)
        while (batch := following.result()) is not None:
            following = pool.submit(next, source, None)
            yield batch
            advance(len(batch), len(batch))


def _as_stored(batch: pa.RecordBatch, keys: Sequence[str]) -> pa.RecordBatch:
    """Times as SQLAlchemy and SQLite's own functions write them, so that they compare as text."""
    columns = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if pa.types.is_timestamp(field.type):
            text = column.cast(pa.timestamp("us")).cast(pa.string())
            column = pc.fill_null(text, NO_TIME) if field.name in keys else text
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
