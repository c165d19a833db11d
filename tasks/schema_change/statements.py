"""SQL of the operations on a table, for what writes to it and reads it in a rehearsal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tasks.schema_change.interface import Database
from tasks.schema_change.live import Key, LiveTable

Row = tuple[object, ...]

LONGEST_WAIT_S = 30
"""After so long an operation fails."""

_RANGE = 50


@dataclass(frozen=True)
class Statements:
    """SQL of the operations on a table. Values are texts in PostgreSQL, else the driver's own.

    Attributes:
        columns: Those that are written, in the order of a `Row`.
        key: Places of the primary key in it.
        kept: Places of what an update leaves as it is: keys, unique and identity columns.
        renewed: Places of what makes a new row unique, and an integer that none has, or None for
            a text; None if there is no such column.
    """

    url: sa.URL
    schema: str
    kind: str
    columns: tuple[str, ...]
    key: tuple[int, ...]
    kept: tuple[int, ...]
    renewed: dict[int, int | None] | None
    sql: dict[str, str]

    def key_of(self, row: Row) -> Key:
        """The key of a row."""
        return tuple(row[at] for at in self.key)

    def engine(self) -> sa.Engine:
        """As an application connects: with the server's settings but for waits."""
        options: dict[str, Any] = {"timeout": LONGEST_WAIT_S}
        if self.kind == "PostgreSQL":
            settings = f"-csearch_path={self.schema or 'public'} -clock_timeout={LONGEST_WAIT_S}s"
            options = {"options": f"{settings} -cextra_float_digits=1"}
        elif self.kind == "MariaDB":
            waits = (f"{name}lock_wait_timeout = {LONGEST_WAIT_S}" for name in ("", "innodb_"))
            options = {"charset": "utf8mb4", "init_command": f"SET {', '.join(waits)}"}
        url = self.url
        if self.kind == "PostgreSQL":
            url = url.set(drivername="postgresql+psycopg")
        return sa.create_engine(
            url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT", connect_args=options
        )


REPEATABLE_READ = {
    "SQLite": ("BEGIN IMMEDIATE",),
    "PostgreSQL": ("BEGIN ISOLATION LEVEL REPEATABLE READ",),
    "MariaDB": ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION"),
}


def statements(database: Database, live: LiveTable) -> Statements:
    """The operations on a table."""
    columns = live.stored
    inspector = sa.inspect(database.connection)
    foreign = {
        name for one in inspector.get_foreign_keys(live.name) for name in one["constrained_columns"]
    }
    unique = [set(live.primary_key)]
    unique += [
        {name for name in one["column_names"] if name}
        for one in inspector.get_indexes(live.name)
        if one["unique"]
    ]
    unique += [set(one["column_names"]) for one in inspector.get_unique_constraints(live.name)]
    types = {one["name"]: one["type"] for one in inspector.get_columns(live.name)}
    kept = {*live.primary_key, *itertools.chain(*unique)}
    kept |= {column.name for column in live.columns if column.identity}
    return Statements(
        database.url,
        database.schema,
        database.kind,
        columns,
        tuple(columns.index(name) for name in live.primary_key),
        tuple(at for at, name in enumerate(columns) if name in kept),
        _renewed(database, live, [names - foreign for names in unique], types),
        _sql(database, live, [name for name in columns if name not in kept]),
    )


def _renewed(
    database: Database, live: LiveTable, unique: Sequence[set[str]], types: dict[str, Any]
) -> dict[int, int | None] | None:
    """A column of each unique set that can get another value."""
    found: dict[int, int | None] = {}
    for names in unique:
        suitable = [
            name
            for name in live.stored
            if name in names and isinstance(types[name], sa.Integer | sa.String)
        ]
        if not suitable:
            return None
        name = min(suitable, key=lambda one: not isinstance(types[one], sa.Integer))
        most = None
        if isinstance(types[name], sa.Integer):
            greatest: sa.ColumnElement = sa.func.max(sa.column(name))
            query = sa.select(greatest).select_from(sa.table(live.name))
            most = int(database.connection.scalar(query) or 0) + 1
        found[live.stored.index(name)] = most
    return found


def _sql(database: Database, live: LiveTable, changed: Sequence[str]) -> dict[str, str]:
    """Name of an operation -> SQL; `:v0` is the value of the first column."""

    def quote(name: str) -> str:
        return database.quote(name).replace("%%", "%").replace(":", r"\:")

    table, columns, key = quote(live.name), live.stored, live.primary_key
    listed = ", ".join(map(quote, columns))
    is_postgresql = database.kind == "PostgreSQL"
    read = ", ".join(f"CAST({quote(n)} AS text)" for n in columns) if is_postgresql else listed
    places = {name: f":v{at}" for at, name in enumerate(columns)}
    own = " AND ".join(f"{quote(name)} = {places[name]}" for name in key)
    forced = " OVERRIDING SYSTEM VALUE" if is_postgresql else ""
    insert = f"INSERT INTO {table} ({listed}){forced} VALUES ({', '.join(places.values())})"
    excluded = "VALUES({})" if database.kind == "MariaDB" else "excluded.{}"
    setting = [f"{quote(n)} = {excluded.format(quote(n))}" for n in changed or key[:1]]
    conflict = "ON DUPLICATE KEY UPDATE"
    if database.kind != "MariaDB":
        conflict = f"ON CONFLICT ({', '.join(map(quote, key))}) DO UPDATE SET"
    assigned = ", ".join(f"{quote(name)} = {places[name]}" for name in changed or key[:1])
    first = quote(key[0])
    order = ", ".join(map(quote, key))
    return {
        "insert": insert,
        "update": f"UPDATE {table} SET {assigned} WHERE {own}",
        "delete": f"DELETE FROM {table} WHERE {own}",
        "upsert": f"{insert} {conflict} {', '.join(setting)}",
        "read": f"SELECT {read} FROM {table} WHERE {own}",
        "range": f"SELECT {read} FROM {table} WHERE {first} >= {places[key[0]]}"
        # In PostgreSQL the bare name is that of the text.
        f" ORDER BY {table}.{first} LIMIT {_RANGE}",
        "sample": f"SELECT {read} FROM (SELECT {listed}, row_number() OVER (ORDER BY {order})"
        f" AS numbered FROM {table}) rows_ WHERE numbered % :step = 0",
    }
