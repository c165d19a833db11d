"""The task graph: what requires what. The work itself is in the modules that `build` calls.

    take_home_data/*.csv
        CheckSources                 every file is there and has its columns
          CsvToParquet (7)           staging/NAME.parquet, audit, quarantine
            EnrichedLogs             staging/enriched_logs/*.parquet
            LoadDimension (4)        dim_... in the warehouse
              LoadFactLogs           fact_logs in the warehouse
                CheckWarehouse       reports/reconciliation.csv
                  SummaryReport (3)  reports/summary_by_....csv
                  DataQualityReport  reports/data_quality.md
                  SchemaChangeReport reports/schema_change.md
                    AllReports

Modules that load pyarrow, pandas or SQLAlchemy are imported where they are used: a run in which
nothing has to be done needs none of them.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import luigi

from config.declarations import Source
from config.sources import LOG_KINDS, SOURCES
from config.warehouse import DIMENSIONS, FACT_LOGS, SUMMARY_LEVELS, TABLES
from tasks import source_files, warehouse
from tasks.errors import PipelineError, drop_scheduler_chatter
from tasks.freshness import Digested, FileTarget, FreshTask, Receipt, digest_of
from tasks.settings import settings, source

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger("luigi-interface")
logger.addFilter(drop_scheduler_chatter)


class HeaderTarget:
    """The header of a source file, known by its names; absent if it cannot be read."""

    def __init__(self, name: str):
        self.name = name

    def digest(self) -> str | None:
        """The digest of the file's name and column names."""
        paths = source_files.find_files(self.name, settings().data_dir)
        if len(paths) != 1:
            return None
        try:
            return digest_of([paths[0].name, source_files.read_header(paths[0])])
        except PipelineError:
            return None


class CheckSources(FreshTask):
    """Every source file is there, is text and has the columns that it must have.

    Unpacks `take_home_data.zip` if no CSV file is there. Lists every problem of every file
    before anything else is touched; looks at headers only.
    """

    priority = 100

    def output(self) -> dict[str, FileTarget]:
        """Nothing but the receipt."""
        return {}

    def reads(self) -> Mapping[str, Digested]:
        """The header of each source file."""
        return {f"{name} header": HeaderTarget(name) for name in SOURCES}

    def declarations(self) -> Mapping[str, object]:
        """How each source is declared."""
        return {name: source(name) for name in SOURCES}

    def take_inputs(self) -> dict[str, str]:
        """Check, and tell of the headers that passed."""
        data_dir = settings().data_dir
        for path in source_files.provide_files(SOURCES, data_dir):
            logger.info("Unpacked %s", path)
        source_files.check_sources([source(name) for name in SOURCES], data_dir)
        return super().take_inputs()

    def build(self, out: Mapping[str, Path]) -> None:
        """Nothing to build."""


class CsvToParquet(FreshTask):
    """One source file as Parquet: the same rows, under declared names and types."""

    table = luigi.ChoiceParameter(choices=tuple(SOURCES))

    def requires(self) -> CheckSources:
        """All source files checked, so that nothing is touched if one of them is refused."""
        return CheckSources()

    def output(self) -> dict[str, FileTarget]:
        """The staged rows, what became of each row, and the rows that could not be read."""
        staging = settings().staging_dir
        return {
            "rows": FileTarget(staging / f"{self.table}.parquet"),
            "audit": FileTarget(staging / "audit" / f"{self.table}.json"),
            "quarantine": FileTarget(staging / "quarantine" / f"{self.table}.csv", optional=True),
        }

    def reads(self) -> Mapping[str, Digested]:
        """The CSV file."""
        path = source_files.source_path(self.table, settings().data_dir)
        return {path.name: FileTarget(path)}

    def declarations(self) -> Mapping[str, object]:
        """How the source is declared."""
        return {self.table: source(self.table)}

    def build(self, out: Mapping[str, Path]) -> None:
        """Stage the file."""
        from tasks.staging import stage_file

        declared: Source = source(self.table)
        path = source_files.source_path(self.table, settings().data_dir)
        audit = stage_file(path, declared, out["rows"], out["quarantine"])
        out["audit"].write_text(audit.to_json(), encoding="utf-8", newline="\n")
        loaded = f"Loaded {self.table}: {audit.staged:,} rows, {len(audit.header)} columns"
        rejected = f", {audit.rejected:,} rows quarantined" if audit.rejected else ""
        logger.info("%s%s", loaded, rejected)
        self.show_status(f"{loaded}{rejected}")


