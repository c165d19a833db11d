"""The record of runs: which task did what, when, and how long it took.

Each task leaves a note when it has run; the notes of one run carry the same name. Nothing is
decided by them: they are only told of.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.core.files import write_atomically
from tasks.freshness.task import FreshTask
from tasks.run.settings import settings

_VARIABLE = "PIPELINE_RUN"

if multiprocessing.parent_process() is None:
    # Workers are told by their environment, however they are started.
    os.environ[_VARIABLE] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}-{os.getpid()}"


def current_run() -> str:
    """The name of the run that is under way: when it began (UTC), and its process."""
    return os.environ.get(_VARIABLE, "")


@dataclass(frozen=True)
class TaskNote:
    """The last time that a task ran.

    Attributes:
        task: Its label.
        run: Of which run.
        built: Whether it built something; else its inputs turned out to be unchanged.
        started_at: When, UTC.
        seconds: How long it took.
    """

    task: str
    run: str
    built: bool
    started_at: str
    seconds: float


def note_task(task: FreshTask, seconds: float) -> None:
    """Leave a note that a task has just run."""
    started = datetime.now(UTC) - timedelta(seconds=seconds)
    note = TaskNote(
        task=task.label,
        run=current_run(),
        built=task.built,
        started_at=f"{started:%Y-%m-%d %H:%M:%S}",
        seconds=round(seconds, 3),
    )
    write_atomically(_path(task.label), json.dumps(asdict(note)) + "\n")


def read_notes(labels: Iterable[str]) -> dict[str, TaskNote]:
    """The notes of some tasks, by label, as far as there are any."""
    notes = {}
    for label in labels:
        try:
            notes[label] = TaskNote(**json.loads(_path(label).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
    return notes


def _path(label: str) -> Path:
    return settings().staging_dir / ".receipts" / "runs" / f"{label.replace(':', '-')}.json"
