"""A cluster loads facts into PostgreSQL: the executors copy, the driver moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Project
from tests.engines.test_spark import (
    COMMAND,
    RECORDS,
    environment,
    on_cluster,
    records,
    run_here,
    tasks_by_executor,
)
from tests.runs import add_partition
from tests.spark_cluster import SparkCluster
from tests.warehouses.stars import rows_of

DIGESTS = "SELECT table_name, partition_name, rows_digest FROM load_receipt ORDER BY 1, 2"
IN_WAREHOUSE = {"PIPELINE_FACTS": "warehouse"}


def run(project: Project, env: dict[str, str]) -> int:
    """Run; how many tasks the executors had."""
    done = project.run(*COMMAND, env=env)
    assert done.status == 0, done.log
    return tasks_by_executor(project.folder.parent).total()


@pytest.mark.soak
def test_executors_copy_into_postgresql(
    cluster: SparkCluster, postgresql: str, tmp_path: Path
) -> None:
    reference = run_here(tmp_path / "here", RECORDS)
    reference.passes("AllReports", env=IN_WAREHOUSE)
    project = on_cluster(tmp_path, reference)
    env = {**environment(cluster), **IN_WAREHOUSE, "PIPELINE_WAREHOUSE_URL": postgresql}
    # Eleven files are staged and profiled; six are enriched, measured, copied and counted. Whether
    # executors can copy is tried once.
    assert run(project, env) == 11 + 11 + 4 * 6 + 1
    assert rows_of(postgresql, DIGESTS) == reference.query(DIGESTS)
    assert rows_of(postgresql, "SELECT count(*) FROM fact_logs") == reference.query(
        "SELECT count(*) FROM fact_logs"
    )

    for one in (project, reference):
        add_partition(one, "1.csv", records(1, RECORDS, seed=1))
    reference.passes("AllReports", env=IN_WAREHOUSE)
    assert run(project, env) == 6 + 1
    assert rows_of(postgresql, DIGESTS) == reference.query(DIGESTS)
    here = {**IN_WAREHOUSE, "PIPELINE_WAREHOUSE_URL": postgresql}
    assert project.tasks("verify", "--deep", env=here).status == 0
    assert "Everything is up to date" in project.passes("AllReports", env=here).log
