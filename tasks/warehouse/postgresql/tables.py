"""The tables, views and triggers of a schema of PostgreSQL, in the course of a load."""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import adbc_driver_manager
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import (
    CreateColumn,
    CreateTable,
    SetColumnComment,
    SetTableComment,
)

from config.aggregates import AGGREGATES
from config.declarations import Table
from config.views import View
from config.warehouse import FACT_LOGS, NO_TIME_OF_SERVERS, TABLES
from tasks.core.waiting import OTHERS, wait_for
from tasks.warehouse.adbc import AdbcTransaction
from tasks.warehouse.receipts import guarded_tables
from tasks.warehouse.shapes import Shape, shape
from tasks.warehouse.tables import metadata
from tasks.warehouse.views import time_of_servers, view_query

DIALECT = postgresql.dialect(paramstyle="named")
"""That of psycopg doubles each % for parameters, which ADBC does not replace."""

_LOCK_S = 0.5
"""How long to wait for a lock that other statements would have to wait behind."""

_MARK = "Made by the pipeline; each load of the facts makes it again."
_INDEX = (
    f"CREATE INDEX ix_{FACT_LOGS.name}_partition_id ON {FACT_LOGS.name} USING brin (partition_id)"
)

logger = logging.getLogger("pipeline")


def is_locked(error: Exception) -> bool:
    """Whether a lock was not to be had in time."""
    return getattr(error, "sqlstate", None) in ("55P03", "40P01")


def is_lost(error: Exception) -> bool:
    """Whether there is no connection to the server."""
    state = getattr(error, "sqlstate", None) or ""
    words = ("Failed to connect", "server closed the connection", "terminating connection")
    return state.startswith(("08", "57P")) or any(word in str(error) for word in words)


