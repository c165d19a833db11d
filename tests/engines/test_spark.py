"""A cluster of two workers does what one machine does, also if a worker or the driver is killed."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Project, make_project, unwrapped
from tests.lake.test_lake import lake_files
from tests.runs import add_partition
from tests.servers import HOST, free_port
from tests.spark_cluster import SparkCluster, configuration

FILES = 4
RECORDS = 500
MANY = 80_000
"""Records of a file, so that some of them are not built yet when something is killed."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Log records in several files, one of them with rows that are quarantined; run here."""
    return run_here(tmp_path_factory.mktemp("here"), RECORDS)


def run_here(folder: Path, count: int) -> Project:
    project = make_project(folder / "project")
    for number in range(FILES):
        add_partition(project, f"{number}.csv", records(number, count))
    project.passes("AllReports", env=IN_LAKE)
    return project


def records(number: int, count: int = RECORDS, seed: int = 0) -> str:
    chance = random.Random(f"{number} {seed}")
    lines = ["log_rcd_id,point_log_inst_id,log_time,log_value,status"]
    for at in range(count):
        when = f"2024-{number + 1:02}-{at // 1440 % 27 + 1:02} {at // 60 % 24:02}:{at % 60:02}:00"
        lines.append(f"{at},{chance.randrange(9)},{when},{chance.gauss(20, 3)!r},OK")
    lines += ["broken,1,2024-01-01 00:00:00,1,OK", "1,2"] if number == 3 else []
    return "\n".join(lines) + "\n"


def on_cluster(folder: Path, reference: Project) -> Project:
    """A project with the same sources, whose engine is the cluster."""
    project = make_project(folder / "project", data=None)
    shutil.copytree(reference.data, project.data, dirs_exist_ok=True)
    (folder / "events").mkdir()
    with (project.folder / "luigi.cfg").open("a") as file:
        file.write(
            configuration(
                **{
                    "spark.eventLog.enabled": "true",
                    "spark.eventLog.dir": f"file://{folder}/events",
                    "spark.eventLog.compress": "false",
                    "spark.eventLog.rolling.enabled": "false",
                }
            )
        )
    return project


IN_LAKE = {"PIPELINE_FACTS": "lake"}
COMMAND = ("luigi", "--module", "tasks", "AllReports", "--local-scheduler")


def environment(cluster: SparkCluster) -> dict[str, str]:
    return {
        **IN_LAKE,
        "PIPELINE_ENGINE": "spark",
        "PIPELINE_SPARK_MASTER": cluster.url,
        "SPARK_LOCAL_IP": HOST,
    }


def ended_tasks(folder: Path) -> list[dict[str, Any]]:
    """What Spark has recorded of the tasks that ended well, in the newest application."""
    newest = max((folder / "events").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    events = [json.loads(line) for line in newest.read_text().splitlines()]
    ended = [one for one in events if one["Event"] == "SparkListenerTaskEnd"]
    return [one for one in ended if one["Task End Reason"]["Reason"] == "Success"]


def tasks_by_executor(folder: Path) -> Counter[str]:
    """Executor -> how many tasks ended well."""
    return Counter(one["Task Info"]["Executor ID"] for one in ended_tasks(folder))


def shuffled_bytes(folder: Path) -> int:
    """What executors have written for each other."""
    metrics = (one["Task Metrics"] for one in ended_tasks(folder))
    return sum(one["Shuffle Write Metrics"]["Shuffle Bytes Written"] for one in metrics)


def wait_for_partitions(project: Project, number: int) -> None:
    until = time.monotonic() + 120
    while len(list((project.staging / "LOG_RCD_F").glob("*.parquet"))) < number:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_cluster_builds_what_one_machine_builds(
    reference: Project, cluster: SparkCluster, tmp_path: Path
) -> None:
    project = on_cluster(tmp_path, reference)
    env = environment(cluster)
    done = project.run(*COMMAND, env=env)
    assert done.status == 0, done.log
    assert project.outputs() == reference.outputs()
    tasks = tasks_by_executor(tmp_path)
    # Five sources and six files of log records are staged, and profiled; the latter are enriched,
    # measured, split by day and counted; each day is summed up.
    days = len(list((project.staging / "lake" / "days").rglob("*.parquet")))
    assert days > 4
    assert tasks.total() == 11 + 11 + 4 * 6 + days
    assert len(tasks) == 2
    assert shuffled_bytes(tmp_path) == 0
    # The digests of executors are those of the files; the other engine has nothing to do.
    assert project.tasks("verify", "--deep", env=IN_LAKE).status == 0
    assert "Everything is up to date" in project.passes("AllReports", env=IN_LAKE).log
    assert lake_files(project) == lake_files(reference)


@pytest.mark.soak
def test_what_is_killed_is_done_again(cluster: SparkCluster, tmp_path: Path) -> None:
    reference = run_here(tmp_path / "here", MANY)
    project = on_cluster(tmp_path, reference)
    env = environment(cluster)
    driver = project.start(*COMMAND, env=project.environment(env))
    wait_for_partitions(project, 2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    built = {path.name for path in (project.staging / "LOG_RCD_F").glob("*.parquet")}
    assert len(built) < FILES

    before = {name: (project.staging / "LOG_RCD_F" / name).stat().st_ino for name in built}
    again = project.start(*COMMAND, env=project.environment(env))
    wait_for_partitions(project, len(built) + 1)
    cluster.kill_worker(0)
    try:
        assert again.wait(200) == 0
    finally:
        cluster.add_worker()
    kept = {name: (project.staging / "LOG_RCD_F" / name).stat().st_ino for name in built}
    assert sum(kept[name] == before[name] for name in built) >= len(built) - 1
    assert project.outputs() == reference.outputs()

    add_partition(project, "3.csv", records(3, MANY, seed=1))
    done = project.run(*COMMAND, env=env)
    assert done.status == 0, done.log
    # Staged, enriched, measured, profiled, split by day, counted; and the days.
    assert tasks_by_executor(tmp_path).total() == 6 + 27


@pytest.mark.soak
def test_an_error_of_an_executor_is_one_of_the_pipeline(
    reference: Project, cluster: SparkCluster, tmp_path: Path
) -> None:
    project = on_cluster(tmp_path, reference)
    add_partition(project, "3.csv", records(3).replace(",OK", ",OK,more"))
    done = project.run(*COMMAND, env=environment(cluster))
    assert done.status == 30
    assert "LOG_RCD_F/3.csv" in unwrapped(done.err)
    assert "Traceback" not in done.err
    assert tasks_by_executor(tmp_path).total() > 0


@pytest.mark.soak
@pytest.mark.usefixtures("cluster")
def test_the_example_of_the_documentation(project: Project) -> None:
    text = (ROOT / "docs" / "spark.md").read_text(encoding="utf-8")
    (example,) = [one for one in re.findall(r"```\n(.*?)```", text, re.S) if "$SPARK" in one]
    process = subprocess.Popen(
        ["bash", "-ec", example.replace("7077", str(free_port()))],
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert process.wait(200) == 0
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # The master and the workers.
    assert "Spark runs the work on partitions: spark://" in project.log_file.read_text()
    assert project.query("SELECT count(*) FROM fact_logs") == [(13,)]
