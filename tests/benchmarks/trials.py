"""Single choices of the pipeline, measured: `make trials`, after `make bench`.

The time of each task in a cold run, the order in which SQLite stores the facts, the
size of the blocks in which a CSV file is read, and how Parquet is compressed. Then
`tests/benchmarks/servers.py`, with the same files.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.staging import stage as staging
from tests.benchmarks.layouts import time_layouts
from tests.benchmarks.projects import ROOT, Project, make_project

TIMED = """
import luigi, luigi.cmdline
from tasks.freshness.task import FreshTask

@FreshTask.event_handler(luigi.Event.PROCESSING_TIME)
def note(task, seconds):
    with open("times.txt", "a") as stream:
        stream.write(f"{task.label} {seconds:.2f}\\n")

luigi.cmdline.luigi_run("--module tasks AllReports --local-scheduler".split())
"""


def time_tasks(seed: Project) -> Iterator[str]:
    """Each task of a cold run."""
    seed.clear()
    times = seed.folder / "times.txt"
    times.unlink(missing_ok=True)
    command = [sys.executable, "-c", TIMED]
    with (seed.folder / "luigi.log").open("ab") as log:
        subprocess.run(command, cwd=seed.folder, stdout=log, stderr=log, check=False)
    yield "| task | seconds |"
    yield "|---|---|"
    for line in times.read_text().splitlines():
        label, seconds = line.rsplit(" ", 1)
        if float(seconds) >= 0.05:
            yield f"| {label} | {seconds} |"


STAGE = """
import sys
from pathlib import Path
from config.sources import SOURCES
from tasks.core.memory import configure_arrow
from tasks.sources import csv_blocks
from tasks.staging.stage import Outputs, stage_file
configure_arrow()
csv_blocks.BLOCK_BYTES = int(sys.argv[3])
out = Outputs(*(Path(sys.argv[2], name) for name in ("rows", "quarantine", "cells", "keys")))
stage_file(Path(sys.argv[1]), SOURCES["POINT"], out, threads=2)
(peak,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


def time_blocks(seed: Project) -> Iterator[str]:
    """Staging POINT in blocks of different sizes, each in a process of its own."""
    yield "| block, MiB | seconds | peak memory, MiB |"
    yield "|---|---|---|"
    for mebibytes in (1, 2, 4, 8):
        with tempfile.TemporaryDirectory(dir=seed.folder) as folder:
            start = time.perf_counter()
            arguments = [str(seed.data / "POINT.csv"), folder, str(mebibytes * 2**20)]
            command = [sys.executable, "-c", STAGE, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            yield f"| {mebibytes} | {time.perf_counter() - start:.2f} | {done.stdout.strip()} |"


def time_compression(seed: Project) -> Iterator[str]:
    """Writing POINT, compressed in different ways."""
    rows = pq.read_table(seed.folder / "staging" / "POINT.parquet")
    yield "| compression | seconds | MB |"
    yield "|---|---|---|"
    with tempfile.TemporaryDirectory(dir=seed.folder) as folder:
        ways: dict[str, dict[str, Any]] = {
            "zstd, level 1": dict(staging.PARQUET),
            "snappy (the default)": {"compression": "snappy"},
            "lz4": {"compression": "lz4"},
            "none": {"compression": "none"},
        }
        for name, how in ways.items():
            path = Path(folder, "rows.parquet")
            start = time.perf_counter()
            pq.write_table(rows, path, row_group_size=24_000, **how)
            seconds, megabytes = time.perf_counter() - start, path.stat().st_size / 1e6
            yield f"| {name} | {seconds:.2f} | {megabytes:.1f} |"


def main() -> None:
    """Run all trials and print them."""
    seed = make_project(ROOT / ".bench" / "seed")
    for trial in (time_tasks, time_layouts, time_blocks, time_compression):
        print(f"\n### {trial.__doc__}\n")
        for line in trial(seed):
            print(line, flush=True)


if __name__ == "__main__":
    main()
