"""The beginning of a run, and of each task's run; its end: the results, and last the failures."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from types import TracebackType

import luigi.worker
from luigi.setup_logging import DaemonLogging

from tasks.core.errors import PipelineError, cleaned
from tasks.core.files import remove_leftovers
from tasks.core.stores import StorePath
from tasks.core.waiting import no_task, report_waits_of
from tasks.run.history import keep_interrupted, keep_run
from tasks.run.hooks import run_hook
from tasks.run.logs import UNCAUGHT_IN, LogFile, console_handler
from tasks.run.marks import mark_page, mark_page_at_end
from tasks.run.outcome import SUCCEEDED, RunOutcome
from tasks.run.progress import Progress
from tasks.run.recording import explain, state
from tasks.run.settings import command_after, lock_dir, logs_dir, reports_dir, settings, staging_dir
from tasks.run.signals import before_stop, ending_with, exit_status, last_line
from tasks.run.terminal import open_terminal, terminal
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


class RunHandler(logging.Handler):
    """All log lines of a run. Luigi creates it when a run starts, as `config/logging.cfg` says.

    `luigi` calls nothing else of this project before tasks are scheduled, and imports have no side
    effects; so the run begins here.
    """

    def __init__(self) -> None:
        super().__init__()
        self._uncaught: list[str] = []
        self._handlers = begin_run(self._uncaught)

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a line on; keep an error that no task raised, for which Luigi has no event."""
        if record.funcName == UNCAUGHT_IN and record.exc_info and record.exc_info[1]:
            self._uncaught.append(explain(record.exc_info[1]))
        for handler in self._handlers:
            handler.handle(record)


def begin_run(uncaught: list[str]) -> list[logging.Handler]:
    """Begin a run; it ends with the process.

    Args:
        uncaught: Errors that no task raised, of which the end of the run reports.

    Returns:
        What log lines are passed on to.
    """
    if DaemonLogging._configured:  # This process is luigid.
        return [console_handler(sys.stderr)]
    current_run()  # Names the run, for the processes of its tasks too.
    logging.captureWarnings(True)  # Written by themselves, they would damage the bars.
    screen = open_terminal(sys.stderr)
    console = console_handler(sys.stderr if screen is None else screen)
    file = LogFile(logs_dir())
    sys.excepthook = _finish_screen_and_report
    outcome = RunOutcome(reports_dir())
    keep_interrupted(reports_dir(), outcome.before)
    if outcome.before is not None and outcome.before.is_killed:
        what = f"{outcome.before.describe()} What it had not done is done now."
        record = logger.makeRecord(logger.name, logging.WARNING, "", 0, what, (), None)
        for handler in (console, file):
            handler.handle(record)
    before_stop(partial(_note_stop, file, outcome))
    if isinstance(staging_dir(), StorePath):
        # It has a handler, too; the one that is registered last is called first.
        importlib.import_module("pyarrow.fs")
    atexit.register(end_run, uncaught, file, outcome)
    return [console, file]


def _note_stop(file: LogFile, outcome: RunOutcome, number: int) -> None:
    """Remove the bars and write to the log file, without a lock: the main thread may hold any."""
    if (screen := terminal()) is not None:
        screen.finish()
    line = last_line(number)
    file.append(logger.makeRecord(logger.name, logging.WARNING, "", 0, line, (), None))
    # Not even the page's lock: the main thread may be held in a fork, whose end a lock file waits
    # for. If another run replaces the page meanwhile, the next one builds it.
    if (stopped := outcome.stop(exit_status(number))) is not None:
        mark_page(reports_dir(), stopped)


def _finish_screen_and_report(
    kind: type[BaseException], error: BaseException, at: TracebackType | None
) -> None:
    if (screen := terminal()) is not None:
        screen.finish()
    sys.__excepthook__(kind, error, at)


class RunningTask:
    """What Luigi puts around each run of a task, in its process: Arrow set up, a bar, its waits.

    Args:
        process: Luigi's, of the task.
    """

    def __init__(self, process: luigi.worker.TaskProcess):
        self._label = str(process.task)
        self._progress = Progress(process.task)

    def __enter__(self) -> None:
        from tasks.core.memory import configure_arrow

        configure_arrow()
        if (screen := terminal()) is not None:
            if parent_process() is not None:
                screen.enter_worker()
            screen.show_bar(self._label)
        report_waits_of(self._label, self._progress.show)

    def __exit__(self, *_: object) -> None:
        no_task()
        if (screen := terminal()) is not None:
            screen.end_bar(self._label)


# --- the end ---------------------------------------------------------------------------------


def end_run(uncaught: Sequence[str], log: LogFile, outcome: RunOutcome) -> None:
    """Remove bars and leftover files, and report on the run; failures in full, and last.

    Args:
        uncaught: Errors that no task raised.
        log: Where tracebacks are.
        outcome: Where the outcome is written.
    """
    if (screen := terminal()) is not None:
        screen.finish()
    with contextlib.suppress(PipelineError, OSError):  # The next run tries again.
        remove_leftovers(staging_dir(), settings().reports_dir, lock_dir())
    try:
        runs = state().task_runs(current_run())
    except PipelineError as error:
        logger.error("%s", error)
        runs = []
    statuses = [run.status for run in runs]
    is_whole = any(run.task == _EVERYTHING and run.status in (BUILT, FRESH) for run in runs)
    failures = [(run.task, run.why) for run in runs if run.status in (FAILED, UNSCHEDULED)]
    failures += [("", why) for why in uncaught]
    summary = f"{summarise(statuses)} It took {outcome.seconds:,.1f} s."
    if is_whole:  # The console has it in the results.
        log.handle(logger.makeRecord(logger.name, logging.INFO, "", 0, summary, (), None))
    elif statuses:
        logger.info("%s", summary)
    ended = outcome.end(ending_with(), statuses, failures)
    if is_whole or ended.status != SUCCEEDED:  # Else what an earlier run failed of may still fail.
        keep_run(reports_dir(), ended, outcome.seconds)
        mark_page_at_end(reports_dir(), ended)
    with contextlib.suppress(BrokenPipeError):  # Nobody reads on, as with `| head`.
        if is_whole:
            from tasks.run.console import print_results

            print_results(settings(), summary, in_full=BUILT in statuses)
        if failures:
            lines = _describe(failures, statuses.count(PENDING), log.path)
            print(cleaned("\n".join(lines)), file=sys.stderr, flush=True)
    hook = "on_success" if ended.status == SUCCEEDED else "on_failure"
    run_hook(hook, command_after(hook), ended.to_json())


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
