"""Measure the staged files."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from config.sources import LOG_KINDS, SOURCES
from tasks.core.partition import Partition
from tasks.freshness.partitioned import PartitionedTask
from tasks.freshness.snapshot import THREADS
from tasks.freshness.targets import Digested, FileTarget
from tasks.freshness.task import FreshTask
from tasks.graph.files import (
    DESCRIBING,
    all_partitions,
    log_partitions,
    paths_of,
    staged,
    staged_keys,
    staged_rows,
    staging_file,
)
from tasks.graph.stage import CsvToParquet, staging

if TYPE_CHECKING:
    pass

logger = logging.getLogger("pipeline")


class LogActivity(PartitionedTask):
    """When each log instance recorded, and how far apart: from the staged log records alone."""

    phase = "measuring"
    priority = 5

    def requires(self) -> list[FreshTask]:
        """The log records, staged."""
        return [staging(name) for name in LOG_KINDS.values()]

    def partitions(self) -> Sequence[Partition]:
        """The files of log records."""
        return log_partitions()

    def partition_reads(self, partition: Partition) -> Mapping[str, Digested]:
        """The staged records."""
        return {partition.name: staged(partition.name)}

    def partition_size(self, partition: Partition) -> int:
        """Log records."""
        return staged_rows(partition.name)

    def partition_output(self, name: str) -> dict[str, FileTarget]:
        """Records by day, by hour, and what is known of each log instance."""
        return {
            "days": staging_file(f"activity/days/{name}.parquet"),
            "instances": staging_file(f"activity/instances/{name}.parquet"),
            "hours": staging_file(f"activity/hours/{name}.json"),
        }

    def build_partition(self, partition: Partition, out: Mapping[str, Path], threads: int) -> None:
        """Stream the log records."""
        from tasks.measures.activity import measure_activity

        measure_activity(
            staged(partition.name).file,
            out["days"],
            out["instances"],
            out["hours"],
            advance=self.progress.advance,
        )

    def build(self, out: Mapping[str, Path]) -> None:
        """Nothing more."""
        self.progress.result = f"{self.progress.rows:,} log records measured"


class SourceProfiles(PartitionedTask):
    """What the columns of each staged file hold: of every partition of every source."""

    phase = "profiling"
    priority = 5

    def requires(self) -> list[FreshTask]:
        """All sources, staged."""
        return [staging(name) for name in SOURCES]

    def partitions(self) -> Sequence[Partition]:
        """Those of all sources."""
        return all_partitions()

    def partition_reads(self, partition: Partition) -> Mapping[str, Digested]:
        """The staged rows."""
        return {partition.name: staged(partition.name)}

    def partition_declarations(self, partition: Partition) -> Mapping[str, object]:
        """The column that is unique."""
        return {"primary_key": SOURCES[partition.source].primary_key}

    def partition_size(self, partition: Partition) -> int:
        """Rows."""
        return staged_rows(partition.name)

    def partition_output(self, name: str) -> dict[str, FileTarget]:
        """A profile that can be merged with others."""
        return {"profile": staging_file(f"profiles/{name}.json")}

    def build_partition(self, partition: Partition, out: Mapping[str, Path], threads: int) -> None:
        """Profile a file."""
        from tasks.measures.profile import profile_file

        profile_file(
            staged(partition.name).file,
            SOURCES[partition.source].primary_key,
            out["profile"],
            advance=self.progress.advance,
        )

    def build(self, out: Mapping[str, Path]) -> None:
        """Nothing more."""
        self.progress.result = f"{self.progress.rows:,} rows profiled"


class LogMeasures(PartitionedTask):
    """What was measured of the files of log records, added up in groups of files.

    The reports add up the groups: a new file costs what its group has, not what all files have.
    """

    phase = "adding up"
    priority = 5

    def requires(self) -> list[FreshTask]:
        """What was measured of each file."""
        return [LogActivity(), SourceProfiles()]

    def partitions(self) -> Sequence[Partition]:
        """The groups."""
        return [Partition(group) for group in log_groups()]

    def partition_reads(self, partition: Partition) -> Mapping[str, Digested]:
        """What was measured of each file of a group."""
        tasks = (SourceProfiles(), LogActivity())
        return {
            f"{file} {name}": target
            for file in log_groups()[partition.name]
            for task in tasks
            for name, target in task.partition_output(file).items()
        }

    def partition_declarations(self, partition: Partition) -> Mapping[str, object]:
        """The kind of the records, and the files of a group."""
        return {"log_kind": partition.kind, "files": log_groups()[partition.name]}

    def partition_size(self, partition: Partition) -> int:
        """Files."""
        return len(log_groups()[partition.name])

    def partition_output(self, name: str) -> dict[str, FileTarget]:
        """The same as of a file."""
        return {"profile": staging_file(f"measures/profiles/{name}.json"), **self.activity(name)}

    def activity(self, group: str) -> dict[str, FileTarget]:
        """What was measured of its activity."""
        return {
            "days": staging_file(f"measures/days/{group}.parquet"),
            "instances": staging_file(f"measures/instances/{group}.parquet"),
            "hours": staging_file(f"measures/hours/{group}.json"),
        }

    def build_partition(self, partition: Partition, out: Mapping[str, Path], threads: int) -> None:
        """Add up a group."""
        from tasks.measures.activity import PartActivity, add_parts
        from tasks.measures.profile import merge_profiles

        files, kind = log_groups()[partition.name], partition.kind
        profiles = [SourceProfiles().partition_output(name)["profile"].file for name in files]
        merge_profiles(profiles).write(out["profile"])
        activity = [paths_of(LogActivity().partition_output(name)) for name in files]
        add_parts(
            [PartActivity(kind, **paths) for paths in activity],
            out["days"],
            out["instances"],
            out["hours"],
        )
        self.progress.advance(len(files), 0)

    def build(self, out: Mapping[str, Path]) -> None:
        """Nothing more."""
        self.progress.result = f"{len(log_partitions()):,} files in {len(log_groups()):,} groups"


def profiles_of_sources() -> dict[str, list[FileTarget]]:
    """Source -> its profile; those of its groups of files where it comes in parts."""
    profiles, measures = SourceProfiles(), LogMeasures()
    found = {name: [profiles.partition_output(name)["profile"]] for name in SOURCES}
    for name in LOG_KINDS.values():
        groups = [group for group in log_groups() if group.partition("/")[0] == name]
        found[name] = [measures.partition_output(group)["profile"] for group in groups]
    return found


_GROUPS = 16
"""Groups of the files of one source; always so many, lest a new file move others."""


def log_groups() -> dict[str, list[str]]:
    """Group -> the files of log records in it, which follow from the names of the files alone."""
    return _grouped(tuple(partition.name for partition in log_partitions()))


@functools.lru_cache(maxsize=8)
def _grouped(files: tuple[str, ...]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for file in files:
        groups.setdefault(group_of(file), []).append(file)
    return groups


def group_of(part: str) -> str:
    """The group that a file of log records is in; a file that is no part is one by itself."""
    name, folder, _ = part.partition("/")
    if not folder:
        return name
    digest = hashlib.sha256(part.encode(errors="surrogateescape")).digest()
    return f"{name}/{int.from_bytes(digest[:4]) % _GROUPS:02}"


class SourceRelations(FreshTask):
    """How the rows of the describing sources relate: orphans, parents in use, most children."""

    def requires(self) -> list[CsvToParquet]:
        """The describing sources, staged."""
        return [staging(name) for name in DESCRIBING]

    def reads(self) -> Mapping[str, Digested]:
        """Their staged keys."""
        return {name: staged_keys(name) for name in DESCRIBING}

    def output(self) -> dict[str, FileTarget]:
        """The figures."""
        return {"relations": staging_file("audit/relations.json")}

    def build(self, out: Mapping[str, Path]) -> None:
        """Measure."""
        from tasks.measures.relations import write_relations

        # In the order in which the sources are declared.
        files = {name: staged(name).file for name in SOURCES if name in DESCRIBING}
        write_relations(files, out["relations"], THREADS)
