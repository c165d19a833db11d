"""One look at the world: within it, a question that was answered is not asked again.

Whether a task is complete depends on all that it requires, down to the source files; most of
these questions are the same for every task. Between two looks everything may have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

_Answer = TypeVar("_Answer")

_answers: ContextVar[dict[Hashable, Any] | None] = ContextVar("answers", default=None)
_settled: ContextVar[dict[Hashable, Any] | None] = ContextVar("settled", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """Open a look; inside another one, this is the same look."""
    if _answers.get() is not None:
        yield
        return
    token = _answers.set({})
    try:
        yield
    finally:
        _answers.reset(token)


@contextmanager
def settled() -> Iterator[None]:
    """Keep the answers of `once_settled` until the end: while a task runs."""
    if _settled.get() is not None:
        yield
        return
    token = _settled.set({})
    try:
        yield
    finally:
        _settled.reset(token)


def once_settled(question: Hashable, ask: Callable[[], _Answer]) -> _Answer:
    """The answer to a question about the configuration, asked once in a look and in a run."""
    answers = _settled.get()
    if answers is None:
        return once(question, ask)
    if question not in answers:
        answers[question] = ask()
    found: _Answer = answers[question]
    return found


def looking() -> bool:
    """Whether a look is open."""
    return _answers.get() is not None


def once(question: Hashable, ask: Callable[[], _Answer]) -> _Answer:
    """The answer to a question, asked once in a look; outside of any look, each time.

    >>> asked = []
    >>> with one_look():
    ...     once("how many?", lambda: asked.append(1))
    ...     once("how many?", lambda: asked.append(1))
    >>> len(asked)
    1
    """
    answers = _answers.get()
    if answers is None:
        return ask()
    if question not in answers:
        answers[question] = ask()
    found: _Answer = answers[question]
    return found
