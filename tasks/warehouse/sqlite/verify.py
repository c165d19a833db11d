"""Whether the rows in an SQLite file are those that were loaded, whatever the file's times say."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np
import pyarrow as pa

from config.aggregates import AGGREGATES
from config.bookkeeping import DATA_DICTIONARY, LOG_INSTANCE_ACTIVITY, LoadReceipt
from config.declarations import Table
from config.warehouse import DIM_UNIT, DIMENSIONS, FACT_LOGS, NO_TIME
from tasks.enrichment.further import as_loaded
from tasks.enrichment.star import arrow_schema
from tasks.warehouse.digests import digest_text, row_digests
from tasks.warehouse.tables import dictionary_rows, further_digest

_BLOCK_ROWS = 65_536
_DESCRIBED = f"SELECT column_name, description FROM {DATA_DICTIONARY.name} WHERE table_name = ?"


def is_sound(connection: sqlite3.Connection) -> bool:
    """SQLite's own check: of all pages, and that indexes have an entry for each row."""
    return connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)


def changed_loads(
    connection: sqlite3.Connection, receipts: Collection[LoadReceipt]
) -> list[tuple[str, str]]:
    """(table, partition) of the receipts whose rows have another digest. Reads every row."""
    if not receipts:
        return []
    dimensions = {
        name: as_loaded(table, _described(connection, name)) for name, table in DIMENSIONS.items()
    }
    facts = _digests(connection, FACT_LOGS)
    activity = _digests(connection, LOG_INSTANCE_ACTIVITY)
    changed = []
    for receipt in receipts:
        found: int | None = None
        if receipt.table_name in dimensions:
            table = dimensions[receipt.table_name]
            dimension = _digests(connection, table)
            found = None if dimension is None else dimension[0] + further_digest(table)
        elif receipt.table_name in AGGREGATES:
            derived = _digests(connection, AGGREGATES[receipt.table_name])
            found = None if derived is None else derived[0]
        elif receipt.partition_id is None:
            continue  # Facts are loaded by partition.
        elif facts is not None and activity is not None:
            found = facts[receipt.partition_id] + activity[receipt.partition_id]
        if found is None or digest_text(found) != receipt.rows_digest:
            changed.append((receipt.table_name, receipt.partition))
            if receipt.table_name in AGGREGATES:  # The load of facts makes it again.
                changed.append((FACT_LOGS.name, ""))
    if not _has_dictionary(connection, dimensions.values()):
        # Each load writes the dictionary; this one is the smallest.
        changed.append((DIM_UNIT.name, ""))
    return changed


def _described(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    """Column -> description, as `data_dictionary` has them; bytes that are no text are replaced."""
    rows = connection.execute(_DESCRIBED, (table,))
    return dict(
        [str(text).encode(errors="surrogateescape").decode(errors="replace") for text in row]
        for row in rows
    )


def _digests(connection: sqlite3.Connection, table: Table) -> Counter[int] | None:
    """partition_id (0 if there is none) -> digest of the loaded rows; None if some are invalid."""
    schema = arrow_schema(table)
    loaded = " WHERE is_retained = 0" if "is_retained" in schema.names else ""
    found: Counter[int] = Counter()
    try:
        columns = [
            f"nullif({name}, '{NO_TIME}')" if name in table.key_columns and field.nullable else name
            for name, field in zip(schema.names, schema, strict=True)
        ]
        cursor = connection.execute(f"SELECT {', '.join(columns)} FROM {table.name}{loaded}")
        while rows := cursor.fetchmany(_BLOCK_ROWS):
            arrays = [*map(_as_declared, zip(*rows, strict=True), schema.types)]
            batch = pa.RecordBatch.from_arrays(arrays, names=schema.names)
            digests = row_digests(batch)
            if "partition_id" not in schema.names:
                found[0] += int(digests.sum(dtype=np.uint64))
                continue
            numbers, which = np.unique(batch["partition_id"].to_numpy(), return_inverse=True)
            sums = np.zeros(len(numbers), np.uint64)
            np.add.at(sums, which, digests)
            found.update(dict(zip(numbers.tolist(), sums.tolist(), strict=True)))
    except (pa.ArrowException, TypeError, ValueError, sqlite3.OperationalError):
        return None  # Values of other types, or bytes that are no text.
    return found


def _as_declared(values: tuple[object, ...], kind: pa.DataType) -> pa.Array:
    """Values as Arrow has them; TypeError if they are stored as another type."""
    is_time = pa.types.is_timestamp(kind)
    stored = pa.string() if is_time else kind
    array = pa.array(values)
    if array.type not in (stored, pa.null()):
        raise TypeError(f"{array.type} is stored in place of {stored}")
    return array.cast(stored).cast(pa.timestamp("us")) if is_time else array.cast(stored)


def _has_dictionary(connection: sqlite3.Connection, dimensions: Iterable[Table]) -> bool:
    """Whether the dictionary has all rows that a load writes, as it writes them."""
    names = [column.name for column in DATA_DICTIONARY.columns]
    found = set(connection.execute(f"SELECT {', '.join(names)} FROM {DATA_DICTIONARY.name}"))
    return found >= {tuple(row[name] for name in names) for row in dictionary_rows(dimensions)}
