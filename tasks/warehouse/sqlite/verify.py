"""Reading an SQLite file's rows as they were loaded: its columns may have values of any type."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pyarrow as pa

from config.bookkeeping import DATA_DICTIONARY
from config.declarations import Table
from config.warehouse import NO_TIME
from tasks.enrichment.star import arrow_schema
from tasks.warehouse.verify import loaded_query

_BLOCK_ROWS = 65_536


def is_sound(connection: sqlite3.Connection) -> bool:
    """SQLite's own check: of all pages, and that indexes have an entry for each row."""
    return connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)


def rows(connection: sqlite3.Connection, table: Table) -> Iterator[pa.RecordBatch]:
    """The loaded rows of a table.

    Raises:
        TypeError: A value is stored as another type.
        ValueError: Bytes are no text, or the table does not have the columns.
    """
    schema = arrow_schema(table)
    try:
        cursor = connection.execute(loaded_query(table, f"'{NO_TIME}'"))
    except sqlite3.OperationalError as error:
        raise ValueError(str(error)) from error
    while found := cursor.fetchmany(_BLOCK_ROWS):
        if table is DATA_DICTIONARY:
            found = [[_legible(value) for value in row] for row in found]
        arrays = [*map(_as_declared, zip(*found, strict=True), schema.types)]
        yield pa.RecordBatch.from_arrays(arrays, names=schema.names)


def _as_declared(values: tuple[object, ...], kind: pa.DataType) -> pa.Array:
    """Values as Arrow has them; TypeError if they are stored as another type."""
    is_time = pa.types.is_timestamp(kind)
    stored = pa.string() if is_time else kind
    array = pa.array(values)
    if array.type not in (stored, pa.null()):
        raise TypeError(f"{array.type} is stored in place of {stored}")
    return array.cast(stored).cast(pa.timestamp("us")) if is_time else array.cast(stored)


def _legible(value: object) -> str:
    """A value as text; bytes that are none are replaced."""
    return str(value).encode(errors="surrogateescape").decode(errors="replace")
