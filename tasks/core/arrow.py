"""How Parquet files are written, and the one place where they are opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
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


def read_parquet(path: Path, *columns: str) -> pa.Table:
    """Some columns of a Parquet file, all if none is named."""
    with open_parquet(path) as file:
        # Threads cost more than they bring where there is next to nothing to read.
        several = file.metadata.num_rows > _FEW_ROWS
        return file.read(list(columns) or None, use_threads=several)
