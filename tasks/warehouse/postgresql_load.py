"""One load into PostgreSQL, through ADBC."""

from __future__ import annotations

import hashlib
import itertools
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import adbc_driver_manager
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import (
    AddConstraint,
    CreateColumn,
    CreateTable,
    SetColumnComment,
    SetTableComment,
)

from config.aggregates import AGGREGATES
from config.bookkeeping import ALL_TABLES, BOOKKEEPING, LOAD_RECEIPT
from config.declarations import Table
from config.views import View
from config.warehouse import FACT_LOGS, NO_INSTANT, NO_TIME_OF_SERVERS, TABLES
from tasks.core.errors import PipelineError
from tasks.core.progress import Advance, no_progress
from tasks.core.waiting import OTHERS, Limit, wait_for
from tasks.warehouse.adbc import AdbcTransaction
from tasks.warehouse.receipts import guarded_tables
from tasks.warehouse.tables import metadata
from tasks.warehouse.views import view_query

_BATCHES_OF_COPY = 16
"""A million rows."""

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
    words = ("server closed the connection", "Failed to connect", "could not", "terminat")
    return state.startswith(("08", "57P")) or any(word in str(error) for word in words)


class PostgresqlTransaction(AdbcTransaction):
    """One transaction of one ADBC connection.

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
        self._ours: set[str] = set()

    # --- beginning and ending ----------------------------------------------------------------

    def begin(self, schema: str, wait_s: float) -> None:
        """Begin; fail if another load is under way for so many seconds."""
        self.run("BEGIN")
        if not self.query(f"SELECT 1 FROM pg_namespace WHERE nspname = '{schema}'"):
            self.run(f"CREATE SCHEMA {schema}")
        self.run(f"SET LOCAL search_path = {schema}")
        self.run("SET LOCAL timezone = 'UTC'")
        self.run("SET LOCAL work_mem = '64MB'")
        self.run(f"SET LOCAL lock_timeout = {max(1, int(wait_s * 1000))}")
        number = "hashtext('controller-logs ' || current_schema())"
        self.query(f"SELECT 1 FROM pg_advisory_xact_lock({number})")
        self.run("SET LOCAL lock_timeout = 0")
        self.run("SET LOCAL controller_logs.is_loading = 'on'")

    def prepare(self, function: str, wait: Limit) -> None:
        """Create the bookkeeping tables and the function of the triggers."""
        self._wait = wait
        if self.columns(LOAD_RECEIPT.name):
            names = self.query(f"SELECT DISTINCT table_name FROM {LOAD_RECEIPT.name}")
            self._ours = {name for (name,) in names} | set(BOOKKEEPING)
        for table in BOOKKEEPING.values():
            self.refuse_foreign(table)
            if not self.fits(table):
                self.create(table)
        self.run(function)

    def commit(self) -> None:
        """Add the foreign keys that are missing, and commit."""
        for name in (*TABLES, *AGGREGATES):
            if self.columns(name):
                declared = metadata().tables[name]
                present = self._references_of(name)
                for key in declared.foreign_key_constraints:
                    if key.name not in present and self.columns(key.referred_table.name):
                        added = AddConstraint(key, isolate_from_table=False)
                        self.run(str(added.compile(dialect=postgresql.dialect())))
        self.run("COMMIT")

    def roll_back(self) -> None:
        """Undo everything."""
        self.run("ROLLBACK")

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

    # --- rows --------------------------------------------------------------------------------

    def as_stored(self, batch: pa.RecordBatch, keys: Sequence[str]) -> pa.RecordBatch:
        """Times in UTC without a zone; NO_INSTANT where a key has none."""
        columns = []
        for field, column in zip(batch.schema, batch.columns, strict=True):
            if pa.types.is_timestamp(field.type):
                column = column.cast(pa.timestamp("us"))
                if field.name in keys and column.null_count:
                    absent = pa.scalar(NO_INSTANT, pa.timestamp("us"))
                    column = pc.fill_null(column, absent)
            columns.append(column)
        return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)

    def append(
        self,
        table: str,
        batches: Iterable[pa.RecordBatch],
        advance: Advance,
        temporary: bool = False,
    ) -> None:
        """Add rows by COPY, so many with each that the checks of their keys fit into memory."""
        batches = iter(batches)
        while first := next(batches, None):
            some = itertools.chain([first], itertools.islice(batches, _BATCHES_OF_COPY - 1))
            super().append(table, some, advance, temporary)

    def create_temporary(self, table: Table, rows: pa.Table) -> None:
        """Create a temporary table with these rows."""
        sql = _create_sql(table).replace("CREATE TABLE", "CREATE TEMPORARY TABLE", 1)
        self.run(f"{sql} ON COMMIT DROP")
        self.append(table.name, rows.to_batches(), no_progress, temporary=True)
        self.run(f"ANALYZE {table.name}")

    def replace(self, table: Table, batches: Iterable[pa.RecordBatch], advance: Advance) -> None:
        """Put rows in the place of all rows; only what differs is written.

        So readers have to wait only if members vanish, and then no longer than it takes to remove
        them: PostgreSQL would else look for the facts of each one.
        """
        name, (key,) = table.name, table.key_columns
        if not self.query(f"SELECT 1 FROM {name} LIMIT 1"):
            self.append(name, batches, advance)
            return
        columns = [column.name for column in table.columns]
        others = [column for column in columns if column != key]
        self.run(f"CREATE TEMPORARY TABLE incoming (LIKE {name}) ON COMMIT DROP")
        self.append("incoming", batches, advance, temporary=True)
        self.run("ANALYZE incoming")
        new, old = (", ".join(f"{of}.{column}" for column in others) for of in ("incoming", name))
        self.remove(table, f"SELECT {key} FROM {name} EXCEPT SELECT {key} FROM incoming")
        self.run(
            f"UPDATE {name} SET ({', '.join(others)}) = ROW({new}) FROM incoming"
            f" WHERE {name}.{key} = incoming.{key} AND ({old}) IS DISTINCT FROM ({new})"
        )
        listed = ", ".join(columns)
        self.run(
            f"INSERT INTO {name} ({listed}) SELECT {listed} FROM incoming"
            f" WHERE NOT EXISTS (SELECT FROM {name} WHERE {name}.{key} = incoming.{key})"
        )
        self.run("DROP TABLE incoming")

    def empty(self, table: Table) -> None:
        """Remove all rows.

        The foreign keys stay, though rows would be loaded faster without them: readers would have
        to wait until the commit.
        """
        self.run(f"DELETE FROM {table.name}")

    def remove(self, table: Table, keys: str) -> None:
        """Remove the rows whose keys a query finds."""
        columns = ", ".join(table.key_columns)
        self.run(f"CREATE TEMPORARY TABLE removed ({columns}) ON COMMIT DROP AS {keys}")
        if self.query("SELECT 1 FROM removed LIMIT 1"):
            self.run("ANALYZE removed")
            for child, constraint in self._references_to(table.name):
                self._release(child, {constraint})
            same = " AND ".join(f"{table.name}.{key} = removed.{key}" for key in table.key_columns)
            self.run(f"DELETE FROM {table.name} USING removed WHERE {same}")
        self.run("DROP TABLE removed")

    def any_missing(self, parent: str, key: str, values: Iterable[int]) -> bool:
        """Whether a table lacks a row for one of some keys."""
        listed = ",".join(map(str, values))
        found = f"SELECT 1 FROM unnest('{{{listed}}}'::bigint[]) AS value"
        return bool(self.query(f"{found} WHERE value NOT IN (SELECT {key} FROM {parent}) LIMIT 1"))

    def violations(self, table: str) -> list[str]:
        """The parent of each row that has none."""
        parents = []
        for column, (parent, key) in ALL_TABLES[table].references.items():
            ((count,),) = self.query(
                f"SELECT count(*) FROM {table} WHERE {column} IS NOT NULL"
                f" AND {column} NOT IN (SELECT {key} FROM {parent})"
            )
            parents += [parent] * count
        return parents

    # --- tables ------------------------------------------------------------------------------

    def columns(self, table: str) -> list[str]:
        """In their order."""
        found = self.query(
            "SELECT column_name FROM information_schema.columns WHERE table_schema ="
            f" current_schema() AND table_name = '{table}' ORDER BY ordinal_position"
        )
        return [name for (name,) in found]

    def refuse_foreign(self, table: Table) -> None:
        """Raise PipelineError if a table of the name is someone else's, and is different."""
        name = table.name
        if name not in self._ours and self.columns(name) and not self.fits(table):
            raise PipelineError(
                f"{name} exists in the warehouse, is not the pipeline's, and is different:",
                self._differences(table),
                "Rename it, or name another schema in luigi.cfg: warehouse_schema.",
            )

    def fits(self, table: Table) -> bool:
        """Whether a table has the declared columns, types and primary key."""
        return not self._differences(table)

    def _differences(self, table: Table) -> list[str]:
        found = self.query(
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns"
            f" WHERE table_schema = current_schema() AND table_name = '{table.name}'"
        )
        live = {name: (kind, nullable == "YES") for name, kind, nullable in found}
        declared = metadata(table).tables[table.name]
        differences = []
        for column in declared.columns:
            kind = column.type.compile(postgresql.dialect()).lower()
            expected = kind.partition(" collate")[0], bool(column.nullable)
            if live.get(column.name) != expected:
                found_kind = _described(live.get(column.name))
                differences.append(f"{column.name}: {found_kind}, not {_described(expected)}")
        key = [
            name
            for (name,) in self.query(
                "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum ="
                f" ANY(indkey) WHERE indisprimary AND indrelid = to_regclass('{table.name}')"
                " ORDER BY array_position(indkey::int2[], attnum)"
            )
        ]
        if live and key != list(table.key_columns):
            listed = ", ".join(table.key_columns)
            differences.append(f"the primary key is ({', '.join(key)}), not ({listed})")
        return differences

    def create(self, table: Table) -> None:
        """Create a table, in place of one of ours that does not fit."""
        name = table.name
        if self.columns(name):
            for child, constraint in self._references_to(name):
                self._release(child, {constraint})
            for view in self._views_of(name):
                self._locked(f"DROP VIEW IF EXISTS {view} CASCADE")
            self._locked(f"DROP TABLE {name}")
        self.run(_create_sql(table))
        declared = metadata(table).tables[name]
        self._run(SetTableComment(declared))
        for column in declared.columns:
            self._run(SetColumnComment(column))
        if name == FACT_LOGS.name:
            self.run(_INDEX)

    def _run(self, statement: SetTableComment | SetColumnComment) -> None:
        self.run(str(statement.compile(dialect=postgresql.dialect())))

    def add_column(self, table: Table, name: str) -> None:
        """Add a declared column that may be NULL; the rows stay."""
        column = metadata(table).tables[table.name].columns[name]
        sql = CreateColumn(column).compile(dialect=postgresql.dialect())
        self._locked(f"ALTER TABLE {table.name} ADD COLUMN {sql}")
        self._run(SetColumnComment(column))

    def _references_of(self, table: str) -> set[str]:
        """Names of the foreign keys of a table."""
        found = self.query(
            "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid ="
            f" to_regclass('{table}')"
        )
        return {name for (name,) in found}

    def _references_to(self, table: str) -> list[tuple[str, str]]:
        """(table, foreign key) of the declared ones that refer to a table."""
        found = self.query(
            "SELECT relname, conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid"
            f" WHERE contype = 'f' AND confrelid = to_regclass('{table}') ORDER BY 1, 2"
        )
        return [(child, name) for child, name in found if child in TABLES or child in AGGREGATES]

    def _release(self, table: str, constraints: Iterable[str]) -> None:
        """Drop foreign keys, which would be checked row by row."""
        for name in sorted(constraints):
            self._locked(f"ALTER TABLE {table} DROP CONSTRAINT {name}")

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
        sql = view_query(view, alarms, _time)
        comment = _quoted(f"{view.grain}. {_MARK} {hashlib.sha256(sql.encode()).hexdigest()[:16]}")
        found = self.query(f"SELECT obj_description(to_regclass('{view.name}')) AS comment")
        if found != [(comment[1:-1].replace("''", "'"),)]:
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


def _create_sql(table: Table) -> str:
    """The statement that creates a table without its foreign keys: they come after the rows."""
    declared = metadata(table).tables[table.name]
    create = CreateTable(declared, include_foreign_key_constraints=[])
    return str(create.compile(dialect=postgresql.dialect())).strip()


def _time(column: str, is_nullable: bool) -> str:
    return f"nullif({column}, {NO_TIME_OF_SERVERS})" if is_nullable else column


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _described(column: tuple[str, bool] | None) -> str:
    if column is None:
        return "missing"
    kind, nullable = column
    return kind if nullable else f"{kind} not null"
