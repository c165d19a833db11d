"""Write the reports."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import luigi
import luigi.interface

from config.sources import SOURCES
from config.warehouse import SUMMARY_LEVELS
from tasks.core.partition import Partition
from tasks.freshness.partitioned import PartitionedTask
from tasks.freshness.snapshot import Snapshot
from tasks.freshness.targets import Digested, FileTarget
from tasks.freshness.task import FreshTask, WrapperTask, walk
from tasks.graph.enrich import EnrichedLogs, LogInstanceChains
from tasks.graph.files import (
    audits,
    paths_of,
    source_partitions,
    staging_file,
    write_json,
)
from tasks.graph.load import CatalogTarget, CheckWarehouse, tables, warehouse
from tasks.graph.measure import (
    LogMeasures,
    SourceProfiles,
    SourceRelations,
    log_groups,
    profiles_of_sources,
)
from tasks.graph.stage import CsvToParquet, staging
from tasks.run.recording import state
from tasks.run.settings import settings
from tasks.state import BUILT, UNCHANGED, current_run

if TYPE_CHECKING:
    from tasks.reports.overview import TaskShown

logger = logging.getLogger("pipeline")


class ActivityReport(FreshTask):
    """Records over time, units by day, and the gaps of each log instance."""

    code_version = 2

    def page(self) -> str:
        """Its part of the page."""
        return "index.html#time"

    def requires(self) -> list[FreshTask]:
        """What was measured of the log records, and the units of the log instances."""
        return [LogMeasures(), LogInstanceChains()]

    def reads(self) -> Mapping[str, Digested]:
        """The activity of each group of files, and the chains."""
        measures = LogMeasures()
        return {
            f"{group} {name}": target
            for group in log_groups()
            for name, target in measures.activity(group).items()
        } | LogInstanceChains().output()

    def output(self) -> dict[str, FileTarget]:
        """CSV files."""
        return {
            name: FileTarget(settings().reports_dir / f"{name}.csv")
            for name in ("gaps", "records_over_time", "unit_days")
        }

    def declarations(self) -> Mapping[str, object]:
        """The kind of log record of each group, and how CSV files begin."""
        kinds = {group: Partition(group).kind for group in log_groups()}
        return {**kinds, "csv_bom": settings().csv_bom}

    def build(self, out: Mapping[str, Path]) -> None:
        """Add up, and tell what is missing."""
        from tasks.measures.activity import PartActivity
        from tasks.reports.activity_report import write_activity_report

        groups = [
            PartActivity(Partition(group).kind, **paths_of(LogMeasures().activity(group)))
            for group in log_groups()
        ]
        missing = write_activity_report(
            groups,
            LogInstanceChains().output()["chains"].file,
            out["gaps"],
            out["records_over_time"],
            out["unit_days"],
            bom=settings().csv_bom,
        )
        self.progress.result = f"{missing:,} log records found missing"


class ProfileReport(FreshTask):
    """Each column of each source: type, values, how they are spread."""

    code_version = 3

    def page(self) -> str:
        """Its part of the page."""
        return "index.html#profile"

    def requires(self) -> list[FreshTask]:
        """The profiles, for which all sources have been staged and audited."""
        return [SourceProfiles(), LogMeasures()]

    def reads(self) -> Mapping[str, Digested]:
        """The profiles, and what the audits tell of the headers."""
        return {
            **{
                f"{name} profile {number}": target
                for name, targets in profiles_of_sources().items()
                for number, target in enumerate(targets)
            },
            **{f"audit {name}": audit for name, audit in audits().items()},
        }

    def declarations(self) -> Mapping[str, object]:
        """How each source is declared, and how CSV files begin."""
        return {**SOURCES, "csv_bom": settings().csv_bom}

    def output(self) -> dict[str, FileTarget]:
        """For the page and programs, and for people."""
        reports = settings().reports_dir
        return {
            "figures": FileTarget(reports / "profile.json"),
            "csv": FileTarget(reports / "profile.csv"),
        }

    def build(self, out: Mapping[str, Path]) -> None:
        """Add the profiles up and write them down."""
        from tasks.reports.profile_report import write_profile_report

        columns = write_profile_report(
            {name: [one.file for one in found] for name, found in profiles_of_sources().items()},
            SOURCES,
            {name: target.file for name, target in audits().items()},
            out["figures"],
            out["csv"],
            bom=settings().csv_bom,
        )
        self.progress.result = f"{columns:,} columns told of"


class Report(FreshTask):
    """A report on a warehouse that has been checked."""

    def requires(self) -> CheckWarehouse:
        """The warehouse, loaded and checked."""
        return CheckWarehouse()


class SummaryReport(Report):
    """Log instances and log records for each unit, application instance or application type."""

    code_version = 3

    level = luigi.ChoiceParameter(choices=SUMMARY_LEVELS)

    def page(self) -> str:
        """The summary."""
        return f"index.html#summary-{self.level}"

    def declarations(self) -> Mapping[str, object]:
        """How CSV files begin."""
        return {"csv_bom": settings().csv_bom}

    def reads(self) -> Mapping[str, Digested]:
        """The warehouse."""
        return tables()

    def output(self) -> dict[str, FileTarget]:
        """A CSV file."""
        return {"csv": FileTarget(settings().reports_dir / f"summary_by_{self.level}.csv")}

    def build(self, out: Mapping[str, Path]) -> None:
        """Query the warehouse."""
        from tasks.reports.summaries import write_summary

        rows = write_summary(
            settings().warehouse_url, self.level, out["csv"], bom=settings().csv_bom
        )
        self.progress.result = f"{rows:,} rows"


class DataQualityReport(FreshTask):
    """Where every row went, what is unknown and why, and whether the assumptions hold."""

    code_version = 2

    def page(self) -> str:
        """The figures."""
        return "index.html#trust"

    def requires(self) -> list[FreshTask]:
        """The warehouse, loaded and checked, and the relations of the sources."""
        return [CheckWarehouse(), SourceRelations()]

    def reads(self) -> Mapping[str, Digested]:
        """The audits of staging and enrichment, and the warehouse."""
        return {
            **tables(),
            **{f"audit {name}": audit for name, audit in audits().items()},
            "hops": EnrichedLogs().whole_output()["hops"],
            **SourceRelations().output(),
        }

    def output(self) -> dict[str, FileTarget]:
        """For people, and the figures for programs."""
        reports = settings().reports_dir
        return {
            "markdown": FileTarget(reports / "data_quality.md"),
            "figures": FileTarget(reports / "data_quality.json"),
        }

    def build(self, out: Mapping[str, Path]) -> None:
        """Collect the figures and write them down."""
        from tasks.reports.quality import write_quality_report
        from tasks.warehouse.reconciliation import records_by_log_instance

        write_quality_report(
            {name: target.file for name, target in audits().items()},
            EnrichedLogs().whole_output()["hops"].file,
            SourceRelations().output()["relations"].file,
            records_by_log_instance(warehouse()),
            out["markdown"],
            out["figures"],
        )


class SchemaChangeReport(Report):
    """Which source columns changed, and how to add a column to the warehouse's large tables."""

    code_version = 3

    def page(self) -> str:
        """The report."""
        return "schema_change.html"

    def reads(self) -> Mapping[str, Digested]:
        """The headers in the audits, and the warehouse, its catalog too."""
        return {**tables(), **audits(), "catalog": CatalogTarget()}

    def output(self) -> dict[str, FileTarget]:
        """The report for people, its figures, and the headers of each run that brought a change."""
        reports = settings().reports_dir
        return {
            "markdown": FileTarget(reports / "schema_change.md"),
            "page": FileTarget(reports / "schema_change.html"),
            "figures": FileTarget(reports / "schema_change.json"),
            "headers": staging_file("audit/header_history.json"),
        }

    def build(self, out: Mapping[str, Path]) -> None:
        """Compare the headers with those of the last run, and describe the live tables."""
        from tasks.reports.schema_change import write_schema_change_report

        write_schema_change_report(
            {name: target.file for name, target in audits().items()},
            settings().warehouse_url,
            self.output()["headers"].file,
            out["headers"],
            markdown=out["markdown"],
            page=out["page"],
            figures=out["figures"],
        )


