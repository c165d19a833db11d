"""The files that tasks read and make: where they are, and what they are called."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from config.sources import LOG_KINDS, SOURCES
from tasks.core.partition import Partition, partition_ids
from tasks.freshness.targets import FileTarget, file_target
from tasks.run.settings import settings
from tasks.sources import files

if TYPE_CHECKING:
    import pyarrow as pa


def staging_file(name: str, optional: bool = False) -> FileTarget:
    """A file in the staging folder."""
    return file_target(settings().staging_dir, name, optional)


def source_partitions(name: str) -> Sequence[Partition]:
    """The partitions of a source; if it has no file, the path where one is expected."""
    data_dir = settings().data_dir
    found = files.find_partitions(name, data_dir)
    return found or (Partition(name, files.source_path(name, data_dir)),)


def display_path(path: Path) -> str:
    """A source file's name in the data folder."""
    return path.relative_to(settings().data_dir).as_posix()


def staged(partition: str) -> FileTarget:
    """The staged rows of a partition."""
    return staging_file(f"{partition}.parquet")


def all_partitions() -> Sequence[Partition]:
    """The partitions of all sources: one of each reference source, and those of log records."""
    reference = (Partition(name) for name, one in SOURCES.items() if not one.in_partitions)
    return (*reference, *log_partitions())


def staged_keys(name: str) -> FileTarget:
    """The digest of the staged keys of a source."""
    return staging_file(f"keys/{name}.sha256")


def staged_columns(name: str, columns: Collection[str]) -> FileTarget:
    """The file to compare when some columns of a staged table are read.

    It is the digest of the keys if all of them are keys, else the Parquet file.

    Args:
        name: A source, or another table in the staging folder.
        columns: The columns that are read; empty means all.
    """
    keys = SOURCES[name].required if name in SOURCES else ()
    return staged_keys(name) if columns and set(columns) <= set(keys) else staged(name)


def audits() -> dict[str, FileTarget]:
    """The audit of each source's staging."""
    return {name: staging_file(f"audit/{name}.json") for name in SOURCES}


def read_staged(name: str, *columns: str, only: tuple[str, pa.Array] | None = None) -> pa.Table:
    """Some columns of a staged source; as `read_parquet`."""
    from tasks.core.arrow import read_parquet

    return read_parquet(staged(name).file, *columns, only=only)


def staged_rows(partition: str) -> int:
    """How many rows of a partition are staged."""
    from tasks.core.arrow import parquet_rows

    return parquet_rows(staged(partition).file)


def enriched(partition: str) -> FileTarget:
    """The enriched records of a partition."""
    return staging_file(f"enriched_logs/{partition}.parquet")


def log_partitions() -> Sequence[Partition]:
    """All files of log records, with their ids."""
    return _with_ids(tuple(one for name in LOG_KINDS.values() for one in source_partitions(name)))


@functools.lru_cache(maxsize=8)
def _with_ids(partitions: tuple[Partition, ...]) -> Sequence[Partition]:
    found = {one.name: one for one in partitions}
    ids = partition_ids(found)
    return tuple(Partition(name, one.path, ids[name]) for name, one in found.items())