def staged(name: str) -> FileTarget:
    """The staged rows of a source."""
    return CsvToParquet(table=name).output()["rows"]


def audits() -> dict[str, FileTarget]:
    """The audit of each source's staging."""
    return {name: CsvToParquet(table=name).output()["audit"] for name in SOURCES}


def _read_staged(*names: str) -> list[pa.Table]:
    """Staged tables, their declared columns only."""
    import pyarrow.parquet as pq

    return [
        pq.read_table(staged(name).file, columns=[c.name for c in SOURCES[name].columns])
        for name in names
    ]


DESCRIBING = ("LOG_INSTANCE", "POINT", "APP_INSTANCE", "APP_TYPE_REF", "APP_TYPE")
"""The sources that a log record's chain runs through, in its order."""


class EnrichedLogs(FreshTask):
    """Every log record with its log instance, point, application instance, type and unit."""

    def requires(self) -> list[CsvToParquet]:
        """All sources, staged."""
        return [CsvToParquet(table=name) for name in (*DESCRIBING, *LOG_KINDS.values())]

    def reads(self) -> Mapping[str, Digested]:
        """The staged rows; not their audits."""
        return {task.table: task.output()["rows"] for task in self.requires()}

    def output(self) -> dict[str, FileTarget]:
        """A file for each kind of log record, and what was lost on the way."""
        folder = settings().staging_dir / "enriched_logs"
        files = {kind: FileTarget(folder / f"{name}.parquet") for kind, name in LOG_KINDS.items()}
        return {**files, "hops": FileTarget(settings().staging_dir / "audit" / "hops.json")}

    def build(self, out: Mapping[str, Path]) -> None:
        """Resolve the chains, then stream the log records past them."""
        import json

        from tasks.enrichment import Losses, enrich_file, resolve_log_instances

        chains = resolve_log_instances(*_read_staged(*DESCRIBING))
        losses = Losses(chains, LOG_KINDS)
        next_id = 1
        for kind, name in LOG_KINDS.items():
            next_id += enrich_file(staged(name).file, chains, kind, next_id, losses, out[kind])
        hops = [dataclasses.asdict(hop) for hop in losses.hops.values()]
        out["hops"].write_text(json.dumps(hops, indent=1) + "\n", encoding="utf-8", newline="\n")
        logger.info("Enriched %s log records", f"{next_id - 1:,}")
        self.show_status(f"{next_id - 1:,} log records enriched")


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

    @property
    def table_name(self) -> str:
        """The table that is loaded."""
        raise NotImplementedError

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows."""
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
        content = digest_of([receipt.code, receipt.declarations, receipt.inputs])
        rows = warehouse.replace_rows(
            settings().warehouse_url,
            TABLES[self.table_name],
            self.batches(),
            dataclasses.replace(receipt, outputs={"rows": content, "load": uuid.uuid4().hex}),
            before_commit=lambda: self.check_inputs(receipt.inputs),
        )
        logger.info("Loaded %s: %s rows", self.table_name, f"{rows:,}")
        self.show_status(f"{rows:,} rows loaded")


class LoadDimension(LoadTask):
    """One dimension, from staged sources, with its unknown member."""

    table = luigi.ChoiceParameter(choices=tuple(DIMENSIONS))

    MADE_FROM = {
        "dim_application_type": ("APP_TYPE",),
        "dim_unit": ("APP_TYPE_REF",),
        "dim_application_instance": ("APP_INSTANCE", "APP_TYPE_REF", "APP_TYPE"),
        "dim_log_instance": DESCRIBING,
    }

    @property
    def table_name(self) -> str:
        """The dimension."""
        return str(self.table)

    def requires(self) -> list[FreshTask]:
        """All sources, staged, and the dimensions that it refers to.

        If any source cannot be staged, nothing is loaded: a warehouse that is part new and part
        old would contradict itself.
        """
        parents = {parent for parent, _ in DIMENSIONS[self.table].references.values()}
        return [
            *(CsvToParquet(table=name) for name in SOURCES),
            *(LoadDimension(table=name) for name in DIMENSIONS if name in parents),
        ]

    def depends_on(self) -> list[FreshTask]:
        """The staging of its own sources, and the dimensions that it refers to."""
        others = {CsvToParquet(table=name) for name in SOURCES} - {
            CsvToParquet(table=name) for name in self.MADE_FROM[self.table]
        }
        return [task for task in self.requires() if task not in others]

    def reads(self) -> Mapping[str, Digested]:
        """The staged rows of its sources."""
        return {name: staged(name) for name in self.MADE_FROM[self.table]}

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The members."""
        from tasks import star

        members: dict[str, Callable[..., pa.Table]] = {
            "dim_application_type": star.application_types,
            "dim_unit": star.units,
            "dim_application_instance": star.application_instances,
            "dim_log_instance": star.log_instances,
        }
        table = members[self.table](*_read_staged(*self.MADE_FROM[self.table]))
        return iter(table.to_batches())


