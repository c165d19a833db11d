"""`python -m tasks status`, `plan` and `history`: what is up to date, would run, and has run."""

from __future__ import annotations

import json
from typing import NamedTuple

from config.sources import SOURCES
from tasks.freshness.snapshot import Snapshot
from tasks.freshness.task import walk
from tasks.graph import AllReports
from tasks.run.console import print_lines
from tasks.run.history import read_history
from tasks.run.outcome import SUCCEEDED, first_line, last_outcome
from tasks.run.recording import state
from tasks.run.settings import reports_dir
from tasks.run.source_settings import source
from tasks.state import BUILT, FAILED, UNCHANGED

_PRINTED_RUNS = 20


class TaskStatus(NamedTuple):
    """Whether a task has to run.

    Attributes:
        task: Its label.
        stale: Why it has to run; None if it has not.
        failed: The error of its last run, if that failed.
        seconds: How long its last build took; None if none is recorded.
    """

    task: str
    stale: str | None
    failed: str | None
    seconds: float | None


def task_statuses() -> list[TaskStatus]:
    """Each task, what it requires before it. Changes nothing."""
    for name in SOURCES:
        source(name)  # A configuration that cannot be used is reported first.
    snapshot = Snapshot(state())
    last = snapshot.state.last_runs(BUILT, UNCHANGED, FAILED)
    built = snapshot.state.last_runs(BUILT)
    return [
        TaskStatus(
            task.label,
            task.why_stale(snapshot),
            run.why if (run := last.get(task.label)) and run.status == FAILED else None,
            built[task.label].seconds if task.label in built else None,
        )
        for task in walk(AllReports())
    ]


def status(*, as_json: bool, only_stale: bool, quiet: bool) -> int:
    """Print each task, fresh or stale, and why; 1 if `quiet` and any is stale."""
    tasks = task_statuses()
    shown = [task for task in tasks if task.stale or not only_stale]
    stale = sum(task.stale is not None for task in tasks)
    if quiet:
        return 1 if stale else 0
    if as_json:
        print_lines([json.dumps([task._asdict() for task in shown], indent=1)])
        return 0
    width = max(len(task.task) for task in tasks)
    for task in shown:
        line = "fresh" if task.stale is None else f"stale: {task.stale}"
        if task.stale and task.failed:
            line += f"; failed: {first_line(task.failed)}"
        print_lines([f"{task.task:<{width}}  {line}"])
    print_lines([f"{len(tasks) - stale} of {len(tasks)} tasks are fresh."])
    if (last := last_outcome(reports_dir())) is not None and last.status != SUCCEEDED:
        print_lines([last.describe()])
    return 0


def plan() -> int:
    """Print what a run would do, in order, why, and how long it took the last time.

    A task that is stale only since another one has to run may find nothing new.
    """
    stale = [task for task in task_statuses() if task.stale]
    width = max((len(task.task) for task in stale), default=0)
    for place, task in enumerate(stale, start=1):
        took = "never built" if task.seconds is None else f"took {task.seconds:.1f} s"
        print_lines([f"{place:>3}  {task.task:<{width}}  {took}: {task.stale}"])
    seconds = sum(task.seconds or 0 for task in stale)
    print_lines(
        [f"{len(stale)} tasks would run; the last time they took {seconds:.1f} s together."]
        if stale
        else ["Everything is up to date: nothing would run."]
    )
    return 0


def history() -> int:
    """Print the newest runs of everything, and what the data was after each; oldest first."""
    runs = read_history(reports_dir())
    if not runs:
        print_lines(["No run is recorded yet."])
        return 0
    line = "{:<16} {:>7} {:<9} {:>8} {:>10} {:>11} {:>7} {:>5}"
    header = ("began (UTC)", "seconds", "status", "tasks", "records", "quarantined", "unknown")
    print_lines([line.format(*header, "fails")])
    for run in runs[-_PRINTED_RUNS:]:
        tasks = (run.built, run.unchanged, run.failed)
        cells = (
            run.began[:16].replace("T", " "),
            _text(run.seconds, ",.1f"),
            run.status,
            "/".join(_text(count) for count in tasks) if None not in tasks else "",
            _text(run.log_records),
            _text(run.quarantined),
            _text(run.unknown_share, ".1%"),
            _text(run.failed_assumptions),
        )
        print_lines([line.format(*cells).rstrip()])
    print_lines(
        [
            "",
            "tasks    built/unchanged/failed",
            "unknown  share of the log records without a unit",
            "fails    assumptions about the data that do not hold",
            f"All {len(runs):,} runs are in {reports_dir() / 'history.csv'}.",
        ]
    )
    return 0


def _text(number: float | None, how: str = ",") -> str:
    return "" if number is None else format(number, how)
