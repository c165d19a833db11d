"""A copy beside the live database, in which a change is tried: tables, keys, triggers and views.

Nothing in the live database is read but rows, and nothing in it is changed.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tasks.schema_change import catalog
from tasks.schema_change.change import Names
from tasks.schema_change.interface import Database
from tasks.schema_change.postgresql import Postgresql
from tasks.schema_change.runs import RUNS


@contextlib.contextmanager
def scratch(live: Database, table: str, rows: int | None) -> Iterator[Database]:
    """A database like the live one, removed at the end: a schema, a database, or an SQLite file.

    What a killed process has left of one for the same table is removed first.

    Args:
        live: What is copied.
        table: The table whose rows are copied, with those of other tables that they refer to.
        rows: How many; None for all.

    Raises:
        PipelineError: It cannot be made, for lack of a privilege as a rule.
    """
    place = _PLACES[live.kind](live, table)
    place.remove_left()
    try:
        try:
            made = place.create(table, rows)
        except sa.exc.DBAPIError as error:
            what = f"{table} cannot be tried on a copy:"
            raise live.error(what, error) from error
        try:
            yield made
        finally:
            made.close()
    finally:
        place.remove(place.name)


class _Place(abc.ABC):
    """Where the copy is.

    Attributes:
        name: Of the schema, database or folder; no other one has it.
        stem: How the names of all copies of the table begin.
        source: Before the names of live tables in SQL.
        target: Before those of the copy.
    """

    source = target = ""

    def __init__(self, live: Database, table: str):
        self.live = live
        what = f"{live.url.database}.{live.schema}.{table}"
        digest = hashlib.sha256(what.encode()).hexdigest()[:8]
        self.stem = f"schema_change_scratch_{digest}_"
        self.name = f"{self.stem}{secrets.token_hex(4)}"

    @abc.abstractmethod
    def create(self, table: str, rows: int | None) -> Database:
        """Create it."""

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Remove a copy, and what a failure has left of it."""

    def remove_left(self) -> None:
        """Keep others from this copy, and remove those of the table whose process was killed."""
        self.is_left(self.name)
        for name in self.names():
            with contextlib.suppress(sa.exc.DBAPIError, OSError):  # It may be another user's.
                if name.startswith(self.stem) and name != self.name and self.is_left(name):
                    self.remove(name)

    def names(self) -> list[str]:
        """Of all schemas, databases or files: those of copies are among them."""
        return sa.inspect(self.live.connection).get_schema_names()

    def is_left(self, name: str) -> bool:
        """Whether no other process is at a copy; if so, this one is from now on."""
        return self.live.take_lock(name)

    def tables(self) -> list[str]:
        """All tables but those of changes under way."""
        found = sa.inspect(self.live.connection).get_table_names()
        names = [Names(table) for table in found]
        ours = {RUNS.name, *(one for n in names for one in (n.shadow, n.old, n.log))}
        return [table for table in found if table not in ours]

    def captures(self, trigger: str) -> bool:
        """Whether a trigger is one of a change under way."""
        return re.search(r"_(capture|return)_\w+$", trigger) is not None

    def fill(self, made: Database, table: str, rows: int | None) -> None:
        """Copy rows of a table, and those that they refer to, as often as they refer to more."""
        inspector = sa.inspect(self.live.connection)
        keys = {name: found for (_, name), found in inspector.get_multi_foreign_keys().items()}
        order = made.listed(inspector.get_pk_constraint(table)["constrained_columns"])
        limit = f" ORDER BY {order} LIMIT {rows}" if rows is not None else ""
        self._insert(made, table, limit)
        todo = [table]
        while todo:
            child = todo.pop()
            for key in keys.get(child, ()):
                if self._insert_referred(made, child, key):
                    todo.append(key["referred_table"])

    def _insert_referred(self, made: Database, child: str, key: Any) -> bool:
        parent, columns = key["referred_table"], key["referred_columns"]
        here = f"{self.target}{made.quote(parent)}"
        missing = " AND ".join(f"f.{made.quote(c)} = r.{made.quote(c)}" for c in columns)
        return self._insert(
            made,
            parent,
            f" WHERE ({made.listed(columns, 'r.')}) IN (SELECT"
            f" {made.listed(key['constrained_columns'])} FROM {self.target}{made.quote(child)})"
            f" AND NOT EXISTS (SELECT 1 FROM {here} f WHERE {missing})",
        )

    def _insert(self, made: Database, table: str, which: str) -> bool:
        found = sa.inspect(self.live.connection).get_columns(table)
        columns = made.listed([one["name"] for one in found if not one.get("computed")])
        forced = " OVERRIDING SYSTEM VALUE" if made.kind == "PostgreSQL" else ""
        t = made.quote(table)
        insert = f"INSERT INTO {self.target}{t} ({columns}){forced} SELECT {columns}"
        return made.run(f"{insert} FROM {self.source}{t} r{which}").rowcount > 0