class LoadFactLogs(LoadTask):
    """The facts, from the enriched log records."""

    @property
    def table_name(self) -> str:
        """The fact table."""
        return FACT_LOGS.name

    def requires(self) -> list[FreshTask]:
        """The enriched records, and all dimensions, whose members the facts refer to."""
        return [EnrichedLogs(), *(LoadDimension(table=name) for name in DIMENSIONS)]

    def reads(self) -> Mapping[str, Digested]:
        """The enriched records."""
        outputs = EnrichedLogs().output()
        return {kind: outputs[kind] for kind in LOG_KINDS}

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The facts, streamed."""
        from tasks import star

        outputs = EnrichedLogs().output()
        return star.facts([outputs[kind].file for kind in LOG_KINDS])


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

    def requires(self) -> list[LoadTask]:
        """All loads."""
        return [LoadFactLogs(), *(LoadDimension(table=name) for name in DIMENSIONS)]

    def reads(self) -> Mapping[str, Digested]:
        """The warehouse, checked after each load, the audits and the enriched records."""
        outputs = EnrichedLogs().output()
        enriched = {kind: outputs[kind] for kind in LOG_KINDS}
        loads = {name: TableTarget(name, each_load=True) for name in TABLES}
        return {**loads, **audits(), **enriched}

    def output(self) -> dict[str, FileTarget]:
        """The counts that were compared."""
        return {"counts": FileTarget(settings().reports_dir / "reconciliation.csv")}

    def build(self, out: Mapping[str, Path]) -> None:
        """Compare, and fail on any difference."""
        from tasks.reconciliation import reconcile

        outputs = EnrichedLogs().output()
        checked = reconcile(
            {name: target.file for name, target in audits().items()},
            {kind: outputs[kind].file for kind in LOG_KINDS},
            {name: staged(name).file for name in SOURCES},
            settings().warehouse_url,
            out["counts"],
        )
        logger.info("Reconciled %d counts of files and warehouse", checked)


class Report(FreshTask):
    """A report on a warehouse that has been checked."""

    def requires(self) -> CheckWarehouse:
        """The warehouse, loaded and checked."""
        return CheckWarehouse()


class SummaryReport(Report):
    """Log instances and log records for each unit, application instance or application type."""

    level = luigi.ChoiceParameter(choices=SUMMARY_LEVELS)

    def reads(self) -> Mapping[str, Digested]:
        """The warehouse."""
        return tables()

    def output(self) -> dict[str, FileTarget]:
        """A CSV file."""
        return {"csv": FileTarget(settings().reports_dir / f"summary_by_{self.level}.csv")}

    def build(self, out: Mapping[str, Path]) -> None:
        """Query the warehouse."""
        from tasks.summaries import write_summary

        rows = write_summary(settings().warehouse_url, self.level, out["csv"])
        self.show_status(f"{rows:,} rows")


class DataQualityReport(Report):
    """Where every row went, what is unknown and why, and whether the assumptions hold."""

    def reads(self) -> Mapping[str, Digested]:
        """The audits of staging and enrichment, and the warehouse."""
        return {**tables(), **audits(), "hops": EnrichedLogs().output()["hops"]}

    def output(self) -> dict[str, FileTarget]:
        """For people, and the figures for programs."""
        reports = settings().reports_dir
        return {
            "markdown": FileTarget(reports / "data_quality.md"),
            "figures": FileTarget(reports / "data_quality.json"),
        }

    def build(self, out: Mapping[str, Path]) -> None:
        """Collect the figures and write them down."""
        from tasks.quality import write_quality_report

        write_quality_report(
            {name: target.file for name, target in audits().items()},
            EnrichedLogs().output()["hops"].file,
            {name: staged(name).file for name in SOURCES},
            out["markdown"],
            out["figures"],
        )


class SchemaChangeReport(Report):
    """Which source columns changed, and how to add a column to the warehouse's large tables."""

    def reads(self) -> Mapping[str, Digested]:
        """The headers in the audits, and the warehouse, its catalog too."""
        return {**tables(), **audits(), "catalog": CatalogTarget()}

    def output(self) -> dict[str, FileTarget]:
        """The report, and the headers of each run that brought a change."""
        return {
            "markdown": FileTarget(settings().reports_dir / "schema_change.md"),
            "headers": FileTarget(settings().staging_dir / "audit" / "header_history.json"),
        }

    def build(self, out: Mapping[str, Path]) -> None:
        """Compare the headers with those of the last run, and describe the live tables."""
        from tasks.schema_change import write_schema_change_report

        write_schema_change_report(
            {name: target.file for name, target in audits().items()},
            settings().warehouse_url,
            self.output()["headers"].file,
            out["markdown"],
            out["headers"],
        )


