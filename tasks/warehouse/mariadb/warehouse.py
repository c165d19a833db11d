"""The warehouse in a database of a MariaDB server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pymysql
import sqlalchemy as sa
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions

from config.declarations import Table
from config.warehouse import NO_TIME_OF_SERVERS
from tasks.core.errors import PipelineError
from tasks.core.waiting import OTHERS, Limit, wait_for
from tasks.warehouse.mariadb.rows import number, read
from tasks.warehouse.mariadb.schema import Definitions, prepare, triggers
from tasks.warehouse.mariadb.transaction import MariadbTransaction
from tasks.warehouse.server import CONNECT_S, ServerWarehouse
from tasks.warehouse.verify import Rows, as_declared, loaded_query

_SESSION = (
    "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,ANSI_QUOTES',"
    " net_read_timeout = 3600, net_write_timeout = 3600"
)
"""What each connection begins with. Either side may take its time while rows are on their way."""

_DECODERS = {**conversions, FIELD_TYPE.DECIMAL: number, FIELD_TYPE.NEWDECIMAL: number}
"""Sums are whole numbers, as in other databases."""

_PORT = 3306

_CLIENT_FILE = Path("~/.my.cnf")
"""Where MariaDB's own client has its password."""

_LOST = 2013

_UNREACHABLE = {2002, 2003, 2006, _LOST, 2055}
"""Errors of a connection that cannot be made, or is lost."""

_DENIED = {1044, 1142, 1143, 1227, 1370}
"""Errors of rights that a user does not have."""

_RIGHTS = "Grant the user the rights on the database that docs/warehouses.md lists."

_ADVICE = {
    1045: "Check user and password: in PIPELINE_WAREHOUSE_URL, or in ~/.my.cnf.",
    1049: "Create the database, or name another one in warehouse_url.",
    1205: "Another program has locked rows: run again when it is done.",
    1419: "Set log_bin_trust_function_creators = 1 on the server: triggers need it.",
}
"""Error -> what to do."""


class _OtherLoadError(Exception):
    """Another load has the lock."""


