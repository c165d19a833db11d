"""What a database has to offer for a change of a table; what databases share.

Nothing outside the modules of the databases knows which one it is.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import time
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from tasks.core.errors import PipelineError
from tasks.schema_change.change import AddColumn, Names
from tasks.schema_change.expressions import bound, table_of
from tasks.schema_change.live import Copy, Key, LiveTable

LOCK_S, ALTER_S = 0.5, 3.0
"""How long others may have to wait: behind a lock that is waited for, for ALTER TABLE."""

_KILLED_S = 3.0  # A server may need that to notice that a run was killed.

NUMBER = "_change_no"
"""The column of the log that numbers its rows."""

LOCKED, CONFLICT, LOST = "locked", "conflict", "lost"
"""Kinds of errors after which a step is tried again; see `Database.kind_of`."""


class BusyError(PipelineError):
    """Another run is at the table."""


class Database(abc.ABC):
    """A database with a table that is changed, through one connection.

    All statements commit by themselves outside of `transaction`.

    Args:
        url: As SQLAlchemy has it.
        schema: In PostgreSQL; "" for `public`.
    """

    kind = ""
    snapshot: Sequence[str] = ("BEGIN",)
    """Begins to read the rows of one moment."""
    writing = "BEGIN"
    logs_keys = True
    """Whether triggers log the keys of changed rows, for `apply`; else they write the rows."""

    def __init__(self, url: sa.URL, schema: str = ""):
        self.url = url
        self.schema = schema
        self._connection: sa.Connection | None = None
        self._claimed: sa.Connection | None = None

    # --- what each database has its own way for ----------------------------------------------

    @abc.abstractmethod
    def engine(self) -> sa.Engine:
        """An engine of connections that commit by themselves."""

    @abc.abstractmethod
    def kind_of(self, error: BaseException) -> str:
        """LOCKED, CONFLICT (a value that has to be unique), LOST (no connection); "" for others."""

    @abc.abstractmethod
    def take_lock(self, table: str) -> bool:
        """Keep other runs from the table until `close`; False if one is there."""

    @abc.abstractmethod
    def free_lock(self, table: str) -> None:
        """Let others have what `take_lock` has taken."""

    @abc.abstractmethod
    def describe(self, table: str) -> LiveTable:
        """The table as it is. Triggers and tables of a change under way are left out."""

    @abc.abstractmethod
    def obstacles(self, live: LiveTable) -> list[str]:
        """Why the table cannot be replaced by a shadow; empty if it can."""

    @abc.abstractmethod
    def create_shadow(self, change: AddColumn, live: LiveTable) -> None:
        """Create the empty shadow in place of what an interrupted run has left of one."""

    @abc.abstractmethod
    def start_capture(self, copy: Copy) -> None:
        """Have triggers on the source capture each change; replaces those that exist."""

    @abc.abstractmethod
    def stop_capture(self, names: Names) -> None:
        """Remove the triggers on any table of a change, then the log."""

    def rows_hash(self, columns: Sequence[sa.ColumnElement]) -> sa.ColumnElement:
        """An aggregate for `same_rows`: a number, another one if any value differs."""
        raise NotImplementedError

    def exact(self, column: sa.ColumnElement, kind: str) -> sa.ColumnElement:
        """A column of a type so that its text is exact."""
        return column

    @abc.abstractmethod
    def native_sql(self, change: AddColumn) -> list[str]:
        """ALTER TABLE, which waits for a lock no longer than `LOCK_S` and ends in `ALTER_S`."""

    def add_natively(self, change: AddColumn) -> None:
        """Add the column by ALTER TABLE; PipelineError if that takes longer than `ALTER_S`."""
        try:
            for statement in self.native_sql(change):
                began = time.monotonic()
                self.run(statement)
        except sa.exc.DBAPIError as error:
            with contextlib.suppress(sa.exc.DBAPIError):  # Where they are a transaction.
                self.run("ROLLBACK")
            is_over = time.monotonic() - began >= ALTER_S and self.kind_of(error) != LOST
            if is_over and "ALTER TABLE" in statement:
                what = f"ALTER TABLE was cut off after {ALTER_S:g} s: {change.table} is as before."
                raise PipelineError(what, remedy="Plan the change again.") from error
            raise

    @abc.abstractmethod
    def exchange(self, copy: Copy, names: Names, fingerprint: str, is_back: bool) -> None:
        """Let source and target exchange names, with all that depends on the source.

        No write is lost: the log is applied while both are locked. Afterwards changes of the
        table are captured for the one that it replaces. In one transaction, or so that
        `recover` finds how far it came. Raises an error of kind LOCKED after `LOCK_S`.

        Args:
            copy: From the table that has the name to the one that gets it.
            names: The shadow's and the old table's.
            fingerprint: Of the table as it was copied.
            is_back: From the table with the new column to the old one.

        Raises:
            PipelineError: The table is different from what was copied; nothing has changed.
        """

    def recover(self, names: Names, is_back: bool) -> None:  # noqa: B027
        """Take back what an `exchange` has left that was no transaction and did not end."""

    def end_copy(self, copy: Copy) -> None:  # noqa: B027
        """All rows are copied; in the transaction that found it."""

    @abc.abstractmethod
    def size_bytes(self, table: str) -> int | None:
        """With its indexes; None if the database cannot say."""

    def validate(self, table: str) -> None:  # noqa: B027
        """Have the database check what `exchange` has left unchecked."""

    # --- connection and statements -----------------------------------------------------------

    def claim(self, table: str) -> None:
        """Keep other runs from the table, unless this one does so already.

        Raises:
            BusyError: Another run is at the table.
        """
        if self._claimed is not self.connection:
            until = time.monotonic() + _KILLED_S
            while not self.take_lock(table):
                if time.monotonic() < until:
                    time.sleep(0.1)
                    continue
                raise BusyError(
                    f"Another run is at the schema change of {table}.",
                    remedy="Wait for its end, or end it.",
                )
            self._claimed = self.connection

    def before_fork(self) -> None:  # noqa: B027
        """Close what a process that is forked must not have."""

    def release(self, table: str) -> None:
        """Let other runs have the table, until the next `claim`."""
        if self._claimed is self.connection:
            self.free_lock(table)
        self._claimed = None

    @property
    def connection(self) -> sa.Connection:
        """The one connection; made again after `close`."""
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    @functools.cached_property
    def _engine(self) -> sa.Engine:
        return self.engine()

    def close(self) -> None:
        """Close the connection: what it had begun is rolled back, its locks end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.invalidate()
            connection.close()

    @contextlib.contextmanager
    def transaction(self, *begin: str) -> Iterator[None]:
        """What is done meanwhile is committed at the end, or rolled back."""
        for statement in begin or (self.writing,):
            self.run(statement)
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                self.run("ROLLBACK")
            raise

    def run(self, sql: str) -> sa.CursorResult:
        """Run a statement as it is, without parameters."""
        return self.connection.exec_driver_sql(sql, execution_options={"no_parameters": True})

    def fetch(self, sql: str, **values: object) -> list[tuple]:
        """The rows."""
        return [tuple(row) for row in self.connection.execute(sa.text(sql), values)]

    def quote(self, name: str) -> str:
        """A name as SQL has it."""
        # SQLAlchemy doubles "%" for drivers that replace parameters.
        return self.connection.dialect.identifier_preparer.quote(name).replace("%%", "%")

    def listed(self, names: Sequence[str], prefix: str = "") -> str:
        """Names as SQL has them, with commas."""
        return ", ".join(prefix + self.quote(name) for name in names)

    def exists(self, table: str) -> bool:
        """Whether a table of the name exists."""
        return sa.inspect(self.connection).has_table(table)

    def unchanged(self, table: str, fingerprint: str) -> LiveTable:
        """The table as it is.

        Raises:
            PipelineError: It is not the one that has the fingerprint.
        """
        live = self.describe(table)
        if live.fingerprint() != fingerprint:
            raise PipelineError(
                f"{table} has been changed by someone else since its copy was begun.",
                remedy="Abort the change and begin it again.",
            )
        return live

    def check_exchange(self, before: LiveTable) -> None:
        """Raise PipelineError if what depends on the table is not as it was."""
        lost = before.lost(self.describe(before.name))
        if lost:
            raise PipelineError(
                f"{before.name} cannot be switched: what depends on it changes:", lost
            )

    def count(self, table: str) -> int:
        """Its rows."""
        return self.connection.scalar(sa.select(sa.func.count()).select_from(sa.table(table))) or 0

    def column_names(self, table: str) -> set[str]:
        """In lower case."""
        return {one["name"].lower() for one in sa.inspect(self.connection).get_columns(table)}

    def drop(self, table: str) -> None:
        """Remove a table, if it exists."""
        self.run(f"DROP TABLE IF EXISTS {self.quote(table)}")

    def error(self, what: str, error: sa.exc.DBAPIError) -> PipelineError:
        """An error of the database, without SQLAlchemy's additions."""
        return PipelineError(what, str(error.orig or error).strip().splitlines())

    # --- rows --------------------------------------------------------------------------------

    def last_key(self, table: str, key: Sequence[str]) -> Key | None:
        """The greatest key of a table; None if it is empty."""
        columns = list(table_of(table, key).columns)
        query = sa.select(*columns).order_by(*(c.desc() for c in columns)).limit(1)
        row = self.connection.execute(query).first()
        return None if row is None else tuple(row)

    def copy_rows(self, copy: Copy, limit: int) -> int:
        """Copy the next rows behind the greatest key of the target; their number."""
        source = table_of(copy.source, copy.columns)
        columns = [source.c[name] for name in copy.columns]
        keys = [source.c[name] for name in copy.key]
        rows = sa.select(*columns).order_by(*keys).limit(limit)
        last = self.last_key(copy.target, copy.key)
        if last is not None:
            rows = rows.where(self.beyond(keys, last))
        insert = sa.insert(table_of(copy.target, copy.columns)).from_select(copy.columns, rows)
        counting = {"preserve_rowcount": True}
        return self.connection.execute(insert, execution_options=counting).rowcount

    def apply(self, copy: Copy, limit: int, is_copied: bool) -> int:
        """Bring the rows of logged keys into the target as they are now; how many log entries.

        To be called in a transaction. The entries are read before the rows, so a row is at least
        as new as its entry; a later change has an entry of its own. Exactly the entries that were
        read are removed: numbers are not in the order of commits.

        Args:
            copy: From where to where.
            limit: Of log entries.
            is_copied: False while rows are copied: those behind the greatest key of the target
                are left to `copy_rows`.
        """
        log = table_of(copy.log, (NUMBER, *copy.key))
        read = self.read_log(copy, limit)
        if not read:
            return 0
        entries = sa.select(*(log.c[name] for name in copy.key)).where(self.consumed(log, read))
        source, target = table_of(copy.source, copy.columns), table_of(copy.target, copy.columns)
        last = None if is_copied else self.last_key(copy.target, copy.key)
        changed = entries.distinct().subquery()
        self.connection.execute(
            sa.delete(target).where(*(target.c[k] == changed.c[k] for k in copy.key))
        )
        if is_copied or last is not None:
            rows = sa.select(*(source.c[name] for name in copy.columns)).where(
                *(source.c[name] == changed.c[name] for name in copy.key)
            )
            if last is not None:
                rows = rows.where(sa.not_(self.beyond([source.c[k] for k in copy.key], last)))
            self.connection.execute(sa.insert(target).from_select(copy.columns, rows))
        self.connection.execute(sa.delete(log).where(self.consumed(log, read)))
        return len(read)

    def read_log(self, copy: Copy, limit: int) -> list[int]:
        """The numbers of the next log entries."""
        number = table_of(copy.log, (NUMBER,)).c[NUMBER]
        query = sa.select(number).order_by(number).limit(limit)
        return list(self.connection.scalars(query))

    def consumed(self, log: sa.TableClause, read: Sequence[int]) -> sa.ColumnElement[bool]:
        """Which log entries are applied and removed."""
        numbers = ", ".join(map(str, read))
        return log.c[NUMBER].in_(sa.text(numbers))

    def backlog(self, log: str) -> int:
        """How many log entries are not applied yet."""
        return self.count(log) if self.logs_keys and self.exists(log) else 0

    def beyond(self, columns: Sequence[sa.ColumnElement], key: Key) -> sa.ColumnElement[bool]:
        """Whether the key of a row is greater."""
        if len(key) == 1:
            return columns[0] > bound(key[0])
        return sa.tuple_(*columns) > sa.tuple_(*map(bound, key))

    # --- verification ------------------------------------------------------------------------

    def chunk_end(self, copy: Copy, after: Key | None, rows: int) -> Key | None:
        """The key of the last of the next rows of the source; None if there are fewer."""
        keys = list(table_of(copy.source, copy.key).columns)
        query = sa.select(*keys).order_by(*keys)
        if after is not None:
            query = query.where(self.beyond(keys, after))
        row = self.connection.execute(query.offset(rows - 1).limit(1)).first()
        return None if row is None else tuple(row)

    def within(
        self, columns: Sequence[sa.ColumnElement], after: Key | None, end: Key | None
    ) -> list[sa.ColumnElement[bool]]:
        """The condition of the rows of a chunk, for the columns of the key."""
        found = [] if after is None else [self.beyond(columns, after)]
        if end is not None:  # The first condition is one that every index can be used for.
            found += [columns[0] <= bound(end[0]), sa.not_(self.beyond(columns, end))]
        return found

    def same_rows(self, copy: Copy, after: Key | None, end: Key | None) -> bool:
        """Whether a chunk has the same rows in both tables, but for keys in the log.

        To be called in a snapshot. Compares count and hash.
        """
        source, target = (
            self._counted(copy, table, after, end) for table in (copy.source, copy.target)
        )
        return source == target

    def _counted(self, copy: Copy, table: str, after: Key | None, end: Key | None) -> tuple:
        rows = table_of(table, dict.fromkeys((*copy.compared, *copy.key)))
        keys = [rows.c[name] for name in copy.key]
        kinds = copy.compared.items()
        hashed = self.rows_hash([self.exact(rows.c[name], kind) for name, kind in kinds])
        query = sa.select(sa.func.count(), hashed).where(*self.within(keys, after, end))
        if copy.log:
            log = table_of(copy.log, copy.key)
            logged = sa.select(sa.literal(1)).where(*(log.c[k] == rows.c[k] for k in copy.key))
            query = query.where(sa.not_(sa.exists(logged)))
        return tuple(self.connection.execute(query).one())

    def other_values(self, table: str, change: AddColumn) -> int:
        """How many rows of the shadow have something else than the default in the new column."""
        default: sa.ColumnElement = sa.literal_column(change.default_sql(self.connection.dialect))
        query = sa.select(sa.func.count()).select_from(sa.table(table))
        query = query.where(sa.column(change.column).is_distinct_from(default))
        return self.connection.scalar(query) or 0
