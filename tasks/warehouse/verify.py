"""Whether the rows in a warehouse are those that were loaded, whatever its triggers noticed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator

import numpy as np
import pyarrow as pa

from config.aggregates import AGGREGATES
from config.bookkeeping import DATA_DICTIONARY, LOG_INSTANCE_ACTIVITY, LoadReceipt
from config.declarations import Table
from config.warehouse import DIM_UNIT, DIMENSIONS, FACT_LOGS
from tasks.enrichment.further import as_loaded
from tasks.enrichment.star import arrow_schema
from tasks.warehouse.digests import digest_text, row_digests
from tasks.warehouse.tables import dictionary_rows, further_digest

Rows = Callable[[Table], Iterator[pa.RecordBatch]]
"""The rows of a table that were loaded, with the declared columns and types.

Raises ValueError or TypeError where values are of other types, or the table does not have them.
"""


def loaded_query(table: Table, no_time: str) -> str:
    """The query of a table's loaded rows; times are NULL where the key has `no_time`."""
    schema = arrow_schema(table)
    loaded = " WHERE is_retained = 0" if "is_retained" in schema.names else ""
    columns = (
        f"nullif({field.name}, {no_time})"
        if field.nullable and field.name in table.key_columns
        else field.name
        for field in schema
    )
    return f"SELECT {', '.join(columns)} FROM {table.name}{loaded}"


def as_declared(batch: pa.RecordBatch, table: Table) -> pa.RecordBatch:
    """A batch of such a query, with the table's types but for the zone of times.

    Raises:
        pa.ArrowException: A value is of another type.
    """
    schema = arrow_schema(table)
    kinds = (pa.timestamp("us") if pa.types.is_timestamp(one) else one for one in schema.types)
    columns = [column.cast(kind) for column, kind in zip(batch.columns, kinds, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=schema.names)


def changed_loads(rows: Rows, receipts: Collection[LoadReceipt]) -> list[tuple[str, str]]:
    """(table, partition) of the receipts whose rows have another digest. Reads every row."""
    if not receipts:
        return []
    dictionary = [row for batch in rows(DATA_DICTIONARY) for row in batch.to_pylist()]
    described: dict[str, dict[str, str]] = defaultdict(dict)
    for row in dictionary:
        described[row["table_name"]][row["column_name"]] = row["description"]
    dimensions = {name: as_loaded(table, described[name]) for name, table in DIMENSIONS.items()}
    facts, activity = _digests(rows, FACT_LOGS), _digests(rows, LOG_INSTANCE_ACTIVITY)
    changed = []
    for receipt in receipts:
        found: int | None = None
        if receipt.table_name in dimensions:
            table = dimensions[receipt.table_name]
            dimension = _digests(rows, table)
            found = None if dimension is None else dimension[0] + further_digest(table)
        elif receipt.table_name in AGGREGATES:
            derived = _digests(rows, AGGREGATES[receipt.table_name])
            found = None if derived is None else derived[0]
        elif receipt.partition_id is None:
            continue  # Facts are loaded by partition.
        elif facts is not None and activity is not None:
            found = facts[receipt.partition_id] + activity[receipt.partition_id]
        if found is None or digest_text(found) != receipt.rows_digest:
            changed.append((receipt.table_name, receipt.partition_name))
            if receipt.table_name in AGGREGATES:  # The load of facts makes it again.
                changed.append((FACT_LOGS.name, ""))
    expected = dictionary_rows(dimensions.values())
    if not {tuple(row.values()) for row in dictionary} >= {tuple(row.values()) for row in expected}:
        # Each load writes the dictionary; this one is the smallest.
        changed.append((DIM_UNIT.name, ""))
    return changed


def _digests(rows: Rows, table: Table) -> Counter[int] | None:
    """partition_id (0 if there is none) -> digest of the loaded rows; None if some are invalid."""
    found: Counter[int] = Counter()
    try:
        for batch in rows(table):
            digests = row_digests(batch)
            if "partition_id" not in batch.schema.names:
                found[0] += int(digests.sum(dtype=np.uint64))
                continue
            numbers, which = np.unique(batch["partition_id"].to_numpy(), return_inverse=True)
            sums = np.zeros(len(numbers), np.uint64)
            np.add.at(sums, which, digests)
            found.update(dict(zip(numbers.tolist(), sums.tolist(), strict=True)))
    except (pa.ArrowException, TypeError, ValueError):
        return None
    return found
