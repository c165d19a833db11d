"""Runs in the process of a test, and what they are compared with."""

from __future__ import annotations

import contextlib
import functools
import gzip
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from config.bookkeeping import DATA_DICTIONARY
from config.warehouse import TABLES
from tasks.freshness.snapshot import Snapshot
from tasks.freshness.task import FreshTask, walk
from tasks.graph import AllReports
from tasks.run.recording import state
from tasks.warehouse.tables import dictionary_rows
from tests.conftest import Project, make_project, read_settings_again
from tests.result import WRAPPERS

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


def new_random(variable: str) -> random.Random:
    """Random numbers of a seed that is printed, or of the one in the environment."""
    seed = os.environ.get(variable) or str(random.SystemRandom().randrange(10**6))
    print(f"{variable}={seed}", flush=True)
    return random.Random(seed)


def paths(project: Project) -> set[Path]:
    """All that runs have made, but for the logs and the scheduler's state."""
    found = {path.relative_to(project.folder) for path in project.folder.rglob("*")}
    return {path for path in found if path.parts[0] != "logs" and "luigid" not in path.name}


def assert_tables_are_whole(project: Project, known: Sequence[Mapping[str, object]]) -> int:
    """Each table has its rows of one of the known states; how many rows."""
    if not project.database.exists():
        return 0
    assert project.query("PRAGMA integrity_check") == [("ok",)]
    assert project.query("PRAGMA foreign_key_check") == []
    tables = project.tables()
    for name, rows in tables.items():
        # Bookkeeping is created empty, before the first load.
        empty = name not in TABLES and not rows
        states = [state[name] for state in known]
        if name == DATA_DICTIONARY.name:  # The load of dim_point adds the rows of its own columns.
            declared = {tuple(row.values()) for row in dictionary_rows()}
            whole = [set(cast("list[tuple]", state)) for state in states]
            states = [rows for state in whole if declared <= set(rows) <= state]
        assert empty or rows in states, name
    return sum(map(len, tables.values()))


def add_partition(project: Project, name: str, text: str, source: str = "LOG_RCD_F") -> Path:
    """Write a file into the folder of a source, packed if its name says so."""
    path = project.data / source / name
    path.parent.mkdir(exist_ok=True)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8", newline="")
    return path
