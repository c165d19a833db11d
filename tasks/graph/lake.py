"""Facts in the lake, and what is derived from them, day by day."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from config.aggregates import Rules
from config.warehouse import FACT_LOGS, LOG_INSTANCE_CHAINS
from tasks.core.errors import PipelineError
from tasks.core.files import read_json
from tasks.core.partition import Partition
from tasks.engines.choose import engine
from tasks.freshness.partitioned import PartitionedTask
from tasks.freshness.snapshot import Snapshot, digest_of
from tasks.freshness.targets import Digested, FileTarget
from tasks.freshness.task import FreshTask
from tasks.graph.enrich import EnrichedLogs, LogInstanceChains
from tasks.graph.files import enriched, log_partitions, staged, staged_rows, staging_file
from tasks.run.recording import state
from tasks.run.settings import LAKE, settings
from tasks.state import Receipt

if TYPE_CHECKING:
    from tasks.lake.store import LakeFile
    from tasks.warehouse.lake import Derived, Stored

_DAYS = "days"


def facts_are_in_lake() -> bool:
    """Whether the facts are stored in the lake, not in the warehouse."""
    return settings().facts == LAKE


def rules() -> Rules:
    """How days and gaps are made."""
    chosen = settings()
    return Rules(chosen.report_timezone, chosen.max_gap, chosen.alarm_statuses)


class LakeFacts(PartitionedTask):
    """The facts as Parquet files by day, in a folder or an object store, and their manifest."""

    code_version = 1
    phase = "splitting by day"
    priority = 10

    def requires(self) -> EnrichedLogs:
        """The enriched records."""
        return EnrichedLogs()

    def partitions(self) -> Sequence[Partition]:
        """The files of log records."""
        return log_partitions()

    def declarations(self) -> Mapping[str, object]:
        """The columns, in which time zone days begin, and where the lake is."""
        chosen = settings()
        return {"facts": FACT_LOGS, "days": chosen.report_timezone, "lake": chosen.lake_url}

    def partition_reads(self, partition: Partition) -> Mapping[str, Digested]:
        """The enriched records."""
        return {partition.name: enriched(partition.name)}

    def partition_size(self, partition: Partition) -> int:
        """Log records."""
        return staged_rows(partition.name)

    def partition_output(self, name: str) -> dict[str, FileTarget]:
        """What is in the lake, and what is counted of it."""
        return {
            "files": staging_file(f"lake/files/{name}.json"),
            "activity": staging_file(f"lake/activity/{name}.parquet"),
        }

    def whole_output(self) -> dict[str, FileTarget]:
        """A copy of the manifest."""
        return {"manifest": _manifest()}

    def own_reason(self, snapshot: Snapshot) -> str | None:
        """Also: somebody changed the lake."""
        return super().own_reason(snapshot) or self._why_changed(snapshot)

    def _why_changed(self, snapshot: Snapshot) -> str | None:
        from tasks.core.stores import public_url
        from tasks.lake.store import Lake

        url = settings().lake_url
        place = public_url(url)
        found = snapshot.memoize(("manifest", url), lambda: Lake(url).manifest())
        if found != _manifest().file.read_text(encoding="utf-8"):
            return f"the manifest of {place} {'is missing' if found is None else 'was edited'}"
        missing = self._missing(snapshot)
        return f"{missing[0].path} is missing in {place}, or was edited" if missing else None

    def _missing(self, snapshot: Snapshot) -> list[LakeFile]:
        """The files that the manifest lists and the lake has not."""
        from tasks.lake.store import Lake

        lake = Lake(settings().lake_url)
        return snapshot.memoize("missing in the lake", lambda: lake.missing(_listed()))

    def take_inputs(self, snapshot: Snapshot) -> dict[str, str]:
        """First remove the receipts of partitions whose files are missing."""
        state().forget(self.label, {one.partition for one in self._missing(snapshot)})
        return super().take_inputs(snapshot)

    def build_partition(self, partition: Partition, out: Mapping[str, Path], threads: int) -> None:
        """Store the facts of a partition."""
        from tasks.lake.facts import split_by_day

        engine().call(
            split_by_day,
            enriched(partition.name).file,
            partition,
            settings().lake_url,
            settings().report_timezone,
            dict(out),
            out=out,
            advance=self.progress.advance,
        )

    def publish(self, targets: Mapping[str, FileTarget], receipt: Receipt) -> dict[str, str]:
        """Build the manifest, from these inputs alone."""
        self._taken = receipt.inputs
        return super().publish(targets, receipt)

    def build(self, out: Mapping[str, Path]) -> None:
        """Publish the manifest: from now on readers see the new files, and no others."""
        from tasks.lake.store import Lake, LakeFile

        files = [
            LakeFile(**listed)
            for one in log_partitions()
            for listed in read_json(self.partition_output(one.name)["files"].file)["files"]
        ]
        lake = Lake(settings().lake_url)
        if missing := lake.missing(files):
            state().forget(self.label, {one.partition for one in missing})
            raise PipelineError(
                f"{self.label}: {missing[0].path} was removed meanwhile.",
                remedy="Run again: it is made again.",
            )
        self.check_inputs(self._taken)
        text = lake.publish(files, settings().lake_grace_s, datetime.now(UTC))
        out["manifest"].write_text(text, encoding="utf-8")
        rows = sum(one.rows for one in files)
        self.progress.result = f"{rows:,} facts in {len(files):,} files"


def _manifest() -> FileTarget:
    return staging_file("lake/manifest.json")


def _listed() -> Sequence[LakeFile]:
    """The files of the lake; none if no manifest was published."""
    return [one for files in _files_by_day().values() for one in files]


def _files_by_day() -> Mapping[str, Sequence[LakeFile]]:
    with contextlib.suppress(FileNotFoundError):
        found = _manifest().file.stat()
        return _parsed(_manifest().file, (found.st_ino, found.st_size, found.st_mtime_ns))
    return {}


@functools.lru_cache(maxsize=2)
def _parsed(file: Path, version: tuple[int, ...]) -> Mapping[str, Sequence[LakeFile]]:
    """The files that a manifest lists, by day."""
    from tasks.lake.store import read_manifest

    days: dict[str, list[LakeFile]] = {}
    for one in read_manifest(file.read_text(encoding="utf-8")):
        days.setdefault(one.day, []).append(one)
    return days


class _Content(NamedTuple):
    """Files of the lake, known by their digests."""

    files: Sequence[LakeFile]

    def digest(self, snapshot: Snapshot) -> str | None:
        """That of all their digests; None if there is none."""
        return digest_of(sorted(one.sha256 for one in self.files)) if self.files else None


class LakeDays(PartitionedTask):
    """The days and gaps of the facts in the lake: each day by itself."""

    code_version = 1
    phase = "summing up"
    priority = 10

    def requires(self) -> list[FreshTask]:
        """The facts, and the intervals of the log instances."""
        return [LakeFacts(), LogInstanceChains()]

    def partitions(self) -> Sequence[Partition]:
        """The days that have facts."""
        from tasks.lake.store import NO_DAY

        return [Partition(f"{_DAYS}/{day}") for day in _files_by_day() if day != NO_DAY]

    def partitioned_sources(self) -> Sequence[str]:
        """Days alone."""
        return [_DAYS]

    def partition_reads(self, partition: Partition) -> Mapping[str, Digested]:
        """The day's facts, and the intervals."""
        files = _Content(_files_of(partition))
        return {partition.name: files, "chains": staged(LOG_INSTANCE_CHAINS.name)}

    def declarations(self) -> Mapping[str, object]:
        """How days and gaps are made."""
        return {"rules": rules()}

    def partition_size(self, partition: Partition) -> int:
        """Facts."""
        return sum(one.rows for one in _files_of(partition))

    def partition_output(self, name: str) -> dict[str, FileTarget]:
        """Tables, as `measure_lake_day` writes them."""
        return {table: staging_file(f"lake/{table}/{name}.parquet") for table in ("days", "gaps")}

    def build_partition(self, partition: Partition, out: Mapping[str, Path], threads: int) -> None:
        """Measure a day."""
        from tasks.lake.days import measure_lake_day

        files = tuple(_files_of(partition))
        self.check_unchanged({partition.name: "found"}, {partition.name: "found"} if files else {})
        engine().call(
            measure_lake_day,
            settings().lake_url,
            files,
            staged(LOG_INSTANCE_CHAINS.name).file,
            rules(),
            dict(out),
            out=out,
            advance=self.progress.advance,
        )

    def build(self, out: Mapping[str, Path]) -> None:
        """Report how much was measured."""
        self.progress.result = f"{self.progress.rows:,} facts summed up"