class ReportPage(FreshTask):
    """What the run found, in one HTML file, and its figures."""

    code_version = 3

    def page(self) -> str:
        """The page itself."""
        return "index.html"

    def requires(self) -> list[FreshTask]:
        """Every other report."""
        return [
            *(SummaryReport(level=level) for level in SUMMARY_LEVELS),
            DataQualityReport(),
            ActivityReport(),
            ProfileReport(),
            SchemaChangeReport(),
        ]

    def reads(self) -> Mapping[str, Digested]:
        """What the other reports tell, what was quarantined, and the warehouse."""
        told = {
            "counts": CheckWarehouse().output()["counts"],
            "quality": DataQualityReport().output()["figures"],
            "profile": ProfileReport().output()["figures"],
            "schema change": SchemaChangeReport().output()["figures"],
            **ActivityReport().output(),
            **{level: SummaryReport(level=level).output()["csv"] for level in SUMMARY_LEVELS},
        }
        quarantined = {
            f"quarantine {one.name}": staging(name).partition_output(one.name)["quarantine"]
            for name in SOURCES
            for one in source_partitions(name)
        }
        return {**tables(), **told, **quarantined}

    def output(self) -> dict[str, FileTarget]:
        """For people, and the figures for programs."""
        reports = settings().reports_dir
        return {
            "page": FileTarget(reports / "index.html"),
            "figures": FileTarget(reports / "run.json"),
        }

    def build(self, out: Mapping[str, Path]) -> None:
        """Collect what the other reports tell."""
        from tasks.reports.overview import collect_overview
        from tasks.reports.page import write_page

        quarantine = settings().staging_dir / "quarantine"
        overview = collect_overview(
            reports=settings().reports_dir,
            quarantine=quarantine,
            warehouse_url=settings().warehouse_url,
            graph=_tasks_shown(self),
            notes=state().last_runs(BUILT, UNCHANGED),
            run=current_run(),
            made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
            former=self.output()["figures"].file,
        )
        write_page(overview, settings().reports_dir, quarantine, out["page"])
        write_json(overview, out["figures"])
        self.progress.result = f"{out['page'].stat().st_size:,} bytes written"


