"""The source files: checked before anything else is touched; generated where they are missing."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import luigi

from config.declarations import FREEZE, Source
from config.sources import SOURCES
from tasks.core.errors import PipelineError, system_errors
from tasks.core.stores import StorePath, check_store
from tasks.freshness.snapshot import Snapshot, declared_digest, digest_of
from tasks.freshness.targets import Digested, FileTarget
from tasks.freshness.task import FreshTask
from tasks.graph.files import audits
from tasks.run.progress import Progress
from tasks.run.settings import settings
from tasks.run.source_settings import source
from tasks.sources import files

logger = logging.getLogger("pipeline")


class HeaderTarget:
    """The column names of a source file; absent if its header cannot be read.

    Args:
        paths: All files of its name; absent too if they are not exactly one.
        source: How it is declared.
    """

    def __init__(self, paths: Sequence[Path], source: Source):
        self.paths = paths
        self.source = source

    def digest(self, snapshot: Snapshot) -> str | None:
        """The digest of the file's name and column names."""
        if len(self.paths) != 1:
            return None
        (path,) = self.paths
        what = f"header as {declared_digest(self.source)[:16]}"
        header = snapshot.from_content(path, what, self._header)
        return None if header is None else digest_of([path.name, header])

    def _header(self, path: Path) -> str | None:
        from tasks.sources.inspection import inspect_file

        try:
            return digest_of(inspect_file(path, self.source).layout.header)
        except PipelineError:
            return None


class CheckSources(FreshTask):
    """Every source file exists, is text and has the columns that it must have.

    Unpacks `take_home_data.zip` if there is no CSV file. Lists every problem of every file before
    anything else is touched; reads headers only.
    """

    code_version = 3
    has_output = False
    priority = 100

    def output(self) -> dict[str, FileTarget]:
        """Nothing but the receipt."""
        return {}

    def reads(self) -> Mapping[str, Digested]:
        """The header of each source file."""
        paths: dict[str, list[Path]] = {}
        for name in SOURCES:
            found = files.find_partitions(name, settings().data_dir)
            if not found:
                paths[name] = []
            for partition in found:
                paths.setdefault(partition.name, []).append(partition.path)
        return {
            f"{name} header": HeaderTarget(found, source(name.partition("/")[0]))
            for name, found in paths.items()
        }

    def declarations(self) -> Mapping[str, object]:
        """How each source is declared."""
        return {name: source(name) for name in SOURCES}

    def take_inputs(self, snapshot: Snapshot) -> dict[str, str]:
        """Unpack the archive and check all files first, then digest their headers."""
        from tasks.sources.inspection import check_sources

        check_store(settings().staging_dir)
        data_dir = settings().data_dir
        for path in files.provide_files(SOURCES, data_dir):
            logger.info("Unpacked %s", path)
        check_sources([source(name) for name in SOURCES], data_dir, _recorded_headers())
        return super().take_inputs(snapshot.later())

    def build(self, out: Mapping[str, Path]) -> None:
        """Nothing to build."""


def _recorded_headers() -> dict[str, Collection[str]]:
    """The headers of frozen sources as staged last: what failed since has replaced nothing."""
    from tasks.staging.audit import read_audit

    recorded: dict[str, Collection[str]] = {}
    for name in SOURCES:
        if source(name).new_columns == FREEZE:
            try:
                recorded[name] = read_audit(audits()[name].file).header
            except (OSError, ValueError, TypeError, KeyError):
                logger.warning(
                    "%s: new_columns = freeze, but no columns are recorded yet: those that its "
                    "files have now are accepted",
                    name,
                )
    return recorded


class SampleData(luigi.Task):
    """Generates the source files that are missing; never touches one that exists.

    The generated files refer to the keys of those that exist.
    """

    scale = luigi.FloatParameter(
        default=1.0, description="1 gives the row counts of the assignment."
    )
    seed = luigi.IntParameter(default=1, description="The same seed gives the same files.")
    irregular = luigi.BoolParameter(
        description="Log records that hardly compress: random times, values, log instances."
    )

    def _missing(self) -> list[str]:
        data_dir = settings().data_dir
        return [name for name in SOURCES if not files.find_files(name, data_dir)]

    def complete(self) -> bool:
        """Whether every source has a file."""
        return not self._missing()

    def run(self) -> None:
        """Generate what is missing."""
        from tasks.sample_data import row_count, write_sample

        if not 0 < self.scale < math.inf:
            raise PipelineError(f"SampleData: --scale {self.scale} is not above 0.")
        progress = Progress(self)
        if isinstance(settings().data_dir, StorePath):
            raise PipelineError(
                "SampleData writes into folders alone.",
                remedy="Name one: PIPELINE_DATA_DIR=sample luigi --module tasks SampleData "
                "--local-scheduler. Then copy its files.",
            )
        with system_errors("SampleData"):
            files.provide_files(SOURCES, settings().data_dir)
            progress.start()
            names, folder = self._missing(), settings().data_dir
            progress.begin("writing", sum(row_count(name, self.scale) for name in names))
            made = write_sample(
                folder,
                names,
                self.scale,
                self.seed,
                irregular=self.irregular,
                advance=progress.advance,
            )
        for path, rows in made.items():
            logger.info("Wrote sample %s: %s rows", path, f"{rows:,}")
        progress.result = f"{sum(made.values()):,} rows written, {len(made)} files"
        progress.finish()
