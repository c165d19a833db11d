"""Stage the source files."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import luigi
import luigi.interface

from config.declarations import IGNORE
from config.sources import SOURCES
from tasks.core.partition import Partition
from tasks.core.stores import StorePath
from tasks.engines.choose import engine
from tasks.freshness.partitioned import PartitionedTask
from tasks.freshness.snapshot import Snapshot
from tasks.freshness.targets import Digested, FileTarget, SourceTarget
from tasks.freshness.task import WrapperTask
from tasks.graph.files import audits, display_path, source_partitions, staging_file
from tasks.graph.sources import CheckSources
from tasks.run.recording import state
from tasks.run.source_settings import source
from tasks.sources import files
from tasks.state import Receipt

logger = logging.getLogger("pipeline")


class CsvToParquet(PartitionedTask):
    """One source as Parquet: its valid rows, under declared names and types.

    Log records may come as a folder of files: each is a partition.
    """

    code_version = 7
    phase = "staging"

    table = luigi.ChoiceParameter(choices=tuple(SOURCES))

    @property
    def priority(self) -> int:
        """Large sources first, to keep both workers busy; all before AllStaged."""
        return {"POINT": 90, "LOG_RCD_F": 80, "LOG_RCD_B": 80, "APP_INSTANCE": 70}.get(
            self.table, 65
        )

    def page(self) -> str:
        """What became of the source's rows."""
        return f"index.html#source-{self.table}"

    def requires(self) -> CheckSources:
        """All source files are checked: if one cannot be read, nothing is staged."""
        return CheckSources()

    def partitions(self) -> Sequence[Partition]:
        """The CSV files."""
        return source_partitions(self.table)

    def partition_reads(self, partition: Partition) -> Mapping[str, Digested]:
        """The CSV file."""
        return {display_path(partition.path): SourceTarget(partition.path)}

    def partition_size(self, partition: Partition) -> int:
        """Bytes of the CSV file."""
        return partition.path.stat().st_size

    def declarations(self) -> Mapping[str, object]:
        """How the source is declared, but for what may become of new columns: they are staged."""
        staged_alike = dataclasses.replace(
            source(self.table), new_columns=IGNORE, accepted_columns=()
        )
        return {self.table: staged_alike}

    def make(self, receipt: Receipt) -> None:
        """Stage the files; PipelineError if two of them have the same content."""
        from tasks.sources.inspection import check_duplicates

        paths = {display_path(one.path): one.path for one in source_partitions(self.table)}
        snapshot = Snapshot(state())
        stored = (one for one in paths.values() if isinstance(one, StorePath))
        sizes = Counter(one.stat().st_size for one in stored)
        check_duplicates(
            source(self.table), paths, functools.partial(_content_digest, snapshot, sizes)
        )
        snapshot.keep()
        super().make(receipt)

    def partitioned_sources(self) -> list[str]:
        """The source, if it comes in partitions."""
        return [self.table] if SOURCES[self.table].in_partitions else []

    def partition_output(self, name: str) -> dict[str, FileTarget]:
        """The staged rows, the audit, and the rows that could not be read.

        Of a reference source also the emptied cells and the digest of its keys.
        """
        files = {
            "rows": staging_file(f"{name}.parquet"),
            "audit": staging_file(f"audit/parts/{name}.json"),
            "quarantine": staging_file(f"quarantine/{name}.csv", optional=True),
        }
        if not SOURCES[self.table].in_partitions:
            files["cells"] = staging_file(f"quarantine/{name}.cells.csv", optional=True)
            files["keys"] = staging_file(f"keys/{name}.sha256")
        return files

    def whole_output(self) -> dict[str, FileTarget]:
        """The audits of all files together."""
        return {"audit": audits()[self.table]}

    def build_partition(self, partition: Partition, out: Mapping[str, Path], threads: int) -> None:
        """Stage a file."""
        from tasks.staging.stage import Outputs, stage_file

        audit = engine().call(
            stage_file,
            partition.path,
            source(self.table),
            Outputs(out["rows"], out["quarantine"], out.get("cells"), out.get("keys")),
            displayed=display_path(partition.path),
            threads=threads,
            out=out,
            advance=self.progress.advance,
        )
        out["audit"].write_text(audit.to_json(), encoding="utf-8", newline="\n")

    def build(self, out: Mapping[str, Path]) -> None:
        """Add up the audits."""
        from tasks.staging.audit import merge_audits, read_audit

        files = [self.partition_output(one.name)["audit"].file for one in self.partitions()]
        parts = [read_audit(file) for file in files]
        audit = merge_audits(parts, f"{self.table} ({len(parts):,} files)")
        out["audit"].write_text(audit.to_json(), encoding="utf-8", newline="\n")
        rejected = f", {audit.rejected:,} rows quarantined" if audit.rejected else ""
        if audit.emptied:
            rejected += f", {audit.cells_emptied:,} cells emptied"
        columns = len(audit.header)
        logger.info(
            "Staged %s: %s rows, %d columns%s", self.table, f"{audit.staged:,}", columns, rejected
        )
        if audit.states:
            read = ", ".join(f"{word} as {value:g}" for word, (value, _) in audit.states.items())
            logger.info("%s: states were read: %s", self.table, read)
        for warning in audit.warnings:
            logger.warning("%s: %s", self.table, warning)
        self.progress.result = f"{audit.staged:,} rows staged, {audit.rejected:,} rejected"


def _content_digest(snapshot: Snapshot, sizes: Counter[int], path: Path) -> str:
    # An object is read for that only if another one has its size.
    if isinstance(path, StorePath) and sizes[path.stat().st_size] == 1:
        digest = snapshot.identity(path)
    elif path.suffix.lower() == ".gz":
        digest = snapshot.from_content(path, "content", files.content_digest)
    else:
        digest = snapshot.digest(path)
    # Equal to no other file's digest. Staging reports the error.
    return digest or f"cannot be read: {path}"


class AllStaged(WrapperTask):
    """Every source is staged.

    No load starts before: otherwise a source that fails would leave a mix of new and old data.
    """

    priority = 60  # Loads wait for it. Luigi raises all that it requires to at least this.

    def requires(self) -> list[CsvToParquet]:
        """The staging of each source."""
        return [staging(name) for name in SOURCES]


@functools.cache
def staging(name: str) -> CsvToParquet:
    """The task that stages a source."""
    return CsvToParquet(table=name)
