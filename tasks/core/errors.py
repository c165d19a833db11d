"""Errors that say what is wrong, where, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class PipelineError(Exception):
    """Something that the person who runs the pipeline can fix.

    Args:
        what: What could not be done.
        problems: Every reason, each with its place and value.
        remedy: What to do about it.

    >>> print(PipelineError("users.csv was rejected:", ["line 3: no key"], "Fix the file."))
    users.csv was rejected:
      line 3: no key
    Fix the file.
    """

    def __init__(self, what: str, problems: Iterable[str] = (), remedy: str = ""):
        self.problems = tuple(problems)
        self.remedy = remedy
        lines = [what, *(f"  {problem}" for problem in self.problems)]
        super().__init__("\n".join([*lines, remedy] if remedy else lines))

    def __reduce__(self) -> tuple[Any, ...]:
        """Make it travel between worker processes whole."""
        return (_restore, (str(self), self.problems, self.remedy))


def _restore(message: str, problems: tuple[str, ...], remedy: str) -> PipelineError:
    error = PipelineError(message)
    error.problems, error.remedy = problems, remedy
    return error


_ELSEWHERE = "or name another place in luigi.cfg."
_FULL = "The disk is full, or your share of it: free some space and run again."
_DENIED = f"The user who runs this lacks the permission: give it, {_ELSEWHERE}"
_ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: f"The disk is mounted read-only: mount it for writing, {_ELSEWHERE}",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENAMETOOLONG: "That name is too long: if it is made from the name of a source file, give "
    "that file a shorter one.",
    errno.ENOENT: f"The file or its folder does not exist: make the folder, {_ELSEWHERE}",
    errno.ENOTDIR: f"A file is in the place of a folder: move it away, {_ELSEWHERE}",
    errno.EEXIST: f"Something else is in its place: move it away, {_ELSEWHERE}",
    errno.EISDIR: f"A folder is in the place of a file: move it away, {_ELSEWHERE}",
}


def advice(error: OSError) -> str:
    """What to do about an error of the system; "" if its own words have to do.

    >>> advice(OSError(errno.ENOSPC, "No space left on device"))
    'The disk is full, or your share of it: free some space and run again.'
    >>> advice(OSError(errno.EIO, "Input/output error"))
    ''
    """
    return _ADVICE.get(error.errno or 0, "")


@contextmanager
def system_errors(what: str) -> Iterator[None]:
    """Turn what the system says of a file into a PipelineError with advice.

    Args:
        what: What was being done, such as the label of a task.
    """
    try:
        yield
    except OSError as error:
        raise PipelineError(
            f"{what}: a file cannot be read or written: {error}.", remedy=advice(error)
        ) from error


_CONTROL_CODES = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}


def cleaned(text: str) -> str:
    r"""A text that moves no cursor and rings no bell, even if a file contains such codes.

    >>> print(cleaned("\x1b[2Ja\r"))
    \x1b[2Ja\x0d
    """
    return text.translate(_CONTROL_CODES)
