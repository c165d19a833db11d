"""One load into MariaDB."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from config.bookkeeping import ALL_TABLES, LOAD_RECEIPT
from config.declarations import Column, Table, Type
from config.views import View
from config.warehouse import NO_TIME_OF_SERVERS
from tasks.core.errors import PipelineError
from tasks.core.progress import Advance, no_progress
from tasks.core.waiting import Limit, wait_for
from tasks.warehouse.mariadb.rows import add, read
from tasks.warehouse.mariadb.schema import (
    LOADING,
    MARK,
    Definitions,
    declared_shape,
    is_locked,
    live_shape,
    missing_guards,
)
from tasks.warehouse.tables import metadata
from tasks.warehouse.views import time_of_servers, view_query

_LOCKED_S = 10
"""How long to wait for a row that somebody has locked without changing one, in seconds."""

logger = logging.getLogger("pipeline")

_WANTED = Table(
    name="wanted",
    grain="one row per key that has to exist",
    columns=(Column("number", Type.INTEGER, "The key."),),
    primary_key="number",
)


class MariadbTransaction:
    """One transaction; tables, views and triggers are another connection's.

    Args:
        connection: For the rows.
        definitions: For what MariaDB commits at once.
    """

    no_time = NO_TIME_OF_SERVERS

    def __init__(self, connection: sa.Connection, definitions: Definitions):
        self._connection = connection
        self._raw: Any = connection.connection.driver_connection
        self._definitions = definitions
        ((allowed,),) = self.query("SELECT @@local_infile")
        self._streams = bool(allowed) and Path("/dev/fd").exists()
        if not self._streams:
            why = "there is no /dev/fd" if allowed else "the server has local_infile off"
            logger.info("Rows are loaded by INSERT, which is slower: %s", why)

    def begin(self, wait: Limit) -> None:
        """Begin the transaction, when nobody has changed what is not committed yet.

        Whoever changes a row holds a lock on receipts, so from here on nobody else changes one.
        """
        self.run("SET foreign_key_checks = 0, unique_checks = 0")

        def lock(wait_s: float) -> None:
            self.run(f"SET innodb_lock_wait_timeout = {max(1, round(wait_s))}")
            self.run("BEGIN")
            self.query(f"SELECT table_name FROM {LOAD_RECEIPT.name} FOR UPDATE")

        wait_for(lock, is_locked, "another program is changing the warehouse", wait)
        self.run(f"SET innodb_lock_wait_timeout = {_LOCKED_S}")

    def query(self, sql: str) -> list[tuple]:
        """The rows."""
        rows: list[tuple] = []
        for batch in read(self._raw, sql):
            rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
        return rows

    def read(self, sql: str) -> Iterator[pa.RecordBatch]:
        """The rows, in batches."""
        return read(self._raw, sql)

    def run(self, sql: str) -> None:
        """Run a statement that returns nothing."""
        with self._raw.cursor() as cursor:
            cursor.execute(sql)

    def append(self, table: str, batches: Iterable[pa.RecordBatch], advance: Advance) -> None:
        """Add rows."""
        add(self._raw, table, batches, ALL_TABLES[table].key_columns, advance, self._streams)

    def replace(self, table: Table, batches: Iterable[pa.RecordBatch], advance: Advance) -> None:
        """Put rows in the place of all rows of a table."""
        self.empty(table)
        self.append(table.name, batches, advance)

    def create_temporary(self, table: Table, rows: pa.Table) -> None:
        """Create a temporary table with these rows."""
        sql = self._definitions.compiled(CreateTable(metadata(table).tables[table.name]))
        self.run(sql.replace("CREATE TABLE", "CREATE TEMPORARY TABLE", 1))
        add(self._raw, table.name, rows.to_batches(), (), no_progress, self._streams)

    def empty(self, table: Table) -> None:
        """Remove all rows."""
        self.run(f"DELETE FROM {table.name}")

    def remove(self, table: Table, keys: str) -> None:
        """Remove the rows whose keys a query finds, by a join: IN (SELECT ...) reads all rows."""
        self.run(f"CREATE TEMPORARY TABLE removed AS {keys}")
        join = " AND ".join(f"removed.{key} = own.{key}" for key in table.key_columns)
        self.run(f"DELETE own FROM removed STRAIGHT_JOIN {table.name} AS own ON {join}")
        self.run("DROP TEMPORARY TABLE removed")

    def columns(self, table: str) -> list[str]:
        """In their order, in lower case; none if the table does not exist."""
        found = self.query(
            "SELECT lower(column_name) FROM information_schema.columns"
            f" WHERE table_schema = database() AND table_name = '{table}' ORDER BY ordinal_position"
        )
        return [name for (name,) in found]

    def fits(self, table: Table) -> bool:
        """Whether a table has the declared columns, types and keys; others may have added more."""
        declared = declared_shape(table, self._connection.dialect)
        return live_shape(self.query, table.name).has(declared)

    def create(self, table: Table) -> None:
        """Report that a table has been changed since the load began: it had all in place."""
        raise PipelineError(
            f"Another program changed the table {table.name} during the load.",
            remedy="The previous rows stay; run again.",
        )

    def add_column(self, table: Table, name: str) -> None:
        """Add a declared column that may be NULL; the rows stay."""
        column = metadata(table).tables[table.name].columns[name]
        sql = self._definitions.compiled(sa.schema.CreateColumn(column))
        self._definitions.run(f"ALTER TABLE {table.name} ADD COLUMN {sql}", table.name)

    def create_view(self, view: View, alarms: Sequence[str]) -> None:
        """Create a view, in place of the one of its name if that is another.

        One that is the same stays: to replace it, all who read it would be waited for.
        """
        query = view_query(view, alarms, time_of_servers)
        digest = hashlib.sha256(query.encode()).hexdigest()
        if not any(digest in sql for sql in self._views(view.name)):
            self._definitions.run(
                f"CREATE OR REPLACE SQL SECURITY INVOKER VIEW {view.name} AS"
                f" WITH {MARK} AS (SELECT '{digest}' AS digest)\n{query}",
                view.name,
            )

    def is_taken(self, name: str) -> bool:
        """Whether a table or view of someone else has the name."""
        here = f"table_schema = database() AND lower(table_name) = '{name}'"
        exists = self.query(f"SELECT 1 FROM information_schema.tables WHERE {here}")
        return bool(exists) and not any(MARK in sql for sql in self._views(name))

    def _views(self, name: str) -> list[str]:
        """The query of the view of a name, if there is one; "" if the user may not see it."""
        found = self.query(
            "SELECT view_definition FROM information_schema.views"
            f" WHERE table_schema = database() AND lower(table_name) = '{name}'"
        )
        return [sql for (sql,) in found]

    def prepare_updates(self) -> None:
        """Nothing: the server's memory is not ours to set."""

    def any_missing(self, parent: str, key: str, values: Iterable[int]) -> bool:
        """Whether a table lacks a row for one of some keys."""
        self.create_temporary(_WANTED, pa.table({"number": pa.array(values, pa.int64())}))
        found = self.query(
            f"SELECT 1 FROM wanted LEFT JOIN {parent} AS own ON own.{key} = wanted.number"
            f" WHERE own.{key} IS NULL LIMIT 1"
        )
        self.run("DROP TEMPORARY TABLE wanted")
        return bool(found)

    def violations(self, table: str) -> list[str]:
        """The parent of each row that has none. Reads every row."""
        found = []
        for column, (parent, key) in ALL_TABLES[table].references.items():
            ((rows,),) = self.query(
                f"SELECT count(*) FROM {table} AS child LEFT JOIN {parent} AS own"
                f" ON own.{key} = child.{column} WHERE own.{key} IS NULL"
            )
            found += [parent] * rows
        return found

    def is_guarded(self, table: str) -> bool:
        """Whether all triggers exist, and what is counted of the table."""
        return not missing_guards(self.query, table)

    def drop_triggers(self) -> None:
        """Have what this load changes invalidate no receipts; the triggers stay."""
        self.run(f"SET {LOADING} = 1")

    def create_triggers(self, table: str) -> None:
        """Check that a table has its triggers, which it has since before the load."""
        if missing_guards(self.query, table):
            raise PipelineError(
                f"Another program removed triggers of {table} during the load.",
                remedy="The previous rows stay; run again.",
            )

    def used_bytes(self) -> int | None:
        """Unknown: the server estimates it only."""
        return None
