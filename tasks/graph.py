"""The task graph: what requires what. The work itself is in the modules that `build` calls.

    take_home_data/*.csv
        CheckSources                 every file is there and has its columns
          CsvToParquet (7)           staging/NAME.parquet, audit, quarantine
            AllStaged                nothing is loaded before
              LoadDimension (4)      dim_... in the warehouse
            LogInstanceChains        staging/log_instance_chains.parquet
              EnrichedLogs           staging/enriched_logs/*.parquet
            SourceRelations          staging/audit/relations.json
            SourceProfiles           staging/profiles/
            LogActivity              staging/activity/
              LogMeasures            staging/measures/
                ProfileReport        reports/profile.json, profile.csv
                ActivityReport       reports/gaps.csv, records_over_time.csv, unit_days.csv
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

import atexit
import dataclasses
import functools
import gc
import hashlib
import importlib
import json
import logging
import math
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import luigi
import luigi.interface

from config.declarations import Source
from config.sources import LOG_KINDS, SOURCES
from config.warehouse import DIMENSIONS, FACT_LOGS, SUMMARY_LEVELS, TABLES
from tasks import archive, outcome, source_files, warehouse
from tasks.errors import PipelineError, system_errors
from tasks.freshness import (
    Digested,
    FileTarget,
    FreshTask,
    Milestone,
    Part,
    PartedTask,
    Receipt,
    declared_digest,
    digest_cache,
    digest_of,
    file_target,
    walk,
)
from tasks.log_numbers import number_parts
from tasks.memo import once, one_look
from tasks.progress import Progress
from tasks.run_record import current_run, note_task, read_notes
from tasks.scheduler_pages import SchedulerPages, scheduler_url
from tasks.settings import settings
from tasks.source_settings import source

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.overview import TaskShown

logger = logging.getLogger("pipeline")


def staging_file(name: str, optional: bool = False) -> FileTarget:
    """A file in the staging folder."""
    return file_target(settings().staging_dir, name, optional)


class HeaderTarget:
    """The header of a source file, known by its names; absent if it cannot be read.

    Args:
        paths: The file; if there are none or several, it is absent too.
        source: What it holds.
    """

    def __init__(self, paths: Sequence[Path], source: Source):
        self.paths = paths
        self.source = source

    def digest(self) -> str | None:
        """The digest of the file's name and column names."""
        if len(self.paths) != 1:
            return None
        (path,) = self.paths
        what = f"header as {declared_digest(self.source)[:16]}"
        header = digest_cache().remember(path, what, self._find)
        return None if header is None else digest_of([path.name, header])

    def _find(self, path: Path) -> str | None:
        from tasks.inspection import inspect_file

        try:
            return digest_of(inspect_file(path, self.source).layout.header)
        except PipelineError:
            return None


class CheckSources(FreshTask):
    """Every source file is there, is text and has the columns that it must have.

    Unpacks `take_home_data.zip` if no CSV file is there. Lists every problem of every file
    before anything else is touched; looks at headers only.
    """

    code_version = 2
    priority = 100

    def output(self) -> dict[str, FileTarget]:
        """Nothing but the receipt."""
        return {}

    def reads(self) -> Mapping[str, Digested]:
        """The header of each source file."""
        paths: dict[str, list[Path]] = {}
        for name in SOURCES:
            found = source_files.find_parts(name, settings().data_dir)
            if not found:
                paths[name] = []
            for part in found:
                paths.setdefault(part.name, []).append(part.path)
        return {
            f"{name} header": HeaderTarget(found, source(name.partition("/")[0]))
            for name, found in paths.items()
        }

    def declarations(self) -> Mapping[str, object]:
        """How each source is declared."""
        return {name: source(name) for name in SOURCES}

    def take_inputs(self) -> dict[str, str]:
        """Check, and tell of the headers that passed."""
        from tasks.inspection import check_sources

        data_dir = settings().data_dir
        for path in archive.provide_files(SOURCES, data_dir):
            logger.info("Unpacked %s", path)
        check_sources([source(name) for name in SOURCES], data_dir)
        return super().take_inputs()

    def build(self, out: Mapping[str, Path]) -> None:
        """Nothing to build."""


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
            Part(name, {_shown(path): file_target(path)}, declared)
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
        from tasks.inspection import check_duplicates

        files = {_shown(path): path for _, path in source_parts(self.table)}
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
        from tasks.staging import Outputs, stage_file

        (target,) = part.reads.values()
        assert isinstance(target, FileTarget)
        audit = stage_file(
            target.file,
            source(self.table),
            Outputs(out["rows"], out["quarantine"], out.get("cells"), out.get("keys")),
            displayed=_shown(target.file),
            threads=threads,
            advance=self.progress.advance,
        )
        out["audit"].write_text(audit.to_json(), encoding="utf-8", newline="\n")

    def build(self, out: Mapping[str, Path]) -> None:
        """Add up the audits."""
        from tasks.audit import Audit, merge_audits

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
        digest = digest_cache().remember(path, "content", source_files.content_digest)
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


