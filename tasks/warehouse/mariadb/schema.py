"""The tables, views and triggers of a MariaDB database: as declared, and as they are.

MariaDB commits at every statement that creates or changes one. A load therefore has all of them in
place before its transaction begins, by a connection of its own.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable
from typing import Any

import pymysql
import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn, CreateTable

from config.aggregates import AGGREGATES
from config.bookkeeping import BOOKKEEPING, DATA_DICTIONARY, LOAD_RECEIPT
from config.declarations import Table
from config.warehouse import FACT_LOGS
from tasks.core.waiting import Limit, wait_for
from tasks.enrichment.further import as_loaded
from tasks.warehouse.receipts import guarded_tables, guards, row_triggers
from tasks.warehouse.shapes import Shape, shape
from tasks.warehouse.tables import metadata

LOADING = "@controller_logs_is_loading"
"""A variable of the session: while it is set, changes invalidate no receipts."""

MARK = "made_by_the_pipeline"
"""In each of our views: MariaDB keeps no comments in a view."""

LOCKED = frozenset({1205, 1213})
"""Errors: a lock was not given in time; a deadlock."""

_BOUNDED = re.compile(r"^(bigint|int|smallint|tinyint)\(\d+\)")
"""MariaDB shows a width that means nothing."""

logger = logging.getLogger("pipeline")

Fetch = Callable[[str], list[tuple]]
"""Runs a statement and returns its rows."""


def is_locked(error: BaseException) -> bool:
    """Whether another connection has locked what is needed."""
    original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return isinstance(original, pymysql.MySQLError) and original.args[:1] in {(c,) for c in LOCKED}


class Definitions:
    """Creates and changes tables, views and triggers, each at once.

    A statement that waits for those who use a table makes all others wait that come after it. It
    therefore waits for a second at a time.

    Args:
        connection: Commits by itself.
        wait: How long to wait for other programs.
    """

    def __init__(self, connection: sa.Connection, wait: Limit):
        self.connection = connection
        self._wait = wait
        self._execute("SET lock_wait_timeout = 1, foreign_key_checks = 0")

    def fetch(self, sql: str, *values: object) -> list[tuple]:
        """The rows."""
        with self._raw().cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())

    def run(self, sql: str, what: str) -> None:
        """Run a statement, again as long as others use the table.

        Args:
            sql: The statement.
            what: The name of the table or view.
        """

        def attempt(wait_s: float) -> None:
            end = time.monotonic() + wait_s
            while True:
                try:
                    return self._execute(sql)
                except pymysql.MySQLError as error:
                    if not is_locked(error) or time.monotonic() > end:
                        raise
                time.sleep(random.uniform(0.1, 0.5))  # noqa: S311

        wait_for(
            attempt, is_locked, f"another program is using {what} in the warehouse", self._wait
        )

    def create(self, table: Table) -> None:
        """Create a table, with its triggers."""
        self.run(self.compiled(CreateTable(metadata(table).tables[table.name])), table.name)

    def compiled(self, element: sa.sql.ClauseElement) -> str:
        """A statement, or part of one."""
        # SQLAlchemy doubles "%" for a driver that replaces parameters.
        return str(element.compile(dialect=self.connection.dialect)).strip() % ()

    def _raw(self) -> Any:
        return self.connection.connection.driver_connection

    def _execute(self, sql: str) -> None:
        with self._raw().cursor() as cursor:
            cursor.execute(sql)


# --- triggers --------------------------------------------------------------------------------


def triggers(on: str) -> dict[str, str]:
    """The triggers on a table that invalidate receipts: name -> the statement that creates it."""
    return row_triggers(on, f"FOR EACH ROW IF {LOADING} IS NULL THEN {{}} END IF")


def missing_guards(fetch: Fetch, table: str) -> set[tuple[str, str]]:
    """The tables and triggers that do not exist, and without which it could change unnoticed."""
    here = "= database()"
    names = fetch(
        "SELECT table_name, table_name FROM information_schema.tables"
        f" WHERE table_schema {here} UNION ALL SELECT event_object_table, trigger_name"
        f" FROM information_schema.triggers WHERE event_object_schema {here}"
    )
    return guards(table, triggers) - set(names)


# --- shapes ----------------------------------------------------------------------------------


def declared_shape(table: Table, dialect: sa.Dialect) -> Shape:
    """As declared."""
    compiler = dialect.type_compiler_instance
    columns = (
        (one.name, compiler.process(one.type).lower(), bool(one.nullable))
        for one in metadata(table).tables[table.name].columns
    )
    references = ((name, *target) for name, target in table.references.items())
    return shape(columns, table.key_columns, references)


def live_shape(fetch: Fetch, table: str) -> Shape:
    """As it is; without columns if it does not exist."""
    this = f"table_schema = database() AND table_name = '{table}'"
    found = fetch(
        "SELECT lower(column_name), column_type, collation_name, is_nullable"
        f" FROM information_schema.columns WHERE {this} ORDER BY ordinal_position"
    )
    columns = (
        (
            name,
            _BOUNDED.sub(r"\1", kind) + (f" collate {collation}" if collation else ""),
            nullable == "YES",
        )
        for name, kind, collation, nullable in found
    )
    keys = fetch(
        "SELECT constraint_name, lower(column_name), referenced_table_name, referenced_column_name"
        f" FROM information_schema.key_column_usage WHERE {this} ORDER BY ordinal_position"
    )
    key = (column for name, column, *_ in keys if name == "PRIMARY")
    references = ((column, to, at) for _, column, to, at in keys if to is not None)
    return shape(columns, key, references)


# --- before a load ---------------------------------------------------------------------------


def prepare(definitions: Definitions, table: Table) -> None:
    """Have the tables of a load, and their triggers, as declared.

    A table of ours that is not keeps its rows, converted; without a receipt, so that it is loaded
    again. A column that may be NULL is left to the load.

    Raises:
        PipelineError: A table of someone else has the name of one, and another shape.
    """
    for own in BOOKKEEPING.values():
        _have(definitions, own)
    described = definitions.fetch(
        f"SELECT column_name, description FROM {DATA_DICTIONARY.name} WHERE table_name = %s",
        table.name,
    )
    _have(definitions, as_loaded(table, dict(described)))
    if table.name == FACT_LOGS.name:
        for own in AGGREGATES.values():
            _have(definitions, own)
    for on in {one for name in _loaded_with(table) for one in guarded_tables(name)}:
        missing = {name for _, name in missing_guards(definitions.fetch, on)}
        for name, sql in triggers(on).items():
            if name in missing:
                definitions.run(sql, on)


def _loaded_with(table: Table) -> tuple[str, ...]:
    return (table.name, *AGGREGATES) if table.name == FACT_LOGS.name else (table.name,)


def _have(definitions: Definitions, table: Table) -> None:
    """Have a table as declared."""
    live = live_shape(definitions.fetch, table.name)
    declared = declared_shape(table, definitions.connection.dialect)
    if not live.columns:
        definitions.create(table)
    elif not live.has(declared):
        if not _is_ours(definitions, table):
            live.refuse(table.name, declared, "database in warehouse_url")
        if set(live.columns) <= set(declared.columns):
            _alter(definitions, table, live, declared)


def _is_ours(definitions: Definitions, table: Table) -> bool:
    """Whether a receipt names the table, or its comment is the one that we give it."""
    comment = "SELECT table_comment FROM information_schema.tables"
    found = definitions.fetch(
        f"{comment} WHERE table_schema = database() AND table_name = %s", table.name
    )
    if found == [(table.grain,)]:
        return True
    if table.name in BOOKKEEPING or not live_shape(definitions.fetch, LOAD_RECEIPT.name).columns:
        return False
    receipt = f"SELECT 1 FROM {LOAD_RECEIPT.name} WHERE table_name = %s"
    return bool(definitions.fetch(receipt, table.name))


def _alter(definitions: Definitions, table: Table, live: Shape, declared: Shape) -> None:
    """Change a table to what is declared, in one statement."""
    columns = metadata(table).tables[table.name].columns
    lacking = [n for n in declared.columns if n not in live.columns]
    changed = [n for n, kind in declared.columns.items() if live.columns.get(n, kind) != kind]
    same_keys = live.key == declared.key and declared.references <= live.references
    if same_keys and not changed and all(columns[name].nullable for name in lacking):
        return  # The load adds them.
    logger.info("%s is declared differently: it is changed and loaded again", table.name)
    whose = "" if table.name in BOOKKEEPING else f" WHERE table_name = '{table.name}'"
    definitions.run(f"DELETE FROM {LOAD_RECEIPT.name}{whose}", LOAD_RECEIPT.name)
    steps = [f"ADD COLUMN {definitions.compiled(CreateColumn(columns[n]))}" for n in lacking]
    steps += [f"MODIFY COLUMN {definitions.compiled(CreateColumn(columns[n]))}" for n in changed]
    if live.key != declared.key:
        steps += ["DROP PRIMARY KEY"] if live.key else []
        steps.append(f"ADD PRIMARY KEY ({', '.join(declared.key)})")
    for column, to, at in sorted(declared.references - live.references):
        name = f"fk_{table.name}_{column}"
        steps.append(f"ADD CONSTRAINT {name} FOREIGN KEY ({column}) REFERENCES {to} ({at})")
    # Values that do not fit become the type's zero: the load replaces them.
    definitions.run("SET @mode = @@sql_mode, sql_mode = ''", table.name)
    definitions.run(f"ALTER TABLE {table.name} {', '.join(steps)}", table.name)
    definitions.run("SET sql_mode = @mode", table.name)