class MariadbWarehouse(ServerWarehouse):
    """A warehouse in a database of a MariaDB server."""

    kind = "MariaDB"
    no_time = NO_TIME_OF_SERVERS

    def __init__(self, url: sa.URL, schema: str = "", wait: Limit = OTHERS):
        super().__init__(url.set(port=url.port or _PORT), schema, wait)

    def engine(self) -> sa.Engine:
        """An engine whose connections read the rows of one moment and cannot write."""
        engine = self._engine()
        sa.event.listen(engine, "connect", _only_read)
        sa.event.listen(engine, "handle_error", self._explain_denied)
        return engine

    def _explain_denied(self, context: sa.engine.ExceptionContext) -> None:
        error = context.original_exception
        if isinstance(error, pymysql.MySQLError) and error.args[:1] in {(c,) for c in _DENIED}:
            raise self.error(f"The warehouse {self.name} cannot be read:", error) from None

    def connect(self) -> sa.Connection:
        """A connection that cannot write, and sees the rows of one moment."""
        try:
            return super().connect()
        except sa.exc.InvalidRequestError as error:  # SQLAlchemy finds that it is MySQL.
            raise self.error(f"The warehouse {self.name} cannot be used:", error) from None

    def _engine(
        self, session: str = _SESSION, isolation: str = "REPEATABLE READ", **options: Any
    ) -> sa.Engine:
        client = _CLIENT_FILE.expanduser()
        file = (
            {} if self.url.password or not client.exists() else {"read_default_file": str(client)}
        )
        # Without a pool no connection is open when a process is forked.
        return sa.create_engine(
            self.url,
            poolclass=sa.pool.NullPool,
            pool_reset_on_return=None,  # A connection that is closed is rolled back.
            isolation_level=isolation,
            connect_args={
                "connect_timeout": CONNECT_S,
                "charset": "utf8mb4",
                "init_command": session,
                "conv": _DECODERS,
                **file,
                **options,
            },
        )

    def error(self, what: str, error: BaseException, is_lost: bool = False) -> PipelineError:
        """An error of the database, without the password."""
        if isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
            error = error.orig
        if not isinstance(error, pymysql.MySQLError) or len(error.args) < 2:
            return super().error(what, error, is_lost)
        code, message = error.args[:2] if error.args[1] else (_LOST, "The connection was lost.")
        found = super().error(what, Exception(message), code in _UNREACHABLE)
        advice = _RIGHTS if code in _DENIED else _ADVICE.get(code, found.remedy)
        return PipelineError(what, found.problems, advice)

    def catalog(self, connection: sa.Connection) -> list[tuple[str, str, str]]:
        """(table, name, definition) of tables, views, columns, indexes and triggers; sorted."""
        found = connection.execute(sa.text(_CATALOG))
        return sorted((table, name, str(definition)) for table, name, definition in found)

    @contextlib.contextmanager
    def rows(self) -> Iterator[Rows]:
        """Reads the rows of tables as they were loaded."""
        with self.connect() as connection:
            connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            raw = connection.connection.driver_connection
            try:
                yield lambda table: _loaded(raw, table)
            except pymysql.MySQLError as error:
                raise self.error(f"The warehouse {self.name} cannot be read:", error) from None

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A connection that writes, committed at the end."""
        wait = max(1, int(self.wait.seconds))
        try:
            with self._engine(f"{_SESSION}, innodb_lock_wait_timeout = {wait}").begin() as found:
                yield found
        except (sa.exc.DBAPIError, pymysql.MySQLError) as error:
            raise self.error(f"The warehouse {self.name} cannot be changed:", error) from None

    def size_bytes(self, connection: sa.Connection, table: str) -> int | None:
        """The size of a table and its indexes, as the server estimates it."""
        size = sa.text(
            "SELECT data_length + index_length FROM information_schema.tables"
            " WHERE table_schema = database() AND table_name = :name"
        )
        return connection.scalar(size, {"name": table})

    def triggers(self, table: str) -> dict[str, str]:
        """The triggers that invalidate a table's receipts: name -> CREATE statement."""
        return triggers(table)

    @contextlib.contextmanager
    def transaction(self, table: Table) -> Iterator[MariadbTransaction]:
        """A load of a table: committed at the end, or rolled back; waits for other writers.

        Raises:
            PipelineError: The server cannot be reached, or refuses something.
        """
        what = f"The warehouse {self.name} cannot be opened:"
        try:
            with (
                self._engine(local_infile=True).connect() as connection,
                self._engine(isolation="AUTOCOMMIT").connect() as other,
            ):
                self._wait_for_loads(connection)
                definitions = Definitions(other, self.wait)
                prepare(definitions, table)
                load = MariadbTransaction(connection, definitions)
                load.begin(self.wait)
                what = f"{table.name} could not be loaded into {self.name}; the previous rows stay."
                yield load  # A connection that is closed before the commit is rolled back.
                load.run("COMMIT")
        except (sa.exc.SQLAlchemyError, pymysql.MySQLError) as error:
            raise self.error(what, error) from None

    def _wait_for_loads(self, connection: sa.Connection) -> None:
        """Have this connection be the only one that loads into the database."""
        lock = sa.text("SELECT get_lock(left(concat('controller_logs.', database()), 64), :wait)")

        def take(wait_s: float) -> None:
            if connection.scalar(lock, {"wait": wait_s}) != 1:
                raise _OtherLoadError

        what = f"another run is loading into the warehouse {self.name}"
        wait_for(take, lambda error: isinstance(error, _OtherLoadError), what, self.wait)
        connection.commit()


def _only_read(connection: pymysql.Connection, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION READ ONLY")


def _loaded(connection: pymysql.Connection, table: Table) -> Iterator[pa.RecordBatch]:
    """The loaded rows of a table.

    Raises:
        ValueError: A column is missing, or has values of another type.
    """
    try:
        for batch in read(connection, loaded_query(table, NO_TIME_OF_SERVERS)):
            yield as_declared(batch, table)
    except pymysql.err.ProgrammingError as error:
        raise ValueError(error.args[-1]) from error
    except pymysql.err.OperationalError as error:
        if error.args[0] != 1054:  # There is no such column.
            raise
        raise ValueError(error.args[-1]) from error


_CATALOG = """
SELECT table_name, table_name AS name, concat_ws(' ', table_type, engine, table_comment)
FROM information_schema.tables WHERE table_schema = database() AND table_type = 'BASE TABLE'
UNION ALL
SELECT table_name, table_name, view_definition
FROM information_schema.views WHERE table_schema = database()
UNION ALL
SELECT c.table_name, c.column_name, concat_ws(' ', c.ordinal_position, c.column_type,
    c.collation_name, c.is_nullable, c.column_default, c.extra, c.column_comment)
FROM information_schema.columns AS c WHERE c.table_schema = database()
UNION ALL
SELECT table_name, index_name, group_concat(column_name ORDER BY seq_in_index)
FROM information_schema.statistics WHERE table_schema = database()
GROUP BY table_name, index_name
UNION ALL
SELECT event_object_table, trigger_name,
    concat_ws(' ', action_timing, event_manipulation, action_statement)
FROM information_schema.triggers WHERE event_object_schema = database()
"""
