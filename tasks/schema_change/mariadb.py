"""MariaDB: each statement on the catalog commits, RENAME TABLE alone exchanges two names at once.

Foreign keys and triggers have names that are unique in the database, so they are moved while all
tables are locked; what a killed process leaves of that, `recover` takes back.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from tasks.schema_change import interface
from tasks.schema_change.change import AddColumn, Names
from tasks.schema_change.expressions import bound, table_of
from tasks.schema_change.interface import CONFLICT, LOCK_S, LOCKED, LOST, NUMBER, Database
from tasks.schema_change.live import Copy, Key, LiveTable, describe

_SESSION = (
    "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,"
    "ALLOW_INVALID_DATES', tx_isolation = 'READ-COMMITTED', foreign_key_checks = 0,"
    " lock_wait_timeout = 2, innodb_lock_wait_timeout = 1"
)
_KINDS = {
    **dict.fromkeys((1205, 1213, 1020, 1412, 1969), LOCKED),
    **dict.fromkeys((0, 2002, 2003, 2006, 2013, 2055, 1927), LOST),
    1062: CONFLICT,
}
_FOREIGN_KEY = re.compile(r"^ *(CONSTRAINT `((?:[^`]|``)+)` FOREIGN KEY .*?),?$", re.MULTILINE)
_INDEX = re.compile(r"^ *((?:\w+ )?KEY .*?),?$", re.MULTILINE)
_COUNTER = re.compile(r" AUTO_INCREMENT=(\d+)")
_SENTRY = "_sentry"

_TRIGGERS = """
SELECT trigger_name, definer, action_timing, event_manipulation, action_statement, sql_mode
FROM information_schema.triggers WHERE event_object_schema = database()
AND event_object_table = :t ORDER BY event_manipulation, action_timing, action_order
"""
_CHILDREN = """
SELECT table_name, constraint_name FROM information_schema.referential_constraints
WHERE unique_constraint_schema = database() AND referenced_table_name = :t
AND constraint_schema = database() ORDER BY 1, 2
"""
_PARENTS = """
SELECT DISTINCT referenced_table_name FROM information_schema.referential_constraints
WHERE constraint_schema = database() AND table_name = :t AND referenced_table_name <> :t
"""
_OBSTACLES = """
SELECT concat('its engine is ', engine, ', not InnoDB') FROM information_schema.tables
WHERE table_schema = database() AND table_name = :t AND engine <> 'InnoDB'
UNION ALL SELECT 'it keeps former versions of rows' FROM information_schema.tables
WHERE table_schema = database() AND table_name = :t AND table_type = 'SYSTEM VERSIONED'
UNION ALL SELECT concat('a foreign key of the database ', constraint_schema, ' refers to it')
FROM information_schema.referential_constraints WHERE unique_constraint_schema = database()
AND referenced_table_name = :t AND constraint_schema <> database()
UNION ALL SELECT 'a key column is of the type float, which does not compare exactly'
FROM information_schema.columns WHERE table_schema = database() AND table_name = :t
AND column_key = 'PRI' AND data_type = 'float'
"""


class _Named(NamedTuple):
    """What has a name that is unique in the database, as the live table has it.

    Attributes:
        triggers: Those of users, as from `_TRIGGERS`.
        keys: Foreign keys of the table and to it: the table that has it ("" for this one), its
            name, its definition.
    """

    triggers: list[list[str]]
    keys: list[list[str]]


class Mariadb(Database):
    """A table in a database of MariaDB."""

    kind = "MariaDB"
    snapshot = (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    )
    writing = "START TRANSACTION"

    def engine(self) -> sa.Engine:
        """An engine of connections that commit by themselves."""
        options = {"connect_timeout": 10, "charset": "utf8mb4", "init_command": _SESSION}
        return sa.create_engine(
            self.url,
            poolclass=sa.pool.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args=options,
        )

    def kind_of(self, error: BaseException) -> str:
        """By the server's and the driver's numbers."""
        arguments = getattr(getattr(error, "orig", None), "args", None) or (-1,)
        return _KINDS.get(arguments[0], "")

    def take_lock(self, table: str) -> bool:
        """A lock by name, of the session."""
        return bool(self.fetch("SELECT get_lock(:name, 0)", name=self._lock_name(table))[0][0])

    def free_lock(self, table: str) -> None:
        """The lock by name."""
        self.fetch("SELECT release_lock(:name)", name=self._lock_name(table))

    def _lock_name(self, table: str) -> str:
        name = hashlib.sha256(f"{self.url.database}.{table}".encode()).hexdigest()[:32]
        return f"schema change {name}"

    def _briefly(self, sql: str) -> None:
        """Run a statement that waits no longer than `LOCK_S` for a table."""
        self.run(f"SET STATEMENT max_statement_time = {LOCK_S} FOR {sql}")

    def always_quoted(self, name: str) -> str:
        """A name as the catalog shows it."""
        return "`" + name.replace("`", "``") + "`"

    # --- the table ---------------------------------------------------------------------------

    def describe(self, table: str) -> LiveTable:
        """The table as it is."""
        if not self.exists(table):
            return describe(self.connection, table)
        definition = self._definition(table)
        names = Names(table)
        views = self.fetch(
            "SELECT table_name, view_definition FROM information_schema.views"
            " WHERE table_schema = database()"
        )
        grants = self.fetch(
            "SELECT grantee, privilege_type, is_grantable FROM information_schema.table_privileges"
            " WHERE table_schema = database() AND table_name = :t ORDER BY 1, 2",
            t=table,
        )
        others = _FOREIGN_KEY.sub("", _INDEX.sub("", _COUNTER.sub("", definition)))
        return describe(
            self.connection,
            table,
            references={name: sql for sql, name in _FOREIGN_KEY.findall(definition)},
            referred_by=tuple(self.fetch(_CHILDREN, t=table)),
            triggers={name: str(rest) for name, *rest in self._triggers(table, names)},
            views={name: sql for name, sql in views if f".{self.quote(table)}" in (sql or "")},
            grants=tuple(map(str, grants)),
            indexes={str(n): sql for n, sql in enumerate(sorted(_INDEX.findall(definition)))},
            other=(others.replace(names.shadow, table), self._incarnation(table)),
        )

    def _definition(self, table: str) -> str:
        return str(self.run(f"SHOW CREATE TABLE {self.quote(table)}").one()[1])

    def _incarnation(self, table: str) -> str:
        """The number of the table in InnoDB: TRUNCATE, which fires no trigger, changes it."""
        query = "SELECT table_id FROM information_schema.innodb_sys_tables WHERE name = :name"
        try:
            found = self.fetch(query, name=f"{self.url.database}/{table}")
        except sa.exc.DBAPIError:  # It needs the privilege PROCESS.
            return ""
        return str(found)

    def _triggers(self, table: str, names: Names) -> list[tuple]:
        """Those of users."""
        ours = (names.capture, self._returning(names))
        return [row for row in self.fetch(_TRIGGERS, t=table) if not row[0].startswith(ours)]

    def size_bytes(self, table: str) -> int | None:
        """With its indexes."""
        query = (
            "SELECT data_length + index_length FROM information_schema.tables"
            " WHERE table_schema = database() AND table_name = :t"
        )
        return self.fetch(query, t=table)[0][0]

    def obstacles(self, live: LiveTable) -> list[str]:
        """Why the table cannot be replaced by a shadow."""
        found = [text for (text,) in self.fetch(_OBSTACLES, t=live.name)]
        if Names(live.name).old.encode() < live.name.encode():
            found.append("its name comes behind that of its shadow, which RENAME locks first")
        return found

    # --- shadow and capture ------------------------------------------------------------------

    def create_shadow(self, change: AddColumn, live: LiveTable) -> None:
        """Create the empty shadow, without foreign keys: it lags behind those it refers to."""
        shadow = self.quote(Names(change.table).shadow)
        self.run(f"DROP TABLE IF EXISTS {shadow}")
        self.run(f"CREATE TABLE {shadow} LIKE {self.quote(change.table)}")
        self.run(f"ALTER TABLE {shadow} ADD COLUMN {change.clause(self.connection.dialect)}")

    def start_capture(self, copy: Copy) -> None:
        """A log of keys, and triggers that write to it."""
        number, key, source = self.quote(NUMBER), self.listed(copy.key), self.quote(copy.source)
        self.run(
            f"CREATE TABLE IF NOT EXISTS {self.quote(copy.log)} ({number} BIGINT NOT NULL"
            f" AUTO_INCREMENT PRIMARY KEY) ENGINE = InnoDB SELECT {key} FROM {source} LIMIT 0"
        )
        self._capture(copy, copy.source, Names(copy.source).capture)

    def _capture(self, copy: Copy, table: str, prefix: str) -> None:
        key = self.listed(copy.key)
        insert = f"INSERT INTO {self.quote(copy.log)} ({key}) VALUES"
        old, new = (f"({self.listed(copy.key, f'{row}.')})" for row in ("OLD", "NEW"))
        for event, body in (
            ("INSERT", f"{insert} {new}"),
            ("UPDATE", f"IF {old} = {new} THEN {insert} {old}; ELSE {insert} {old}, {new}; END IF"),
            ("DELETE", f"{insert} {old}"),
        ):
            trigger = self.quote(f"{prefix}_{event.lower()}")
            self._briefly(
                f"CREATE TRIGGER IF NOT EXISTS {trigger} AFTER {event} ON {self.quote(table)}"
                f" FOR EACH ROW {body}"
            )

    def _returning(self, names: Names) -> str:
        """The beginning of the names of triggers on the table with the new column."""
        return names.capture.removesuffix("capture") + "return"

    def _drop_triggers(self, prefix: str) -> None:
        for event in ("insert", "update", "delete"):
            self._briefly(f"DROP TRIGGER IF EXISTS {self.quote(f'{prefix}_{event}')}")

    def stop_capture(self, names: Names) -> None:
        """Remove the triggers, then what they write to."""
        self._drop_triggers(names.capture)
        self._drop_triggers(self._returning(names))
        self._briefly(f"DROP TABLE IF EXISTS {self.quote(names.log)}")

    def beyond(self, columns: Sequence[sa.ColumnElement], key: Key) -> sa.ColumnElement[bool]:
        """Column by column: MariaDB uses no index to compare rows."""
        pairs = [(column, bound(value)) for column, value in zip(columns, key, strict=True)]
        column, value = pairs[-1]
        found = column > value
        for column, value in reversed(pairs[:-1]):
            found = sa.or_(column > value, sa.and_(column == value, found))
        return sa.and_(columns[0] >= bound(key[0]), found)

    def exact(self, column: sa.ColumnElement, kind: str) -> sa.ColumnElement:
        """The text of a FLOAT has six digits only."""
        return column + sa.literal_column("0e0") if kind.startswith("FLOAT") else column

    def rows_hash(self, columns: Sequence[sa.ColumnElement]) -> sa.ColumnElement:
        """64 bits of each row, combined; QUOTE distinguishes NULL from texts."""
        texts = [sa.func.quote(sa.cast(column, sa.LargeBinary())) for column in columns]
        digits = sa.func.left(sa.func.md5(sa.func.concat_ws(",", *texts)), 16)
        number = sa.cast(sa.func.conv(digits, 16, 10), mysql.INTEGER(unsigned=True))
        return sa.func.bit_xor(number)

    def native_sql(self, change: AddColumn) -> list[str]:
        """By the cheapest algorithm that MariaDB can use."""
        clause = change.clause(self.connection.dialect)
        alter = f"ALTER TABLE {self.quote(change.table)} WAIT 1 ADD COLUMN {clause}"
        return [f"SET STATEMENT max_statement_time = {interface.ALTER_S} FOR {alter}"]

    # --- the switch --------------------------------------------------------------------------

    def exchange(self, copy: Copy, names: Names, fingerprint: str, is_back: bool) -> None:
        """Lock all, apply the rest of the log, move what is named, and rename behind the lock."""
        table, aside = copy.source, names.shadow if is_back else names.old
        self.recover(names, is_back)
        self.run(f"CREATE TABLE {self.quote(aside)} ({_SENTRY} LONGTEXT)")
        children = [child for child, _ in self.fetch(_CHILDREN, t=table)]
        parents = [parent for (parent,) in self.fetch(_PARENTS, t=table)]
        locked = dict.fromkeys([table, copy.target, aside, copy.log, *children, *parents])
        try:
            with self._engine.connect() as other:
                with self.transaction():  # What is applied now does not wait for the lock.
                    self.apply(copy, 1_000, is_copied=True)
                self._briefly(f"LOCK TABLES {', '.join(f'{self.quote(n)} WRITE' for n in locked)}")
                live = self.unchanged(table, fingerprint)
                while self.apply(copy, 50_000, is_copied=True):
                    pass
                counter = _COUNTER.search(self._definition(table))
                if counter:
                    self.run(f"ALTER TABLE {self.quote(copy.target)} AUTO_INCREMENT = {counter[1]}")
                if not is_back:
                    self._capture(copy, copy.target, self._returning(names))
                moved = self._named(table, names)
                record = sa.insert(table_of(aside, (_SENTRY,))).values({_SENTRY: json.dumps(moved)})
                self.connection.execute(record)
                self._move(moved, names, table, copy.target)
                self._rename(other, table, copy.target, aside)
        except BaseException:
            if self._connection is not None and not self.connection.invalidated:
                self.run("UNLOCK TABLES")
                self.recover(names, is_back)
            raise
        self.recover(names, is_back)
        self.check_exchange(live)

    def _rename(self, other: sa.Connection, table: str, target: str, aside: str) -> None:
        """Another connection renames: it waits first in the queue when the lock is released.

        RENAME TABLE locks in the order of names; those of the other tables come behind the
        table's, so it waits for the table. Were this connection lost before it waits, the table
        `aside` would still exist, and keep it from renaming.
        """
        errors: list[BaseException] = []
        number = other.exec_driver_sql("SELECT connection_id()").scalar_one()

        def rename() -> None:
            try:
                other.exec_driver_sql(
                    f"RENAME TABLE {self.quote(table)} TO {self.quote(aside)},"
                    f" {self.quote(target)} TO {self.quote(table)}",
                    execution_options={"no_parameters": True},
                )
            except sa.exc.DBAPIError as error:
                errors.append(error)

        thread = threading.Thread(target=rename)
        thread.start()
        try:
            query = "SELECT state FROM information_schema.processlist WHERE id = :id"
            while thread.is_alive():
                if "metadata lock" in str(self.fetch(query, id=number)):
                    self.run(f"DROP TABLE {self.quote(aside)}")
                    break
                time.sleep(0.001)
            self.run("UNLOCK TABLES")
        finally:
            thread.join()
        if errors:
            raise errors[0]

    def _named(self, table: str, names: Names) -> _Named:
        keys = []
        children = [child for child, _ in self.fetch(_CHILDREN, t=table)]
        for on in dict.fromkeys([table, *children]):
            for sql, name in _FOREIGN_KEY.findall(self._definition(on)):
                if on == table or self._references(table) in sql:
                    sql = sql.replace(self._references(table), self._references(names.table))
                    keys.append(["" if on == table else on, name, sql])
        return _Named([list(row) for row in self._triggers(table, names)], keys)

    def _references(self, table: str) -> str:
        return f" REFERENCES {self.always_quoted(table)} ("

    def _move(self, moved: _Named, names: Names, table: str, target: str) -> None:
        """From a table to another; what is on none is created."""
        for name, definer, timing, event, body, mode in moved.triggers:
            user, _, host = definer.rpartition("@")
            self.run(f"DROP TRIGGER IF EXISTS {self.quote(name)}")
            self.run(f"SET @mode = @@sql_mode, sql_mode = '{mode}'")
            self.run(
                f"CREATE DEFINER = {self.quote(user)}@{self.quote(host)} TRIGGER"
                f" {self.quote(name)} {timing} {event} ON {self.quote(target)} FOR EACH ROW {body}"
            )
            self.run("SET sql_mode = @mode")
        # Each ALTER TABLE takes long behind the lock: one for all keys of a table.
        was, now = self._references(names.table), self._references(target)
        for on in dict.fromkeys(on for on, _, _ in moved.keys):
            keys = [(self.always_quoted(n), sql) for one, n, sql in moved.keys if one == on]
            removed = ", ".join(f"DROP FOREIGN KEY IF EXISTS {name}" for name, _ in keys)
            self.run(f"ALTER TABLE {self.quote(on or table)} {removed}")
            added = ", ".join(f"ADD {sql.replace(was, now)}" for _, sql in keys)
            self.run(f"ALTER TABLE {self.quote(on or target)} {added}")

    def recover(self, names: Names, is_back: bool) -> None:
        """Take back what an exchange has left that did not come to its end, else tidy up."""
        aside, target = (names.shadow, names.old) if is_back else (names.old, names.shadow)
        record: list[tuple] = []
        if self.exists(aside):
            if self.column_names(aside) != {_SENTRY}:  # The exchange came to its end.
                if not is_back:  # They would log what is applied to the old table.
                    self._drop_triggers(names.capture)
                return
            record = self.fetch(f"SELECT {_SENTRY} FROM {self.quote(aside)}")
        if not is_back:
            self._drop_triggers(self._returning(names))
        # What was moved last may be on neither table; without a record all of it was, or nothing.
        moved = _Named(*json.loads(record[0][0])) if record else self._named(target, names)
        found = zip(moved, self._named(names.table, names), strict=True)
        missing = _Named(*([one for one in had if one not in has] for had, has in found))
        self._move(missing, names, target, names.table)
        self._briefly(f"DROP TABLE IF EXISTS {self.quote(aside)}")
