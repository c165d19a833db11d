"""What warehouses on a server share: connecting, receipts, errors."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import ExceptionContext

from config.bookkeeping import LOAD_RECEIPT, LoadReceipt
from config.declarations import Table
from tasks.core.errors import PipelineError
from tasks.core.waiting import OTHERS, Limit
from tasks.warehouse.interface import Transaction
from tasks.warehouse.receipts import valid_receipts
from tasks.warehouse.verify import Rows, changed_loads

if TYPE_CHECKING:
    from tasks.warehouse.interface import Copy

_SQLSTATE = re.compile(r"\.? ?SQLSTATE: \w+$")

CONNECT_S = 10
"""How long to wait for a server's answer, in seconds."""


class ServerWarehouse:
    """A warehouse on a server: what does not depend on which one.

    Args:
        url: As SQLAlchemy has it.
        schema: The schema that has the tables; "" for the database's default.
        wait: How long to wait for other loads.
    """

    kind = ""
    no_time = ""
    file: Path | None = None

    def __init__(self, url: sa.URL, schema: str = "", wait: Limit = OTHERS):
        self.url = url
        self.schema = schema
        self.wait = wait
        place = f"{url.host or 'localhost'}:{url.port}" if url.port else url.host or "localhost"
        self.name = f"{self.kind} {place}/{url.database}" + (f", schema {schema}" if schema else "")

    # --- what each server has its own way for ------------------------------------------------

    def engine(self) -> sa.Engine:
        """An engine whose connections read the rows of one moment and cannot write."""
        raise NotImplementedError

    def catalog(self, connection: sa.Connection) -> list[tuple[str, str, str]]:
        """(table, name, definition) of tables, views, columns, indexes and triggers; sorted."""
        raise NotImplementedError

    def triggers(self, table: str) -> dict[str, str]:
        """The triggers that invalidate a table's receipts: name -> CREATE statement."""
        raise NotImplementedError

    def rows(self) -> AbstractContextManager[Rows]:
        """Reads the rows of tables as they were loaded."""
        raise NotImplementedError

    def transaction(self, table: Table) -> AbstractContextManager[Transaction]:
        """A load of a table: committed at the end, or rolled back; waits for other writers."""
        raise NotImplementedError

    def copying(
        self, call: Callable[..., Any], at_once: Callable[[], int]
    ) -> AbstractContextManager[Copy | None]:
        """None: rows are loaded by one process."""
        return contextlib.nullcontext()

    # --- reading -----------------------------------------------------------------------------

    @functools.cached_property
    def _reading(self) -> sa.Engine:
        engine = self.engine()
        sa.event.listen(engine, "handle_error", self._explain)
        return engine

    def _explain(self, context: ExceptionContext) -> None:
        """A connection that cannot be made, or is lost, is an error without a stack trace."""
        if isinstance(context.original_exception, PipelineError):
            return
        if context.is_disconnect or context.connection is None:
            what = f"There is no connection to the warehouse {self.name}:"
            raise self.error(what, context.original_exception, is_lost=True) from None

    def error(self, what: str, error: BaseException, is_lost: bool) -> PipelineError:
        """An error of the database, without the password.

        Args:
            what: What could not be done.
            error: The database's or the driver's.
            is_lost: Whether there is no connection.
        """
        text = _SQLSTATE.sub("", str(error).partition("\n(Background")[0])
        lines = text.strip().splitlines()
        secrets = {self.url.password, *self.url.query.values()} - {None, ""}
        for secret in secrets:
            lines = [line.replace(str(secret), "***") for line in lines]
        check = "Check that the server runs and what warehouse_url says; then run again."
        return PipelineError(what, lines, check if is_lost else "")

    def connect(self) -> sa.Connection:
        """A connection that cannot write, and sees the rows of one moment."""
        return self._reading.connect()

    def exists(self) -> bool:
        """Whether a load has created the tables."""
        with self.connect() as connection:
            return sa.inspect(connection).has_table(LOAD_RECEIPT.name)

    def receipts(self) -> dict[tuple[str, str], LoadReceipt]:
        """Those of tables that have their triggers."""
        with self.connect() as connection:
            catalog = {(table, name) for table, name, _ in self.catalog(connection)}
            if (LOAD_RECEIPT.name, LOAD_RECEIPT.name) not in catalog:
                return {}
            receipts = self._stored(connection)
        return valid_receipts(receipts, catalog, self.triggers)

    def _stored(self, connection: sa.Connection) -> list[LoadReceipt]:
        fields = ", ".join(LoadReceipt._fields)
        found = connection.execute(sa.text(f"SELECT {fields} FROM {LOAD_RECEIPT.name}"))
        return [LoadReceipt(*row) for row in found]

    def missing_tables(self) -> list[str]:
        """Tables that were loaded and do not exist any more."""
        with self.connect() as connection:
            tables = set(sa.inspect(connection).get_table_names())
            if LOAD_RECEIPT.name not in tables:
                return [LOAD_RECEIPT.name]
            return sorted({r.table_name for r in self._stored(connection)} - tables)

    def changed_loads(self) -> list[tuple[str, str]] | None:
        """(table, partition) of the loads whose rows are no longer as they were loaded."""
        receipts = self.receipts().values()
        if not receipts:
            return [] if self.exists() else None
        with self.rows() as rows:
            return changed_loads(rows, receipts)

    def forget(self, table: str, partitions: Iterable[str] | None = None) -> None:
        """Remove receipts of partitions, or all of a table; the rows stay."""
        if not self.exists():
            return
        receipt = sa.table(LOAD_RECEIPT.name, *map(sa.column, ("table_name", "partition_name")))
        removed = sa.delete(receipt).where(receipt.c.table_name == table)
        if partitions is not None:
            removed = removed.where(receipt.c.partition_name.in_(list(partitions)))
        with self.writing() as connection:
            connection.execute(removed)

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A connection that writes, committed at the end."""
        raise NotImplementedError
        yield

    def catalog_digest(self) -> str | None:
        """The digest of tables, columns, indexes and triggers; None if there are none."""
        with self.connect() as connection:
            catalog = self.catalog(connection)
        return hashlib.sha256(json.dumps(catalog).encode()).hexdigest() if catalog else None
