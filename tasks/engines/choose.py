"""Which engine does the work on partitions, as `luigi.cfg` says."""

from __future__ import annotations

import functools

from tasks.core.errors import PipelineError
from tasks.core.stores import StorePath, folder_at
from tasks.engines.arrow import Arrow
from tasks.engines.engine import Engine
from tasks.engines.spark import Spark
from tasks.run.settings import LAKE, SPARK, logs_dir, section_of, settings


@functools.cache
def engine() -> Engine:
    """The engine of this process.

    Raises:
        PipelineError: The settings do not say which cluster.
    """
    if settings().engine != SPARK:
        return Arrow()
    if not settings().spark_master:
        raise PipelineError(
            "luigi.cfg: section [pipeline]: engine = spark needs spark_master.",
            remedy="Give the URL of the cluster, such as spark://host:7077, yarn or k8s://https://host.",
        )
    log = logs_dir() / "spark.log"
    return Spark(settings().spark_master, section_of("spark"), log, _needs_folder())


def _needs_folder() -> bool:
    """Whether executors need the working folder: not if all files are in object stores."""
    chosen = settings()
    folders = [chosen.data_dir, chosen.staging_dir]
    folders += [folder_at(chosen.lake_url)] if chosen.facts == LAKE else []
    return not all(isinstance(one, StorePath) for one in folders)
