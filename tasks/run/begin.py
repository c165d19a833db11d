"""The beginning of a run: logging, the terminal, the report at the end; and of each task's run."""

from __future__ import annotations

import atexit
import logging
import sys
from multiprocessing import parent_process
from types import TracebackType

import luigi.worker
from luigi.setup_logging import DaemonLogging

from tasks.run.end import end_run
from tasks.run.logs import UNCAUGHT_IN, LogFile, console_handler
from tasks.run.recording import explain
from tasks.run.settings import logs_dir
from tasks.run.terminal import open_terminal, terminal
from tasks.state import current_run

_INTERRUPTED = 130

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
    sys.excepthook = _report_interruption
    atexit.register(end_run, uncaught, file)
    return [console, file]


def _report_interruption(
    kind: type[BaseException], error: BaseException, at: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        logger.warning("Interrupted. What is done stays; the next run does the rest.")
        return
    if (screen := terminal()) is not None:
        screen.finish()
    sys.__excepthook__(kind, error, at)


class RunningTask:
    """What Luigi puts around each run of a task, in its process: Arrow set up, a bar if it lasts.

    Args:
        process: Luigi's, of the task.
    """

    def __init__(self, process: luigi.worker.TaskProcess):
        self._label = str(process.task)

    def __enter__(self) -> None:
        from tasks.core.arrow import configure_arrow

        configure_arrow()
        if (screen := terminal()) is not None:
            if parent_process() is not None:
                screen.enter_worker()
            screen.show_bar(self._label)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if (screen := terminal()) is not None:
            screen.end_bar(self._label)
        if kind is KeyboardInterrupt and parent_process() is not None:
            sys.exit(_INTERRUPTED)  # The first process reports it.
