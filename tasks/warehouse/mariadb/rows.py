"""Rows from MariaDB as Arrow batches, and Arrow batches as MariaDB reads them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import RawIOBase
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pymysql
from pymysql.constants import FIELD_TYPE
from pymysql.cursors import SSCursor

from config.warehouse import NO_TIME_OF_SERVERS
from tasks.core.progress import Advance

BLOCK_ROWS = 65_536
_STATEMENT_BYTES = 1_000_000
"""Of a statement that adds rows: far less than any server takes."""

_FORMAT = "CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '''' ESCAPED BY ''"

_WHOLE = {
    FIELD_TYPE.TINY,
    FIELD_TYPE.SHORT,
    FIELD_TYPE.INT24,
    FIELD_TYPE.LONG,
    FIELD_TYPE.LONGLONG,
}
_DECIMAL = {FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL}
_FLOATING = {FIELD_TYPE.FLOAT, FIELD_TYPE.DOUBLE}
_TIMES = {FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP}

# --- reading ---------------------------------------------------------------------------------


def read(connection: pymysql.Connection, sql: str) -> Iterator[pa.RecordBatch]:
    """The rows of a query, in batches, while the server finds more.

    Whole numbers are int64, sums too; others float64; times without a zone; all else text.
    A query without rows gives one batch without rows.
    """
    with _unbuffered(connection) as cursor:
        decoders, connection.decoders = connection.decoders, {}
        try:
            cursor.execute(sql)
        finally:
            connection.decoders = decoders
        names = [column[0] for column in cursor.description]
        kinds = [_arrow_type(column[1], column[5]) for column in cursor.description]
        found = cursor.fetchmany(BLOCK_ROWS)
        while True:
            values = zip(*found, strict=True) if found else ((),) * len(names)
            arrays = [pa.array(v, pa.string()).cast(k) for v, k in zip(values, kinds, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, names=names)
            if len(found) < BLOCK_ROWS:
                return
            found = cursor.fetchmany(BLOCK_ROWS)


@contextmanager
def _unbuffered(connection: pymysql.Connection) -> Iterator[SSCursor]:
    cursor = SSCursor(connection)
    try:
        yield cursor
    finally:
        if not connection.open:  # PyMySQL would read what is left from a lost connection.
            cursor.connection = None
            if cursor._result is not None:
                cursor._result.unbuffered_active = False
        cursor.close()


def _arrow_type(code: int, scale: int) -> pa.DataType:
    if code in _WHOLE or (code in _DECIMAL and scale == 0):
        return pa.int64()
    if code in _FLOATING or code in _DECIMAL:
        return pa.float64()
    return pa.timestamp("us") if code in _TIMES else pa.string()


def number(text: str) -> int | float:
    """A decimal number, such as a sum, as the databases without such a type give it.

    >>> number("12"), number("0.5")
    (12, 0.5)
    """
    return float(text) if "." in text else int(text)


# --- adding ----------------------------------------------------------------------------------


def add(
    connection: pymysql.Connection,
    table: str,
    batches: Iterable[pa.RecordBatch],
    keys: Collection[str],
    advance: Advance,
    streams: bool,
) -> None:
    """Add rows.

    Args:
        connection: In a transaction.
        table: The table.
        batches: The rows, all with the same columns.
        keys: Columns that take no NULL.
        advance: Called with the rows of each batch.
        streams: Whether the server allows LOAD DATA LOCAL; else rows are added by INSERT.

    Raises:
        pymysql.MySQLError: The server refuses a row.
    """
    source = iter(batches)
    first = next(source, None)
    if first is None:
        return
    columns = ", ".join(f'"{name}"' for name in first.schema.names)
    into = f'INTO TABLE "{table}" {_FORMAT} ({columns})'

    def rows() -> Iterator[pa.RecordBatch]:
        yield first
        yield from source

    with connection.cursor() as cursor:
        if streams:
            _stream(cursor, into, rows(), keys, advance)
        else:
            _insert(cursor, f'INSERT INTO "{table}" ({columns}) VALUES ', rows(), keys, advance)


def _stream(
    cursor: Any,
    into: str,
    batches: Iterator[pa.RecordBatch],
    keys: Collection[str],
    advance: Advance,
) -> None:
    """Add rows by LOAD DATA, which reads a pipe while the rows are made."""
    reading, writing = os.pipe()

    def load() -> int:
        try:
            return int(cursor.execute(f"LOAD DATA LOCAL INFILE '/dev/fd/{reading}' {into}"))
        finally:
            os.close(reading)  # After an error, what writes ends too.

    sent = 0
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load)
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            for batch in batches:
                if not _write(pipe, _bytes(_rendered(batch, keys, "", "\n"))):
                    break
                sent += len(batch)
                advance(len(batch), len(batch))
        loaded = loading.result()
    # The server cannot stop a client that sends a file: it reports errors as warnings.
    cursor.execute("SHOW WARNINGS")
    warnings = cursor.fetchall()
    if loaded != sent or warnings:
        _, code, message = (
            warnings[0] if warnings else ("", 0, f"{loaded} of {sent} rows were loaded")
        )
        raise pymysql.DataError(code, message)


def _write(pipe: RawIOBase, text: memoryview) -> bool:
    """Write all of a text; False if nobody reads it any more."""
    with suppress(BrokenPipeError):
        while text:
            text = text[pipe.write(text) :]
        return True
    return False


def _insert(
    cursor: Any,
    insert: str,
    batches: Iterator[pa.RecordBatch],
    keys: Collection[str],
    advance: Advance,
) -> None:
    """Add rows by statements of many rows each."""
    for batch in batches:
        block: list[str] = []
        size = 0
        for row in _rendered(batch, keys, "(", ")").to_pylist():
            if block and size + len(row) > _STATEMENT_BYTES:
                cursor.execute(insert + ",".join(block))
                block, size = [], 0
            block.append(row)
            size += len(row)
        if block:
            cursor.execute(insert + ",".join(block))
        advance(len(batch), len(batch))


def _rendered(batch: pa.RecordBatch, keys: Collection[str], begin: str, end: str) -> pa.StringArray:
    """Each row as text that both LOAD DATA and INSERT read."""
    parts: list[pa.Array | str] = [begin]
    for at, (field, column) in enumerate(zip(batch.schema, batch.columns, strict=True)):
        parts += [*([","] if at else []), _literals(column, field.name in keys)]
    return pc.binary_join_element_wise(*parts, end, "")


def _literals(column: pa.Array, in_key: bool) -> pa.StringArray:
    """The values as SQL has them, where a backslash is a letter as all others."""
    absent = "NULL"
    if pa.types.is_timestamp(column.type):
        times = column.cast(pa.timestamp("us")).cast(pa.string())
        text = pc.binary_join_element_wise("'", times, "'", "")
        absent = NO_TIME_OF_SERVERS if in_key else absent
    elif pa.types.is_string(column.type):
        text = pc.binary_join_element_wise("'", pc.replace_substring(column, "'", "''"), "'", "")
    else:
        if pa.types.is_floating(column.type):  # There is no NaN in MariaDB.
            column = pc.if_else(pc.is_nan(column), None, column)
        text = column.cast(pa.string())
    return pc.fill_null(text, absent)


def _bytes(texts: pa.StringArray) -> memoryview:
    """The bytes of all texts, one after the other."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset :][: len(texts) + 1]
    return memoryview(data)[bounds[0] : bounds[-1]] if len(texts) else memoryview(b"")