def _tasks_shown(page: ReportPage) -> list[TaskShown]:
    """The tasks up to the page, as it shows them."""
    from tasks.reports.overview import TaskShown

    shown = []
    snapshot = Snapshot(state())
    for task in walk(page):
        if isinstance(task, WrapperTask):
            continue
        receipt = task.receipt(snapshot)
        reads = receipt.inputs if receipt is not None and isinstance(task, CsvToParquet) else {}
        comes_from = tuple(one.label for one in task.upstream())
        shown.append(TaskShown(task.label, _made_by(task), comes_from, reads))
    return shown


def _made_by(task: FreshTask) -> str:
    """What a task makes, first of all."""
    if isinstance(task, PartitionedTask):
        names = [one.name for one in task.partitions()]
        made = [target for name in names for target in task.partition_output(name).values()]
        files = len(names)
        first = made[0].file
        return first.as_posix() if files == 1 else f"{first.parent.as_posix()} ({files:,} files)"
    for target in task.output().values():
        return target.file.as_posix() if isinstance(target, FileTarget) else str(target)
    return ""


class AllReports(WrapperTask):
    """Everything, from the CSV files to the reports; ends with a summary on the console."""

    def page(self) -> str:
        """All results."""
        return "index.html"

    def requires(self) -> list[FreshTask]:
        """The page, which requires every other report."""
        return [ReportPage()]

    def own_reason(self, snapshot: Snapshot) -> str | None:
        """None. A run asks here first: all source files are hashed in parallel."""
        snapshot.prepare(one.path for name in SOURCES for one in source_partitions(name))
        return None
