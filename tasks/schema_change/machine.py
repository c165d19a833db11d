"""The course of a change: states, each with one step to the next; independent of the database.

A step can be repeated: after an error, or in another process after this one was killed, the run
goes on in the state that is stored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

from tasks.core.errors import PipelineError
from tasks.schema_change import runs
from tasks.schema_change.change import AddColumn, Names
from tasks.schema_change.interface import BusyError, Database
from tasks.schema_change.live import Copy
from tasks.schema_change.runs import BEFORE_SWITCH, ENDED, Run, State
from tasks.schema_change.worker import Measured, Pace, Worker

Observe = Callable[[State, str], object]
"""Called after each commit: the state, and the watermark as text."""


_PAUSE_S = 0.1


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
        self.worker = Worker(database, change.table, self.pace)
        self._observe = observe

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
        """Begin or go on, until READY, SOAK, an end, or a state before READY.

        Raises:
            PipelineError: Something is in the way; what is done is kept.
        """
        run = self._stored()
        if run is None or run.state in ENDED:
            run = self.worker.attempt(self._plan)
        steps = self._steps
        while run.state in steps and run.state is not until:
            run = steps[run.state](run)

    def follow(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Apply what is captured, at READY or in SOAK, until `stop` or another run goes on."""
        run = self._begun(State.READY, State.SOAK)
        copy = self._copy()
        while not stop():
            with contextlib.suppress(BusyError):
                now = self._stored()
                if now is None or now.state is not run.state:
                    return
                self.worker.apply(copy, True)
            self.database.release(self.change.table)
            time.sleep(_PAUSE_S)

    def switch(self) -> None:
        """From READY to SOAK: the table has the new column."""
        run = self._begun(State.READY)
        self._exchanged(self._enter(run, State.SWAPPING), State.SWAPPED)
        self.run()

    def sign_off(self) -> None:
        """From SOAK to CLEANED: the old table is removed; no way back."""
        run = self._begun(State.SOAK)
        self.worker.attempt(lambda: self._remove(self.names.old))
        self._enter(run, State.CLEANED)

    def revert(self) -> None:
        """From SWAPPED or SOAK to REVERTED, with all that was written since the switch."""
        run = self._begun(State.SWAPPED, State.SOAK)
        self._exchanged(self._enter(run, State.REVERTING), State.TAKEN_BACK)
        self.run()

    def abort(self) -> None:
        """From any state before the switch to ABORTED: the catalog is as before."""
        run = self._begun(*BEFORE_SWITCH)
        if run.state is State.SWAPPING:
            run = self._recover(run)
            if run.state is State.SWAPPED:
                raise PipelineError(
                    f"{self.change.table} is switched already: it cannot be aborted.",
                    remedy="Revert it.",
                )
        self.worker.attempt(lambda: self._remove(self.names.shadow))
        self._enter(run, State.ABORTED)

    @property
    def measured(self) -> Measured:
        """What this process has spent."""
        return self.worker.measured

    def status(self) -> Status | None:
        """How far it is; None if it has not been begun."""
        run = runs.load(self.database.connection, self.change.table)
        if run is None:
            return None
        backlog = 0 if run.state in ENDED else self.database.backlog(self.names.log)
        return Status(run, backlog, NEXT_STEPS[run.state])

    # --- states ------------------------------------------------------------------------------

    @property
    def _steps(self) -> dict[State, Callable[[Run], Run]]:
        """State -> what leads to the next one; none where the run waits for a decision."""
        return {
            State.PLANNED: self._create_shadow,
            State.SHADOW_READY: self._capture,
            State.COPYING: self._copy_all,
            State.DRAINED: self._verified,
            State.SWAPPING: self._recover,
            State.SWAPPED: self._verified_again,
            State.REVERTING: self._recover,
            State.TAKEN_BACK: self._end_revert,
        }

    def _stored(self) -> Run | None:
        """The run that is stored, once this process is the only one at the table."""
        run = self.worker.attempt(lambda: runs.load(self.database.connection, self.change.table))
        if run and run.state not in ENDED and run.plan_digest != self.change.digest():
            raise PipelineError(
                f"Another schema change of {self.change.table} is under way: {run.plan}",
                remedy="Finish it or abort it first.",
            )
        return run

    def _begun(self, *states: State) -> Run:
        run = self._stored()
        if run is None or run.state not in states:
            found = run.state.value if run else "not begun"
            raise PipelineError(
                f"The schema change of {self.change.table} is {found}; "
                f"this needs: {', '.join(state.value for state in states)}.",
                remedy=f"What can be done next: {', '.join(NEXT_STEPS[run.state])}." if run else "",
            )
        return run

    def _enter(self, run: Run, state: State, **changed: object) -> Run:
        run = dataclasses.replace(run, state=state, **changed)  # type: ignore[arg-type]
        self.worker.attempt(lambda: runs.save(self.database.connection, run))
        self._observe(run.state, run.watermark)
        return run

    def _plan(self) -> Run:
        database, change = self.database, self.change
        live = database.describe(change.table)
        found = database.obstacles(live)
        if live.has(change.column):
            found.append(f"it has a column {change.column} already")
        left = {self.names.shadow, self.names.old, self.names.log}
        found += [f"a table {name} exists" for name in sorted(left) if database.exists(name)]
        if found:
            raise PipelineError(f"{change.table} cannot be replaced by a shadow:", found)
        run = Run(
            change.table,
            State.PLANNED,
            change.to_json(),
            change.digest(),
            live.fingerprint(),
            expected_rows=database.count(change.table),
        )
        runs.begin(database.connection, run)
        self._observe(run.state, run.watermark)
        return run

    def _create_shadow(self, run: Run) -> Run:
        def step() -> None:
            live = self.database.unchanged(self.change.table, run.fingerprint)
            self.database.create_shadow(self.change, live)

        self.worker.attempt(step)
        return self._enter(run, State.SHADOW_READY)

    def _capture(self, run: Run) -> Run:
        copy = self._copy()
        self.worker.attempt(lambda: self.database.start_capture(copy))
        return self._enter(run, State.COPYING)

    def _copy_all(self, run: Run) -> Run:
        copy = self._copy()
        while run.state is State.COPYING:
            started = time.monotonic()
            run = self.worker.attempt(functools.partial(self._copy_chunk, run, copy))
            self._observe(run.state, run.watermark)
            self.worker.measured.copy_s += time.monotonic() - started
            self.pace.after(time.monotonic() - started)
        return run

    def _copy_chunk(self, run: Run, copy: Copy) -> Run:
        """Copy a chunk; it commits together with how far the copy is.

        What is captured comes first: a row that lags behind may have a unique value of another.
        """
        database = self.database
        self.worker.drain(copy, is_copied=False)
        with database.transaction():
            copied = database.copy_rows(copy, self.pace.rows)
            if copied:
                key = database.last_key(copy.target, copy.key)
                watermark = ", ".join(map(str, key or ()))
                total = run.copied_rows + copied
                run = dataclasses.replace(run, watermark=watermark, copied_rows=total)
            else:
                database.end_copy(copy)
                run = dataclasses.replace(run, state=State.DRAINED)
            runs.save(database.connection, run)
        self.worker.measured.chunks += 1
        self.worker.measured.copied_rows += copied
        return run

    def _verified(self, run: Run) -> Run:
        self.worker.verify(self._copy(), self.change)
        return self._enter(run, State.READY)

    def _verified_again(self, run: Run) -> Run:
        copy = self._copy()
        self.worker.attempt(lambda: self.database.validate(self.change.table))
        self.worker.verify(copy)
        return self._enter(run, State.SOAK)

    def _exchanged(self, run: Run, state: State) -> Run:
        """Let the tables exchange their names; before each attempt, apply what is captured."""
        copy, is_back = self._copy(), state is State.TAKEN_BACK
        began = time.monotonic()

        def step() -> None:
            if self._has_column() != is_back:
                return  # The last attempt came to its end, and the connection was lost.
            self.worker.drain(copy)
            started = time.monotonic()
            self.database.exchange(copy, self.names, run.fingerprint, is_back)
            self.worker.measured.exchange_s = time.monotonic() - started

        try:
            self.worker.attempt(step)
        except PipelineError:
            if self._has_column() == is_back:
                self._enter(run, State.SOAK if is_back else State.READY)
            raise
        self.worker.measured.switch_s = time.monotonic() - began
        return self._entered_exchanged(run, state)

    def _entered_exchanged(self, run: Run, state: State) -> Run:
        live = self.worker.attempt(lambda: self.database.describe(self.change.table))
        return self._enter(run, state, fingerprint=live.fingerprint())

    def _recover(self, run: Run) -> Run:
        """An exchange was interrupted: the catalog says whether it came to its end."""
        is_back = run.state is State.REVERTING
        self.worker.attempt(lambda: self.database.recover(self.names, is_back))
        if self._has_column() != is_back:
            return self._entered_exchanged(run, State.TAKEN_BACK if is_back else State.SWAPPED)
        return self._enter(run, State.SOAK if is_back else State.READY)

    def _end_revert(self, run: Run) -> Run:
        def step() -> None:
            self.database.validate(self.change.table)
            self._remove(self.names.shadow)

        self.worker.attempt(step)
        return self._enter(run, State.REVERTED)

    # --- steps of several states -------------------------------------------------------------

    def _has_column(self) -> bool:
        names = self.worker.attempt(lambda: self.database.column_names(self.change.table))
        return self.change.column.lower() in names

    def _copy(self) -> Copy:
        """From the table to the shadow or, once they are switched, to the old table."""

        def step() -> Copy:
            database, table = self.database, self.change.table
            live, target = database.describe(table), self.names.shadow
            if live.has(self.change.column):
                live, target = database.describe(self.names.old), self.names.old
            return Copy.of(live, table, target, self.names.log)

        return self.worker.attempt(step)

    def _remove(self, table: str) -> None:
        """Remove what captures changes, then a table that nothing refers to any more."""
        self.database.stop_capture(self.names)
        self.database.drop(table)


NEXT_STEPS: dict[State, tuple[str, ...]] = {
    **dict.fromkeys(BEFORE_SWITCH, ("run", "abort")),
    State.READY: ("switch", "follow", "abort"),
    State.SWAPPED: ("run", "revert"),
    State.SOAK: ("sign_off", "follow", "revert"),
    State.REVERTING: ("run",),
    State.TAKEN_BACK: ("run",),
    **dict.fromkeys(ENDED, ()),
}
"""State -> methods of `SchemaChange`."""


def add_natively(database: Database, change: AddColumn) -> Measured:
    """Add the column by ALTER TABLE, which waits briefly for a lock, again and again.

    Raises:
        PipelineError: The database cannot, or the lock was not to be had.
    """
    worker = Worker(database, change.table, Pace())

    def step() -> None:
        if change.column.lower() not in database.column_names(change.table):
            database.add_natively(change)

    worker.attempt(step)
    return worker.measured
