"""A Spark cluster for the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.spark_cluster import SparkCluster, missing


@pytest.fixture(scope="session")
def cluster() -> Iterator[SparkCluster]:
    """A master and two workers."""
    reason = missing()
    if reason:
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    with SparkCluster() as running:
        yield running
