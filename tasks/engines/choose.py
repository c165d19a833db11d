"""Which engine does the work on partitions, as `luigi.cfg` says."""

from __future__ import annotations

import functools

from tasks.core.errors import PipelineError
from tasks.engines.arrow import Arrow
from tasks.engines.spark import Spark
from tasks.run.settings import SPARK, logs_dir, section_of, settings

Engine = Arrow | Spark


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
    return Spark(settings().spark_master, section_of("spark"), logs_dir() / "spark.log")
