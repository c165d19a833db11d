"""What became of each task of a run, recorded in the state file by all its processes."""

from __future__ import annotations

import logging
import re
import signal
import traceback
from datetime import UTC, datetime, timedelta

import luigi

from tasks.core.errors import PipelineError
from tasks.run.settings import max_state_wait, state_dir
from tasks.run.terminal import terminal
from tasks.state import BUILT, FAILED, RUNNING, UNCHANGED, UNSCHEDULED, State, TaskRun, current_run

logger = logging.getLogger("pipeline")


def state() -> State:
    """The state file of all runs in this folder."""
    return State(state_dir() / "state.db", max_state_wait())


def record(task: str, status: str, started_at: str = "", seconds: float = 0, why: str = "") -> bool:
    """Record what became of a task so far; False if it cannot be stored."""
    try:
        state().record(TaskRun(current_run(), task, status, started_at, seconds, why))
    except PipelineError:
        return False
    return True


def record_failure(task: str, status: str, why: str) -> None:
    """Record a failure, which is reported at the end of the run; at once if it cannot be stored."""
    what = f"{task} {'cannot be scheduled' if status == UNSCHEDULED else 'failed'}"
    if record(task, status, why=why):
        logger.error("%s", what)
    else:
        logger.error("%s:\n%s", what, why)


def explain(error: BaseException) -> str:
    """An error as it is recorded: a PipelineError by its message, others with their traceback."""
    if isinstance(error, PipelineError):
        return str(error)
    return "".join(traceback.format_exception(error))


# --- Luigi's events, in the process of the task but for the end of that process ---------------


@luigi.Task.event_handler(luigi.Event.START)
def _record_start(task: luigi.Task) -> None:
    record(str(task), RUNNING, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}")


@luigi.Task.event_handler(luigi.Event.PROCESSING_TIME)
def _record_success(task: luigi.Task, seconds: float) -> None:
    started_at = datetime.now(UTC) - timedelta(seconds=seconds)
    status = BUILT if getattr(task, "built", True) else UNCHANGED
    record(str(task), status, f"{started_at:%Y-%m-%d %H:%M:%S}", round(seconds, 3))


@luigi.Task.event_handler(luigi.Event.FAILURE)
def _record_error(task: luigi.Task, error: BaseException) -> None:
    record_failure(str(task), FAILED, explain(error))


@luigi.Task.event_handler(luigi.Event.BROKEN_TASK)
def _record_unscheduled(task: luigi.Task, error: BaseException) -> None:
    record_failure(str(task), UNSCHEDULED, explain(error))


@luigi.Task.event_handler(luigi.Event.PROCESS_FAILURE)
@luigi.Task.event_handler(luigi.Event.TIMEOUT)
def _record_end_of_process(task: luigi.Task, message: str) -> None:
    if (screen := terminal()) is not None:
        screen.end_bar(str(task))
    record_failure(str(task), FAILED, _explain_end(message.replace(task.task_id, str(task))))


def _explain_end(message: str) -> str:
    """Luigi's message on a process that ended, with the name of the signal that ended it.

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
