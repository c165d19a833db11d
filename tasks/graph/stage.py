"""Stage the source files."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import luigi
import luigi.interface

from config.sources import SOURCES
from tasks.freshness.task import (
    FileTarget,
    FreshTask,
    Milestone,
    Part,
    PartedTask,
    Receipt,
    digest_cache,
    file_target,
)
from tasks.graph.check import CheckSources
from tasks.graph.files import audits, display_path, source_parts, staging_file
from tasks.run.source_settings import source
from tasks.sources import files

if TYPE_CHECKING:
    pass

logger = logging.getLogger("pipeline")


class CsvToParquet(PartedTask):
    """One source as Parquet: the same rows, under declared names and types.

    Log records may come as a folder of files: each is staged by itself.
    """

    code_version = 3
    phase = "staging"

    table = luigi.ChoiceParameter(choices=tuple(SOURCES))

    @property
    def priority(self) -> int:
        """The large files first, so that none is left alone at the end; all above AllStaged."""
        return {"POINT": 90, "LOG_RCD_F": 80, "LOG_RCD_B": 80, "APP_INSTANCE": 70}.get(
            self.table, 65
        )

    def page(self) -> str:
        """What became of the source's rows."""
        return f"index.html#source-{self.table}"

    def requires(self) -> CheckSources:
        """All source files checked, so that nothing is touched if one of them is refused."""
        return CheckSources()

    def depends_on(self) -> list[FreshTask]:
        """Nothing: whatever makes the check stale and matters here changes a file that is read."""
        return []

    def parts(self) -> list[Part]:
        """The CSV files."""
        declared = {self.table: source(self.table)}
        return [
            Part(name, {display_path(path): file_target(path)}, declared)
            for name, path in source_parts(self.table)
        ]

    def part_size(self, part: Part) -> int:
        """Bytes of the CSV file."""
        (target,) = part.reads.values()
        assert isinstance(target, FileTarget)
        return target.file.stat().st_size

    def declarations(self) -> Mapping[str, object]:
        """How the source is declared."""
        return {self.table: source(self.table)}

    def make(self, receipt: Receipt) -> None:
        """Stage the files, unless two of them are the same."""
        from tasks.sources.inspection import check_duplicates

        files = {display_path(path): path for _, path in source_parts(self.table)}
        check_duplicates(source(self.table), files, _content_digest)
        super().make(receipt)

    def folders(self) -> list[str]:
        """The source, if it comes in parts."""
        return [self.table] if SOURCES[self.table].in_partitions else []

    def part_output(self, part: str) -> dict[str, FileTarget]:
        """The staged rows, what became of each row, and the rows that could not be read."""
        files = {
            "rows": staging_file(f"{part}.parquet"),
            "audit": staging_file(f"audit/parts/{part}.json"),
            "quarantine": staging_file(f"quarantine/{part}.csv", optional=True),
        }
        if not SOURCES[self.table].in_partitions:
            files["cells"] = staging_file(f"quarantine/{part}.cells.csv", optional=True)
            files["keys"] = staging_file(f"keys/{part}.sha256")
        return files

    def whole_output(self) -> dict[str, FileTarget]:
        """What became of the rows of all files together."""
        return {"audit": audits()[self.table]}

    def build_part(self, part: Part, out: Mapping[str, Path], threads: int) -> None:
        """Stage a file."""
        from tasks.staging.stage import Outputs, stage_file

        (target,) = part.reads.values()
        assert isinstance(target, FileTarget)
        audit = stage_file(
            target.file,
            source(self.table),
            Outputs(out["rows"], out["quarantine"], out.get("cells"), out.get("keys")),
            displayed=display_path(target.file),
            threads=threads,
            advance=self.progress.advance,
        )
        out["audit"].write_text(audit.to_json(), encoding="utf-8", newline="\n")

    def build(self, out: Mapping[str, Path]) -> None:
        """Add up the audits."""
        from tasks.staging.audit import Audit, merge_audits

        parts = [
            Audit.from_json(self.part_output(part.name)["audit"].file.read_text(encoding="utf-8"))
            for part in self.parts()
        ]
        audit = merge_audits(parts, f"{self.table} ({len(parts):,} files)")
        out["audit"].write_text(audit.to_json(), encoding="utf-8", newline="\n")
        rejected = f", {audit.rejected:,} rows quarantined" if audit.rejected else ""
        if audit.emptied:
            rejected += f", {sum(audit.emptied.values()):,} cells emptied"
        columns = len(audit.header)
        logger.info(
            "Loaded %s: %s rows, %d columns%s", self.table, f"{audit.staged:,}", columns, rejected
        )
        if audit.states:
            read = ", ".join(f"{word} as {value:g}" for word, (value, _) in audit.states.items())
            logger.info("%s: states were read: %s", self.table, read)
        for warning in audit.warnings:
            logger.warning("%s: %s", self.table, warning)
        self.progress.result = f"{audit.staged:,} rows staged, {audit.rejected:,} rejected"


def _content_digest(path: Path) -> str:
    if path.suffix.lower() == ".gz":
        digest = digest_cache().remember(path, "content", files.content_digest)
    else:
        digest = digest_cache().digest(path)
    return digest or f"unreadable: {path}"


class AllStaged(Milestone):
    """Every source is staged.

    Nothing is loaded before: if a source cannot be staged, a warehouse that is part new and part
    old would contradict itself.
    """

    priority = 60  # Loads wait for it. Luigi gives all that it requires at least the same.

    def requires(self) -> list[CsvToParquet]:
        """The staging of each source."""
        return [staging(name) for name in SOURCES]


@functools.cache
def staging(name: str) -> CsvToParquet:
    """The task that stages a source."""
    return CsvToParquet(table=name)
