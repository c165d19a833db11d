"""The end of a run: what became of the tasks, the results, and last the failures."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tasks.core.errors import PipelineError, cleaned
from tasks.run.logs import LogFile
from tasks.run.recording import state
from tasks.run.settings import settings
from tasks.run.terminal import terminal
from tasks.state import (
    BUILT,
    FAILED,
    FRESH,
    PENDING,
    RUNNING,
    UNCHANGED,
    UNSCHEDULED,
    current_run,
)

_EVERYTHING = "AllReports"
"""The task after which there are results to show."""

_TRACEBACK = "Traceback (most recent call last)"

logger = logging.getLogger("pipeline")


def end_run(uncaught: Sequence[str], log: LogFile) -> None:
    """Remove the bars and report on the run; failures in full, and last.

    Args:
        uncaught: Errors that no task raised.
        log: Where tracebacks are.
    """
    if (screen := terminal()) is not None:
        screen.finish()
    try:
        runs = state().task_runs(current_run())
    except PipelineError as error:
        logger.error("%s", error)
        runs = []
    statuses = [run.status for run in runs]
    if statuses:
        logger.info("%s", summarise(statuses))
    if any(run.task == _EVERYTHING and run.status in (BUILT, FRESH) for run in runs):
        from tasks.run.console import print_results

        print_results(settings())
    failures = [(run.task, run.why) for run in runs if run.status in (FAILED, UNSCHEDULED)]
    failures += [("", why) for why in uncaught]
    if failures:
        lines = _describe(failures, statuses.count(PENDING), log.path)
        print(cleaned("\n".join(lines)), file=sys.stderr, flush=True)


def summarise(statuses: Iterable[str]) -> str:
    """What became of the tasks, in a line.

    >>> summarise([FRESH, BUILT, BUILT, UNCHANGED, FAILED, PENDING])
    '6 tasks: 2 built, 1 found nothing new, 1 was up to date, 1 failed, 1 did not run.'
    >>> summarise([FRESH])
    'Everything is up to date.'
    """
    counts = Counter(statuses)
    if set(counts) == {FRESH}:
        return "Everything is up to date."
    ends = {
        BUILT: "built",
        UNCHANGED: "found nothing new",
        FRESH: "was up to date" if counts[FRESH] == 1 else "were up to date",
        UNSCHEDULED: "could not be scheduled",
        FAILED: "failed",
        RUNNING: "did not end",
        PENDING: "did not run",
    }
    described = ", ".join(
        f"{counts[status]:,} {what}" for status, what in ends.items() if counts[status]
    )
    return f"{counts.total():,} {'task' if counts.total() == 1 else 'tasks'}: {described}."


def _describe(failures: Sequence[tuple[str, str]], pending: int, log: Path | None) -> Iterator[str]:
    """Lines on the failures.

    Args:
        failures: The task, "" if it was none, and its error with the traceback if that has one.
        pending: Tasks that did not run.
        log: Where tracebacks are; None if they are to be shown here.
    """
    failed = sum(1 for task, _ in failures if task)
    tasks = "1 task failed" if failed == 1 else f"{failed:,} tasks failed"
    because = f"; {pending:,} did not run because of {'it' if failed == 1 else 'them'}"
    yield ""
    yield f"{tasks if failed else 'The run failed'}{because if pending else ''}:"
    for task, why in failures:
        yield ""
        if task:
            yield task
        if _TRACEBACK in why and log is not None:
            yield why.rstrip().splitlines()[-1]
            yield f"The traceback is in {log}."
        else:
            yield why.rstrip()
