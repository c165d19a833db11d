"""Waiting for other programs and runs: reported when it takes long, ended by a limit.

Only a lock that cannot be taken counts as waiting, so slow work is never reported as that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from tasks.core.errors import PipelineError

_Result = TypeVar("_Result")

REPORTED_S = 3.0
"""A wait that takes longer is reported."""

logger = logging.getLogger("pipeline")


class Limit(NamedTuple):
    """How long to wait, in seconds, and the setting in luigi.cfg that says so."""

    seconds: float
    setting: str


OTHERS = Limit(3600.0, "max_wait_s")
"""For other programs that use the warehouse, and for another run at the same task."""

STATE_FILE = Limit(60.0, "max_state_wait_s")
"""For programs that lock the state file, to which runs write for milliseconds."""


class _Reports(NamedTuple):
    label: str
    show: Callable[[str], object]


_task: _Reports | None = None


def report_waits_of(label: str, show: Callable[[str], object]) -> None:
    """Have the waits of this process reported as those of a task, until `no_task`.

    Args:
        label: Of the task, for the console.
        show: Shows a message beside the task in the scheduler.
    """
    global _task
    _task = _Reports(label, show)


def no_task() -> None:
    """Report waits on the console alone: no task runs in this process."""
    global _task
    _task = None


def wait_for(
    attempt: Callable[[float], _Result],
    is_locked: Callable[[Exception], bool],
    obstacle: str,
    limit: Limit,
) -> _Result:
    """Try something until it is not locked any more; its result.

    Args:
        attempt: Tries for so many seconds. It is called again after it has failed.
        is_locked: Whether an error of `attempt` is that of a lock. All others are raised.
        obstacle: What is waited for, such as "another run is at this task".
        limit: How long.

    Raises:
        PipelineError: It is still locked at the limit.
    """
    first = min(REPORTED_S, limit.seconds)
    try:
        return attempt(first)
    except Exception as error:
        if not is_locked(error):
            raise
    try:
        if limit.seconds > first:
            _report(f"{obstacle}; waiting for at most {limit.seconds:,g} s")
        return attempt(limit.seconds - first)
    except Exception as error:
        if not is_locked(error):
            raise
        raise PipelineError(
            f"{obstacle[0].upper()}{obstacle[1:]}; waited for {limit.seconds:,g} s.",
            remedy=f"Run again when it is done. To wait longer, set {limit.setting} in luigi.cfg, "
            "section [pipeline].",
        ) from error


def _report(message: str) -> None:
    if _task is None:
        logger.warning("%s%s", message[0].upper(), message[1:])
    else:
        logger.warning("%s: %s", _task.label, message)
        _task.show(message)
