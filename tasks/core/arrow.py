"""Arrow without pandas and with little memory: what a run can do without."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq

_FEW_ROWS = 10_000


class _NoPandas(MetaPathFinder):
    """Says of pandas that it is not there."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def give_memory_back() -> None:
    """Use the allocator that gives back what is free; the default one keeps 100 MiB more."""
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())


def keep_pandas_out() -> None:
    """Let Arrow find no pandas while it looks for it the one time that it does.

    It looks when the first Python value is turned into an Arrow one, only to learn what missing
    values look like. Whoever needs pandas later imports it, and Arrow then finds it; only NaT in a
    plain list is no longer taken for a missing value.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


def read_parquet(path: Path, *columns: str) -> pa.Table:
    """Some columns of a Parquet file, all if none is named; without the machinery of data sets."""
    with pq.ParquetFile(path) as file:
        # Threads cost more than they bring where there is next to nothing to read.
        several = file.metadata.num_rows > _FEW_ROWS
        return file.read(list(columns) or None, use_threads=several)