class _Sqlite(_Place):
    """A file in a folder of its own beside the live one, on the same disk."""

    source, target = "live.", "main."

    @property
    def file(self) -> Path:
        return Path(self.live.url.database or "").absolute()

    def opened(self, name: str) -> Database:
        path = self.file.parent / name / self.file.name
        return type(self.live)(self.live.url.set(database=str(path)))

    def names(self) -> list[str]:
        return [path.name for path in self.file.parent.iterdir()]

    def is_left(self, name: str) -> bool:
        return name != self.name and self.opened(name).take_lock("")

    def create(self, table: str, rows: int | None) -> Database:
        live, file, made = self.live, self.file, self.opened(self.name)
        (file.parent / self.name).mkdir(0o700)
        made.claim(table)
        made.run(f"PRAGMA journal_mode = {live.run('PRAGMA journal_mode').scalar_one()}")
        found = live.fetch("SELECT type, name, tbl_name, sql FROM sqlite_schema")
        tables = self.tables()

        def statements(kind: str) -> list[str]:
            return [
                sql
                for k, name, on, sql in found
                if k == kind and sql and not name.startswith("sqlite_")
                if k == "view" or on in tables and not self.captures(name)
            ]

        for sql in (*statements("table"), *statements("index")):
            made.run(sql)
        made.run(f"ATTACH DATABASE '{str(file).replace(chr(39), chr(39) * 2)}' AS live")
        with made.transaction():
            self.fill(made, table, rows)
        made.run("DETACH DATABASE live")
        for sql in (*statements("view"), *statements("trigger")):
            made.run(sql)
        return made

    def remove(self, name: str) -> None:
        shutil.rmtree(self.file.parent / name, ignore_errors=True)


_VIEWS = """
SELECT quote_ident(relname), pg_get_viewdef(oid) FROM pg_class
WHERE relkind = 'v' AND relnamespace = CAST(:s AS regnamespace) ORDER BY oid
"""
_FUNCTIONS = """
SELECT DISTINCT pg_get_functiondef(p.oid) FROM pg_trigger JOIN pg_class t ON t.oid = tgrelid
JOIN pg_proc p ON p.oid = tgfoid
WHERE relnamespace = CAST(:s AS regnamespace) AND pronamespace = relnamespace AND NOT tgisinternal
"""
_PATIENTLY = "SET lock_timeout = '60s'"
"""Nobody uses the copy but autovacuum, which gives way after a second."""


