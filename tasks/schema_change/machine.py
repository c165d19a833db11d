"""The course of a change: states, each with one step to the next; independent of the database.

A step can be repeated: after an error, or in another process after this one was killed, the run
goes on in the state that is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tasks.core.errors import PipelineError
from tasks.schema_change import runs
from tasks.schema_change.change import AddColumn, Names
from tasks.schema_change.interface import Database
from tasks.schema_change.runs import Run, State

Observe = Callable[[State, str], object]
"""Called after each commit: the state, and the watermark as text."""

_LARGEST_CHUNK = 50_000


@dataclass
class Pace:
    """How fast rows are copied.

    Attributes:
        rows: Of a chunk; adapted so that it takes `seconds`, unless that is 0.
        rest: How long to leave the database alone after a chunk, times what the chunk took.
        attempts: How often a step is tried that finds a lock or loses its connection.
    """

    rows: int = 1_000
    seconds: float = 0.1
    rest: float = 0.5
    attempts: int = 60

    def after(self, elapsed: float) -> None:
        """Adapt to what a chunk took, and rest."""
        if self.seconds:
            faster = min(2.0, max(0.5, self.seconds / max(elapsed, 0.001)))
            self.rows = min(_LARGEST_CHUNK, max(100, int(self.rows * faster)))
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


@dataclass(frozen=True)
class Status:
    """How far a change is.

    Attributes:
        backlog: Changed keys that are not applied yet.
        next_steps: Methods of `SchemaChange` that can be called.
    """

    run: Run
    backlog: int
    next_steps: tuple[str, ...]


class SchemaChange:
    """A change of a table; what an earlier process has begun is continued.

    Args:
        database: That has the table.
        change: What is asked for.
        observe: Is called after each commit.
        pace: How fast rows are copied.
    """

    def __init__(
        self,
        database: Database,
        change: AddColumn,
        observe: Observe = lambda state, watermark: None,
        pace: Pace | None = None,
    ):
        self.database = database
        self.change = change
        self.names = Names(change.table)
        self.pace = pace or Pace()
        self.measured = Measured()
        self._observe = observe
        self._batch = self.pace.rows

    @classmethod
    def stored(cls, database: Database, table: str, observe: Observe | None = None) -> SchemaChange:
        """The change of a table that has been begun.

        Raises:
            PipelineError: There is none.
        """
        run = runs.load(database.connection, table)
        if run is None:
            raise PipelineError(f"No schema change of {table} has been begun.")
        return cls(database, run.change, observe or (lambda state, watermark: None))

    # --- what can be done --------------------------------------------------------------------

    def run(self, until: State = State.READY) -> None:
        """Go on until a state before the switch, or after one that has begun."""

    def follow(self, stop: Callable[[], bool]) -> None:
        """Apply what is captured until `stop`, at READY or in SOAK."""

    def switch(self) -> None:
        """From READY to SOAK: the table has the new column."""

    def sign_off(self) -> None:
        """From SOAK to CLEANED: the old table is removed; no way back."""

    def revert(self) -> None:
        """From SWAPPED or SOAK to REVERTED, with all that was written since the switch."""

    def abort(self) -> None:
        """From any state before the switch to ABORTED."""

    def status(self) -> Status | None:
        """How far it is; None if it has not been begun."""
