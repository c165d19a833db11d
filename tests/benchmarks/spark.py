"""One machine and a Spark cluster on it: `python -m tests.benchmarks.spark`.

Arguments: how many times the log records of the sample (1), in how many files (20), where the facts
are (warehouse, or lake). Both have the same processors. Shows
the seconds of the tasks whose work the cluster does, of all others, and of the whole run; then
those of a run after one file has changed. Both end with the same outputs, or this fails.
"""

from __future__ import annotations

import filecmp
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from config.sources import LOG_KINDS
from tests.conftest import Project, make_project
from tests.servers import HOST
from tests.spark_cluster import SparkCluster, configuration

COMMAND = ("luigi", "--module", "tasks", "AllReports", "--local-scheduler")
LONGEST_S = 7_200
DISTRIBUTED = ("CsvToParquet", "EnrichedLogs", "LogActivity", "SourceProfiles", "Lake")


def split(project: Project, files: int) -> None:
    """Each file of log records as a folder of files."""
    for name in LOG_KINDS.values():
        path = project.data / f"{name}.csv"
        with path.open("rb") as source:
            header, rows = source.readline(), source.readlines()
        path.unlink()
        folder = project.data / name
        folder.mkdir()
        size = -(-len(rows) // (files // 2))
        for at in range(0, len(rows), size):
            part = folder / f"{at:012}.csv"
            part.write_bytes(header + b"".join(rows[at : at + size]))


def run(project: Project, env: dict[str, str]) -> tuple[float, float]:
    """Seconds of the run, and of its tasks whose work is distributed."""
    began = time.monotonic()
    done = project.run(*COMMAND, env=env, timeout=LONGEST_S)
    seconds = time.monotonic() - began
    assert done.status == 0, done.log
    connection = sqlite3.connect(project.staging / "state.db")
    (distributed,) = connection.execute(
        "SELECT sum(seconds) FROM task_run WHERE run = (SELECT run FROM task_run ORDER BY number"
        f" DESC LIMIT 1) AND ({' OR '.join(f'''task LIKE '{one}%' ''' for one in DISTRIBUTED)})"
    ).fetchone()
    connection.close()
    return seconds, distributed


def main(arguments: Sequence[str]) -> None:
    """Measure."""
    scale, files, facts = (*arguments, *("1", "20", "warehouse")[len(arguments) :])
    with tempfile.TemporaryDirectory() as name:
        here = make_project(Path(name, "here"), data=None)
        here.passes("SampleData")
        for log_records in here.data.glob("LOG_RCD_*.csv"):
            log_records.unlink()
        here.passes("SampleData", "--scale", scale)
        split(here, int(files))
        there = make_project(Path(name, "there"), data=None)
        shutil.copytree(here.data, there.data, dirs_exist_ok=True)
        with SparkCluster() as cluster:
            with (there.folder / "luigi.cfg").open("a") as file:
                file.write(configuration())
            alone = {"PIPELINE_FACTS": facts}
            env = {
                **alone,
                "PIPELINE_ENGINE": "spark",
                "PIPELINE_SPARK_MASTER": cluster.url,
                "SPARK_LOCAL_IP": HOST,
            }
            # One process, as with Spark: tasks after each other, each with two threads.
            for what in ("from nothing", "one file changed"):
                for engine, project, more in (("arrow", here, alone), ("spark", there, env)):
                    seconds, distributed = run(project, more)
                    print(f"{scale} x, {files} files, facts in the {facts}", end="")
                    print(f", {what}, {engine}: {seconds:.1f} s", end="")
                    print(f", tasks with distributed work {distributed:.1f} s", flush=True)
                for project in (here, there) if what == "from nothing" else ():
                    path = min((project.data / "LOG_RCD_F").iterdir())
                    lines = path.read_bytes().splitlines(keepends=True)
                    path.write_bytes(b"".join(lines[:-1]))
        for path in here.staging.rglob("*.parquet"):
            assert filecmp.cmp(path, there.staging / path.relative_to(here.staging), shallow=False)


if __name__ == "__main__":
    main(sys.argv[1:])
