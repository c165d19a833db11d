"""The files that tasks read and make: where they are, and what they are called."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from config.sources import LOG_KINDS, SOURCES
from tasks.core.memo import once
from tasks.enrichment.log_numbers import number_parts
from tasks.freshness.task import (
    FileTarget,
    file_target,
)
from tasks.run.settings import settings
from tasks.sources import files

if TYPE_CHECKING:
    import pyarrow as pa


logger = logging.getLogger("pipeline")


def staging_file(name: str, optional: bool = False) -> FileTarget:
    """A file in the staging folder."""
    return file_target(settings().staging_dir, name, optional)


def source_parts(name: str) -> list[files.SourcePart]:
    """The files of a source; if there is none, where one is expected."""
    data_dir = settings().data_dir
    found = files.find_parts(name, data_dir)
    return found or [files.SourcePart(name, files.source_path(name, data_dir))]


def display_path(path: Path) -> str:
    """A source file's name in the data folder."""
    return path.relative_to(settings().data_dir).as_posix()


def staged(part: str) -> FileTarget:
    """The staged rows of a part of a source, or of one that does not come in parts."""
    return staging_file(f"{part}.parquet")


def staged_files() -> dict[str, Path]:
    """The staged rows of each source; of each part where a source comes in parts."""
    names = [name for name, source in SOURCES.items() if not source.in_partitions]
    return {name: staged(name).file for name in [*names, *(part.name for part in log_parts())]}


def staged_keys(name: str) -> FileTarget:
    """What changes only if the staged keys of a source do."""
    return staging_file(f"keys/{name}.sha256")


def audits() -> dict[str, FileTarget]:
    """The audit of each source's staging."""
    return {name: staging_file(f"audit/{name}.json") for name in SOURCES}


def read_staged(name: str, *columns: str) -> pa.Table:
    """Some columns of a staged source."""
    from tasks.core.arrow import read_parquet

    return read_parquet(staged(name).file, *columns)


DESCRIBING = ("LOG_INSTANCE", "POINT", "APP_INSTANCE", "APP_TYPE_REF", "APP_TYPE")
"""The sources that a log record's chain runs through, in its order."""


def staged_rows(part: str) -> int:
    """How many rows of a part are staged."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(staged(part).file).num_rows)


def enriched(part: str) -> FileTarget:
    """The enriched records of a part."""
    return staging_file(f"enriched_logs/{part}.parquet")


def paths_of(targets: Mapping[str, FileTarget]) -> dict[str, Path]:
    """The paths of targets."""
    return {name: target.file for name, target in targets.items()}


class LogPart(NamedTuple):
    """A file of log records.

    Attributes:
        name: Of the part.
        log_kind: B or F.
        number: With which its `log_id` begin.
    """

    name: str
    log_kind: str
    number: int


def log_parts() -> list[LogPart]:
    """All files of log records."""
    return once("log parts", _log_parts)


def _log_parts() -> list[LogPart]:
    kinds = {part.name: kind for kind, name in LOG_KINDS.items() for part in source_parts(name)}
    numbers = number_parts(kinds)
    return [LogPart(name, kind, numbers[name]) for name, kind in kinds.items()]


def write_json(content: object, path: Path) -> None:
    """Write what JSON can hold."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")


def read_json(path: Path) -> Any:
    """What a file of JSON holds."""
    return json.loads(path.read_text(encoding="utf-8"))
