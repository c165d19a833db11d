"""The tasks of the reports, and of the page that shows them."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import luigi

from config.sources import SOURCES
from tasks.core.files import write_json
from tasks.freshness.partitioned import PartitionedTask
from tasks.freshness.snapshot import Snapshot
from tasks.freshness.targets import Digested, FileTarget
from tasks.freshness.task import FreshTask, WrapperTask, walk
from tasks.graph.check import CheckWarehouse
from tasks.graph.enrich import EnrichedLogs, LogInstanceChains
from tasks.graph.files import all_partitions, audits, source_partitions, staged, staging_file
from tasks.graph.load import CatalogTarget, tables, warehouse
from tasks.graph.measure import LogActivity, SourceProfiles, SourceRelations
from tasks.graph.stage import CsvToParquet, staging
from tasks.reports.registry import TABLES_FOLDER, Inputs, Outputs, Report, Results, reports
from tasks.run.marks import page_digest
from tasks.run.recording import state
from tasks.run.settings import settings
from tasks.run.source_settings import source
from tasks.state import BUILT, UNCHANGED, current_run

if TYPE_CHECKING:
    from tasks.reports.overview import TaskSummary


class Input(NamedTuple):
    """Something that reports read.

    Attributes:
        made_by: The tasks that make it.
        targets: What is read, by name.
        declarations: What else the result depends on.
    """

    made_by: Callable[[], list[FreshTask]]
    targets: Callable[[], Mapping[str, Digested]]
    declarations: Callable[[], Mapping[str, object]] = dict


INPUTS = {
    "warehouse": Input(lambda: [CheckWarehouse()], tables),
    "catalog": Input(lambda: [CheckWarehouse()], lambda: {"catalog": CatalogTarget()}),
    "audits": Input(lambda: [staging(name) for name in SOURCES], audits),
    "unmatched": Input(
        lambda: [EnrichedLogs()], lambda: {"hops": EnrichedLogs().whole_output()["hops"]}
    ),
    "relations": Input(lambda: [SourceRelations()], lambda: SourceRelations().output()),
    "log instances": Input(lambda: [LogInstanceChains()], lambda: LogInstanceChains().output()),
    "activity": Input(lambda: [LogActivity()], lambda: LogActivity().output()),
    "profiles": Input(
        lambda: [SourceProfiles()], lambda: SourceProfiles().output(), lambda: SOURCES
    ),
    "limits": Input(list, dict, lambda: {"limits": settings().limits}),
    "max gap": Input(list, dict, lambda: {"max_gap": settings().max_gap}),
    "staged": Input(
        lambda: [staging(name) for name in SOURCES],
        lambda: {one.name: staged(one.name) for one in all_partitions()},
    ),
    "sources": Input(list, dict, lambda: {name: source(name) for name in SOURCES}),
}
"""What reports may read, by the names in their `reads`."""


class ReportTask(FreshTask):
    """Builds a registered report."""

    report: ClassVar[Report]
    level = ""

    def page(self) -> str:
        """Its section of the page, or a page of its own."""
        return (self.report.page or f"index.html#{self.report.anchor}").format(level=self.level)

    @functools.cached_property
    def _makers(self) -> list[FreshTask]:
        tasks = {task for name in self.report.reads for task in INPUTS[name].made_by()}
        implied = {one for task in tasks for one in walk(task) if one is not task}
        return sorted(tasks - implied, key=str)

    def requires(self) -> list[FreshTask]:
        """The tasks that make its inputs, without those that another of them requires."""
        return self._makers

    def reads(self) -> Mapping[str, Digested]:
        """All of its inputs."""
        return {
            f"{name} {key}": target
            for name in self.report.reads
            for key, target in INPUTS[name].targets().items()
        }

    def declarations(self) -> Mapping[str, object]:
        """Those of its inputs, and whether CSV files have a byte order mark."""
        declared = {
            key: item
            for name in self.report.reads
            for key, item in INPUTS[name].declarations().items()
        }
        has_csv = self.report.tables or any(n.endswith(".csv") for n in self.report.files.values())
        return {**declared, "csv_bom": settings().csv_bom} if has_csv else declared

    def output(self) -> dict[str, FileTarget]:
        """Its files; a table as CSV, and as Parquet for the page."""
        targets = {}
        for table in self.report.tables:
            name = table.format(level=self.level)
            targets[f"{name}.csv"] = FileTarget(settings().reports_dir / f"{name}.csv")
            targets[f"{name}.parquet"] = staging_file(f"{TABLES_FOLDER}/{name}.parquet")
        for name, path in self.report.files.items():
            folder, _, rest = path.partition("/")
            if folder == "staging":
                targets[name] = staging_file(rest)
            else:
                targets[name] = FileTarget(settings().reports_dir / path)
        return targets

    def build(self, out: Mapping[str, Path]) -> None:
        """Build the report."""
        files = {
            name: {
                key: target.file
                for key, target in INPUTS[name].targets().items()
                if isinstance(target, FileTarget)
            }
            for name in self.report.reads
        }
        previous = {name: target.file for name, target in self.output().items()}
        inputs = Inputs(
            files,
            previous,
            warehouse(),
            self.level,
            settings().limits,
            settings().max_gap,
            {name: source(name) for name in SOURCES},
        )
        self.progress.result = self.report.build(inputs, Outputs(out, settings().csv_bom))


def _task_of(report: Report) -> type[ReportTask]:
    for name in report.reads:
        if name not in INPUTS:
            raise ValueError(f"{report.name} reads {name!r}, which is not one of {list(INPUTS)}")
    members: dict[str, object] = {
        "__doc__": report.summary,
        "__module__": __name__,
        "report": report,
        "code_version": report.code_version,
    }
    if report.levels:
        members["level"] = luigi.ChoiceParameter(choices=report.levels)
    task: type[ReportTask] = types.new_class(
        report.name, (ReportTask,), exec_body=lambda namespace: namespace.update(members)
    )
    return task


REPORT_TASKS = {report.name: _task_of(report) for report in reports()}
"""Name -> the Luigi task of each report."""


def __getattr__(name: str) -> type[ReportTask]:
    """The task of a report as a name of this module."""
    if name in REPORT_TASKS:
        return REPORT_TASKS[name]
    raise AttributeError(name)


def report_tasks() -> list[ReportTask]:
    """The tasks that build all reports: of a report with levels, one for each."""
    return [
        task(level=level) if level else task()
        for task in REPORT_TASKS.values()
        for level in task.report.levels or ("",)
    ]


class PageTarget(FileTarget):
    """The page, known by its content but for what ends of runs write into it."""

    def digest(self, snapshot: Snapshot) -> str | None:
        """SHA-256 of the rest of it."""
        return snapshot.from_content(self.file, "page", page_digest)


class ReportPage(FreshTask):
    """What the run found, in one HTML file, and its figures."""

    code_version = 10

    def page(self) -> str:
        """The page itself."""
        return "index.html"

    def requires(self) -> list[FreshTask]:
        """Every report."""
        return list(report_tasks())

    def reads(self) -> Mapping[str, Digested]:
        """What the reports have written for it, what was quarantined, and the warehouse."""
        written = {
            f"{task.label} {name}": target
            for task in report_tasks()
            for name, target in task.output().items()
            if target.file.suffix in (".json", ".parquet")
        }
        quarantined = {
            f"quarantine {one.name}": staging(name).partition_output(one.name)["quarantine"]
            for name in SOURCES
            for one in source_partitions(name)
        }
        counts = CheckWarehouse().whole_output()
        return {**tables(), **counts, **written, **quarantined}

    def output(self) -> dict[str, FileTarget]:
        """For people, and the figures for programs."""
        reports = settings().reports_dir
        return {
            "page": PageTarget(reports / "index.html"),
            "figures": FileTarget(reports / "run.json"),
        }

    def build(self, out: Mapping[str, Path]) -> None:
        """Collect what the reports have written."""
        from tasks.reports.overview import Run, collect_overview
        from tasks.reports.page import write_page

        run = Run(
            name=current_run(),
            made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
            graph=_task_summaries(self),
            last_runs=state().last_runs(BUILT, UNCHANGED),
        )
        results = Results(settings().reports_dir, settings().staging_dir)
        previous = self.output()["figures"].file
        overview = collect_overview(results, warehouse(), run, previous)
        write_page(overview, results, out["page"])
        write_json(overview, out["figures"])
        self.progress.result = f"{out['page'].stat().st_size:,} bytes written"


def _task_summaries(page: ReportPage) -> list[TaskSummary]:
    """The tasks up to the page, as it describes them."""
    from tasks.reports.overview import TaskSummary

    summaries = []
    snapshot = Snapshot(state())
    for task in walk(page):
        if isinstance(task, WrapperTask):
            continue
        receipt = task.receipt(snapshot)
        reads = receipt.inputs if receipt is not None and isinstance(task, CsvToParquet) else {}
        comes_from = tuple(one.label for one in task.upstream())
        summaries.append(TaskSummary(task.label, _main_output(task), comes_from, reads))
    return summaries


def _main_output(task: FreshTask) -> str:
    """The first output of a task, or the folder of its first outputs."""
    if isinstance(task, PartitionedTask):
        partitions = task.partitions()
        if not partitions:
            return ""
        file = next(iter(task.partition_output(partitions[0].name).values())).file
        several = len(partitions) > 1
        files = f" ({len(partitions):,} files)" if several else ""
        return f"{(file.parent if several else file).as_posix()}{files}"
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
        """None. Luigi asks this task first, so all source files are hashed here, in parallel."""
        snapshot.prepare(one.path for name in SOURCES for one in source_partitions(name))
        return None
