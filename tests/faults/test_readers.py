"""Others who query the warehouse while it is loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import Project
from tests.runs import add_partition, run_here, soak

ROWS = 500
READER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60)
query = '''SELECT min(value), max(value), count(*), (SELECT sum(record_count)
           FROM log_instance_activity WHERE log_kind = 'F') FROM fact_logs WHERE log_kind = 'F' '''
before = None
while True:
    state = connection.execute(query).fetchone()
    if state != before:
        print(*map(int, state), flush=True)
    before = state
    time.sleep(0.05)
"""


def write_partitions(project: Project, number: int) -> None:
    """Two files, in which every value is the same number, and one more record each time."""
    for instance, name in enumerate(("a", "b"), 1):
        lines = [
            f"{row},{instance},2024-06-01 {row // 60:02}:{row % 60:02}:00,{number},OK\n"
            for row in range(ROWS + number)
        ]
        header = "log_rcd_id,point_log_inst_id,log_time,log_value,status\n"
        add_partition(project, f"{name}.csv", header + "".join(lines))


@pytest.mark.parametrize(("readers", "loads"), [(2, 3), soak(10, 200)])
def test_readers_see_whole_states_alone(
    project: Project, readers: int, loads: int, figures: Callable[[str], None]
) -> None:
    (project.data / "LOG_RCD_F.csv").unlink()
    write_partitions(project, 0)
    run_here(project)
    command = [sys.executable, "-c", READER, str(project.database)]
    asking = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(readers)
    ]
    try:
        first = [process.stdout.readline() for process in asking if process.stdout]
        for number in range(1, loads + 1):
            write_partitions(project, number)
            assert "LoadFactLogs" in run_here(project)
    finally:
        for process in asking:
            process.terminate()
    seen = [first[i] + process.communicate()[0] for i, process in enumerate(asking)]
    whole = [f"{n} {n} {2 * (ROWS + n)} {2 * (ROWS + n)}" for n in range(loads + 1)]
    for states in seen:
        found = states.splitlines()
        assert found == [state for state in whole if state in found]
    number = sum(len(states.splitlines()) for states in seen)
    figures(f"{readers} readers, {loads} loads, {number:,} states seen")
