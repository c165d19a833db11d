"""Check the warehouse against the files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from config.sources import SOURCES
from config.warehouse import FACT_LOGS, TABLES
from tasks.core.files import read_json, write_json
from tasks.core.partition import Partition
from tasks.engines.choose import engine
from tasks.freshness.partitioned import PartitionedTask
from tasks.freshness.targets import Digested, FileTarget
from tasks.graph.facts import LoadFactLogs
from tasks.graph.files import audits, enriched, log_partitions, staged, staged_rows, staging_file
from tasks.graph.lake import facts_are_in_lake
from tasks.graph.load import LoadTarget, warehouse
from tasks.run.settings import settings

logger = logging.getLogger("pipeline")


class CheckWarehouse(PartitionedTask):
    """Every staged row is in the warehouse: counts by table, by kind and by unit are equal."""

    code_version = 3
    phase = "counting"
    priority = 10

    def page(self) -> str:
        """The counts."""
        return "reconciliation.csv"

    def requires(self) -> LoadFactLogs:
        """The facts, loaded, and all dimensions before them."""
        return LoadFactLogs()

    def partitions(self) -> Sequence[Partition]:
        """The files of log records."""
        return log_partitions()

    def partition_reads(self, partition: Partition) -> Mapping[str, Digested]:
        """The enriched records, and the load of their facts: either change repeats the count."""
        load = LoadTarget(FACT_LOGS.name, partition.name)
        return {partition.name: enriched(partition.name), f"{partition.name} load": load}

    def partition_size(self, partition: Partition) -> int:
        """Log records."""
        return staged_rows(partition.name)

    def partition_output(self, name: str) -> dict[str, FileTarget]:
        """The counts of one partition."""
        return {"counts": staging_file(f"audit/facts/{name}.json")}

    def whole_output(self) -> dict[str, FileTarget]:
        """The counts that were compared."""
        return {"counts": FileTarget(settings().reports_dir / "reconciliation.csv")}

    def reads(self) -> Mapping[str, Digested]:
        """The audits and the loads of all tables too."""
        loads = {name: LoadTarget(name) for name in TABLES}
        return {
            **super().reads(),
            **loads,
            **{f"audit {n}": audit for n, audit in audits().items()},
        }

    def declarations(self) -> Mapping[str, object]:
        """Whether CSV files have a byte order mark; which points are loaded."""
        return {"csv_bom": settings().csv_bom, "all_points": settings().all_points}

    def build_partition(self, partition: Partition, out: Mapping[str, Path], threads: int) -> None:
        """Count the records of a partition."""
        from tasks.enrichment.enrich import count_enriched
        from tasks.warehouse.reconciliation import count_partition

        file = enriched(partition.name).file
        found = engine().call(count_enriched, file, out={}, advance=self.progress.advance)
        rows = staged_rows(partition.name)
        counts = count_partition(partition, rows, found, warehouse(), facts_are_in_lake())
        write_json(counts, out["counts"])

    def build(self, out: Mapping[str, Path]) -> None:
        """Compare, and fail on any difference."""
        from tasks.warehouse.reconciliation import reconcile, refuse_differences, write_counts

        counts = reconcile(
            {name: target.file for name, target in audits().items()},
            {n: staged(n).file for n, source in SOURCES.items() if not source.in_partitions},
            [read_json(self.partition_output(one.name)["counts"].file) for one in log_partitions()],
            warehouse(),
            settings().all_points,
        )
        write_counts(counts, out["counts"], settings().csv_bom)
        refuse_differences(counts)
        logger.info("Reconciled %d counts of files and warehouse", len(counts))
        self.progress.result = f"{len(counts):,} counts compared"
