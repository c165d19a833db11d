"""Facts that several processes copy into tables of their own, to be moved in one transaction.

A table is committed with the rows of one partition, under a name that is used once: an attempt that
was given up disturbs no other. Nobody reads these tables; the load moves their rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from config.warehouse import FACT_LOGS
from tasks.core.partition import Partition
from tasks.core.progress import Advance, no_progress
from tasks.enrichment.star import arrow_schema
from tasks.warehouse.collected import Collected
from tasks.warehouse.interface import Transaction
from tasks.warehouse.postgresql.warehouse import PostgresqlWarehouse

_NAME = f"{FACT_LOGS.name}_copy_"
_MARK = "Facts on their way into the warehouse; the next load removes the table."
_BLOCKS = 8_192
"""Moved by one statement, 64 MiB: the checks of their keys have to fit into memory."""


def copy_facts(
    url: str, schema: str, partition: Partition, enriched: Path, advance: Advance = no_progress
) -> tuple[str, Collected]:
    """Copy the facts of a partition into a new table.

    Args:
        url: Of the warehouse, with the password.
        schema: Of the warehouse.
        partition: The partition.
        enriched: Its enriched log records.
        advance: Called with the facts that were copied.

    Returns:
        The table's name, and what the load has to know of the facts.

    Raises:
        PipelineError: The database cannot be reached, or refuses something.
    """
    table, collected = f"{_NAME}{uuid.uuid4().hex[:16]}", Collected()
    with PostgresqlWarehouse(sa.make_url(url), schema).apart(partition.name) as db:
        db.create_apart(FACT_LOGS, table, _MARK)
        keys = FACT_LOGS.key_columns
        rows = collected.pass_facts([(partition, enriched)])
        db.append(table, (db.as_stored(batch, keys) for batch in rows), advance)
    return table, collected


@dataclass(frozen=True)
class ParallelCopy:
    """Loads the facts of partitions through copies that others make.

    Attributes:
        url: As `copy_facts` takes it.
        schema: The same.
        call: Calls a function with arguments somewhere; several threads use it.
        at_once: How many.
    """

    url: str
    schema: str
    call: Callable[..., Any]
    at_once: int

    def __call__(self, db: Transaction, files: Mapping[Partition, Path]) -> Iterator[Collected]:
        """Load the facts of partitions, in this order; what was collected of each."""
        for (left,) in db.query(_LEFT):  # By a load that failed; no other is under way.
            db.run(f"DROP TABLE {left}")

        def copy(partition: Partition) -> tuple[str, Collected]:
            found: tuple[str, Collected] = self.call(
                copy_facts, self.url, self.schema, partition, files[partition]
            )
            return found

        with ThreadPoolExecutor(self.at_once) as pool:
            for table, collected in pool.map(copy, files):
                _move(db, table)
                yield collected


_LEFT = (
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
    f" AND starts_with(relname, '{_NAME}') AND obj_description(oid, 'pg_class') = '{_MARK}'"
)


def _move(db: Transaction, table: str) -> None:
    """Move all rows into the facts, in the order in which they were copied."""
    columns = ", ".join(arrow_schema(FACT_LOGS).names)
    size = "pg_relation_size('{}') / current_setting('block_size')::int"
    ((blocks,),) = db.query(f"SELECT {size.format(table)}")
    for first in range(0, blocks, _BLOCKS):
        db.run(
            f"INSERT INTO {FACT_LOGS.name} ({columns}) SELECT {columns} FROM {table}"
            f" WHERE ctid >= '({first},0)' AND ctid < '({first + _BLOCKS},0)'"
        )
    db.run(f"DROP TABLE {table}")
