"""How far a task is, for the scheduler's pages and for the terminal or the log."""

from __future__ import annotations

import contextlib
import html
import logging
import math
import threading
import time

import luigi
from luigi.rpc import RPCError

from tasks.run.terminal import terminal

_INTERVAL_S = 1.0
_LINE_INTERVAL_S = 10.0
_ALMOST = 99

logger = logging.getLogger("pipeline")


class Progress:
    """How far one run of a task is. May be advanced by several threads.

    Reported when a phase begins, and then once a second at most, to the scheduler and on the
    terminal. Without a terminal there is a line for every ten seconds of a phase at most.

    Args:
        task: Whose run it is; None reports to nobody.

    Attributes:
        result: What the scheduler's pages show at the end.
        rows: Rows that were advanced over.
    """

    def __init__(self, task: luigi.Task | None = None):
        self._task = task
        self._lock = threading.Lock()
        self._reporting = threading.Lock()
        self._phase = ""
        self._done = 0
        self._total: int | None = None
        self._reported_at = self._line_at = time.monotonic()
        self.result = "done"
        self.rows = 0

    def start(self) -> None:
        """Replace what the scheduler shows of the last run."""
        self._report("started", 0)

    def begin(self, phase: str, total: int | None = None) -> None:
        """Begin a phase.

        Args:
            phase: What is done in it, such as "loading".
            total: What there is to do, in the unit of `advance`; None continues the previous
                phase, whose total holds for both.
        """
        with self._lock:
            self._phase = phase
            if total is not None:
                self._done, self._total = 0, total
            # Reported at once: it may last until something advances.
            self._reported_at, self._line_at = -math.inf, time.monotonic()
        self.advance(0, 0)

    def advance(self, amount: int, rows: int) -> None:
        """Report that more of the phase is done.

        Args:
            amount: So much of the total.
            rows: How many rows that was.
        """
        with self._lock:
            self._done += amount
            self.rows += rows
            now = time.monotonic()
            if now - self._reported_at < _INTERVAL_S:
                return
            self._reported_at = now
            state = f"{self._phase}, {self.rows:,} rows" if self.rows else self._phase
            percentage = min(_ALMOST, 100 * self._done // self._total) if self._total else None
        if self._reporting.acquire(blocking=False):  # Else the scheduler is slow; the work is not.
            try:
                self._show(state, percentage)
                self._report(state, percentage)
            finally:
                self._reporting.release()

    def _show(self, state: str, percentage: int | None) -> None:
        if self._task is None:
            return
        if (screen := terminal()) is not None:
            screen.show_bar(str(self._task), state, self._done, self._total)
        elif self._reported_at - self._line_at >= _LINE_INTERVAL_S:
            self._line_at = self._reported_at
            share = "" if percentage is None else f", {percentage}%"
            logger.info("%s: %s%s", self._task, state, share)

    def show(self, message: str) -> None:
        """Report something else than how far it is."""
        with self._reporting:
            self._report(message, None)

    def finish(self) -> None:
        """Report the result."""
        with self._reporting:
            self._report(self.result, 100)

    def _report(self, message: str, percentage: int | None) -> None:
        if self._task is None:
            return
        with contextlib.suppress(RPCError):  # A scheduler that does not answer stops no work.
            if self._task.set_status_message is not None:
                # The scheduler's pages show it as HTML.
                self._task.set_status_message(html.escape(message, quote=False))
            if percentage is not None and self._task.set_progress_percentage is not None:
                self._task.set_progress_percentage(percentage)