def source_parts(name: str) -> list[source_files.SourcePart]:
    """The files of a source; if there is none, where one is expected."""
    data_dir = settings().data_dir
    found = source_files.find_parts(name, data_dir)
    return found or [source_files.SourcePart(name, source_files.source_path(name, data_dir))]


def _shown(path: Path) -> str:
    """A source file's name in the data folder."""
    return path.relative_to(settings().data_dir).as_posix()


@functools.cache
def staging(name: str) -> CsvToParquet:
    """The task that stages a source."""
    return CsvToParquet(table=name)


def staged(part: str) -> FileTarget:
    """The staged rows of a part of a source, or of one that does not come in parts."""
    return staging_file(f"{part}.parquet")


def staged_files() -> dict[str, Path]:
    """The staged rows of each source; of each part where a source comes in parts."""
    names = [name for name, source in SOURCES.items() if not source.in_partitions]
    return {name: staged(name).file for name in [*names, *(part.name for part in log_parts())]}


def staged_keys(name: str) -> FileTarget:
    """What changes only if the staged keys of a source do."""
    return staging_file(f"keys/{name}.sha256")


def audits() -> dict[str, FileTarget]:
    """The audit of each source's staging."""
    return {name: staging_file(f"audit/{name}.json") for name in SOURCES}


def _read_staged(name: str, *columns: str) -> pa.Table:
    """Some columns of a staged source."""
    from tasks.lean import read_parquet

    return read_parquet(staged(name).file, *columns)


