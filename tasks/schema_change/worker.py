"""The work on rows: chunks, the log, verification; each step again until it finds no lock."""

from __future__ import annotations

import functools
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import sqlalchemy as sa

from tasks.core.errors import PipelineError
from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import CONFLICT, LOST, Database
from tasks.schema_change.live import Copy, Key

_Result = TypeVar("_Result")

_SMALLEST_CHUNK = 1_000
_LARGEST_CHUNK = 50_000
_SMALLEST_COMPARED = 10_000
"""Reading keeps nobody waiting: smaller ones would take the longer, the busier the server is."""

_FEW = 50
"""Captured keys that a switch may leave for the time behind its locks."""


@dataclass
class Pace:
    """How fast rows are copied.

    Attributes:
        rows: Of a chunk; adapted so that it takes `seconds`, unless that is 0.
        rest: How long to leave the database alone after a chunk, times what the chunk took.
        attempts: How often a step is tried that finds a lock or loses its connection.
    """

    rows: int = 2_000
    seconds: float = 0.2
    rest: float = 0.5
    attempts: int = 60

    @property
    def compared(self) -> int:
        """Rows of a chunk that is compared."""
        return max(self.rows, _SMALLEST_COMPARED) if self.seconds else self.rows

    def after(self, elapsed: float) -> None:
        """Adapt to what a chunk took, and rest."""
        if self.seconds:
            faster = min(2.0, max(0.5, self.seconds / max(elapsed, 0.001)))
            self.rows = min(_LARGEST_CHUNK, max(_SMALLEST_CHUNK, int(self.rows * faster)))
        time.sleep(elapsed * self.rest)


@dataclass
class Measured:
    """What a run has cost; for a rehearsal.

    Attributes:
        retries: Steps that were tried again, by the kind of error.
        chunks: Of rows that were copied by this process.
        switch_s: Seconds from the first attempt of the last switch to its commit.
        exchange_s: Seconds of the attempt that succeeded.
    """

    retries: dict[str, int] = field(default_factory=dict)
    chunks: int = 0
    copied_rows: int = 0
    copy_s: float = 0.0
    switch_s: float = 0.0
    exchange_s: float = 0.0


class Worker:
    """Does the steps of a change.

    Args:
        database: That has the table.
        table: Its name.
        pace: How fast rows are copied.
    """

    def __init__(self, database: Database, table: str, pace: Pace):
        self.database = database
        self.table = table
        self.pace = pace
        self.measured = Measured()
        self._batch = pace.rows

    def attempt(self, step: Callable[[], _Result]) -> _Result:
        """Do a step, again if it finds a lock, a conflict of unique values, or no connection."""
        for tried in range(self.pace.attempts):
            try:
                self.database.claim(self.table)
                return step()
            except sa.exc.DBAPIError as error:
                kind = self.database.kind_of(error)
                if not kind or tried + 1 == self.pace.attempts:
                    what = f"The schema change of {self.table} cannot go on:"
                    raise self.database.error(what, error) from error
            self.measured.retries[kind] = self.measured.retries.get(kind, 0) + 1
            if kind == LOST:
                self.database.close()
            if kind == CONFLICT:  # Values that rows exchanged have to be applied together.
                self._batch = min(_LARGEST_CHUNK, self._batch * 4)
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311
        raise AssertionError

    def apply(self, copy: Copy, is_copied: bool) -> int:
        """Apply a batch of captured keys; their number."""

        def step() -> int:
            with self.database.transaction():
                return self.database.apply(copy, self._batch, is_copied)

        return self.attempt(step) if self.database.logs_keys else 0

    def drain(self, copy: Copy, is_copied: bool = True) -> None:
        """Apply all captured keys, but for the few that come meanwhile."""
        before = math.inf
        while (applied := self.apply(copy, is_copied)) >= self._batch or _FEW < applied < before:
            before = applied
            if applied >= self._batch:  # Larger ones are faster: writers must not stay ahead.
                self._batch = min(_LARGEST_CHUNK, self._batch * 2)

    def verify(self, copy: Copy, change: AddColumn | None = None) -> None:
        """Compare the tables chunk by chunk, each in one snapshot.

        Args:
            copy: Which tables.
            change: If all rows of the target must have its default.

        Raises:
            PipelineError: Some differ.
        """
        problems: list[str] = []
        after: Key | None = None
        while True:
            started = time.monotonic()
            self.drain(copy)
            end, same = self.attempt(functools.partial(self.compared, copy, after))
            if not same:
                problems.append(f"rows behind {after or 'the beginning'} up to {end or 'the end'}")
            if end is None:
                break
            after = end
            self.pace.after(time.monotonic() - started)
        if change is not None:
            other = self.attempt(lambda: self.database.other_values(copy.target, change))
            problems += [f"{change.column}: {other} rows do not have the default"] if other else []
        if problems:
            more = [f"and {len(problems) - 10} more"] if len(problems) > 10 else []
            raise PipelineError(
                f"The copy of {self.table} differs from the table:",
                [*problems[:10], *more],
                "The tables are not switched: abort the change and look for what writes to its"
                " tables.",
            )

    def compared(self, copy: Copy, after: Key | None) -> tuple[Key | None, bool]:
        """The key of the last of the next rows, and whether these are the same in both tables."""
        database = self.database
        with database.transaction(*database.snapshot):
            end = database.chunk_end(copy, after, self.pace.compared)
            return end, database.same_rows(copy, after, end)
