"""Measure the staged files."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from config.sources import LOG_KINDS, SOURCES
from tasks.core.memo import once
from tasks.freshness.task import (
    Digested,
    FileTarget,
    FreshTask,
    Part,
    PartedTask,
)
from tasks.graph.files import (
    DESCRIBING,
    LogPart,
    log_parts,
    paths_of,
    staged,
    staged_files,
    staged_keys,
    staged_rows,
    staging_file,
)
from tasks.graph.stage import CsvToParquet, staging

if TYPE_CHECKING:
    pass

logger = logging.getLogger("pipeline")


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
        return staged_rows(part.name)

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
        from tasks.measures.activity import measure_activity

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
        return staged_rows(part.name)

    def folders(self) -> list[str]:
        """The sources that come in parts."""
        return list(LOG_KINDS.values())

    def part_output(self, part: str) -> dict[str, FileTarget]:
        """A profile that can be added to others."""
        return {"profile": staging_file(f"profiles/{part}.json")}

    def build_part(self, part: Part, out: Mapping[str, Path], threads: int) -> None:
        """Profile a file."""
        from tasks.measures.profile import profile_file

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
        from tasks.measures.activity import PartActivity, add_parts
        from tasks.measures.profile import merge_profiles

        files = _files_of(part)
        merge_profiles(SourceProfiles().part_output(name)["profile"].file for name in files).write(
            out["profile"]
        )
        kind = str(part.declarations["log_kind"])
        add_parts(
            [PartActivity(kind, **paths_of(LogActivity().part_output(name))) for name in files],
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


def profiles_of_sources() -> dict[str, list[FileTarget]]:
    """Source -> its profile; those of its groups of files where it comes in parts."""
    profiles, measures = SourceProfiles(), LogMeasures()
    found = {name: [profiles.part_output(name)["profile"]] for name in SOURCES}
    for name in LOG_KINDS.values():
        groups = [group for group in log_groups() if group.partition("/")[0] == name]
        found[name] = [measures.part_output(group)["profile"] for group in groups]
    return found


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
        from tasks.reports.quality import write_relations

        # In the order in which the sources are declared.
        files = {name: staged(name).file for name in SOURCES if name in DESCRIBING}
        write_relations(files, out["relations"])
