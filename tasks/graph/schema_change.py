"""Adding a column to a live table: the plan, its rehearsal, and the change."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import luigi

from config.declarations import Type
from tasks.core.errors import PipelineError, system_errors
from tasks.run.progress import Progress
from tasks.run.settings import settings

if TYPE_CHECKING:
    from tasks.schema_change.change import AddColumn
    from tasks.schema_change.interface import Database

logger = logging.getLogger("pipeline")

_STRATEGIES = ("native", "tool", "gh-ost", "shadow")
_TYPES = [one.value for one in Type if one is not Type.SWITCH]


def write_plan_of(table: str, column: str, kind: Type) -> None:
    """Write the plan for a column of a source that `luigi.cfg` lets evolve: it may be NULL."""
    from tasks.schema_change.change import AddColumn
    from tasks.schema_change.open import open_existing
    from tasks.schema_change.plan_page import write_plan

    live = open_existing(settings().warehouse_url, settings().warehouse_schema)
    try:
        write_plan(live, AddColumn(table, column, kind), settings().reports_dir)
    finally:
        live.close()


class _ColumnTask(luigi.Task):
    """A task for one column; runs each time: a table can have changed since."""

    table = luigi.Parameter(description="The table that gets the column.")
    column = luigi.Parameter(description="The new column.")
    type = luigi.ChoiceParameter(choices=_TYPES, description="What it holds.")
    default = luigi.OptionalStrParameter(
        default=None, description="What rows have that exist or do not say; else NULL."
    )
    not_null = luigi.BoolParameter(description="NULL is not allowed; needs --default.")

    done = False

    def complete(self) -> bool:
        """Whether this object has run."""
        return self.done

    def run(self) -> None:
        """Open the warehouse and do it."""
        from tasks.schema_change.open import open_existing
        from tasks.schema_change.plan import with_default

        progress = Progress(self)
        progress.start()
        with system_errors(self.task_family):
            kind = Type(self.type)
            change = with_default(self.table, self.column, kind, self.default, not self.not_null)
            live = open_existing(settings().warehouse_url, settings().warehouse_schema)
            try:
                progress.result = self.act(live, change, progress)
            finally:
                live.close()
        logger.info("%s.%s: %s", self.table, self.column, progress.result)
        progress.finish()
        self.done = True

    def act(self, live: Database, change: AddColumn, progress: Progress) -> str:
        """Do it; the result in words."""
        raise NotImplementedError


class SchemaChangePlan(_ColumnTask):
    """The plan for a column: `reports/schema_change/plan_TABLE_COLUMN.md`, `.html`, `.json`.

    Reads the live table and tries the change on a copy beside it; changes nothing.
    """

    def act(self, live: Database, change: AddColumn, progress: Progress) -> str:
        """Make the plan and write it."""
        from tasks.schema_change.plan_page import write_plan

        return write_plan(live, change, settings().reports_dir)


class SchemaChangeRehearsal(_ColumnTask):
    """Carries a change out on a copy of the table, while others write to it and read it.

    Writes `reports/schema_change/rehearsal_TABLE_COLUMN.html` and a `.json` for each strategy;
    changes nothing in the live database. Fails if rows were lost or readers had errors.
    """

    strategy = luigi.ChoiceParameter(choices=_STRATEGIES, description="How.")
    rows = luigi.OptionalIntParameter(
        default=None, description="So many rows, the first by key, are copied; else all."
    )
    seconds = luigi.FloatParameter(
        default=5, description="How long the load lasts before the change, and after it."
    )
    writes_per_s = luigi.FloatParameter(default=200, description="Of all writers together.")

    def act(self, live: Database, change: AddColumn, progress: Progress) -> str:
        """Rehearse, write what was measured, and fail if something was lost."""
        from tasks.schema_change.rehearsal import PASSED, Settings, rehearse
        from tasks.schema_change.rehearsal_page import summary, write_rehearsal
        from tasks.schema_change.workload import Rates

        how = Settings(self.strategy, self.rows, self.seconds, Rates(self.writes_per_s))
        result = rehearse(live, change, how, progress.begin)
        page = write_rehearsal(result, live, settings().reports_dir)
        for line in summary(result):
            logger.info("%s", line)
        if result["verdict"] != PASSED:
            raise PipelineError(
                f"The rehearsal of {self.column} in {self.table} has failed:",
                result["problems"],
                f"The figures are in {page}.",
            )
        return f"passed: {page}"


class SchemaChangeApply(_ColumnTask):
    """Makes the planned change on the live table; S2 waits for `schema-change switch` or `abort`.

    Needs a successful rehearsal of the same plan on the table as it is. If it is stopped while it
    waits, triggers go on to capture what changes: `python -m tasks schema-change` shows how far
    it is, switches, aborts, reverts.
    """

    strategy = luigi.ChoiceParameter(
        choices=("", *_STRATEGIES), default="", description="Else the plan's."
    )
    yes = luigi.BoolParameter(description="Do not ask for the table's name.")
    no_rehearsal = luigi.BoolParameter(description="Do not ask for a rehearsal.")

    def act(self, live: Database, change: AddColumn, progress: Progress) -> str:
        """Ask, and make the change."""
        from tasks.schema_change.apply import Permission, apply, await_switch
        from tasks.schema_change.runs import State

        permission = Permission(self.no_rehearsal, self._agrees)
        report = functools.partial(logger.debug, "%s: %s", self.table)
        done = apply(live, change, self.strategy, settings().reports_dir, permission, report)
        if done != State.READY.value:
            return done
        progress.begin("waiting for the switch")
        command = f"python -m tasks schema-change switch {self.table}"
        logger.info("%s can be switched, in another terminal: %s", self.table, command)
        return await_switch(live, self.table)

    def _agrees(self, table: str) -> bool:
        if self.yes:
            return True
        try:  # A worker's standard input is not the terminal.
            terminal = Path("/dev/tty")
            with terminal.open("w") as shown, terminal.open() as typed:
                print(f"The live table is changed. To agree, type {table}:", file=shown, flush=True)
                return typed.readline().strip() == table
        except OSError:
            raise PipelineError(
                f"Nobody can be asked whether {table} is to be changed.", remedy="Add --yes."
            ) from None