class PostgresqlTables(AdbcTransaction):
    """One transaction of one ADBC connection: what it knows of tables, and does to them.

    Args:
        connection: With autocommit: it is BEGIN that begins the transaction.
        triggers: Table -> its triggers, name -> CREATE statement.
    """

    no_time = NO_TIME_OF_SERVERS

    def __init__(
        self,
        connection: adbc_driver_manager.AdbcConnection,
        triggers: Callable[[str], Mapping[str, str]],
    ):
        super().__init__(connection)
        self._triggers = triggers
        self._wait = OTHERS

    def _locked(self, sql: str) -> None:
        """Run a statement that others' statements would have to wait behind, while it waits."""

        def attempt(wait_s: float) -> None:
            until = time.monotonic() + wait_s
            while True:
                self.run("SAVEPOINT before_lock")
                try:
                    self.run(f"SET LOCAL lock_timeout = {int(_LOCK_S * 1000)}")
                    self.run(sql)
                    self.run("SET LOCAL lock_timeout = 0")
                except adbc_driver_manager.Error as error:
                    self.run("ROLLBACK TO SAVEPOINT before_lock")
                    if not is_locked(error) or time.monotonic() > until:
                        raise
                    time.sleep(random.uniform(0.1, 0.5))  # noqa: S311
                else:
                    return

        wait_for(attempt, is_locked, "another program uses a table of the warehouse", self._wait)

    # --- tables ------------------------------------------------------------------------------

    def columns(self, table: str) -> list[str]:
        """In their order."""
        found = self.query(
            "SELECT column_name FROM information_schema.columns WHERE table_schema ="
            f" current_schema() AND table_name = '{table}' ORDER BY ordinal_position"
        )
        return [name for (name,) in found]

    def fits(self, table: Table) -> bool:
        """Whether a table has the declared columns, types and primary key."""
        return self.live_shape(table.name).has(declared_shape(table))

    def live_shape(self, table: str) -> Shape:
        """A table as it is, but for its foreign keys; without columns if it does not exist."""
        columns = self.query(
            "SELECT column_name, data_type, is_nullable = 'YES' FROM information_schema.columns"
            f" WHERE table_schema = current_schema() AND table_name = '{table}'"
        )
        key = self.query(
            "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum ="
            f" ANY(indkey) WHERE indisprimary AND indrelid = to_regclass('{table}')"
            " ORDER BY array_position(indkey::int2[], attnum)"
        )
        return shape(columns, (name for (name,) in key))

    def create(self, table: Table) -> None:
        """Create a table, in place of one of ours that does not fit."""
        name = table.name
        if self.columns(name):
            for child, constraint in self.references_to(name):
                self.release(child, {constraint})
            for view in self._views_of(name):
                self._locked(f"DROP VIEW IF EXISTS {view}")
            self._locked(f"DROP TABLE {name}")
        self.run(create_sql(table))
        declared = metadata(table).tables[name]
        self._run(SetTableComment(declared))
        for column in declared.columns:
            self._run(SetColumnComment(column))
        if name == FACT_LOGS.name:
            self.run(_INDEX)

    def create_beside(self, table: Table, name: str, more: str, comment: str) -> None:
        """Create a table with the same columns and one more, without keys and unlogged."""
        columns = metadata(table).tables[table.name].columns
        listed = ", ".join(str(CreateColumn(one).compile(dialect=DIALECT)) for one in columns)
        self.run(f"CREATE UNLOGGED TABLE {name} ({listed}, {more} TEXT NOT NULL)")
        self.run(f"COMMENT ON TABLE {name} IS {_quoted(comment)}")

    def _run(self, statement: SetTableComment | SetColumnComment) -> None:
        self.run(str(statement.compile(dialect=DIALECT)))

    def add_column(self, table: Table, name: str) -> None:
        """Add a declared column that may be NULL; the rows stay."""
        column = metadata(table).tables[table.name].columns[name]
        sql = CreateColumn(column).compile(dialect=DIALECT)
        self._locked(f"ALTER TABLE {table.name} ADD COLUMN {sql}")
        self._run(SetColumnComment(column))

    def references_of(self, table: str) -> set[str]:
        """Names of the foreign keys of a table."""
        found = self.query(
            "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid ="
            f" to_regclass('{table}')"
        )
        return {name for (name,) in found}

    def references_to(self, table: str) -> list[tuple[str, str]]:
        """(table, foreign key) of the declared ones that refer to a table."""
        found = self.query(
            "SELECT relname, conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid"
            f" WHERE contype = 'f' AND confrelid = to_regclass('{table}') ORDER BY 1, 2"
        )
        return [(child, name) for child, name in found if child in TABLES or child in AGGREGATES]

    def release(self, table: str, constraints: Iterable[str]) -> None:
        """Drop foreign keys, which would be checked row by row."""
        for name in sorted(constraints):
            self._locked(f"ALTER TABLE {table} DROP CONSTRAINT {name}")

    def _comment(self, name: str) -> str | None:
        """The comment on a table or view; None if there is none."""
        ((comment,),) = self.query(f"SELECT obj_description(to_regclass('{name}'), 'pg_class')")
        return comment

    # --- views -------------------------------------------------------------------------------

    def _views_of(self, table: str) -> list[str]:
        """Our views that read a table."""
        found = self.query(
            "SELECT view_name FROM information_schema.view_table_usage WHERE view_schema ="
            f" current_schema() AND table_schema = current_schema() AND table_name = '{table}'"
        )
        return [name for (name,) in found if not self.is_taken(name)]

    def create_view(self, view: View, alarms: Sequence[str]) -> None:
        """Create a view, in place of the one of its name, unless that is the same."""
        sql = view_query(view, alarms, time_of_servers)
        comment = _quoted(f"{view.grain}. {_MARK} {hashlib.sha256(sql.encode()).hexdigest()[:16]}")
        if self._comment(view.name) != comment[1:-1].replace("''", "'"):
            self._locked(f"DROP VIEW IF EXISTS {view.name}")
            self.run(f"CREATE VIEW {view.name} AS {sql}")
            self.run(f"COMMENT ON VIEW {view.name} IS {comment}")
            for column in view.described():
                described = _quoted(column.description)
                self.run(f"COMMENT ON COLUMN {view.name}.{column.name} IS {described}")

    def is_taken(self, name: str) -> bool:
        """Whether a table or view of someone else has the name."""
        found = self.query(
            f"SELECT coalesce(obj_description(oid), '') FROM pg_class WHERE relname = '{name}'"
            " AND relnamespace = current_schema()::regnamespace"
        )
        return any(_MARK not in comment for (comment,) in found)

    # --- triggers ----------------------------------------------------------------------------

    def prepare_updates(self) -> None:
        """Nothing has to be prepared."""

    def is_guarded(self, table: str) -> bool:
        """Whether all triggers exist, and what is counted of the table."""
        return all(
            bool(self.columns(on)) and set(self._triggers(on)) <= self._triggers_on(on)
            for on in guarded_tables(table)
        )

    def _triggers_on(self, table: str) -> set[str]:
        found = self.query(
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'"
            f" AND tgrelid = to_regclass('{table}')"
        )
        return {name for (name,) in found}

    def drop_triggers(self) -> None:
        """Nothing is dropped: while `controller_logs.is_loading` is on, they do nothing."""

    def create_triggers(self, table: str) -> None:
        """Create those triggers of a table, and of what is counted of it, that do not exist."""
        for on in guarded_tables(table):
            present = self._triggers_on(on)
            for name, sql in self._triggers(on).items():
                if name not in present:
                    self.run(sql)

    def used_bytes(self) -> int | None:
        """None: tables are measured when they are reported."""
        return None


def declared_shape(table: Table) -> Shape:
    """A table as declared, but for its foreign keys: they come after the rows."""
    declared = metadata(table).tables[table.name]
    columns = (
        (one.name, one.type.compile(DIALECT).lower().partition(" collate")[0], bool(one.nullable))
        for one in declared.columns
    )
    return shape(columns, table.key_columns)


def create_sql(table: Table) -> str:
    """The statement that creates a table without its foreign keys: they come after the rows."""
    declared = metadata(table).tables[table.name]
    create = CreateTable(declared, include_foreign_key_constraints=[])
    return str(create.compile(dialect=DIALECT)).strip()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