class AllReports(FreshTask):
    """Everything, from the CSV files to the reports; ends with a summary on the console."""

    def requires(self) -> list[Report]:
        """Every report."""
        return [
            *(SummaryReport(level=level) for level in SUMMARY_LEVELS),
            DataQualityReport(),
            SchemaChangeReport(),
        ]

    def output(self) -> dict[str, FileTarget]:
        """Nothing of its own."""
        return {}

    def _own_reason(self) -> str | None:
        return None

    def run(self) -> None:
        """Nothing: complete when all reports are."""


class SampleData(luigi.Task):
    """Makes up the source files that are missing; never touches one that is there.

    Files that are there are taken up: the made-up ones refer to their keys.
    """

    scale = luigi.FloatParameter(default=1.0, description="1 gives the seed's row counts.")
    seed = luigi.IntParameter(default=1, description="The same seed gives the same files.")

    def _missing(self) -> list[str]:
        data_dir = settings().data_dir
        return [name for name in SOURCES if not source_files.find_files(name, data_dir)]

    def complete(self) -> bool:
        """Whether every source has a file."""
        return not self._missing()

    def run(self) -> None:
        """Make up what is missing."""
        from tasks.sample_data import write_sample

        if not 0 < self.scale < math.inf:
            raise PipelineError(f"SampleData: --scale {self.scale} is not above 0.")
        source_files.provide_files(SOURCES, settings().data_dir)
        for path, rows in write_sample(
            settings().data_dir, self._missing(), self.scale, self.seed
        ).items():
            logger.info("Wrote sample %s: %s rows", path, f"{rows:,}")


@AllReports.event_handler(luigi.Event.SUCCESS)
@AllReports.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def show_results(task: AllReports) -> None:
    """Show what there is at the end of a run, also if nothing had to be done."""
    from tasks.console import print_results

    print_results(settings())
