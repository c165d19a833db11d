"""Make up source files that are missing."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import luigi
import luigi.interface

from config.sources import SOURCES
from tasks.core.errors import PipelineError, system_errors
from tasks.run.progress import Progress
from tasks.run.settings import settings
from tasks.sources import archive, files

if TYPE_CHECKING:
    pass

logger = logging.getLogger("pipeline")


class SampleData(luigi.Task):
    """Makes up the source files that are missing; never touches one that is there.

    Files that are there are taken up: the made-up ones refer to their keys.
    """

    scale = luigi.FloatParameter(default=1.0, description="1 gives the seed's row counts.")
    seed = luigi.IntParameter(default=1, description="The same seed gives the same files.")

    def _missing(self) -> list[str]:
        data_dir = settings().data_dir
        return [name for name in SOURCES if not files.find_files(name, data_dir)]

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
