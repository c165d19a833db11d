"""How the last run ended, for operators: `last_run.json`, and the first line of the page.

`docs/last_run.schema.json` describes the file. The page keeps the figures of the last run that
built it; if a later one failed or was stopped, its first line says so.
"""

from __future__ import annotations

import contextlib
import html
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from tasks.core.files import temporary_path
from tasks.run.settings import lock_dir
from tasks.state import current_run

RUNNING, SUCCEEDED, FAILED, STOPPED = "running", "succeeded", "failed", "stopped"

_BEGIN, _END = "<!-- last run -->", "<!-- end of last run -->"

_PAGE_TASK = "ReportPage"

_MARKED = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}".encode(), re.DOTALL)

logger = logging.getLogger("pipeline")


class Outcome(NamedTuple):
    """What `last_run.json` holds.

    Attributes:
        run: The name of the run.
        status: RUNNING, SUCCEEDED, FAILED or STOPPED (by a signal).
        pid: Its process.
        exit_code: Its exit status; None while it runs.
        began: When, such as 2024-06-01T12:00:00Z.
        ended: When; None while it runs.
        tasks: What became of its tasks -> how many.
        failures: The task ("" if it was none) and error of each failure.
    """

    run: str
    status: str
    pid: int
    exit_code: int | None
    began: str
    ended: str | None
    tasks: dict[str, int]
    failures: list[dict[str, str]]

    @property
    def is_killed(self) -> bool:
        """Whether its process is gone though it did not end."""
        # In a container each run may have the same pid.
        is_gone = self.pid == os.getpid() and self.run != current_run()
        return self.status == RUNNING and (is_gone or not _is_alive(self.pid))

    def to_json(self) -> str:
        """The content of the file."""
        return json.dumps(self._asdict(), indent=1) + "\n"

    def describe(self) -> str:
        """One line, such as: The last run failed (...): POINT: POINT.csv is damaged."""
        if self.is_killed:
            return f"The run that began at {self.began} was killed (process {self.pid})."
        if self.status == RUNNING:
            return f"A run that began at {self.began} is under way (process {self.pid})."
        verb = "was stopped" if self.status == STOPPED else self.status
        what = f"The last run {verb} ({self.ended}, exit status {self.exit_code})"
        if not self.failures:
            return f"{what}."
        first = self.failures[0]
        why = first["error"].strip().splitlines()
        line = why[-1] if why[0].startswith("Traceback ") else why[0]
        return f"{what}: {first['task']}: {line}".replace(": : ", ": ")


def last_outcome(reports: Path) -> Outcome | None:
    """How the last run ended, or that it is under way; None if that is unknown."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        content: dict[str, Any] = json.loads((reports / "last_run.json").read_text("utf-8"))
        return Outcome(**{name: content[name] for name in Outcome._fields if name in content})
    return None


class RunOutcome:
    """The outcome of this run. Nothing fails if the reports folder cannot be written to.

    Args:
        reports: The reports folder.
    """

    def __init__(self, reports: Path):
        self._reports = reports
        self._began = _now()
        before = last_outcome(reports)
        if before is not None and before.is_killed:
            logger.warning("%s What it had not done is done now.", before.describe())
        self._write(RUNNING, None, {}, [])

    def end(
        self, exit_code: int, statuses: Sequence[str], failures: Sequence[tuple[str, str]]
    ) -> Outcome:
        """The run has ended by itself; its outcome.

        Args:
            exit_code: Its exit status.
            statuses: What became of each task.
            failures: The task, "" if it was none, and its error.
        """
        status = FAILED if exit_code or failures else SUCCEEDED
        listed = [{"task": task, "error": error} for task, error in failures]
        return self._write(status, exit_code, dict(Counter(statuses)), listed)

    def stop(self, exit_code: int) -> None:
        """The run ends by a signal. Called in another thread."""
        self._write(STOPPED, exit_code, {}, [])

    def _write(
        self,
        status: str,
        exit_code: int | None,
        tasks: dict[str, int],
        failures: list[dict[str, str]],
    ) -> Outcome:
        ended = None if status == RUNNING else _now()
        outcome = Outcome(
            current_run(), status, os.getpid(), exit_code, self._began, ended, tasks, failures
        )
        with contextlib.suppress(OSError):
            self._reports.mkdir(parents=True, exist_ok=True)
            content = outcome.to_json().encode("utf-8", "replace")
            _replace(self._reports / "last_run.json", content)
            if status != RUNNING:
                _mark_page(self._reports / "index.html", outcome)
        return outcome


def unmarked(page: bytes) -> bytes:
    """A page without the line on the last run."""
    return _MARKED.sub(b"", page, count=1)


def _mark_page(path: Path, outcome: Outcome) -> None:
    line = ""
    if outcome.status != SUCCEEDED:
        text = f"{outcome.describe()} The figures below are of the last run that succeeded."
        line = f'<p class="last-run" role="alert">{html.escape(text)}</p>'
    marked = f"{_BEGIN}{line}{_END}".encode("utf-8", "replace")
    # If another run builds the page, the end of that run marks it.
    with contextlib.suppress(Timeout), FileLock(lock_dir() / f"{_PAGE_TASK}.lock", timeout=0):
        before = path.read_bytes()
        after = _MARKED.sub(lambda _: marked, before, count=1)
        if after != before:
            _replace(path, after)


def _replace(path: Path, content: bytes) -> None:
    temporary = temporary_path(path)
    temporary.write_bytes(content)
    temporary.replace(path)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # There a signal of 0 is Ctrl-C.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # Another user's.
    return True
