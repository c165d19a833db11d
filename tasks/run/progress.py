"""How far a task is: told to the scheduler, at most once a second, and on the terminal."""

from __future__ import annotations

import contextlib
import html
import threading
import time
from collections.abc import Callable

import luigi
from luigi.rpc import RPCError

from tasks.run.terminal import Bar, show_bar

Advance = Callable[[int, int], None]
"""Tells that so much of a phase is done, in the unit of its total, and the rows of it."""

_INTERVAL_S = 1.0
_SHOWN_INTERVAL_S = 0.1
_ALMOST = 99


def untold(amount: int, rows: int) -> None:
    """An `Advance` that tells nobody."""


class Progress:
    """How far one run of a task is. May be advanced by several threads.

    Args:
        task: Whose run it is; None tells nobody.

    Attributes:
        result: What is told at the end.
        rows: Rows that were advanced over.
    """

    def __init__(self, task: luigi.Task | None = None):
        self._task = task
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._phase = ""
        self._done = 0
        self._total: int | None = None
        self._started_at = self._told_at = self._shown_at = time.monotonic()
        self.result = "done"
        self.rows = 0

    def start(self) -> None:
        """Take back what the scheduler shows of the last run."""
        self._tell("started", 0)

    def begin(self, phase: str, total: int | None = None) -> None:
        """Begin a phase.

        Args:
            phase: What is done in it, such as "loading".
            total: What there is to do, in the unit of `advance`; None if the phase before it is
                gone on with, whose total holds for both.
        """
        with self._lock:
            self._phase = phase
            if total is not None:
                self._done, self._total = 0, total
            self._shown_at = 0.0
            if time.monotonic() - self._started_at > _INTERVAL_S:
                self._told_at = 0.0  # Told at once; it may last until something advances.
        self.advance(0, 0)

    def advance(self, amount: int, rows: int) -> None:
        """Tell that more of the phase is done.

        Args:
            amount: So much of the total.
            rows: How many rows that was.
        """
        with self._lock:
            self._done += amount
            self.rows += rows
            now = time.monotonic()
            if now - self._shown_at >= _SHOWN_INTERVAL_S and self._task is not None:
                self._shown_at = now
                show_bar(Bar(str(self._task), self._phase, self._done, self._total, self.rows))
            if now - self._told_at < _INTERVAL_S:
                return
            self._told_at = now
            message = f"{self._phase}, {self.rows:,} rows" if self.rows else self._phase
            percentage = min(_ALMOST, 100 * self._done // self._total) if self._total else None
        if self._telling.acquire(blocking=False):  # Else the scheduler is slow; the work is not.
            try:
                self._tell(message, percentage)
            finally:
                self._telling.release()

    def show(self, message: str) -> None:
        """Tell something else than how far it is."""
        with self._telling:
            self._tell(message, None)

    def finish(self) -> None:
        """Tell the result."""
        with self._telling:
            self._tell(self.result, 100)

    def _tell(self, message: str, percentage: int | None) -> None:
        if self._task is None:
            return
        # What cannot be told stops no work.
        with contextlib.suppress(RPCError):
            if self._task.set_status_message is not None:
                # The scheduler's pages show it as HTML.
                self._task.set_status_message(html.escape(message, quote=False))
            if percentage is not None and self._task.set_progress_percentage is not None:
                self._task.set_progress_percentage(percentage)


UNTOLD = Progress()
"""Tells nobody."""
