"""How Parquet files are written, and the one place where they are opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

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
    return pq.ParquetFile(path, read_dictionary=list(read_dictionary), pre_buffer=False)


def read_parquet(path: Path, *columns: str, only: tuple[str, pa.Array] | None = None) -> pa.Table:
    """Some columns of a Parquet file, all if none is named.

    Args:
        path: The file.
        columns: The columns.
        only: One of them, and the values that it has in the rows to be read.
    """
    with open_parquet(path) as file:
        if only is not None:
            name, values = only
            batches = [
                batch.filter(pc.is_in(batch[name], values))
                for batch in file.iter_batches(BATCH_ROWS, columns=list(columns) or None)
            ]
            schema = file.schema_arrow
            kept = pa.schema([schema.field(one) for one in columns]) if columns else schema
            return pa.Table.from_batches([b.select(kept.names) for b in batches], kept)
        # Threads cost more than they bring where there is next to nothing to read.
        several = file.metadata.num_rows > _FEW_ROWS
        return file.read(list(columns) or None, use_threads=several)
