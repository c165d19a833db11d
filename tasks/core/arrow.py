"""How Parquet files are written, and the one place where they are opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.stores import StorePath

PARQUET = {"compression": "zstd", "compression_level": 1}
"""As fast to write as the default, at half the size; see docs/benchmarks.md."""

BATCH_ROWS = 65_536
_FEW_ROWS = 10_000


def open_parquet(path: Path, read_dictionary: Sequence[str] = ()) -> pq.ParquetFile:
    """A Parquet file whose row groups are read one by one.

    Arrow's default fetches all of the file's bytes when the iteration begins, and keeps them until
    it ends.

    Args:
        path: The file.
        read_dictionary: Text columns to be read as dictionaries.
    """
    source = path.open_for_arrow() if isinstance(path, StorePath) else path
    return pq.ParquetFile(source, read_dictionary=list(read_dictionary), pre_buffer=False)


def parquet_rows(path: Path) -> int:
    """How many rows a Parquet file has."""
    with open_parquet(path) as file:
        return int(file.metadata.num_rows)


def parquet_schema(path: Path) -> pa.Schema:
    """The columns of a Parquet file."""
    with open_parquet(path) as file:
        return file.schema_arrow


def write_parquet(table: pa.Table, path: Path, **options: Any) -> None:
    """Write a Parquet file."""
    if isinstance(path, StorePath):
        with path.open("wb") as stream:
            pq.write_table(table, stream, **options)
    else:
        pq.write_table(table, path, **options)


def read_parquet(path: Path, *columns: str, only: tuple[str, pa.Array] | None = None) -> pa.Table:
    """Some columns of a Parquet file, all if none is named.

    Args:
        path: The file.
        columns: The columns.
        only: One of them, and the values that it has in the rows to be read.
    """
    if only is not None:
        return _read_rows(path, columns, *only)
    with open_parquet(path) as file:
        # Threads cost more than they bring where there is next to nothing to read.
        several = file.metadata.num_rows > _FEW_ROWS
        return file.read(list(columns) or None, use_threads=several)


def _read_rows(path: Path, columns: Sequence[str], name: str, values: pa.Array) -> pa.Table:
    whole = parquet_schema(path)
    schema = pa.schema([whole.field(one) for one in columns]) if columns else whole
    # Most texts are never made: dictionaries are filtered.
    texts = [field.name for field in schema if field.type == pa.string()]
    with open_parquet(path, texts) as file:
        batches = [
            batch.select(schema.names).filter(pc.is_in(batch[name], values)).cast(schema)
            for batch in file.iter_batches(BATCH_ROWS, columns=list(columns) or None)
        ]
    return pa.Table.from_batches(batches, schema)
