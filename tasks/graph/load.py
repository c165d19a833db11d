"""Load the warehouse, and check it."""

from __future__ import annotations

import dataclasses
import logging
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import luigi
import luigi.interface

from config.sources import SOURCES
from config.warehouse import DIMENSIONS, FACT_LOGS, TABLES
from tasks.freshness.task import (
    Digested,
    FileTarget,
    FreshTask,
    Receipt,
    digest_of,
)
from tasks.graph.enrich import EnrichedLogs, LogInstanceChains
from tasks.graph.files import (
    LogPart,
    audits,
    enriched,
    log_parts,
    read_staged,
    staged,
    staged_files,
    staged_keys,
    staging_file,
)
from tasks.graph.stage import AllStaged, staging
from tasks.run.settings import settings
from tasks.warehouse import load as warehouse

if TYPE_CHECKING:
    import pyarrow as pa


logger = logging.getLogger("pipeline")


class TableTarget(luigi.Target):
    """A table of the warehouse, known by the receipt of its load.

    Args:
        table: Its name.
        each_load: Whether loading the same rows again makes a difference.
    """

    def __init__(self, table: str, each_load: bool = False):
        self.table = table
        self.each_load = each_load

    def __str__(self) -> str:
        return self.table

    def digest(self) -> str | None:
        """What its rows were made from; None if they are not there as loaded."""
        receipt = warehouse.load_receipt(settings().warehouse_url, self.table)
        if receipt is None:
            return None
        return receipt.outputs.get("load" if self.each_load else "rows")

    def exists(self) -> bool:
        """Whether the table is there as loaded."""
        return self.digest() is not None


class LoadTask(FreshTask):
    """Replaces the rows of one warehouse table, its receipt in the same transaction."""

    resources = {"warehouse": 1}
    priority = 10

    @property
    def table_name(self) -> str:
        """The table that is loaded."""
        raise NotImplementedError

    def page(self) -> str:
        """The description of the table."""
        return f"index.html#table-{self.table_name}"

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows; the progress is told how many there are."""
        raise NotImplementedError

    def output(self) -> dict[str, TableTarget]:
        """The table."""
        return {"rows": TableTarget(self.table_name)}

    def declarations(self) -> Mapping[str, object]:
        """How the table is declared."""
        return {self.table_name: TABLES[self.table_name]}

    def load_receipt(self) -> Receipt | None:
        """The receipt that stands in the warehouse."""
        return warehouse.load_receipt(settings().warehouse_url, self.table_name)

    def forget(self) -> None:
        """Remove the receipt from the warehouse; the rows stay."""
        warehouse.forget_load(settings().warehouse_url, self.table_name)

    def make(self, receipt: Receipt) -> None:
        """Load."""
        rows = warehouse.replace_rows(
            settings().warehouse_url,
            TABLES[self.table_name],
            self.batches(),
            _loaded(receipt),
            before_commit=lambda: self.check_inputs(receipt.inputs),
            progress=self.progress,
        )
        logger.info("Loaded %s: %s rows", self.table_name, f"{rows:,}")
        self.progress.result = f"{rows:,} rows loaded"


def _loaded(receipt: Receipt) -> Receipt:
    """The receipt of a load that is about to take place: what the rows are made from tells them."""
    content = digest_of([receipt.code, receipt.declarations, receipt.inputs])
    return dataclasses.replace(receipt, outputs={"rows": content, "load": uuid.uuid4().hex})


class LoadDimension(LoadTask):
    """One dimension, from staged sources, with its unknown member."""

    table = luigi.ChoiceParameter(choices=tuple(DIMENSIONS))

    MADE_FROM = {
        "dim_application_type": ("APP_TYPE",),
        "dim_unit": ("APP_TYPE_REF",),
        "dim_application_instance": ("APP_INSTANCE", "APP_TYPE_REF", "APP_TYPE"),
        "dim_log_instance": (),  # From the chains.
    }

    @property
    def table_name(self) -> str:
        """The dimension."""
        return str(self.table)

    def requires(self) -> list[FreshTask]:
        """All sources, staged, and the dimensions that it refers to."""
        return [AllStaged(), *self._own()]

    def depends_on(self) -> list[FreshTask]:
        """The staging of its own sources, and the dimensions that it refers to."""
        return [*(staging(name) for name in self.MADE_FROM[self.table]), *self._own()]

    def _own(self) -> list[FreshTask]:
        parents = {parent for parent, _ in DIMENSIONS[self.table].references.values()}
        chains = [LogInstanceChains()] if self.table == "dim_log_instance" else []
        return [*chains, *(LoadDimension(table=name) for name in DIMENSIONS if name in parents)]

    def reads(self) -> Mapping[str, Digested]:
        """The staged rows or keys of its sources, or the chains."""
        if self.table == "dim_log_instance":
            return dict(LogInstanceChains().output())
        read = staged if self.table == "dim_application_type" else staged_keys
        return {name: read(name) for name in self.MADE_FROM[self.table]}

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The members."""
        from tasks.core.arrow import read_parquet
        from tasks.enrichment import star

        def keys(name: str) -> pa.Table:
            return read_staged(name, *SOURCES[name].required)

        match self.table:
            case "dim_application_type":
                members = star.application_types(read_staged("APP_TYPE", "app_type_id", "name"))
            case "dim_unit":
                members = star.units(keys("APP_TYPE_REF"))
            case "dim_application_instance":
                names = self.MADE_FROM[self.table]
                members = star.application_instances(*(keys(name) for name in names))
            case _:
                chains = LogInstanceChains().output()["chains"].file
                members = star.log_instances(read_parquet(chains))
        self.progress.begin("loading", len(members))
        return iter(members.to_batches(max_chunksize=_LOADED_ROWS))


