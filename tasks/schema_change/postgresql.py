"""PostgreSQL: the exchange is one transaction; names that belong to the table move with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from typing_extensions import override

from tasks.schema_change import catalog, interface
from tasks.schema_change.change import AddColumn, Names
from tasks.schema_change.interface import CONFLICT, LOCK_S, LOCKED, LOST, NUMBER, Database
from tasks.schema_change.live import Copy, LiveTable, describe

_KINDS = {
    "55P03": LOCKED,  # not to be had in time
    "57014": LOCKED,  # statement_timeout
    "40P01": LOCKED,  # deadlock
    "40001": LOCKED,  # serialization
    "23505": CONFLICT,
}
_MILLISECONDS = int(LOCK_S * 1000)
_LONGEST_S = 60
"""How long to wait for transactions that are older than an exchange."""


class ForeignKey(NamedTuple):
    """A row of `catalog.KEYS`, for a table that has the key (`is_own`) or is referred to.

    Attributes:
        child: The table that has it, as SQL has it.
        parent: The table that it refers to.
        sql: Its definition.
    """

    is_own: bool
    child: str
    parent: str
    name: str
    sql: str
    is_checked: bool


class Postgresql(Database):
    """A table in a schema of PostgreSQL."""

    kind = "PostgreSQL"
    snapshot = ("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",)
    writing = "BEGIN ISOLATION LEVEL READ COMMITTED"

    def engine(self) -> sa.Engine:
        """An engine of connections that commit by themselves."""
        return sa.create_engine(
            self.url.set(drivername="postgresql+psycopg"),
            poolclass=sa.pool.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "connect_timeout": 10,
                "application_name": "schema-change",
                # Texts of values must be exact, and the same in each session.
                "options": f"-csearch_path={self.schema or 'public'} -ctimezone=UTC"
                f" -cextra_float_digits=1 -clock_timeout={_MILLISECONDS}",
            },
        )

    def kind_of(self, error: BaseException) -> str:
        """By SQLSTATE."""
        state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
        is_lost = isinstance(error, sa.exc.OperationalError) and not state
        if is_lost or state.startswith(("08", "57P")):
            return LOST
        return _KINDS.get(state, "")

    def take_lock(self, table: str) -> bool:
        """An advisory lock of the session."""
        return self._advisory("pg_try_advisory_lock", table)

    def free_lock(self, table: str) -> None:
        """The advisory lock."""
        self._advisory("pg_advisory_unlock", table)

    def _advisory(self, function: str, table: str) -> bool:
        query = f"SELECT {function}(hashtextextended(:name, 0))"
        return bool(self.fetch(query, name=f"schema change {self.schema}.{table}")[0][0])

    # --- the table ---------------------------------------------------------------------------

    def describe(self, table: str) -> LiveTable:
        """The table as it is."""
        if not self.exists(table):
            return describe(self.connection, table)
        t = self.quote(table)
        capture = Names(table).capture
        keys = self.keys(t)
        return describe(
            self.connection,
            table,
            references={key.name: key.sql for key in keys if key.is_own},
            referred_by=tuple(
                (key.child, key.name) for key in keys if not key.is_own or key.child == key.parent
            ),
            triggers={
                name: f"{sql}; {enabled}"
                for name, sql, enabled in self.fetch(catalog.TRIGGERS, t=t)
                if not name.startswith(capture)
            },
            views={
                name: f"{options} {sql}" for name, sql, options in self.fetch(catalog.VIEWS, t=t)
            },
            grants=tuple(str(grant) for grant in self.fetch(catalog.GRANTS, t=t)),
            indexes=dict(self.fetch(catalog.INDEXES, t=t)),
            other=tuple(sorted(text for (text,) in self.fetch(catalog.OTHER, t=t))),
        )

    def keys(self, table: str) -> list[ForeignKey]:
        """The foreign keys of a table and to it; its name is quoted."""
        return [ForeignKey(*row) for row in self.fetch(catalog.KEYS, t=table)]

    def size_bytes(self, table: str) -> int | None:
        """With its indexes."""
        query = "SELECT pg_total_relation_size(CAST(:t AS regclass))"
        return self.fetch(query, t=self.quote(table))[0][0]

    def obstacles(self, live: LiveTable) -> list[str]:
        """Why the table cannot be replaced by a shadow."""
        t = self.quote(live.name)
        found = [text for (text,) in self.fetch(catalog.OBSTACLES, t=t)]
        return found + [
            f"the foreign key {key.name} of {key.child} is NOT VALID"
            for key in self.keys(t)
            if not key.is_checked
        ]

    # --- shadow and capture ------------------------------------------------------------------

    def create_shadow(self, change: AddColumn, live: LiveTable) -> None:
        """Create the empty shadow, without foreign keys: it lags behind those it refers to."""
        table, shadow = self.quote(change.table), self.quote(Names(change.table).shadow)
        with self.transaction():
            self.run(f"DROP TABLE IF EXISTS {shadow}")
            self.run(f"CREATE TABLE {shadow} (LIKE {table} INCLUDING ALL)")
            self.run(f"ALTER TABLE {shadow} ADD COLUMN {change.clause(self.connection.dialect)}")
            self._let_write_identity(shadow)
            self.copy_properties(table, shadow)

    def _let_write_identity(self, table: str) -> None:
        for column, identity, _ in self.fetch(catalog.SEQUENCES, t=table):
            if identity == "a":
                column = self.quote(column)
                self.run(f"ALTER TABLE {table} ALTER {column} SET GENERATED BY DEFAULT")

    def copy_properties(self, table: str, shadow: str) -> None:
        """What LIKE leaves out: comment, options, owner, grants."""
        for statement in self.fetch(catalog.PROPERTIES, t=table, s=shadow)[0]:
            if not statement.endswith(" SET ()"):
                self.run(statement)
        grants = self.fetch(catalog.GRANTS, t=table)
        if grants:
            self.run(f"REVOKE ALL ON {shadow} FROM CURRENT_USER")
        for privilege, column, grantee, grantable in grants:
            what = f"{privilege} ({column})" if column else privilege
            option = " WITH GRANT OPTION" if grantable else ""
            self.run(f"GRANT {what} ON {shadow} TO {grantee}{option}")

    def start_capture(self, copy: Copy) -> None:
        """A log of keys, and triggers that write to it with the rights of its owner."""
        with self.transaction():
            self._begin_lock(self.quote(copy.source))
            self.run(f"SET LOCAL statement_timeout = {_MILLISECONDS}")
            self.run(f"LOCK TABLE {self.quote(copy.source)} IN SHARE ROW EXCLUSIVE MODE")
            self._drop_capture(Names(copy.source))
            key = self.listed(copy.key)
            log = self.quote(copy.log)
            self.run(f"CREATE TABLE {log} AS SELECT {key} FROM {self.quote(copy.source)} LIMIT 0")
            number = self.quote(NUMBER)
            self.run(
                f"ALTER TABLE {log} ADD {number} bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
            )
            self._capture(copy)

    def _capture(self, copy: Copy) -> None:
        names = Names(copy.source)
        source, capture, log = map(self.quote, (copy.source, names.capture, copy.log))
        key = self.listed(copy.key)
        insert = f"INSERT INTO {log} ({key})"
        old, new = (f"VALUES ({self.listed(copy.key, f'{row}.')})" for row in ("OLD", "NEW"))
        body = f"""BEGIN
            IF TG_OP = 'TRUNCATE' THEN {insert} SELECT {key} FROM {source}; RETURN NULL; END IF;
            IF TG_OP <> 'INSERT' THEN {insert} {old}; END IF;
            IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND
                ({self.listed(copy.key, "OLD.")}) IS DISTINCT FROM ({self.listed(copy.key, "NEW.")})
            THEN {insert} {new}; END IF;
            RETURN NULL; END"""
        self.run(
            f"CREATE OR REPLACE FUNCTION {capture}() RETURNS trigger LANGUAGE plpgsql"
            f" SECURITY DEFINER SET search_path FROM CURRENT AS $capture${body}$capture$"
        )
        for name, when in (
            (f"{names.capture}_row", "AFTER INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW"),
            (f"{names.capture}_all", "BEFORE TRUNCATE ON {}"),
        ):
            trigger = self.quote(name)
            self.run(f"CREATE TRIGGER {trigger} {when.format(source)} EXECUTE FUNCTION {capture}()")
            self.run(f"ALTER TABLE {source} ENABLE ALWAYS TRIGGER {trigger}")

    def end_copy(self, copy: Copy) -> None:
        """Have statistics for what comes next."""
        self.run(f"ANALYZE {self.quote(copy.target)}")

    def stop_capture(self, names: Names) -> None:
        """Remove the triggers with their functions, then the log."""
        named = (names.table, names.shadow, names.old, names.log)
        tables = [name for name in named if self.exists(name)]
        with self.transaction():
            self._begin_lock(self.listed(tables))
            self._drop_capture(names)

    @override
    def drop(self, table: str) -> None:
        if self.exists(table):
            with self.transaction():
                self._begin_lock(self.quote(table))
                super().drop(table)

    def _drop_capture(self, names: Names) -> None:
        self._drop_functions(names)
        self.run(f"DROP TABLE IF EXISTS {self.quote(names.log)}")

    def _drop_functions(self, names: Names) -> None:
        for name in (names.capture, f"{names.capture}_guard"):
            self.run(f"DROP FUNCTION IF EXISTS {self.quote(name)}() CASCADE")

    def rows_hash(self, columns: Sequence[sa.ColumnElement]) -> sa.ColumnElement:
        """The sum of 64 bits of each row; its text distinguishes NULL from ''."""
        text = sa.cast(sa.func.row(*columns), sa.Text())
        return sa.func.sum(sa.cast(sa.func.hashtextextended(text, 0), sa.Numeric()))

    def native_sql(self, change: AddColumn) -> list[str]:
        """In one transaction, once autovacuum has made way."""
        table, clause = self.quote(change.table), change.clause(self.connection.dialect)
        return [
            "BEGIN",
            *self._before_lock(table),
            f"SET LOCAL statement_timeout = {int(interface.ALTER_S * 1000)}",
            f"ALTER TABLE {table} ADD COLUMN {clause}",
            "COMMIT",
        ]

    def _begin_lock(self, tables: str) -> None:
        for statement in self._before_lock(tables):
            self.run(statement)

    def _before_lock(self, tables: str) -> list[str]:
        """Statements after which a lock does not wait for autovacuum.

        Autovacuum makes way for who has waited for `deadlock_timeout`, by default 1 s: longer than
        `LOCK_S`. Behind this lock nobody waits who reads or writes.
        """
        return [
            f"SET LOCAL lock_timeout = {10 * _MILLISECONDS}",
            f"LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE",
            f"SET LOCAL lock_timeout = {_MILLISECONDS}",
        ]

    # --- the switch --------------------------------------------------------------------------

    def exchange(self, copy: Copy, names: Names, fingerprint: str, is_back: bool) -> None:
        """In one transaction."""
        aside = self.quote(names.shadow if is_back else names.old)
        table, target = self.quote(copy.source), self.quote(copy.target)
        with self.transaction():
            views = self.fetch(catalog.VIEWS, t=table)
            self._lock(table, target, [view for view, _, _ in views])
            live = self.unchanged(copy.source, fingerprint)
            while self.apply(copy, 50_000, is_copied=True):
                pass
            keys, triggers = self.keys(table), self.fetch(catalog.TRIGGERS, t=table)
            sequences = self.fetch(catalog.SEQUENCES, t=table)
            indexes = zip(live.indexes, dict(self.fetch(catalog.INDEXES, t=target)), strict=True)
            self._release(live, names, keys)
            self.run(f"ALTER TABLE {table} RENAME TO {aside}")
            self.run(f"ALTER TABLE {target} RENAME TO {table}")
            for name, other in indexes:
                self._exchange_names("INDEX", self.quote(name), self.quote(other))
            self._move_sequences(sequences, table, aside)
            for name, sql, enabled in triggers:
                if name in live.triggers:
                    self.run(sql)
                    if enabled in _ENABLED:
                        self.run(f"ALTER TABLE {table} {_ENABLED[enabled]} {self.quote(name)}")
            for key in keys:
                added = f"ADD CONSTRAINT {self.quote(key.name)} {key.sql} NOT VALID"
                self.run(f"ALTER TABLE {key.child} {added}")
            for view, sql, options in views:
                having = f" WITH ({options})" if options else ""
                self.run(f"CREATE OR REPLACE VIEW {view}{having} AS {sql}")
            if not is_back:
                self._capture(copy)
            self._guard(table, names)
            self.check_exchange(live)

    def _guard(self, table: str, names: Names) -> None:
        """Refuse writes of transactions whose snapshot is older than the exchange.

        In REPEATABLE READ a statement that waited for the exchange keeps its snapshot, which does
        not see what was applied last: it would change no row, without an error.
        """
        guard = self.quote(f"{names.capture}_guard")
        (number,) = self.fetch("SELECT pg_current_xact_id()::text")[0]
        body = f"""BEGIN
            IF NOT pg_visible_in_snapshot('{number}'::xid8, pg_current_snapshot()) THEN
                RAISE EXCEPTION 'could not serialize access due to an exchange of tables'
                USING ERRCODE = '40001', HINT = 'The transaction might succeed if retried.';
            END IF; RETURN NULL; END"""
        self.run(
            f"CREATE OR REPLACE FUNCTION {guard}() RETURNS trigger LANGUAGE plpgsql"
            f" AS $guard${body}$guard$"
        )
        self.run(
            f"CREATE TRIGGER {guard} BEFORE INSERT OR UPDATE OR DELETE ON {table}"
            f" EXECUTE FUNCTION {guard}()"
        )

    def _lock(self, table: str, target: str, views: Sequence[str]) -> None:
        """Lock all that is concerned, in at most `LOCK_S` together.

        Views come first: who reads one has locked it before the table.
        """
        related = [one for key in self.keys(table) for one in (key.child, key.parent)]
        tables = dict.fromkeys([table, target, *related])
        self._begin_lock(", ".join(tables))
        listed = ", ".join(dict.fromkeys([*views, *tables]))
        self.run(f"SET LOCAL statement_timeout = {_MILLISECONDS}")
        self.run(f"LOCK TABLE {listed} IN ACCESS EXCLUSIVE MODE")
        self.run("SET LOCAL statement_timeout = 0")

    def _release(self, live: LiveTable, names: Names, keys: Sequence[ForeignKey]) -> None:
        """Free the table of what belongs to its name."""
        for name in live.triggers:
            self.run(f"DROP TRIGGER {self.quote(name)} ON {self.quote(live.name)}")
        self._drop_functions(names)
        for key in keys:
            self.run(f"ALTER TABLE {key.child} DROP CONSTRAINT {self.quote(key.name)}")

    def _exchange_names(self, kind: str, one: str, other: str) -> None:
        between = self.quote("_schema_change_between")
        self.run(f"ALTER {kind} {one} RENAME TO {between}")
        self.run(f"ALTER {kind} {other} RENAME TO {one}")
        self.run(f"ALTER {kind} {between} RENAME TO {other}")

    def _move_sequences(self, sequences: Sequence[tuple], table: str, aside: str) -> None:
        """No number is given twice; the names stay."""
        own = {column: name for column, _, name in self.fetch(catalog.SEQUENCES, t=table)}
        for column, identity, sequence in sequences:
            quoted = self.quote(column)
            if not identity:
                self.run(f"ALTER SEQUENCE {sequence} OWNED BY {table}.{quoted}")
                continue
            last, called = self.run(f"SELECT last_value, is_called FROM {sequence}").one()
            self.fetch(
                "SELECT setval(CAST(:s AS regclass), :n, :c)", s=own[column], n=last, c=called
            )
            self._exchange_names("SEQUENCE", sequence, own[column])
            if identity == "a":
                self.run(f"ALTER TABLE {table} ALTER {quoted} SET GENERATED ALWAYS")
                self.run(f"ALTER TABLE {aside} ALTER {quoted} SET GENERATED BY DEFAULT")

    def validate(self, table: str) -> None:
        """Check foreign keys while rows are written, and see older transactions out.

        Those are the ones that `_guard` is for.
        """
        older = self.fetch(catalog.TRANSACTIONS)
        for key in self.keys(self.quote(table)):
            if not key.is_checked:
                self.run(f"ALTER TABLE {key.child} VALIDATE CONSTRAINT {self.quote(key.name)}")
        until = time.monotonic() + _LONGEST_S
        while time.monotonic() < until and set(older) & set(self.fetch(catalog.TRANSACTIONS)):
            time.sleep(0.05)


_ENABLED = {
    "D": "DISABLE TRIGGER",
    "R": "ENABLE REPLICA TRIGGER",
    "A": "ENABLE ALWAYS TRIGGER",
}
