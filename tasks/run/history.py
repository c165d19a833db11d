"""How past runs ended: `reports/history.csv`, a line for each run of everything.

Nothing reads it to decide whether a task is up to date.
"""

from __future__ import annotations

import contextlib
import csv
import encodings.utf_8_sig  # noqa: F401  # The thread that ends a stopped run must not import it.
import math
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from tasks.core.errors import PipelineError
from tasks.core.files import open_regular, read_json, temporary_path, write_csv
from tasks.run.outcome import FAILED, RUNNING, STOPPED, SUCCEEDED, Outcome, last_outcome
from tasks.run.settings import lock_dir, settings
from tasks.state import BUILT, UNCHANGED, UNSCHEDULED
from tasks.state import FAILED as TASK_FAILED

KEPT_RUNS = 400
"""How many runs the file has; the oldest are removed."""

KILLED = "killed"
"""Status of a run whose process ended without a word."""

_FILE = "history.csv"

_LOCK_S = 5
"""Another run has the file for some milliseconds."""

_TEXTS = ("run", "began", "status")

_FRACTIONS = ("seconds", "unknown_share")


class PastRun(NamedTuple):
    """A line of the file. Figures are of the data after the run, None unless it succeeded.

    Attributes:
        run: The name of the run.
        began: When, such as 2024-06-01T12:00:00Z.
        seconds: How long it took; None if it was killed.
        status: SUCCEEDED, FAILED, STOPPED (by a signal) or KILLED.
        built: Tasks that built something; None if the run was stopped or killed.
        unchanged: Tasks that found their inputs unchanged; also None then.
        failed: Tasks that failed or could not be scheduled; also None then.
        log_records: Rows of `fact_logs`.
        quarantined: Rows of all sources that were rejected.
        unknown_share: The share of log records without a unit, from 0 to 1.
        failed_assumptions: How many assumptions do not hold.
    """

    run: str
    began: str
    seconds: float | None
    status: str
    built: int | None = None
    unchanged: int | None = None
    failed: int | None = None
    log_records: int | None = None
    quarantined: int | None = None
    unknown_share: float | None = None
    failed_assumptions: int | None = None


def read_history(reports: Path) -> list[PastRun]:
    """The runs in the file, oldest first, and the last run if it ended without adding its line.

    Lines that cannot be read are left out; a file that is missing or damaged has none.
    """
    runs = {run.run: run for run in _read_lines(reports / _FILE)}
    last = last_outcome(reports)
    if last is not None and (last.status in (FAILED, STOPPED) or last.is_killed):
        runs.setdefault(last.run, _past_run(last))
    return list(runs.values())


def keep_interrupted(reports: Path, before: Outcome | None) -> None:
    """Add a line for the run before, if that was stopped or killed: it could not add its own."""
    if before is not None and (before.status == STOPPED or before.is_killed):
        _add(reports, _past_run(before))


def keep_run(reports: Path, outcome: Outcome, seconds: float) -> None:
    """Add a line for a run of everything that has ended, or for any run that failed.

    Args:
        reports: The reports folder. Nothing fails if it cannot be written to.
        outcome: How the run ended.
        seconds: How long it took.
    """
    counts = outcome.tasks
    past = _past_run(outcome)._replace(
        seconds=round(seconds, 1),
        built=counts.get(BUILT, 0),
        unchanged=counts.get(UNCHANGED, 0),
        failed=counts.get(TASK_FAILED, 0) + counts.get(UNSCHEDULED, 0),
    )
    if outcome.status == SUCCEEDED:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            totals = read_json(reports / "run.json")["totals"]
            records = totals["facts"]
            past = past._replace(
                log_records=records,
                quarantined=totals["rows_quarantined"],
                unknown_share=round(totals["facts_unknown"]["unit_id"] / max(records, 1), 6),
                failed_assumptions=totals["assumptions"]["fail"],
            )
    _add(reports, past)


def _past_run(outcome: Outcome) -> PastRun:
    """How a run ended, without counts and figures; its seconds are whole."""
    seconds = None
    with contextlib.suppress(ValueError, TypeError):  # The file may hold anything.
        times = [datetime.fromisoformat(text) for text in (outcome.began, outcome.ended or "")]
        seconds = (times[1] - times[0]).total_seconds()
    status = KILLED if outcome.status == RUNNING else outcome.status
    return PastRun(outcome.run, outcome.began, seconds, status)


def _add(reports: Path, past: PastRun) -> None:
    path = reports / _FILE
    # The name is this process's own, as a run that was killed may have left one.
    temporary = temporary_path(path.with_name(f"{os.getpid()}-{_FILE}"))
    with contextlib.suppress(OSError, Timeout), FileLock(lock_dir() / "history.lock", _LOCK_S):
        runs = {run.run: run for run in [*_read_lines(path), past]}
        rows = [run._asdict() for run in runs.values()]
        write_csv(temporary, PastRun._fields, rows[-KEPT_RUNS:], _bom())
        temporary.replace(path)


def _bom() -> bool | None:
    """What the settings say of CSV files, if they can be used."""
    try:
        return settings().csv_bom
    except PipelineError:
        return None


def _read_lines(path: Path) -> Iterator[PastRun]:
    with (
        contextlib.suppress(OSError, csv.Error),
        open(  # noqa: PTH123  # Path.open has no opener.
            path, encoding="utf-8-sig", errors="replace", newline="", opener=open_regular
        ) as stream,
    ):
        for row in csv.DictReader(stream):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                yield _parse(row)


def _parse(row: dict[str, str]) -> PastRun:
    datetime.fromisoformat(row["began"])
    if row["status"] not in (SUCCEEDED, FAILED, STOPPED, KILLED) or not row["run"].isprintable():
        raise ValueError(row)
    numbers: dict[str, Any] = {
        name: (float if name in _FRACTIONS else int)(row[name]) if row[name] else None
        for name in PastRun._fields
        if name not in _TEXTS
    }
    if not all(number is None or 0 <= number < math.inf for number in numbers.values()):
        raise ValueError(row)
    return PastRun(run=row["run"], began=row["began"], status=row["status"], **numbers)