def _files_of(partition: Partition) -> Sequence[LakeFile]:
    """The files of a day; none if another run has published a manifest without it."""
    return _files_by_day().get(partition.name.removeprefix(f"{_DAYS}/"), ())


def lake_reads() -> Mapping[str, Digested]:
    """What a load reads of facts that are in the lake."""
    names = [one.name for one in log_partitions()]
    files = {name: LakeFacts().partition_output(name)["files"] for name in names}
    days = {
        f"{one.name} {table}": target
        for one in LakeDays().partitions()
        for table, target in LakeDays().partition_output(one.name).items()
    }
    return {**files, **days, **LogInstanceChains().output()}


def stored_partitions(digests: Mapping[str, str]) -> dict[Partition, Stored]:
    """The partitions in the lake; `digests`: partition -> of what its facts are made from."""
    from tasks.warehouse.lake import Stored

    found = {}
    for one in log_partitions():
        files = LakeFacts().partition_output(one.name)
        found[one] = Stored(digests[one.name], files["files"].file, files["activity"].file)
    return found


def derived_from_lake(digest: str) -> Derived:
    """The rows that are derived from all facts in the lake."""
    from tasks.lake.days import join_lake_days
    from tasks.warehouse.lake import Derived
    from tasks.warehouse.log_days import Derivation

    measured = [
        {table: target.file for table, target in LakeDays().partition_output(one.name).items()}
        for one in LakeDays().partitions()
    ]
    rows = join_lake_days(measured, staged(LOG_INSTANCE_CHAINS.name).file, rules())
    return Derived(rows, Derivation(rules(), digest))
