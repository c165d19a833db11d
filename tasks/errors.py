"""Errors that tell what is wrong, where, and what to do."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any


class PipelineError(Exception):
    """Something that the person who runs the pipeline can mend.

    Args:
        what: What could not be done.
        problems: Every reason, each with its place and value.
        remedy: What to do about it.

    >>> print(PipelineError("users.csv was refused:", ["line 3: no key"], "Mend the file."))
    users.csv was refused:
      line 3: no key
    Mend the file.
    """

    def __init__(self, what: str, problems: Iterable[str] = (), remedy: str = ""):
        self.problems = tuple(problems)
        lines = [what, *(f"  {problem}" for problem in self.problems)]
        super().__init__("\n".join([*lines, remedy] if remedy else lines))

    def __reduce__(self) -> tuple[Any, ...]:
        """Make it travel between worker processes whole."""
        return (_restore, (str(self), self.problems))


def _restore(message: str, problems: tuple[str, ...]) -> PipelineError:
    error = PipelineError(message)
    error.problems = problems
    return error


_RAISED = f"{PipelineError.__module__}.{PipelineError.__name__}: "
_WORKER = re.compile(r"\[pid \d+\] | ?Worker\(salt=[^)]*\)")


def drop_scheduler_chatter(record: logging.LogRecord) -> bool:
    """A filter: False for Luigi's lines that tell the scheduler of a task's state."""
    return not record.getMessage().startswith("Informed scheduler that task")


class LogFormatter(logging.Formatter):
    """Shows a PipelineError by its message alone: its traceback helps nobody mend a file.

    Luigi's own lines lose the names of processes, which say nothing on one machine.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line; without the traceback that Luigi writes into some of its messages."""
        text = _WORKER.sub("", super().format(record))
        trace = text.find("\nTraceback (most recent call last)")
        error = text.rfind(_RAISED)
        if 0 <= trace < error:
            text = f"{text[:trace]}\n{text[error + len(_RAISED) :]}"
        return text

    def formatException(self, ei: Any) -> str:  # noqa: N802 (logging's name)
        """The message of a PipelineError, the traceback of anything else."""
        if isinstance(ei[1], PipelineError):
            return str(ei[1])
        return super().formatException(ei)
