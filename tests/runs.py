"""Runs in the process of a test, and what they are compared with."""

from __future__ import annotations

import contextlib
import functools
import gzip
import os
import signal
from pathlib import Path

import pytest

from tasks.freshness.snapshot import Snapshot
from tasks.freshness.task import FreshTask, walk
from tasks.graph import AllReports
from tasks.run.recording import state
from tests.conftest import ALL_REPORTS, WRAPPERS, Project, make_project, read_settings_again
from tests.ui import wait_for

ALL = {task.label for task in walk(AllReports())} - WRAPPERS
REPORTS = {label for label in ALL if label.endswith("Report") or "Report:" in label} | {
    "ReportPage"
}

soak = functools.partial(pytest.param, marks=pytest.mark.soak)


def run_here(project: Project) -> set[str]:
    """Run what is not complete, as a Luigi worker would; the labels of the tasks that built."""
    with contextlib.chdir(project.folder):
        read_settings_again()
        pending = [task for task in walk(AllReports()) if not task.complete()]
        for task in pending:
            task.run()
            assert task.complete(), task.label
    return {task.label for task in pending if task.built} - WRAPPERS


def why_stale(task: FreshTask) -> str | None:
    return task.why_stale(Snapshot(state()))


def fresh_project(like: Project) -> Project:
    """A project beside another one, with the same source files, run from nothing."""
    other = make_project(like.folder.parent / "from_nothing", like.data)
    other.passes("AllReports")
    return other


def run_and_kill(project: Project, begun: int) -> None:
    """Kill a run when it has begun so many tasks, with the processes that it forked."""
    run = project.start(*ALL_REPORTS, start_new_session=True)

    def has_begun() -> bool:
        logs = project.log_file.parent.glob(f"pipeline-*-{run.pid}.log")
        tasks = sum(path.read_text(encoding="utf-8").count(" running   ") for path in logs)
        return tasks >= begun or run.poll() is not None

    wait_for(has_begun)
    with contextlib.suppress(ProcessLookupError):  # It had less to do.
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def add_partition(project: Project, name: str, text: str, source: str = "LOG_RCD_F") -> Path:
    """Write a file into the folder of a source, packed if its name says so."""
    path = project.data / source / name
    path.parent.mkdir(exist_ok=True)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8", newline="")
    return path
