"""SQLite: one writer at a time, so the triggers write the rows themselves, in the writer's turn.

A log would let the copy lag behind, and SQLite cannot add foreign keys later: a row of the shadow
that is not removed yet would keep its parent from being deleted.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from filelock import FileLock, Timeout

from tasks.schema_change.change import AddColumn, Names
from tasks.schema_change.expressions import table_of
from tasks.schema_change.interface import CONFLICT, LOCKED, Database
from tasks.schema_change.live import Copy, Key, LiveTable, describe

_NAME = r'(?:"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|\'(?:[^\']|\'\')*\'|[^\s("`\[]+)'
_TABLE = re.compile(rf"CREATE TABLE\s+{_NAME}")
_INDEX = re.compile(rf"(CREATE (?:UNIQUE )?INDEX\s+){_NAME}(\s+ON\s+){_NAME}", re.IGNORECASE)

_CHILDREN = """
SELECT name, group_concat(key."from", ', ') FROM sqlite_schema, pragma_foreign_key_list(name) key
WHERE type = 'table' AND lower(key."table") = lower(:t) AND name NOT IN (:new, :old)
GROUP BY name, key.id ORDER BY 1, 2
"""


class Sqlite(Database):
    """A table in an SQLite file."""

    kind = "SQLite"
    writing = "BEGIN IMMEDIATE"
    logs_keys = False

    def engine(self) -> sa.Engine:
        """An engine of connections that commit by themselves."""
        engine = sa.create_engine(
            self.url,
            poolclass=sa.pool.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"timeout": 5, "check_same_thread": False},
        )
        sa.event.listen(engine, "connect", _prepare)
        return engine

    def kind_of(self, error: BaseException) -> str:
        """By SQLite's error codes."""
        name = str(getattr(getattr(error, "orig", None), "sqlite_errorname", ""))
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return LOCKED
        return CONFLICT if name == "SQLITE_CONSTRAINT_UNIQUE" else ""

    def take_lock(self, table: str) -> bool:
        """A lock of a file beside the database, which ends with the process."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def free_lock(self, table: str) -> None:
        """Also if none is taken."""
        self._lock.release(force=True)

    @functools.cached_property
    def _lock(self) -> FileLock:
        return FileLock(f"{self.url.database}-schema-change-lock", thread_local=False)

    def before_fork(self) -> None:
        """Close the connection alone: SQLite in the other process would know no locks of it."""
        super().close()

    def close(self) -> None:
        """Close the connection, and end the lock."""
        super().close()
        self.free_lock("")

    # --- the table ---------------------------------------------------------------------------

    def describe(self, table: str) -> LiveTable:
        """The table as it is."""
        catalog, names = self._catalog(table), Names(table)
        references = self.run(f"PRAGMA foreign_key_list({self.quote(table)})").fetchall()
        views = self.fetch("SELECT name, sql FROM sqlite_schema WHERE type = 'view'")
        word = re.compile(rf"(?<!\w){re.escape(table)}(?!\w)", re.IGNORECASE)
        return describe(
            self.connection,
            table,
            references={str(row[:2]): str(row[2:]) for row in references},
            referred_by=tuple(self.fetch(_CHILDREN, t=table, new=names.shadow, old=names.old)),
            triggers=self._user_triggers(table),
            views={name: sql for name, sql in views if word.search(sql)},
            indexes={name: _INDEX.sub("", sql) for name, sql in catalog["index"].items() if sql},
            other=tuple(catalog["table"].values()),
        )

    def _catalog(self, table: str) -> dict[str, dict[str, str]]:
        """Kind -> name -> statement of all that belongs to a table."""
        found: dict[str, dict[str, str]] = {"table": {}, "index": {}, "trigger": {}}
        rows = self.fetch(
            "SELECT type, name, sql FROM sqlite_schema WHERE lower(tbl_name) = lower(:name)"
            " AND type <> 'view' ORDER BY type, name",
            name=table,
        )
        for kind, name, sql in rows:
            found[kind][name] = sql
        return found

    def _user_triggers(self, table: str) -> dict[str, str]:
        capture = Names(table).capture
        found = self._catalog(table)["trigger"]
        return {name: sql for name, sql in found.items() if not name.startswith(capture)}

    def size_bytes(self, table: str) -> int | None:
        """Pages of the table and its indexes, counted."""
        with contextlib.suppress(sa.exc.DBAPIError):  # An SQLite built without dbstat.
            query = (
                "SELECT sum(pgsize) FROM dbstat WHERE name IN"
                " (SELECT name FROM sqlite_schema WHERE tbl_name = :name)"
            )
            return self.fetch(query, name=table)[0][0]
        return None

    def obstacles(self, live: LiveTable) -> list[str]:
        """Why the table cannot be replaced by a shadow."""
        found = []
        if not live.other[0].upper().startswith("CREATE TABLE"):
            found.append("it is a virtual table")
        if any(None in columns for columns in self._unique(live.name)):
            found.append("a unique index has a condition or an expression")
        missing = " OR ".join(f"{self.quote(name)} IS NULL" for name in live.primary_key)
        if self.run(f"SELECT 1 FROM {self.quote(live.name)} WHERE {missing} LIMIT 1").first():
            found.append("a row has NULL in its primary key")
        return found

    def _unique(self, table: str) -> list[tuple[str | None, ...]]:
        """The columns of unique indexes beside the primary key; None for what is no column."""
        indexes = self.run(f"PRAGMA index_list({self.quote(table)})").fetchall()
        return [
            (None,)
            if partial
            else tuple(row[2] for row in self.run(f"PRAGMA index_info({self.quote(name)})"))
            for _, name, unique, origin, partial in indexes
            if unique and origin != "pk"
        ]

    # --- shadow and capture ------------------------------------------------------------------

    def create_shadow(self, change: AddColumn, live: LiveTable) -> None:
        """Create the empty shadow, with indexes that have names of their own."""
        shadow = Names(change.table).shadow
        catalog = self._catalog(change.table)
        definition = _TABLE.sub(lambda _: f"CREATE TABLE {self.quote(shadow)}", live.other[0], 1)
        clause = change.clause(self.connection.dialect)
        with self.transaction():
            self.drop(shadow)
            self.run(definition)
            self.run(f"ALTER TABLE {self.quote(shadow)} ADD COLUMN {clause}")
            for name, sql in catalog["index"].items():
                if sql:
                    index = self.quote(f"{shadow}_{name}")
                    self.run(_renamed(sql, index, self.quote(shadow)))

    def start_capture(self, copy: Copy) -> None:
        """Triggers that write to the target what the copy has reached."""
        with self.transaction():
            self._capture(copy, is_copied=False)

    def end_copy(self, copy: Copy) -> None:
        """From now on the triggers write all rows."""
        self._capture(copy, is_copied=True)

    def _capture(self, copy: Copy, is_copied: bool) -> None:
        source, target = self.quote(copy.source), self.quote(copy.target)
        key, columns = self.listed(copy.key), self.listed(copy.columns)
        reached = f" AND ({key}) <= (SELECT {key} FROM {target} ORDER BY "
        reached += ", ".join(f"{self.quote(name)} DESC" for name in copy.key) + " LIMIT 1)"

        def delete(names: Sequence[str], row: str) -> str:
            values = " AND ".join(f"{self.quote(n)} = {row}.{self.quote(n)}" for n in names)
            return f"DELETE FROM {target} WHERE {values};"

        # A row that REPLACE removes by another unique value fires no trigger.
        replaced = [delete([n for n in names if n], "NEW") for names in self._unique(copy.source)]
        new = " AND ".join(f"{self.quote(n)} = NEW.{self.quote(n)}" for n in copy.key)
        insert = (
            f"INSERT INTO {target} ({columns}) SELECT {columns} FROM {source} WHERE {new}"
            f"{'' if is_copied else reached};"
        )
        added = " ".join([*replaced, delete(copy.key, "NEW"), insert])
        removed = delete(copy.key, "OLD")
        prefix = Names(copy.source).capture
        for event, body in (
            ("INSERT", added),
            ("UPDATE", f"{removed} {added}"),
            ("DELETE", removed),
        ):
            trigger = self.quote(f"{prefix}_{event.lower()}")
            self.run(f"DROP TRIGGER IF EXISTS {trigger}")
            self.run(f"CREATE TRIGGER {trigger} AFTER {event} ON {source} BEGIN {body} END")

    def stop_capture(self, names: Names) -> None:
        """Remove the triggers."""
        for event in ("insert", "update", "delete"):
            self.run(f"DROP TRIGGER IF EXISTS {self.quote(f'{names.capture}_{event}')}")

    def same_rows(self, copy: Copy, after: Key | None, end: Key | None) -> bool:
        """Compares value by value: SQLite has no hash."""
        source, target = (table_of(t, copy.compared) for t in (copy.source, copy.target))
        keys = [(source.c[name], target.c[name]) for name in copy.key]
        identical = sa.select(sa.literal(1)).where(*(one == other for one, other in keys))
        for name in copy.compared:
            one, other = source.c[name], target.c[name]
            same = one.collate("BINARY").is_not_distinct_from(other)
            identical = identical.where(same, sa.func.typeof(one) == sa.func.typeof(other))
        within = self.within([one for one, _ in keys], after, end)
        different = sa.select(sa.func.count()).select_from(source)
        different = different.where(*within, sa.not_(sa.exists(identical)))
        if self.connection.scalar(different):
            return False
        count = sa.func.count()
        rows = self.connection.scalar(sa.select(count).select_from(source).where(*within))
        there = self.within([other for _, other in keys], after, end)
        return rows == self.connection.scalar(sa.select(count).select_from(target).where(*there))

    def native_sql(self, change: AddColumn) -> list[str]:
        """Waits for a writer as long as any statement."""
        clause = change.clause(self.connection.dialect)
        return [f"ALTER TABLE {self.quote(change.table)} ADD COLUMN {clause}"]

    # --- the switch --------------------------------------------------------------------------

    def exchange(self, copy: Copy, names: Names, fingerprint: str, is_back: bool) -> None:
        """In one transaction; children and views refer to names, which they keep."""
        table, aside = names.table, names.shadow if is_back else names.old
        with self.transaction():
            live = self.unchanged(table, fingerprint)
            self.stop_capture(names)
            for name in live.triggers:
                self.run(f"DROP TRIGGER {self.quote(name)}")
            self._keep_sequence(table, copy.target)
            indexes = {name: sql for name, sql in self._catalog(table)["index"].items() if sql}
            self.run(f"ALTER TABLE {self.quote(table)} RENAME TO {self.quote(aside)}")
            self.run(f"ALTER TABLE {self.quote(copy.target)} RENAME TO {self.quote(table)}")
            self._exchange_indexes(indexes, copy.target, aside)
            for sql in live.triggers.values():
                self.run(sql)
            if not is_back:
                self._capture(copy._replace(target=aside), is_copied=True)
            self.check_exchange(live)

    def _keep_sequence(self, table: str, target: str) -> None:
        """What AUTOINCREMENT has given once is not given again."""
        if self.exists("sqlite_sequence"):
            for values in self.fetch("SELECT seq FROM sqlite_sequence WHERE name = :t", t=table):
                self.run(f"DELETE FROM sqlite_sequence WHERE name = {_text(target)}")
                self.run(f"INSERT INTO sqlite_sequence VALUES ({_text(target)}, {values[0]})")

    def _exchange_indexes(self, indexes: dict[str, str], target: str, aside: str) -> None:
        """Rename indexes in the catalog: SQLite has no statement for it."""
        if not indexes:
            return
        version = self.run("PRAGMA schema_version").scalar_one()
        self.run("PRAGMA writable_schema = ON")
        for name in indexes:
            for old, new in ((name, f"{aside}_{name}"), (f"{target}_{name}", name)):
                sql = self.fetch("SELECT sql, tbl_name FROM sqlite_schema WHERE name = :n", n=old)
                text = _renamed(sql[0][0], self.quote(new), self.quote(sql[0][1]))
                self.run(
                    f"UPDATE sqlite_schema SET name = {_text(new)}, sql = {_text(text)}"
                    f" WHERE type = 'index' AND name = {_text(old)}"
                )
        self.run(f"PRAGMA schema_version = {version + 1}")
        self.run("PRAGMA writable_schema = RESET")


def _renamed(sql: str, index: str, table: str) -> str:
    return _INDEX.sub(lambda found: f"{found[1]}{index}{found[2]}{table}", sql, count=1)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _prepare(connection: Any, _: object) -> None:
    """A connection whose ALTER TABLE leaves foreign keys, views and triggers of others alone."""
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA legacy_alter_table = ON")
