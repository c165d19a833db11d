"""Enrich the log records."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from config.declarations import Table
from config.sources import LOG_KINDS, LOOKUPS
from config.warehouse import ENRICHED_LOGS, LOG_INSTANCE_CHAINS, source_columns
from tasks.core.files import read_json, write_json
from tasks.core.partition import Partition
from tasks.engines.choose import engine
from tasks.freshness.partitioned import PartitionedTask
from tasks.freshness.targets import Digested, FileTarget
from tasks.freshness.task import FreshTask
from tasks.graph.files import (
    enriched,
    log_partitions,
    read_staged,
    staged,
    staged_columns,
    staged_rows,
    staging_file,
)
from tasks.graph.stage import CsvToParquet, staging

if TYPE_CHECKING:
    import pyarrow as pa


class LogInstanceChains(FreshTask):
    """Each log instance with its point, application instance, type reference, type and unit."""

    code_version = 2
    priority = 15

    def page(self) -> str:
        """The lookups that found no row."""
        return "index.html#trust"

    def requires(self) -> list[CsvToParquet]:
        """The sources that the chains run through, staged."""
        return [staging(name) for name in LOOKUPS]

    def reads(self) -> Mapping[str, Digested]:
        """The staged log instances, and of each source that they lead to the digest of its keys.

        Of a source of which other columns are looked up, the staged rows.
        """
        read = source_columns(LOG_INSTANCE_CHAINS)
        return {name: staged_columns(name, columns) for name, columns in read.items()}

    def declarations(self) -> Mapping[str, object]:
        """What is looked up."""
        return {"columns": _origins(LOG_INSTANCE_CHAINS)}

    def output(self) -> dict[str, FileTarget]:
        """A Parquet file."""
        return {"chains": staged(LOG_INSTANCE_CHAINS.name)}

    def build(self, out: Mapping[str, Path]) -> None:
        """Resolve the chains."""
        from tasks.core.arrow import write_parquet
        from tasks.enrichment.lookup import resolve_log_instances

        read = source_columns(LOG_INSTANCE_CHAINS)
        chains = resolve_log_instances({n: read_staged(n, *columns) for n, columns in read.items()})
        write_parquet(chains, out["chains"])
        self.progress.result = f"{len(chains):,} log instances resolved"


def _origins(table: Table) -> list[list[str]]:
    """The part of a table's declaration that its rows depend on."""
    return [[column.name, column.type.value, column.origin] for column in table.columns]


class EnrichedLogs(PartitionedTask):
    """Every log record with its log instance, point, application instance, type and unit."""

    code_version = 5
    phase = "enriching"
    priority = 15

    _sharing = threading.Lock()
    _shared: Mapping[tuple[int, ...], Any] = MappingProxyType({})

    def page(self) -> str:
        """The lookups that found no row."""
        return "index.html#trust"

    def requires(self) -> list[FreshTask]:
        """The chains, and the log records, staged."""
        return [LogInstanceChains(), *(staging(name) for name in LOG_KINDS.values())]

    def partitions(self) -> Sequence[Partition]:
        """The files of log records."""
        return log_partitions()

    def declarations(self) -> Mapping[str, object]:
        """What is looked up for each record."""
        return {"columns": _origins(ENRICHED_LOGS)}

    def partition_reads(self, partition: Partition) -> Mapping[str, Digested]:
        """The staged records, and the chains."""
        return {
            partition.name: staged(partition.name),
            "chains": staged(LOG_INSTANCE_CHAINS.name),
        }

    def partition_declarations(self, partition: Partition) -> Mapping[str, object]:
        """`log_kind` and `partition_id`, which are columns of the facts."""
        return {"log_kind": partition.kind, "id": partition.id}

    def partition_size(self, partition: Partition) -> int:
        """Log records."""
        return staged_rows(partition.name)

    def partition_output(self, name: str) -> dict[str, FileTarget]:
        """The enriched records, and how many lookups found no row."""
        return {
            "rows": enriched(name),
            "unmatched": staging_file(f"audit/unmatched/{name}.json"),
        }

    def whole_output(self) -> dict[str, FileTarget]:
        """The lookups of all records together."""
        return {"hops": staging_file("audit/hops.json")}

    def build_partition(self, partition: Partition, out: Mapping[str, Path], threads: int) -> None:
        """Enrich one partition."""
        from tasks.enrichment.enrich import enrich_file

        unmatched = engine().call(
            enrich_file,
            staged(partition.name).file,
            self._shared_chains(),
            partition,
            out["rows"],
            out=out,
            advance=self.progress.advance,
        )
        write_json(dataclasses.asdict(unmatched), out["unmatched"])

    def _shared_chains(self) -> Any:
        """The chains as they are now, read once for all partitions."""
        found = staged(LOG_INSTANCE_CHAINS.name).file.stat()
        version = found.st_ino, found.st_mtime_ns, found.st_ctime_ns
        with self._sharing:
            if version not in self._shared:
                self._shared = {version: engine().share(_read_chains())}
            return self._shared[version]

    def build(self, out: Mapping[str, Path]) -> None:
        """Add up the lookups that found no row."""
        from tasks.enrichment.lookup import Unmatched, add_up_lookups

        unmatched = [
            (one.kind, Unmatched(**read_json(self.partition_output(one.name)["unmatched"].file)))
            for one in log_partitions()
        ]
        lookups = add_up_lookups(_read_chains(), unmatched)
        write_json([dataclasses.asdict(lookup) for lookup in lookups], out["hops"])
        self.progress.result = f"{self.progress.rows:,} rows enriched"


def _read_chains() -> pa.Table:
    return read_staged(LOG_INSTANCE_CHAINS.name)
