"""Enrich the log records."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from config.sources import LOG_KINDS, SOURCES
from tasks.freshness.task import (
    Digested,
    FileTarget,
    FreshTask,
    Part,
    PartedTask,
)
from tasks.graph.files import (
    DESCRIBING,
    enriched,
    log_parts,
    read_json,
    read_staged,
    staged,
    staged_keys,
    staged_rows,
    staging_file,
    write_json,
)
from tasks.graph.stage import CsvToParquet, staging

if TYPE_CHECKING:
    import pyarrow as pa


logger = logging.getLogger("pipeline")


class LogInstanceChains(FreshTask):
    """Each log instance with its point, application instance, type reference, type and unit."""

    priority = 15

    def page(self) -> str:
        """What is lost on the way."""
        return "index.html#trust"

    def requires(self) -> list[CsvToParquet]:
        """The sources that the chains run through, staged."""
        return [staging(name) for name in DESCRIBING]

    def reads(self) -> Mapping[str, Digested]:
        """The staged log instances, and the keys of the others."""
        first, *others = DESCRIBING
        return {first: staged(first), **{name: staged_keys(name) for name in others}}

    def output(self) -> dict[str, FileTarget]:
        """A Parquet file."""
        return {"chains": staging_file("log_instance_chains.parquet")}

    def build(self, out: Mapping[str, Path]) -> None:
        """Resolve the chains."""
        import pyarrow.parquet as pq

        from tasks.enrichment.enrich import resolve_log_instances

        first, *others = DESCRIBING
        declared = [column.name for column in SOURCES[first].columns]
        chains = resolve_log_instances(
            read_staged(first, *declared),
            *(read_staged(name, *SOURCES[name].required) for name in others),
        )
        pq.write_table(chains, out["chains"])
        self.progress.result = f"{len(chains):,} log instances resolved"


class EnrichedLogs(PartedTask):
    """Every log record with its log instance, point, application instance, type and unit."""

    code_version = 2
    phase = "enriching"
    priority = 15

    def page(self) -> str:
        """What was lost on the way."""
        return "index.html#trust"

    def requires(self) -> list[FreshTask]:
        """The chains, and the log records, staged."""
        return [LogInstanceChains(), *(staging(name) for name in LOG_KINDS.values())]

    def parts(self) -> list[Part]:
        """The files of log records."""
        chains = LogInstanceChains().output()["chains"]
        return [
            Part(
                part.name,
                {part.name: staged(part.name), "chains": chains},
                {"log_kind": part.log_kind, "number": part.number},
            )
            for part in log_parts()
        ]

    def part_size(self, part: Part) -> int:
        """Log records."""
        return staged_rows(part.name)

    def folders(self) -> list[str]:
        """The sources of log records."""
        return list(LOG_KINDS.values())

    def part_output(self, part: str) -> dict[str, FileTarget]:
        """The enriched records, and what was lost on the way."""
        return {
            "rows": enriched(part),
            "losses": staging_file(f"audit/losses/{part}.json"),
        }

    def whole_output(self) -> dict[str, FileTarget]:
        """What was lost on the way, all records together."""
        return {"hops": staging_file("audit/hops.json")}

    def build_part(self, part: Part, out: Mapping[str, Path], threads: int) -> None:
        """Stream the log records past the chains."""
        from tasks.enrichment.enrich import enrich_file

        kind, number = str(part.declarations["log_kind"]), part.declarations["number"]
        assert isinstance(number, int)
        losses = enrich_file(
            staged(part.name).file,
            self._chains(),
            kind,
            number,
            out["rows"],
            advance=self.progress.advance,
        )
        write_json(dataclasses.asdict(losses), out["losses"])

    def build(self, out: Mapping[str, Path]) -> None:
        """Add up what was lost."""
        from tasks.enrichment.enrich import PartLosses, add_up_losses

        losses = [
            (part.log_kind, PartLosses(**read_json(self.part_output(part.name)["losses"].file)))
            for part in log_parts()
        ]
        hops = add_up_losses(self._chains(), losses)
        write_json([dataclasses.asdict(hop) for hop in hops], out["hops"])
        self.progress.result = f"{self.progress.rows:,} rows enriched"

    def _chains(self) -> pa.Table:
        from tasks.core.arrow import read_parquet

        return read_parquet(LogInstanceChains().output()["chains"].file)
