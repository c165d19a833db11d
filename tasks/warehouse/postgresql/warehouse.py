"""The warehouse in a schema of a PostgreSQL database: read by psycopg, loaded by binary COPY."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
import adbc_driver_postgresql
import pyarrow as pa
import sqlalchemy as sa
from psycopg.abc import Buffer
from psycopg.adapt import Loader

from config.aggregates import AGGREGATES
from config.bookkeeping import LOAD_RECEIPT
from config.declarations import Table
from config.warehouse import FACT_LOGS, NO_TIME_OF_SERVERS
from tasks.core.waiting import wait_for
from tasks.warehouse.postgresql.tables import is_locked, is_lost
from tasks.warehouse.postgresql.transaction import PostgresqlTransaction
from tasks.warehouse.receipts import guarded_tables
from tasks.warehouse.server import CONNECT_S, ServerWarehouse
from tasks.warehouse.verify import Rows, as_declared, loaded_query

if TYPE_CHECKING:
    from tasks.warehouse.interface import Copy

FUNCTION = "invalidate_receipts"
"""Runs after a statement that changed rows, with the rights of the tables' owner."""

_CATALOG = """
SELECT relname AS "table", relname AS name,
    CASE relkind WHEN 'v' THEN pg_get_viewdef(oid) ELSE '' END AS definition
FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v')
UNION ALL
SELECT relname, tgname, pg_get_triggerdef(pg_trigger.oid)
FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE relnamespace = current_schema()::regnamespace AND NOT tgisinternal AND tgenabled <> 'D'
UNION ALL
SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()
UNION ALL
SELECT table_name, 'column ' || column_name, data_type || ' ' || is_nullable
FROM information_schema.columns WHERE table_schema = current_schema()
ORDER BY 1, 2
"""


