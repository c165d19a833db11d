"""Where log lines go: to the console what people need, to a file everything.

The console has the pipeline's own lines, and Luigi's warnings. The file has Luigi's other lines and
all tracebacks too. `config/logging.cfg` puts the two handlers to use.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import TextIO

import filelock
from luigi.setup_logging import DaemonLogging

from tasks.core.errors import PipelineError, cleaned
from tasks.run.outcome import Outcome
from tasks.run.settings import logs_dir, settings
from tasks.run.terminal import open_terminal

MAX_BYTES = 2**20
"""A file larger than this is put aside when a run starts."""

KEPT = 9
"""How many are kept."""

_NAME = "pipeline.log"

logger = logging.getLogger("pipeline")


def _is_run() -> bool:
    """Whether this process runs tasks; Luigi's central scheduler reads the same configuration."""
    return not DaemonLogging._configured


class ConsoleFormatter(logging.Formatter):
    """Shows an error by its message alone: tracebacks are in the file."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and no control characters but line breaks."""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        lines = [self.formatMessage(record)]
        if record.exc_info and record.exc_info[1] is not None:
            lines.append(describe_error(record.exc_info[1]))
        return cleaned("\n".join(lines))


def describe_error(error: BaseException) -> str:
    """An error without its traceback: the message of a PipelineError, of others the name too."""
    if isinstance(error, PipelineError):
        return str(error)
    return "".join(traceback.format_exception_only(error)).rstrip()


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Shows lines on the standard error output, above the bars if it is a terminal.

    Luigi's lines are shown from WARNING on. Those that tell what came of the run are told at its
    end, which this handler sees to.
    """

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._outcome: Outcome | None = None
        if _is_run():
            # Warnings of Python's own would be written among the bars.
            logging.captureWarnings(True)
            terminal = open_terminal(sys.stderr)
            if terminal is not None:
                self.setStream(terminal.lines)
            end_bars = terminal.close if terminal is not None else lambda: None
            self._outcome = Outcome(end_bars, _show_results, written_log)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is shown, rather than left to the end of the run or to the file."""
        if record.name.partition(".")[0].startswith("luigi"):
            if self._outcome is not None and self._outcome.takes(record):
                return False
            if record.levelno < logging.WARNING:
                return False
        return bool(super().filter(record))


def _show_results() -> None:
    from tasks.run.console import print_results

    print_results(settings())


def log_path() -> Path:
    """The file that has everything."""
    return logs_dir() / _NAME


class FileHandler(logging.StreamHandler["LogFile"]):
    """Appends lines with their tracebacks to the log file."""

    def __init__(self) -> None:
        super().__init__(LogFile(log_path() if _is_run() else None))


class LogFile:
    """A log file: each text is appended whole, whatever process it comes from.

    The process that starts a run puts a file that has become large aside, before it opens its own;
    another run that is under way goes on writing to the one that was put aside.

    Args:
        path: Where it is; None writes nothing.
    """

    def __init__(self, path: Path | None):
        self._handle: int | None = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                put_aside(path)
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
                self._handle = os.open(path, flags, 0o644)
            except OSError as error:
                self._give_up(error)

    @property
    def is_open(self) -> bool:
        """Whether anything is written."""
        return self._handle is not None

    def write(self, text: str) -> None:
        """Append a text."""
        if self._handle is not None:
            try:
                os.write(self._handle, text.encode("utf-8", errors="backslashreplace"))
            except OSError as error:
                self._handle = None
                self._give_up(error)

    def flush(self) -> None:
        """Nothing: nothing is held back."""

    def _give_up(self, error: OSError) -> None:
        logger.warning("The log cannot be written, the run goes on without: %s", error)


def written_log() -> Path | None:
    """The log file, if this run writes to it."""
    handlers = logging.getLogger().handlers
    written = any(isinstance(one, FileHandler) and one.stream.is_open for one in handlers)
    return log_path() if written else None


def put_aside(path: Path) -> None:
    """Rename a log file that has become large to NAME.1, the one before to NAME.2, and so on."""
    if not path.exists() or path.stat().st_size <= MAX_BYTES:
        return
    try:
        with filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=0):
            if path.stat().st_size > MAX_BYTES:
                for number in range(KEPT - 1, 0, -1):
                    older = path.with_name(f"{path.name}.{number}")
                    if older.exists():
                        older.replace(path.with_name(f"{path.name}.{number + 1}"))
                path.replace(path.with_name(f"{path.name}.1"))
    except (filelock.Timeout, FileNotFoundError):
        pass  # Another run that starts is at it.
