"""Check the source files before anything else is touched."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from config.declarations import Source
from config.sources import SOURCES
from tasks.core.errors import PipelineError
from tasks.freshness.task import (
    Digested,
    FileTarget,
    FreshTask,
    declared_digest,
    digest_cache,
    digest_of,
)
from tasks.run.settings import settings
from tasks.run.source_settings import source
from tasks.sources import archive, files

if TYPE_CHECKING:
    pass

logger = logging.getLogger("pipeline")


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
        from tasks.sources.inspection import inspect_file

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
            found = files.find_parts(name, settings().data_dir)
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
        from tasks.sources.inspection import check_sources

        data_dir = settings().data_dir
        for path in archive.provide_files(SOURCES, data_dir):
            logger.info("Unpacked %s", path)
        check_sources([source(name) for name in SOURCES], data_dir)
        return super().take_inputs()

    def build(self, out: Mapping[str, Path]) -> None:
        """Nothing to build."""