class PostgresqlWarehouse(ServerWarehouse):
    """A warehouse in a schema; `public` if none is named."""

    kind = "PostgreSQL"
    no_time = NO_TIME_OF_SERVERS

    def engine(self) -> sa.Engine:
        """An engine whose connections read the rows of one moment and cannot write."""
        engine = sa.create_engine(
            self.url.set(drivername="postgresql+psycopg"),
            poolclass=sa.pool.NullPool,
            isolation_level="REPEATABLE READ",
            connect_args={
                "connect_timeout": CONNECT_S,
                "application_name": "controller-logs",
                "options": f"-csearch_path={self.schema or 'public'} -ctimezone=UTC"
                " -cdefault_transaction_read_only=on",
            },
        )
        # Whole numbers add up to `numeric`, which is a decimal in Python.
        sa.event.listen(
            engine,
            "connect",
            lambda connection, _: connection.adapters.register_loader("numeric", _Number),
        )
        return engine

    def catalog(self, connection: sa.Connection) -> list[tuple[str, str, str]]:
        """(table, name, definition) of tables, views, columns, indexes and triggers; sorted."""
        return [tuple(row) for row in connection.execute(sa.text(_CATALOG))]

    def triggers(self, table: str) -> dict[str, str]:
        """The triggers that invalidate a table's receipts: name -> CREATE statement."""
        return triggers(table)

    def size_bytes(self, connection: sa.Connection, table: str) -> int | None:
        """The size of a table and its indexes."""
        size = sa.text("SELECT pg_total_relation_size(to_regclass(:name))")
        return connection.scalar(size, {"name": table})

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A connection that writes, committed at the end."""
        with self.connect() as connection:
            connection.execute(sa.text("SET TRANSACTION READ WRITE"))
            yield connection
            connection.commit()

    def copying(
        self, call: Callable[..., Any], at_once: Callable[[], int]
    ) -> AbstractContextManager[Copy | None]:
        """Several processes copy into a table, from which the load moves the rows."""
        from tasks.warehouse.postgresql.copy import ParallelCopy

        return ParallelCopy(self, call, at_once)

    @contextlib.contextmanager
    def beside(self, what: str) -> Iterator[PostgresqlTransaction]:
        """A transaction beside a load, committed at the end; `what` has failed, for errors."""
        with self._connected(f"{what} ({self.name}):") as db:
            db.run("BEGIN")
            db.run(f"SET LOCAL search_path = {self.schema or 'public'}")
            db.run("SET LOCAL timezone = 'UTC'")
            yield db
            db.run("COMMIT")

    @contextlib.contextmanager
    def rows(self) -> Iterator[Rows]:
        """Reads the rows of tables as they were loaded, all as of one moment."""
        with self._connected(f"The warehouse {self.name} cannot be read:") as db:
            db.run("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            db.run(f"SET LOCAL search_path = {self.schema or 'public'}")
            yield lambda table: _rows(db, table)

    @contextlib.contextmanager
    def transaction(self, table: Table) -> Iterator[PostgresqlTransaction]:
        """A load of a table: committed at the end, or rolled back; waits for other loads."""
        what = f"{table.name} could not be loaded into {self.name}; the previous rows stay."
        dangling = (
            f"{table.name}: rows refer to rows that do not exist; the previous rows are unchanged."
        )
        with self._connected(what, dangling) as db:

            def begin(wait_s: float) -> None:
                try:
                    db.begin(self.schema or "public", wait_s)
                except adbc_driver_manager.Error:
                    db.roll_back()
                    raise

            busy = f"another load is under way in the warehouse {self.name}"
            wait_for(begin, is_locked, busy, self.wait)
            db.prepare(_FUNCTION, self.wait, table)
            yield db
            db.commit()

    @contextlib.contextmanager
    def _connected(self, what: str, dangling: str = "") -> Iterator[PostgresqlTransaction]:
        """A connection; `what` could not be done if there is an error, `dangling` if by a key."""
        address = self.url.set(drivername="postgresql")
        address = address.update_query_dict({"connect_timeout": str(CONNECT_S)})
        try:
            with (
                closing(adbc_driver_postgresql.connect(address.render_as_string(False))) as driver,
                closing(adbc_driver_manager.AdbcConnection(driver)) as connection,
            ):
                db = PostgresqlTransaction(connection, triggers)
                try:
                    yield db
                finally:
                    with contextlib.suppress(adbc_driver_manager.Error):
                        db.roll_back()  # Nothing is left to roll back after a commit.
        except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
            of_key = getattr(error, "sqlstate", None) == "23503"
            raise self.error(dangling if of_key else what, error, is_lost(error)) from None


class _Number(Loader):
    """Reads `numeric` as a whole number where it is one."""

    def load(self, data: Buffer) -> int | float:
        """The number of its text."""
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)


def _rows(db: PostgresqlTransaction, table: Table) -> Iterator[pa.RecordBatch]:
    """The loaded rows of a table; ValueError if the table does not have the columns."""
    db.run("SAVEPOINT rows")
    try:
        for batch in db.read(loaded_query(table, NO_TIME_OF_SERVERS)):
            yield as_declared(batch, table)
    except adbc_driver_manager.Error as error:
        db.run("ROLLBACK TO SAVEPOINT rows")
        raise ValueError(str(error)) from error


# --- noticing what others change -------------------------------------------------------------


def triggers(table: str) -> dict[str, str]:
    """The triggers of a table: name -> the statement that creates it."""
    kind = "table"
    if table in guarded_tables(FACT_LOGS.name):
        kind = "partitions"
    elif table in AGGREGATES:
        kind = "aggregate"
    rows = {
        "INSERT": "REFERENCING NEW TABLE AS changed",
        "UPDATE": "REFERENCING OLD TABLE AS changed NEW TABLE AS updated",
        "DELETE": "REFERENCING OLD TABLE AS changed",
        "TRUNCATE": "",
    }
    return {
        f"{table}_{event.lower()}_invalidates_receipt": (
            f"CREATE TRIGGER {table}_{event.lower()}_invalidates_receipt AFTER {event} ON {table}"
            f" {referencing} FOR EACH STATEMENT EXECUTE FUNCTION {FUNCTION}('{kind}')"
        )
        for event, referencing in rows.items()
    }


_FACTS = f"table_name = '{FACT_LOGS.name}'"
_FUNCTION = f"""
CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
BEGIN
    IF current_setting('controller_logs.is_loading', true) = 'on' THEN
        RETURN NULL;
    ELSIF TG_OP = 'TRUNCATE' THEN
        DELETE FROM {LOAD_RECEIPT.name} WHERE table_name = TG_TABLE_NAME
            OR TG_ARGV[0] <> 'table' AND {_FACTS}
            AND (partition_name = '' OR TG_ARGV[0] = 'partitions');
        RETURN NULL;
    ELSIF NOT EXISTS (SELECT FROM changed) THEN
        RETURN NULL;
    ELSIF TG_ARGV[0] = 'partitions' THEN
        DELETE FROM {LOAD_RECEIPT.name} WHERE {_FACTS}
            AND (partition_name = '' OR partition_id IN (SELECT partition_id FROM changed));
        IF TG_OP = 'UPDATE' THEN
            DELETE FROM {LOAD_RECEIPT.name} WHERE {_FACTS}
                AND partition_id IN (SELECT partition_id FROM updated);
        END IF;
    ELSE
        DELETE FROM {LOAD_RECEIPT.name} WHERE table_name = TG_TABLE_NAME
            OR TG_ARGV[0] = 'aggregate' AND {_FACTS} AND partition_name = '';
    END IF;
    RETURN NULL;
END
$$
"""