_LOADED_ROWS = 65_536


class LoadFactLogs(LoadTask):
    """The facts, from the enriched log records; those of the files that changed."""

    @property
    def table_name(self) -> str:
        """The fact table."""
        return FACT_LOGS.name

    def requires(self) -> list[FreshTask]:
        """The enriched records, and all dimensions, whose members the facts refer to."""
        return [EnrichedLogs(), *(LoadDimension(table=name) for name in DIMENSIONS)]

    def reads(self) -> Mapping[str, Digested]:
        """The enriched records, file by file."""
        return {part.name: enriched(part.name) for part in log_parts()}

    def make(self, receipt: Receipt) -> None:
        """Load the parts that changed."""
        loaded, rows = warehouse.replace_parts(
            settings().warehouse_url,
            [self._part_rows(part, receipt) for part in log_parts()],
            _loaded(receipt),
            before_commit=lambda: self.check_inputs(receipt.inputs),
            progress=self.progress,
        )
        of = f", {len(loaded):,} of {len(receipt.inputs):,} files anew"
        logger.info("Loaded %s: %s rows%s", self.table_name, f"{rows:,}", of)
        self.progress.result = f"{rows:,} rows loaded{of}"

    def _part_rows(self, part: LogPart, receipt: Receipt) -> warehouse.PartRows:
        import pyarrow.parquet as pq

        path = enriched(part.name).file
        return warehouse.PartRows(
            part=part.name,
            number=part.number,
            log_kind=part.log_kind,
            content=digest_of([receipt.code, receipt.declarations, receipt.inputs[part.name]]),
            row_count=lambda: pq.read_metadata(path).num_rows,
            batches=lambda: self.batches_of(part.name),
        )

    def batches_of(self, part: str) -> Iterator[pa.RecordBatch]:
        """The facts of a part, streamed."""
        from tasks.enrichment import star

        return star.facts(enriched(part).file)


class CatalogTarget:
    """What tables, columns, indexes and triggers the warehouse has, whoever made them."""

    def digest(self) -> str | None:
        """The digest of the catalog; None if there is none."""
        return warehouse.catalog_digest(settings().warehouse_url)


def tables() -> dict[str, TableTarget]:
    """The warehouse tables."""
    return {name: TableTarget(name) for name in TABLES}


class CheckWarehouse(FreshTask):
    """Every staged row is in the warehouse: counts by table, by kind and by unit are equal."""

    priority = 10

    def page(self) -> str:
        """The counts."""
        return "reconciliation.csv"

    def requires(self) -> LoadFactLogs:
        """The facts, loaded, and all dimensions before them."""
        return LoadFactLogs()

    def reads(self) -> Mapping[str, Digested]:
        """The warehouse, checked after each load, the audits and the enriched records."""
        loads = {name: TableTarget(name, each_load=True) for name in TABLES}
        records = {part.name: enriched(part.name) for part in log_parts()}
        return {**loads, **{f"audit {name}": audit for name, audit in audits().items()}, **records}

    def declarations(self) -> Mapping[str, object]:
        """How CSV files begin."""
        return {"csv_bom": settings().csv_bom}

    def forget(self) -> None:
        """Forget the counts too, so that everything is counted again."""
        super().forget()
        self.output()["parts"].file.unlink(missing_ok=True)

    def output(self) -> dict[str, FileTarget]:
        """The counts that were compared, and those of each part, so as not to count it again."""
        return {
            "counts": FileTarget(settings().reports_dir / "reconciliation.csv"),
            "parts": staging_file(".receipts/checked_parts.json"),
        }

    def build(self, out: Mapping[str, Path]) -> None:
        """Compare, and fail on any difference."""
        from tasks.warehouse.reconciliation import reconcile

        checked = reconcile(
            {name: target.file for name, target in audits().items()},
            staged_files(),
            {part.name: enriched(part.name).file for part in log_parts()},
            settings().warehouse_url,
            self.output()["parts"].file,
            out["counts"],
            out["parts"],
            bom=settings().csv_bom,
        )
        logger.info("Reconciled %d counts of files and warehouse", checked)
        self.progress.result = f"{checked:,} counts compared"