class _Postgresql(_Place):
    """A schema in the same database.

    Functions of triggers are copied too, with the schema's name in them replaced: what they write
    stays in the copy.
    """

    live: Postgresql

    def create(self, table: str, rows: int | None) -> Database:
        live, here = self.live, self.live.quote(self.name)
        schema = live.quote(live.schema or "public")
        self.source, self.target = f"{schema}.", f"{here}."
        live.run(f"CREATE SCHEMA {here}")
        made = type(live)(live.url, self.name)
        tables = [live.quote(one) for one in self.tables()]
        for on in tables:
            made.run(f"CREATE TABLE {here}.{on} (LIKE {schema}.{on} INCLUDING ALL)")
        made.run(f"SET search_path = {here}, {schema}")
        for on in tables:
            for column, identity, name in live.fetch(catalog.SEQUENCES, t=on):
                if not identity:
                    column = live.quote(column)
                    made.run(f"CREATE SEQUENCE {here}.{name} OWNED BY {on}.{column}")
                    default = f"nextval('{here}.{name}')"
                    made.run(f"ALTER TABLE {on} ALTER {column} SET DEFAULT {default}")
        made.run(_PATIENTLY)
        self.fill(made, table, rows)
        made.run(f"ANALYZE {made.quote(table)}")
        self._add_dependents(made, tables, schema)
        made.copy_properties(f"{schema}.{live.quote(table)}", live.quote(table))
        made.close()  # From now on it sees the copy alone.
        self._name_indexes(made, table)
        return made

    def _add_dependents(self, made: Database, tables: list[str], schema: str) -> None:
        live = self.live
        for key in (key for on in tables for key in live.keys(on) if key.is_own):
            made.run(f"ALTER TABLE {key.child} ADD CONSTRAINT {live.quote(key.name)} {key.sql}")
        for name, sql in live.fetch(_VIEWS, s=schema):
            made.run(f"CREATE VIEW {name} AS {sql}")
        word = re.compile(rf"\b{re.escape(live.schema or 'public')}\b")
        for (sql,) in live.fetch(_FUNCTIONS, s=schema):
            made.run(word.sub(self.name, sql))
        for on in tables:
            for name, sql, _ in live.fetch(catalog.TRIGGERS, t=on):
                if not self.captures(name):
                    made.run(sql)

    def _name_indexes(self, made: Database, table: str) -> None:
        """LIKE gives indexes names of its own."""
        names = zip(self.live.describe(table).indexes, made.describe(table).indexes, strict=True)
        for name, other in names:
            if name != other:
                made.run(f"ALTER INDEX {made.quote(other)} RENAME TO {made.quote(name)}")

    def remove(self, name: str) -> None:
        self.live.run("SET client_min_messages = warning")
        self.live.run(_PATIENTLY)
        self.live.run(f"DROP SCHEMA IF EXISTS {self.live.quote(name)} CASCADE")
        self.live.run("RESET lock_timeout")


class _Mariadb(_Place):
    """A database on the same server."""

    def create(self, table: str, rows: int | None) -> Database:
        live = self.live
        schema = live.quote(live.url.database or "")
        self.source, self.target = f"{schema}.", f"{live.quote(self.name)}."
        live.run(f"CREATE DATABASE {live.quote(self.name)}")
        made = type(live)(live.url.set(database=self.name))
        always = f"`{(live.url.database or '').replace('`', '``')}`."

        def copy(kind: str, name: str) -> None:
            found = live.run(f"SHOW CREATE {kind} {live.quote(name)}").one()
            if kind == "TRIGGER":
                made.run(f"SET @mode = @@sql_mode, sql_mode = '{found[1]}'")
            made.run(str(found[2 if kind == "TRIGGER" else 1]).replace(always, ""))
            if kind == "TRIGGER":
                made.run("SET sql_mode = @mode")

        tables = self.tables()
        for name in tables:  # The session checks no foreign keys.
            copy("TABLE", name)
        self.fill(made, table, rows)
        for name in sa.inspect(live.connection).get_view_names():
            copy("VIEW", name)
        for name, on in live.fetch(
            "SELECT trigger_name, event_object_table FROM information_schema.triggers"
            " WHERE trigger_schema = database() ORDER BY action_order"
        ):
            if on in tables and not self.captures(name):
                copy("TRIGGER", name)
        return made

    def remove(self, name: str) -> None:
        self.live.run(f"DROP DATABASE IF EXISTS {self.live.quote(name)}")


_PLACES: dict[str, type[_Place]] = {
    "SQLite": _Sqlite,
    "PostgreSQL": _Postgresql,
    "MariaDB": _Mariadb,
}
