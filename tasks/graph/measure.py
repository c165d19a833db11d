"""Measure the staged files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from config.declarations import Source
from config.sources import LOG_KINDS, LOOKUPS, SOURCES
from tasks.core.partition import Partition
from tasks.engines.arrow import THREADS
from tasks.engines.choose import engine
from tasks.freshness.partitioned import PartitionedTask
from tasks.freshness.targets import Digested, FileTarget
from tasks.freshness.task import FreshTask
from tasks.graph.files import (
    all_partitions,
    log_partitions,
    staged,
    staged_keys,
    staged_rows,
    staging_file,
)
from tasks.graph.stage import CsvToParquet, staging
from tasks.run.source_settings import source


class LogActivity(PartitionedTask):
    """When each log instance recorded, and how far apart: from the staged log records alone."""

    code_version = 3
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
        """Tables, as `measure_activity` writes them."""
        tables = ("days", "hours", "steps", "instances")
        return {table: staging_file(f"activity/{table}/{name}.parquet") for table in tables}

    def build_partition(self, partition: Partition, out: Mapping[str, Path], threads: int) -> None:
        """Measure one partition."""
        from tasks.measures.activity import measure_activity

        path = staged(partition.name).file
        engine().call(measure_activity, path, dict(out), out=out, advance=self.progress.advance)

    def build(self, out: Mapping[str, Path]) -> None:
        """Report how much was measured."""
        self.progress.result = f"{self.progress.rows:,} log records measured"


class SourceProfiles(PartitionedTask):
    """What the columns of each staged file hold: of every partition of every source."""

    code_version = 3
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
        """The primary key, and how numbers and times are written."""
        primary_key = SOURCES[partition.source].primary_key
        return {"primary_key": primary_key, "notation": _notation(partition.source)}

    def partition_size(self, partition: Partition) -> int:
        """Rows."""
        return staged_rows(partition.name)

    def partition_output(self, name: str) -> dict[str, FileTarget]:
        """A profile that can be merged with others."""
        return {"profile": staging_file(f"profiles/{name}.json")}

    def build_partition(self, partition: Partition, out: Mapping[str, Path], threads: int) -> None:
        """Profile a file."""
        from tasks.measures.profile import profile_file

        engine().call(
            profile_file,
            staged(partition.name).file,
            SOURCES[partition.source].primary_key,
            out["profile"],
            _notation(partition.source),
            out=out,
            advance=self.progress.advance,
        )

    def build(self, out: Mapping[str, Path]) -> None:
        """Report how much was profiled."""
        self.progress.result = f"{self.progress.rows:,} rows profiled"


def _notation(name: str) -> Source:
    """What of a source's settings decides how numbers and times in its texts are read."""
    given = source(name)
    return Source(
        name,
        "",
        (),
        decimal=given.decimal,
        thousands=given.thousands,
        na_values=given.na_values,
        time_format=given.time_format,
        time_window=given.time_window,
        source_timezone=given.source_timezone,
    )


class SourceRelations(FreshTask):
    """How the rows of the reference sources relate: orphans, parents in use, most children."""

    def requires(self) -> list[CsvToParquet]:
        """The reference sources, staged."""
        return [staging(name) for name in LOOKUPS]

    def reads(self) -> Mapping[str, Digested]:
        """Their staged keys."""
        return {name: staged_keys(name) for name in LOOKUPS}

    def output(self) -> dict[str, FileTarget]:
        """The figures."""
        return {"relations": staging_file("audit/relations.json")}

    def build(self, out: Mapping[str, Path]) -> None:
        """Measure."""
        from tasks.measures.relations import write_relations

        # In the order in which the sources are declared.
        files = {name: staged(name).file for name in SOURCES if name in LOOKUPS}
        write_relations(files, out["relations"], THREADS)
