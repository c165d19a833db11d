"""Errors that tell what is wrong, where, and what to do."""

from __future__ import annotations

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


_CONTROL_CODES = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}


def cleaned(text: str) -> str:
    r"""A text that moves no cursor and rings no bell, whatever a file put into it.

    >>> print(cleaned("\x1b[2Ja\r"))
    \x1b[2Ja\x0d
    """
    return text.translate(_CONTROL_CODES)
