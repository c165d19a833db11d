"""What follows from the registry of reports, and when their libraries are loaded."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from tasks.graph import report
from tasks.reports.registry import reports
from tests.conftest import Project

LIBRARIES = {"jinja2", "pandas", "pyarrow", "sqlalchemy"}

RUN = f"""
import atexit, sys, luigi.cmdline

@atexit.register
def show():
    print("loaded:", *sorted({LIBRARIES} & set(sys.modules)))

luigi.cmdline.luigi_run(sys.argv[1:])
"""


def test_the_libraries_are_loaded_before_processes_are_forked_and_only_if_needed(
    project: Project,
) -> None:
    command = ("--module", "tasks", "AllReports", "--local-scheduler", "--workers", "2")
    for expected in (LIBRARIES, set()):
        result = project.run(sys.executable, "-c", RUN, *command)
        assert result.status == 0, result.log
        (line,) = (line for line in result.out.splitlines() if line.startswith("loaded:"))
        assert set(line.split()[1:]) == expected


def test_every_report_has_a_task_and_a_task_for_each_level() -> None:
    assert [task.report for task in report.report_tasks()] == [
        one for one in reports() for _ in one.levels or ("",)
    ]
    positions = [one.position for one in reports()]
    assert positions == sorted(positions)


def test_a_report_that_reads_something_unknown_is_rejected() -> None:
    unknown = dataclasses.replace(reports()[0], reads=("warehouse", "weather"))
    with pytest.raises(ValueError, match="reads 'weather', which is not one of"):
        report._task_of(unknown)
