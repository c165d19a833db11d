"""A cluster whose executors share no folder with the driver: all files are in an object store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import make_project
from tests.engines.test_spark import COMMAND, environment
from tests.lake.test_lake import IN_LAKE, lake_files, several_files
from tests.lake.test_object_store import visible
from tests.object_store import CREDENTIALS, ObjectStore
from tests.spark_cluster import SparkCluster, configuration
from tests.stores.test_pipeline import files, in_store, staged, upload


@pytest.mark.soak
def test_executors_need_no_folder_of_the_driver(
    cluster: SparkCluster, store: ObjectStore, tmp_path: Path
) -> None:
    reference = several_files(tmp_path)
    reference.passes("AllReports", env=IN_LAKE)
    project = make_project(tmp_path / "other", data=None)
    upload(store, reference, "cluster/in")
    with (project.folder / "luigi.cfg").open("a") as file:
        file.write(configuration(**{f"spark.executorEnv.{k}": v for k, v in CREDENTIALS.items()}))
    env = {
        **environment(cluster),
        **in_store(store, "cluster"),
        "PIPELINE_LAKE_URL": store.url("cluster/lake"),
    }
    done = project.run(*COMMAND, env=env)
    assert done.status == 0, done.log
    assert staged(store, "cluster") == files(reference.staging)
    assert visible(store, "cluster/lake") == lake_files(reference)
    assert project.tables() == reference.tables()
    assert files(project.staging) == {}
    again = project.passes("AllReports", env=env | {"PIPELINE_ENGINE": "arrow"})
    assert "Everything is up to date" in again.log
