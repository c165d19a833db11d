"""What came of a run: noted by all its processes, told by the first of them when it ends.

Tasks fail in processes of their own, and what a person has to read then belongs at the end, not
into the middle of what other tasks tell. So failures are noted in a file that is there for this run
only, whose place the environment names. At the end come one line on the tasks, the results, and
last the failures, each in full.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import re
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import luigi

from tasks.core.errors import PipelineError, cleaned
from tasks.run.terminal import end_bar

_VARIABLE = "PIPELINE_OUTCOME"

_INFORMED = "Informed scheduler that task"
_UNSCHEDULED = re.compile(
    r"Will not run (?P<task>.+?) or any dependencies due to error in \w+\(\) method:\n"
    r"(?P<traceback>.*)",
    re.DOTALL,
)
_UNCAUGHT = "Uncaught exception in luigi"
_UNEXPECTED = "Luigi unexpected framework error"
_RAISED = f"{PipelineError.__module__}.{PipelineError.__name__}: "

logger = logging.getLogger("pipeline")


class Outcome:
    """What came of the run that this process started.

    Args:
        finish: Called when the run has ended, before anything is told.
        show_results: Called then if there are results.
        log_path: Tells where tracebacks are; None if nowhere.
    """

    def __init__(
        self,
        finish: Callable[[], None],
        show_results: Callable[[], None],
        log_path: Callable[[], Path | None],
    ):
        self._process = os.getpid()
        self._finish = finish
        self._show_results = show_results
        self._log_path = log_path
        self._statuses: dict[str, list[str]] = {}
        # Made by the first who has something to note.
        name = f"pipeline-{os.getpid()}-{os.urandom(8).hex()}.jsonl"
        self._path = Path(tempfile.gettempdir()) / name
        os.environ[_VARIABLE] = str(self._path)
        atexit.register(self.tell)
        self._former_hook = sys.excepthook
        sys.excepthook = self._tell_of_end

    def takes(self, record: logging.LogRecord) -> bool:
        """Whether one of Luigi's lines is about the run's outcome, and is told at its end."""
        message = record.getMessage()
        if message.startswith(_INFORMED) and isinstance(record.args, tuple):
            task_id, status = map(str, record.args)
            self._statuses.setdefault(task_id, []).append(status)
            return True
        if found := _UNSCHEDULED.fullmatch(message):
            logger.error("%s cannot be scheduled", found["task"])
            _note_failure(found["task"], found["traceback"])
            return True
        if message == _UNCAUGHT and record.exc_info:
            _note_failure("", "".join(traceback.format_exception(*record.exc_info)))
            return True
        # The ones are noted where they fail, the others are told by an uncaught exception.
        return " failed    " in message or message.startswith(_UNEXPECTED)

    def tell(self) -> None:
        """Tell of the run, the last thing that it does."""
        if os.getpid() != self._process:
            return
        os.environ.pop(_VARIABLE, None)
        self._finish()
        notes = self._take_notes()
        failures = {(note["failed"], note["why"]): None for note in notes if "failed" in note}
        if self._statuses:
            unchanged = len({note["unchanged"] for note in notes if "unchanged" in note})
            logger.info("%s", summarise(self._statuses.values(), unchanged))
        if {"results": True} in notes:
            self._show_results()
        if failures:
            pending = sum(history[-1] == "PENDING" for history in self._statuses.values())
            lines = _describe(list(failures), pending, self._log_path())
            print("\n".join(lines), file=sys.stderr, flush=True)

    def _take_notes(self) -> list[dict[str, Any]]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        self._path.unlink()
        notes = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError):  # Its process was killed in the middle of it.
                notes.append(json.loads(line))
        return notes

    def _tell_of_end(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        """Tell of an exception that ends the process, once nothing else is being written."""
        self._finish()
        if issubclass(kind, KeyboardInterrupt):
            logger.warning("Interrupted. What is done stays; the next run does the rest.")
        else:
            self._former_hook(kind, error, trace)


def summarise(histories: Iterable[list[str]], unchanged: int) -> str:
    """What became of the tasks, in a line.

    Args:
        histories: Of each task, the states that Luigi gave it.
        unchanged: How many of those that ran found nothing to do.

    >>> done = ["PENDING", "DONE"]
    >>> summarise([["DONE"], done, done, done, ["PENDING", "FAILED"], ["PENDING"]], 1)
    '6 tasks: 2 built, 1 found nothing new, 1 was up to date, 1 failed, 1 did not run.'
    >>> summarise([["DONE"]], 0)
    'Everything is up to date.'
    """
    ends = Counter((len(history) > 1, history[-1]) for history in histories)
    if set(ends) == {(False, "DONE")}:
        return "Everything is up to date."
    fresh = ends[False, "DONE"]
    counts = [
        (ends[True, "DONE"] - unchanged, "built"),
        (unchanged, "found nothing new"),
        (fresh, "was up to date" if fresh == 1 else "were up to date"),
        (ends[False, "UNKNOWN"], "could not be scheduled"),
        (ends[True, "FAILED"], "failed"),
        (ends[False, "PENDING"] + ends[True, "PENDING"], "did not run"),
    ]
    told = ", ".join(f"{count:,} {what}" for count, what in counts if count)
    return f"{ends.total():,} {'task' if ends.total() == 1 else 'tasks'}: {told}."


def _describe(
    failures: list[tuple[str, str]], pending: int, log_path: Path | None
) -> Iterator[str]:
    """Lines on the tasks that failed.

    Args:
        failures: Task, or nothing if it was none, and the text of its error with whatever
            traceback it has.
        pending: Tasks that did not run.
        log_path: Where tracebacks are; None if they have to be told here.
    """
    failed = len({task for task, _ in failures if task})
    tasks = "1 task failed" if failed == 1 else f"{failed:,} tasks failed"
    because = f"; {pending:,} did not run because of {'it' if failed == 1 else 'them'}"
    yield ""
    yield f"{tasks if failed else 'The run failed'}{because if pending else ''}:"
    for task, why in failures:
        yield ""
        if task:
            yield task
        message = _message(why)
        if message is not None:
            yield cleaned(message)
        elif log_path is None:
            yield cleaned(why.rstrip())
        else:
            yield cleaned(why.rstrip().splitlines()[-1])
            yield f"The traceback is in {log_path}."


def _message(why: str) -> str | None:
    """What people have to know of an error; None if only its traceback tells that."""
    _, raised, message = why.rpartition(_RAISED)
    if raised:
        return message.rstrip()
    return None if why.startswith("Traceback ") else why.rstrip()


# --- notes, by any process -------------------------------------------------------------------


def note(**content: object) -> bool:
    """Note something for the end of the run; False if nobody tells of it there."""
    path = os.environ.get(_VARIABLE)
    if path is None:
        return False
    line = json.dumps(content) + "\n"
    try:
        # Appended in one piece: others note things too.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    except OSError as error:  # Then it is told here and now.
        logger.warning("Nothing can be noted in %s (%s): %s", path, error, line.rstrip())
    return True


def _note_failure(task: str, why: str) -> None:
    note(failed=task, why=why)


@luigi.Task.event_handler(luigi.Event.FAILURE)
def note_exception(task: luigi.Task, error: BaseException) -> None:
    """Note why a task failed, in the process where it did."""
    logger.error("%s failed", task)
    _note_failure(str(task), "".join(traceback.format_exception(error)))


@luigi.Task.event_handler(luigi.Event.PROCESS_FAILURE)
@luigi.Task.event_handler(luigi.Event.TIMEOUT)
def note_end_of_process(task: luigi.Task, message: str) -> None:
    """Note that a task's process came to an end before the task did."""
    end_bar(str(task))
    logger.error("%s failed", task)
    _note_failure(str(task), _explain_end(message.replace(task.task_id, str(task))))


def _explain_end(message: str) -> str:
    """What Luigi says of a process that ended, with the name of the signal that ended it.

    >>> print(_explain_end("Task POINT died unexpectedly with exit code -9"))
    Task POINT died unexpectedly with exit code -9 (SIGKILL).
    Was there too little memory? Nothing was replaced; run again.
    """
    found = re.search(r"exit code -(\d+)$", message)
    if not found:
        return message
    names = {number.value: number.name for number in signal.Signals}
    name = names.get(int(found[1]), f"signal {found[1]}")
    memory = "Was there too little memory? " if name == "SIGKILL" else ""
    return f"{message} ({name}).\n{memory}Nothing was replaced; run again."
