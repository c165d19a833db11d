"""One load into an SQLite file, through ADBC."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

from config.declarations import Table
from config.warehouse import LOAD_RECEIPT, LOG_INSTANCE_ACTIVITY, TABLES
from tasks.core.progress import Advance
from tasks.warehouse.sqlite.catalog import (
    create_sql,
    fits,
    guarded_tables,
    guards,
    index_names,
    triggers,
)

if TYPE_CHECKING:
    import adbc_driver_manager
    import pyarrow as pa

WAIT_MS = 3_600_000
"""How long a load waits for another program that writes."""

CACHE_KIB = 65_536
"""Page cache where pages are asked for in no order: reading, and keeping indexes up to date."""

_SORT_KIB = 4_096
"""Page cache where rows are appended; also how much is sorted at a time for an index, which is
the faster the better it fits the processor's own cache."""

logger = logging.getLogger("pipeline")


class SqliteTransaction:
    """One transaction of one ADBC connection."""

    def __init__(self, connection: adbc_driver_manager.AdbcConnection):
        self._connection = connection

    def query(self, sql: str) -> list[tuple]:
        """The rows, of types that Arrow finds."""
        import adbc_driver_manager
        import pyarrow as pa

        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
            statement.set_sql_query(sql)
            handle, _ = statement.execute_query()
            with pa.RecordBatchReader._import_from_c(handle.address) as reader:
                columns = reader.read_all().to_pydict().values()
        return list(zip(*columns, strict=True))

    def run(self, sql: str) -> None:
        """Run a statement that returns nothing."""
        import adbc_driver_manager

        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
            statement.set_sql_query(sql)
            statement.execute_update()

    def lock(self, table: str) -> None:
        """Take the write lock, by a first statement that writes; wait if another run has it."""
        from adbc_driver_manager import Error

        # What reads the catalog, as this does, waits for another run's first load.
        self.query(f"PRAGMA busy_timeout = {WAIT_MS}")
        self.query(f"PRAGMA cache_size = -{_SORT_KIB}")
        self.query("PRAGMA threads = 2")
        first = f"UPDATE {LOAD_RECEIPT.name} SET receipt = '' WHERE table_name = ''"
        try:
            self.query("PRAGMA busy_timeout = 0")
            self.run(first)
        except Error as error:
            if "locked" not in str(error):
                raise
            logger.warning("%s: another program writes to the warehouse; waiting", table)
            self.query(f"PRAGMA busy_timeout = {WAIT_MS}")
            self.run(first)
        # The commit waits for readers.
        self.query(f"PRAGMA busy_timeout = {WAIT_MS}")

    def append(self, table: str, batches: Iterable[pa.RecordBatch], advance: Advance) -> None:
        """Add rows by ADBC's bulk insert."""
        import adbc_driver_manager
        import pyarrow as pa

        stored = _ahead((_as_stored(batch) for batch in batches), advance)
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

    def columns(self, table: str) -> list[str]:
        """In their order."""
        return [name for (name,) in self.query(f"SELECT name FROM pragma_table_info('{table}')")]

    def fits(self, table: Table) -> bool:
        """Whether a table has the declared columns, types and keys."""
        return fits(self.query, table)

    def create(self, table: Table) -> None:
        """Create a table; the indexes and triggers of others are created again."""
        own = [*index_names(table), *triggers(table.name)]
        others = self.query(
            f"SELECT name, sql FROM sqlite_schema WHERE tbl_name = '{table.name}'"
            " AND type IN ('index', 'trigger') AND sql IS NOT NULL"
        )
        self.run(f"DROP TABLE IF EXISTS {table.name}")
        self.run(create_sql(table))
        for name, sql in others:
            if name not in own:
                self.run(sql)

    def missing_indexes(self, table: Table) -> list[str]:
        """The declared indexes that do not exist."""
        existing = {name for (name,) in self.query("SELECT name FROM sqlite_schema")}
        return [name for name in index_names(table) if name not in existing]

    def create_index(self, table: Table, name: str) -> None:
        """Create a declared index."""
        column = name.removeprefix(f"ix_{table.name}_")
        self.run(f"CREATE INDEX {name} ON {table.name} ({column})")

    def drop_indexes(self, table: Table) -> None:
        """Drop the declared indexes."""
        for name in index_names(table):
            self.run(f"DROP INDEX IF EXISTS {name}")

    def keep_indexes(self) -> None:
        """Have a cache for pages in no order."""
        self.query(f"PRAGMA cache_size = -{CACHE_KIB}")

    def any_missing(self, parent: str, key: str, values: Iterable[int]) -> bool:
        """Whether a table lacks a row for one of some keys."""
        missing = f"value NOT IN (SELECT {key} FROM {parent})"
        listed = json.dumps(list(values))
        return bool(self.query(f"SELECT 1 FROM json_each('{listed}') WHERE {missing} LIMIT 1"))

    def violations(self, table: str) -> list[tuple[int, str]]:
        """By SQLite's own check, which looks at every row."""
        rows = self.query(f"PRAGMA foreign_key_check({table})")
        return [(row, parent) for _, row, parent, _ in rows]

    def is_guarded(self, table: str) -> bool:
        """Whether all triggers exist, and what is counted of the table."""
        return guards(table) <= set(self.query("SELECT tbl_name, name FROM sqlite_schema"))

    def drop_triggers(self) -> None:
        """Drop the triggers of all tables."""
        for name in (*TABLES, LOG_INSTANCE_ACTIVITY.name):
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


def _ahead(batches: Iterable[pa.RecordBatch], advance: Advance) -> Iterator[pa.RecordBatch]:
    """The same batches, each made while the one before is being loaded.

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


def _as_stored(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Times as SQLAlchemy and SQLite's own functions write them, so that they compare as text."""
    import pyarrow as pa

    columns = [
        column.cast(pa.timestamp("us")).cast(pa.string())
        if pa.types.is_timestamp(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