DESCRIBING = ("LOG_INSTANCE", "POINT", "APP_INSTANCE", "APP_TYPE_REF", "APP_TYPE")
"""The sources that a log record's chain runs through, in its order."""


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

        from tasks.enrichment import resolve_log_instances

        first, *others = DESCRIBING
        declared = [column.name for column in SOURCES[first].columns]
        chains = resolve_log_instances(
            _read_staged(first, *declared),
            *(_read_staged(name, *SOURCES[name].required) for name in others),
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
        return _staged_rows(part.name)

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
        from tasks.enrichment import enrich_file

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
        _write_json(dataclasses.asdict(losses), out["losses"])

    def build(self, out: Mapping[str, Path]) -> None:
        """Add up what was lost."""
        from tasks.enrichment import PartLosses, add_up_losses

        losses = [
            (part.log_kind, PartLosses(**_read_json(self.part_output(part.name)["losses"].file)))
            for part in log_parts()
        ]
        hops = add_up_losses(self._chains(), losses)
        _write_json([dataclasses.asdict(hop) for hop in hops], out["hops"])
        self.progress.result = f"{self.progress.rows:,} rows enriched"

    def _chains(self) -> pa.Table:
        from tasks.lean import read_parquet

        return read_parquet(LogInstanceChains().output()["chains"].file)


def _staged_rows(part: str) -> int:
    """How many rows of a part are staged."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(staged(part).file).num_rows)


def enriched(part: str) -> FileTarget:
    """The enriched records of a part."""
    return staging_file(f"enriched_logs/{part}.parquet")


class LogActivity(PartedTask):
    """When each log instance recorded, and how far apart: from the staged log records alone."""

    phase = "measuring"
    priority = 5

    def requires(self) -> list[FreshTask]:
        """The log records, staged."""
        return [staging(name) for name in LOG_KINDS.values()]

    def parts(self) -> list[Part]:
        """The files of log records."""
        return [Part(part.name, {part.name: staged(part.name)}, {}) for part in log_parts()]

    def part_size(self, part: Part) -> int:
        """Log records."""
        return _staged_rows(part.name)

    def folders(self) -> list[str]:
        """The sources of log records."""
        return list(LOG_KINDS.values())

    def part_output(self, part: str) -> dict[str, FileTarget]:
        """Records by day, by hour, and what is known of each log instance."""
        return {
            "days": staging_file(f"activity/days/{part}.parquet"),
            "instances": staging_file(f"activity/instances/{part}.parquet"),
            "hours": staging_file(f"activity/hours/{part}.json"),
        }

    def build_part(self, part: Part, out: Mapping[str, Path], threads: int) -> None:
        """Stream the log records."""
        from tasks.activity import measure_activity

        measure_activity(
            staged(part.name).file,
            out["days"],
            out["instances"],
            out["hours"],
            advance=self.progress.advance,
        )

    def build(self, out: Mapping[str, Path]) -> None:
        """Nothing more."""
        self.progress.result = f"{self.progress.rows:,} log records measured"


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
        kinds = {group: members[0].log_kind for group, members in log_groups().items()}
        return {**kinds, "csv_bom": settings().csv_bom}

    def build(self, out: Mapping[str, Path]) -> None:
        """Add up, and tell what is missing."""
        from tasks.activity import PartActivity
        from tasks.activity_report import write_activity_report

        groups = [
            PartActivity(members[0].log_kind, **_paths(LogMeasures().activity(group)))
            for group, members in log_groups().items()
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


def _paths(targets: Mapping[str, FileTarget]) -> dict[str, Path]:
    return {name: target.file for name, target in targets.items()}


class SourceProfiles(PartedTask):
    """What the columns of each staged file hold: of every source, of every part."""

    phase = "profiling"
    priority = 5

    def requires(self) -> list[FreshTask]:
        """All sources, staged."""
        return [staging(name) for name in SOURCES]

    def parts(self) -> list[Part]:
        """The staged files."""
        return [
            Part(name, {name: staged(name)}, {"primary_key": _primary_key(name)})
            for name in staged_files()
        ]

    def part_size(self, part: Part) -> int:
        """Rows."""
        return _staged_rows(part.name)

    def folders(self) -> list[str]:
        """The sources that come in parts."""
        return list(LOG_KINDS.values())

    def part_output(self, part: str) -> dict[str, FileTarget]:
        """A profile that can be added to others."""
        return {"profile": staging_file(f"profiles/{part}.json")}

    def build_part(self, part: Part, out: Mapping[str, Path], threads: int) -> None:
        """Profile a file."""
        from tasks.profile import profile_file

        profile_file(
            staged(part.name).file,
            _primary_key(part.name),
            out["profile"],
            advance=self.progress.advance,
        )

    def build(self, out: Mapping[str, Path]) -> None:
        """Nothing more."""
        self.progress.result = f"{self.progress.rows:,} rows profiled"


def _primary_key(part: str) -> str | None:
    """The column of a staged file that is unique."""
    return SOURCES[part.partition("/")[0]].primary_key


class LogMeasures(PartedTask):
    """What was measured of the files of log records, added up in groups of files.

    The reports add up the groups: a new file costs what its group has, not what all files have.
    """

    phase = "adding up"
    priority = 5

    def requires(self) -> list[FreshTask]:
        """What was measured of each file."""
        return [LogActivity(), SourceProfiles()]

    def parts(self) -> list[Part]:
        """The groups."""
        profiles, activity = SourceProfiles(), LogActivity()

        def measured(file: str) -> dict[str, FileTarget]:
            return {**profiles.part_output(file), **activity.part_output(file)}

        found = []
        for group, members in log_groups().items():
            files = [member.name for member in members]
            reads = {f"{file} {n}": item for file in files for n, item in measured(file).items()}
            found.append(Part(group, reads, {"log_kind": members[0].log_kind, "files": files}))
        return found

    def part_size(self, part: Part) -> int:
        """Files."""
        return len(_files_of(part))

    def folders(self) -> list[str]:
        """The sources of log records."""
        return list(LOG_KINDS.values())

    def part_output(self, part: str) -> dict[str, FileTarget]:
        """The same as of a file."""
        return {"profile": staging_file(f"measures/profiles/{part}.json"), **self.activity(part)}

    def activity(self, group: str) -> dict[str, FileTarget]:
        """What was measured of its activity."""
        return {
            "days": staging_file(f"measures/days/{group}.parquet"),
            "instances": staging_file(f"measures/instances/{group}.parquet"),
            "hours": staging_file(f"measures/hours/{group}.json"),
        }

    def build_part(self, part: Part, out: Mapping[str, Path], threads: int) -> None:
        """Add up a group."""
        from tasks.activity import PartActivity, add_parts
        from tasks.profile import merge_profiles

        files = _files_of(part)
        merge_profiles(SourceProfiles().part_output(name)["profile"].file for name in files).write(
            out["profile"]
        )
        kind = str(part.declarations["log_kind"])
        add_parts(
            [PartActivity(kind, **_paths(LogActivity().part_output(name))) for name in files],
            out["days"],
            out["instances"],
            out["hours"],
        )
        self.progress.advance(len(files), 0)

    def build(self, out: Mapping[str, Path]) -> None:
        """Nothing more."""
        self.progress.result = f"{len(log_parts()):,} files in {len(log_groups()):,} groups"


def _files_of(group: Part) -> list[str]:
    """The names of the files in a group."""
    files = group.declarations["files"]
    assert isinstance(files, list)
    return files


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
        from tasks.profile_report import write_profile_report

        columns = write_profile_report(
            {name: [one.file for one in found] for name, found in profiles_of_sources().items()},
            SOURCES,
            {name: target.file for name, target in audits().items()},
            out["figures"],
            out["csv"],
            bom=settings().csv_bom,
        )
        self.progress.result = f"{columns:,} columns told of"


def profiles_of_sources() -> dict[str, list[FileTarget]]:
    """Source -> its profile; those of its groups of files where it comes in parts."""
    profiles, measures = SourceProfiles(), LogMeasures()
    found = {name: [profiles.part_output(name)["profile"]] for name in SOURCES}
    for name in LOG_KINDS.values():
        groups = [group for group in log_groups() if group.partition("/")[0] == name]
        found[name] = [measures.part_output(group)["profile"] for group in groups]
    return found


class LogPart(NamedTuple):
    """A file of log records.

    Attributes:
        name: Of the part.
        log_kind: B or F.
        number: With which its `log_id` begin.
    """

    name: str
    log_kind: str
    number: int


def log_parts() -> list[LogPart]:
    """All files of log records."""
    return once("log parts", _log_parts)


def _log_parts() -> list[LogPart]:
    kinds = {part.name: kind for kind, name in LOG_KINDS.items() for part in source_parts(name)}
    numbers = number_parts(kinds)
    return [LogPart(name, kind, numbers[name]) for name, kind in kinds.items()]


_GROUPS = 16
"""Groups of the files of one source; always so many, lest a new file move others."""


def log_groups() -> dict[str, list[LogPart]]:
    """The files of log records in groups, which follow from the names of the files alone."""
    return once("log groups", _log_groups)


def _log_groups() -> dict[str, list[LogPart]]:
    groups: dict[str, list[LogPart]] = {}
    for part in log_parts():
        groups.setdefault(group_of(part.name), []).append(part)
    return groups


def group_of(part: str) -> str:
    """The group that a file of log records is in; a file that is no part is one by itself."""
    name, folder, _ = part.partition("/")
    if not folder:
        return name
    digest = hashlib.sha256(part.encode(errors="surrogateescape")).digest()
    return f"{name}/{int.from_bytes(digest[:4]) % _GROUPS:02}"


def _write_json(content: object, path: Path) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


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
        from tasks import star
        from tasks.lean import read_parquet

        def keys(name: str) -> pa.Table:
            return _read_staged(name, *SOURCES[name].required)

        match self.table:
            case "dim_application_type":
                members = star.application_types(_read_staged("APP_TYPE", "app_type_id", "name"))
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
        from tasks import star

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
        from tasks.reconciliation import reconcile

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
        from tasks.summaries import write_summary

        rows = write_summary(
            settings().warehouse_url, self.level, out["csv"], bom=settings().csv_bom
        )
        self.progress.result = f"{rows:,} rows"


class SourceRelations(FreshTask):
    """How the rows of the describing sources relate: orphans, parents in use, most children."""

    def requires(self) -> list[CsvToParquet]:
        """The describing sources, staged."""
        return [staging(name) for name in DESCRIBING]

    def reads(self) -> Mapping[str, Digested]:
        """Their staged keys."""
        return {name: staged_keys(name) for name in DESCRIBING}

    def output(self) -> dict[str, FileTarget]:
        """The figures."""
        return {"relations": staging_file("audit/relations.json")}

    def build(self, out: Mapping[str, Path]) -> None:
        """Measure."""
        from tasks.quality import write_relations

        # In the order in which the sources are declared.
        files = {name: staged(name).file for name in SOURCES if name in DESCRIBING}
        write_relations(files, out["relations"])


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
        from tasks.quality import write_quality_report

        write_quality_report(
            {name: target.file for name, target in audits().items()},
            EnrichedLogs().whole_output()["hops"].file,
            SourceRelations().output()["relations"].file,
            warehouse.tally_log_instances(settings().warehouse_url),
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
        from tasks.schema_change import write_schema_change_report

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
            f"quarantine {part}": staging(name).part_output(part)["quarantine"]
            for name in SOURCES
            for part, _ in source_parts(name)
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
        from tasks.overview import collect_overview
        from tasks.page import write_page

        with one_look():
            graph = _tasks_shown(self)
        quarantine = settings().staging_dir / "quarantine"
        overview = collect_overview(
            reports=settings().reports_dir,
            quarantine=quarantine,
            warehouse_url=settings().warehouse_url,
            graph=graph,
            notes=read_notes(task.label for task in graph),
            run=current_run(),
            made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
            former=self.output()["figures"].file,
        )
        write_page(overview, settings().reports_dir, quarantine, out["page"])
        _write_json(overview, out["figures"])
        self.progress.result = f"{out['page'].stat().st_size:,} bytes written"


def _tasks_shown(page: ReportPage) -> list[TaskShown]:
    """The tasks up to the page, as it shows them."""
    from tasks.overview import TaskShown

    shown = []
    for task in walk(page):
        if isinstance(task, Milestone):
            continue
        reads = {}
        if isinstance(task, CsvToParquet):
            receipt = task.load_receipt()
            reads = {} if receipt is None else receipt.inputs
        comes_from = tuple(one.label for one in task.depends_on())
        shown.append(TaskShown(task.label, _made_by(task), comes_from, reads))
    return shown


def _made_by(task: FreshTask) -> str:
    """What a task makes, first of all."""
    if isinstance(task, PartedTask):
        made = [target for part in task.parts() for target in task.part_output(part.name).values()]
        files = len(task.parts())
        first = made[0].file
        return first.as_posix() if files == 1 else f"{first.parent.as_posix()} ({files:,} files)"
    for target in task.output().values():
        return target.file.as_posix() if isinstance(target, FileTarget) else str(target)
    return ""


class AllReports(Milestone):
    """Everything, from the CSV files to the reports; ends with a summary on the console."""

    def page(self) -> str:
        """All results."""
        return "index.html"

    def requires(self) -> list[FreshTask]:
        """The page, which requires every other report."""
        return [ReportPage()]

    def complete(self) -> bool:
        """Whether nothing has to be done at all; this is what a run asks first."""
        paths = [part.path for name in SOURCES for part in source_parts(name)]
        digest_cache().prepare(paths)
        return super().complete()


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
        progress = Progress(self)
        with system_errors("SampleData"):
            archive.provide_files(SOURCES, settings().data_dir)
            progress.start()
            made = write_sample(
                settings().data_dir, self._missing(), self.scale, self.seed, progress=progress
            )
        for path, rows in made.items():
            logger.info("Wrote sample %s: %s rows", path, f"{rows:,}")
        progress.result = f"{sum(made.values()):,} rows written, {len(made)} files"
        progress.finish()


_PRELOADED = (
    "staging",
    "star",
    "reconciliation",
    "summaries",
    "quality",
    "schema_change",
    "activity_report",
    "profile_report",
    "page",
)


@FreshTask.event_handler(luigi.Event.PROCESSING_TIME)
def take_note(task: FreshTask, seconds: float) -> None:
    """Note how long a task took."""
    note_task(task, seconds)


@FreshTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)
def load_libraries(task: FreshTask, dependency: FreshTask) -> None:
    """Load what tasks need before a process is forked for each: once, not in each.

    Called while the graph is scheduled, if a task has to be run.
    """
    if luigi.interface.core().workers > 1 and "tasks.staging" not in sys.modules:
        gc.disable()  # All that is made now stays.
        try:
            for name in _PRELOADED:
                importlib.import_module(f"tasks.{name}")
            importlib.import_module("adbc_driver_sqlite")
            importlib.import_module("sqlalchemy.dialects.sqlite")
            importlib.import_module("numpy.ma")
            gc.freeze()  # What the collector never looks at stays shared between processes.
        finally:
            gc.enable()


_shown_at: set[str] = set()
"""The scheduler whose pages this run completes at its end, once it is known."""


@FreshTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)
@FreshTask.event_handler(luigi.Event.DEPENDENCY_PRESENT)
@FreshTask.event_handler(luigi.Event.DEPENDENCY_MISSING)
def complete_scheduler_pages(task: FreshTask, dependency: FreshTask | None = None) -> None:
    """Have the central scheduler's pages show the whole graph when the run ends, however it ends.

    The first call while the graph is scheduled is for the task that was asked for.
    """
    if not _shown_at:
        url = scheduler_url()
        _shown_at.add(url or "none")
        if url is not None:
            pages = SchedulerPages(url, task)
            pages.warn_of_disabled()
            atexit.register(pages.complete)


@AllReports.event_handler(luigi.Event.SUCCESS)
@AllReports.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def show_results(task: AllReports) -> None:
    """Show what there is at the end of a run, also if nothing had to be done."""
    if not outcome.note(results=True):
        from tasks.console import print_results

        print_results(settings())
