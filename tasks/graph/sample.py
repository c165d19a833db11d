"""Make up source files that are missing."""

from __future__ import annotations

import logging
import math

import luigi
import luigi.interface

from config.sources import SOURCES
from tasks.core.errors import PipelineError, system_errors
from tasks.run.progress import Progress
from tasks.run.settings import settings
from tasks.sources import archive, files

logger = logging.getLogger("pipeline")


class SampleData(luigi.Task):
    """Makes up the source files that are missing; never touches one that exists.

    The made-up files refer to the keys of those that exist.
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
        from tasks.sample_data import row_count, write_sample

        if not 0 < self.scale < math.inf:
            raise PipelineError(f"SampleData: --scale {self.scale} is not above 0.")
        progress = Progress(self)
        with system_errors("SampleData"):
            archive.provide_files(SOURCES, settings().data_dir)
            progress.start()
            names, folder = self._missing(), settings().data_dir
            progress.begin("writing", sum(row_count(name, self.scale) for name in names))
            made = write_sample(folder, names, self.scale, self.seed, advance=progress.advance)
        for path, rows in made.items():
            logger.info("Wrote sample %s: %s rows", path, f"{rows:,}")
        progress.result = f"{sum(made.values()):,} rows written, {len(made)} files"
        progress.finish()
