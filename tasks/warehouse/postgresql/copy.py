"""Facts that several processes copy into one table, from which the load moves them.

The table is made for one load, without keys and without a log of its changes, and dropped after it.
Nobody else reads it. Rows have the name of the attempt that copied them: those of an attempt that
was given up are not moved.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import adbc_driver_manager
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from config.warehouse import FACT_LOGS
from tasks.core.errors import PipelineError
from tasks.core.partition import Partition
from tasks.core.progress import Advance, no_progress
from tasks.enrichment.star import arrow_schema
from tasks.warehouse.collected import Collected
from tasks.warehouse.interface import Transaction
from tasks.warehouse.postgresql.warehouse import PostgresqlWarehouse

_NAME = f"{FACT_LOGS.name}_copy_"
_ATTEMPT = "attempt"
_MARK = "Facts on their way into the warehouse; dropped after the load, or by the next one."
_BLOCKS = 8_192
"""Moved by one statement, 64 MiB: the checks of their keys have to fit into memory."""
_CONNECTIONS = 16
"""At most, of 100 that a server has by default."""
_LOCK_MS = 1_000
"""How long to wait for those who read a table that is to be dropped, such as a backup."""

logger = logging.getLogger("pipeline")


def check_connection(url: str, schema: str, advance: Advance = no_progress) -> None:
    """Raise PipelineError if this process cannot copy."""
    with PostgresqlWarehouse(sa.make_url(url), schema).beside("The warehouse cannot be used") as db:
        db.query("SELECT 1")


def copy_facts(
    url: str,
    schema: str,
    table: str,
    partition: Partition,
    enriched: Path,
    advance: Advance = no_progress,
) -> tuple[str, Collected]:
    """Copy the facts of a partition.

    Args:
        url: Of the warehouse, with the password.
        schema: Of the warehouse.
        table: Where to.
        partition: The partition.
        enriched: Its enriched log records.
        advance: Called with the facts that were copied.

    Returns:
        The name of this attempt, and what the load has to know of the facts.

    Raises:
        PipelineError: The database cannot be reached, or refuses something.
    """
    attempt, collected = uuid.uuid4().hex, Collected()
    what = f"{partition.name} could not be copied"
    with PostgresqlWarehouse(sa.make_url(url), schema).beside(what) as db:
        rows = (
            db.as_stored(batch, FACT_LOGS.key_columns).append_column(
                _ATTEMPT, pa.repeat(attempt, len(batch))
            )
            for batch in collected.pass_facts([(partition, enriched)])
        )
        db.append(table, rows, advance)
    return attempt, collected


class ParallelCopy:
    """Loads the facts of partitions through copies that other processes make.

    The context is that of the load: what it leaves is dropped at its end.

    Args:
        warehouse: The warehouse.
        call: Calls a function with arguments somewhere; several threads use it.
        at_once: How many.
    """

    def __init__(
        self, warehouse: PostgresqlWarehouse, call: Callable[..., Any], at_once: Callable[[], int]
    ):
        self._warehouse, self._call, self._at_once = warehouse, call, at_once
        self._where = warehouse.url.render_as_string(False), warehouse.schema

    def __enter__(self) -> ParallelCopy:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(PipelineError):  # The next load drops it.
            self._drop()

    def __call__(self, db: Transaction, files: Mapping[Partition, Path]) -> list[Collected] | None:
        """Load the facts of partitions; what was collected of each. None if no other process can.

        Raises:
            PipelineError: Something cannot be copied.
        """
        if not files:
            return []
        try:
            self._call(check_connection, *self._where)
        except PipelineError as error:
            logger.warning("The facts are loaded by this process: %s", error)
            return None
        self._drop()
        table = f"{_NAME}{uuid.uuid4().hex[:16]}"
        with self._warehouse.beside("The facts could not be copied") as beside:
            beside.create_beside(FACT_LOGS, table, _ATTEMPT, _MARK)

        def copy(partition: Partition) -> tuple[str, Collected]:
            found: tuple[str, Collected] = self._call(
                copy_facts, *self._where, table, partition, files[partition]
            )
            return found

        with ThreadPoolExecutor(min(_CONNECTIONS, self._at_once())) as pool:
            copied = list(pool.map(copy, files))
        rows = sum(pc.sum(one["record_count"]).as_py() for _, c in copied for one in c.activity)
        _move(db, table, [attempt for attempt, _ in copied], rows)
        return [collected for _, collected in copied]

    def _drop(self) -> None:
        """Drop such tables; no other load is under way. One that somebody reads stays for now."""
        with self._warehouse.beside("The facts could not be copied") as db:
            left = [name for (name,) in db.query(_LEFT)]
        for table in left:
            with self._warehouse.beside(f"{table} could not be dropped") as db:
                db.run(f"SET LOCAL lock_timeout = {_LOCK_MS}")
                with contextlib.suppress(adbc_driver_manager.Error):
                    db.run(f"DROP TABLE {table}")


_LEFT = (
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
    f" AND starts_with(relname, '{_NAME}') AND obj_description(oid, 'pg_class') = '{_MARK}'"
)


def _move(db: Transaction, table: str, attempts: list[str], rows: int) -> None:
    """Move the rows of these attempts into the facts; RuntimeError if they are not so many."""
    columns = ", ".join(arrow_schema(FACT_LOGS).names)
    wanted = f"{_ATTEMPT} = ANY('{{{','.join(attempts)}}}')"
    ((found,),) = db.query(f"SELECT count(*) FROM {table} WHERE {wanted}")
    if found != rows:
        raise RuntimeError(f"{found:,} of {rows:,} facts were copied into {table}")
    size = f"pg_relation_size('{table}') / current_setting('block_size')::int"
    ((blocks,),) = db.query(f"SELECT {size}")
    for first in range(0, blocks, _BLOCKS):
        db.run(
            f"INSERT INTO {FACT_LOGS.name} ({columns}) SELECT {columns} FROM {table}"
            f" WHERE ctid >= '({first},0)' AND ctid < '({first + _BLOCKS},0)' AND {wanted}"
        )
