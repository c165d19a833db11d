"""How the last run ended, for operators: `last_run.json`.

`docs/last_run.schema.json` describes the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tasks.core.files import open_regular, temporary_path
from tasks.state import current_run

RUNNING, SUCCEEDED, FAILED, STOPPED = "running", "succeeded", "failed", "stopped"


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
        return ": ".join(filter(None, (what, first["task"], first_line(first["error"]))))


def first_line(error: str) -> str:
    r"""The line that says most of an error: the last one of a traceback.

    >>> first_line("POINT.csv was rejected:\n  column 'point_id' is missing\nFix it.")
    "POINT.csv was rejected: column 'point_id' is missing"
    """
    lines = error.strip().splitlines() or [""]
    if lines[0].startswith("Traceback "):
        return lines[-1]
    return " ".join(line.strip() for line in lines[: 2 if lines[0].endswith(":") else 1])


def last_outcome(reports: Path) -> Outcome | None:
    """How the last run ended, or that it is under way; None if that is unknown."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        content: dict[str, Any] = json.loads(read_bytes(reports / "last_run.json"))
        outcome = Outcome(**{name: content[name] for name in Outcome._fields})
        errors = [text for one in outcome.failures for text in (one["task"], one["error"])]
        texts = (outcome.run, outcome.status, outcome.began, *errors)
        is_pid = type(outcome.pid) is int and 0 < outcome.pid < 1 << 31
        return outcome if is_pid and all(isinstance(text, str) for text in texts) else None
    return None


class RunOutcome:
    """The outcome of this run. Nothing fails if the reports folder cannot be written to.

    Args:
        reports: The reports folder.
    """

    def __init__(self, reports: Path):
        self._reports = reports
        self._began = _now()
        self._started = time.monotonic()
        self._has_ended = False
        self.before = last_outcome(reports)
        """How the run before this one ended; None if that is unknown."""
        self._write(RUNNING, None, {}, [])

    @property
    def seconds(self) -> float:
        """How long this run has taken so far."""
        return time.monotonic() - self._started

    def end(
        self,
        exit_code: int,
        statuses: Sequence[str],
        failures: Sequence[tuple[str, str]],
    ) -> Outcome:
        """The run has ended by itself; its outcome.

        Args:
            exit_code: Its exit status.
            statuses: What became of each task.
            failures: The task, "" if it was none, and its error.
        """
        self._has_ended = True
        status = FAILED if exit_code or failures else SUCCEEDED
        listed = [{"task": task, "error": error} for task, error in failures]
        return self._write(status, exit_code, dict(Counter(statuses)), listed)

    def stop(self, exit_code: int) -> Outcome | None:
        """The run ends by a signal; None if it has ended, and a command of the operator's runs."""
        return None if self._has_ended else self._write(STOPPED, exit_code, {}, [])

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
            replace_file(self._reports / "last_run.json", content)
        return outcome


def read_bytes(path: Path) -> bytes:
    """The content of a regular file; anything else is an OSError."""
    with open(path, "rb", opener=open_regular) as stream:  # noqa: PTH123  # Path.open has no opener.
        return stream.read()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file under a name of this process, then give it its own."""
    # Runs may end at once.
    temporary = temporary_path(path.with_name(f"{os.getpid()}-{path.name}"))
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
