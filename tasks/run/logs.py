"""Where log lines go: to the console what people need, to a file in `logs/` everything.

The console has the pipeline's own lines, and Luigi's warnings. The file, one for each run, has
Luigi's other lines and all tracebacks too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import textwrap
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from tasks.core.errors import cleaned
from tasks.run.terminal import Terminal

KEPT = 10
"""How many log files are kept."""

NEWEST = "pipeline.log"
"""Name of a link to the newest one."""

LINE_CHARACTERS = 80
"""So wide is the console."""

UNCAUGHT_IN = "run_with_retcodes"
"""Luigi's function that logs an error which no task raised."""

_REPORTED_AT_END = (
    UNCAUGHT_IN,
    "_handle_run_exception",
    "_log_complete_error",
    "_log_dependency_error",
)
"""Luigi's functions that log errors which the end of the run reports in full."""

logger = logging.getLogger("pipeline")


def console_handler(stream: TextIO | Terminal) -> logging.Handler:
    """Shows lines to people."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(_is_for_people)
    handler.setFormatter(ConsoleFormatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    return handler


def _is_for_people(record: logging.LogRecord) -> bool:
    if record.name.partition(".")[0] not in ("luigi", "luigi-interface"):
        return True
    return record.levelno >= logging.WARNING and record.funcName not in _REPORTED_AT_END


class ConsoleFormatter(logging.Formatter):
    """Shows an error by its message alone: tracebacks are in the file."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and no control characters but line breaks."""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        lines = [self.formatMessage(record)]
        if record.exc_info and record.exc_info[1]:
            lines += traceback.format_exception_only(record.exc_info[1])
        first, *others = cleaned("\n".join(lines).rstrip()).split("\n")
        # The others may be lines of luigi.cfg, to be copied.
        return "\n".join([*wrap(first, len("hh:mm:ss ")), *others])


def wrap(line: str, indent: int) -> list[str]:
    """A line as lines of at most 80 characters; words, such as paths, stay whole.

    Args:
        line: What is to be shown on the console.
        indent: Spaces before all lines but the first.
    """
    if len(line) <= LINE_CHARACTERS:
        return [line]
    return textwrap.wrap(
        line,
        LINE_CHARACTERS,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


class LogFile(logging.Handler):
    """Appends lines with their tracebacks to a file of this run's own, each in one piece.

    It is opened before a process is forked, and shared by all of them. If it cannot be written, the
    run goes on without.

    Args:
        folder: Where it is created; all but the newest files there are removed.

    Attributes:
        path: The file; None if nothing is written.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.setFormatter(
            logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
        )
        name = f"pipeline-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.log"
        self.path: Path | None = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            self._give_up(error)
            return
        with contextlib.suppress(OSError):  # Not every system permits links.
            (folder / f".{name}").symlink_to(name)
            (folder / f".{name}").replace(folder / NEWEST)
        remove_old_logs(folder)

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line; the first one that cannot be written is reported."""
        try:
            self.append(record)
        except OSError as error:
            self._give_up(error)

    def append(self, record: logging.LogRecord) -> None:
        """Append a line, with no lock."""
        if self.path is not None:
            text = f"{self.format(record)}\n"
            os.write(self._handle, text.encode("utf-8", "backslashreplace"))

    def _give_up(self, error: OSError) -> None:
        self.path = None
        logger.warning("The log cannot be written, the run goes on without: %s", error)


def remove_old_logs(folder: Path) -> None:
    """Remove all log files but the newest ones; their names begin with the time."""
    for path in sorted(folder.glob("pipeline-*.log"))[:-KEPT]:
        with contextlib.suppress(OSError):  # Another run may remove it too.
            path.unlink()
