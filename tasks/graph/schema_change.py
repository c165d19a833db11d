"""Adding a column to a live table: the plan, its rehearsal, and the change."""

from __future__ import annotations

import logging

import luigi

from config.declarations import Type
from tasks.core.errors import PipelineError, system_errors
from tasks.run.progress import Progress
from tasks.run.settings import settings

logger = logging.getLogger("pipeline")

_TYPES = [one.value for one in Type if one is not Type.SWITCH]


class SchemaChangePlan(luigi.Task):
    """The plan for a column: `reports/schema_change/plan_TABLE_COLUMN.md`, `.html`, `.json`.

    Reads the live table and tries the change on a copy beside it; changes nothing.
    """

    table = luigi.Parameter(description="The table that gets the column.")
    column = luigi.Parameter(description="The new column.")
    type = luigi.ChoiceParameter(choices=_TYPES, description="What it holds.")
    default = luigi.OptionalStrParameter(
        default=None, description="What rows have that exist or do not say; else NULL."
    )
    not_null = luigi.BoolParameter(description="NULL is not allowed; needs --default.")

    written = False

    def complete(self) -> bool:
        """Whether this object has written the plan: a table can have changed since."""
        return self.written

    def run(self) -> None:
        """Make the plan and write it."""
        from tasks.schema_change.open import open_database
        from tasks.schema_change.plan import make_plan, with_default
        from tasks.schema_change.plan_page import write_plan

        progress = Progress(self)
        progress.start()
        with system_errors("SchemaChangePlan"):
            kind = Type(self.type)
            change = with_default(self.table, self.column, kind, self.default, not self.not_null)
            live = open_database(settings().warehouse_url, settings().warehouse_schema)
            try:
                plan = make_plan(live, change)
                written = write_plan(plan, live, settings().reports_dir)
            finally:
                live.close()
        logger.info("%s.%s: %s", self.table, self.column, plan.why)
        progress.result = f"{plan.chosen or 'no strategy can be used'}: {written}"
        progress.finish()
        self.written = True


class SchemaChangeRehearsal(luigi.Task):
    """Carries a change out on a copy of the table, while others write to it and read it.

    Writes `reports/schema_change/rehearsal_TABLE_COLUMN.html` and a `.json` for each strategy;
    changes nothing in the live database. Fails if rows were lost or readers had errors.
    """

    table = luigi.Parameter(description="The table that gets the column.")
    column = luigi.Parameter(description="The new column.")
    type = luigi.ChoiceParameter(choices=_TYPES, description="What it holds.")
    default = luigi.OptionalStrParameter(
        default=None, description="What rows have that exist or do not say; else NULL."
    )
    not_null = luigi.BoolParameter(description="NULL is not allowed; needs --default.")
    strategy = luigi.ChoiceParameter(choices=("native", "tool", "shadow"), description="How.")
    rows = luigi.OptionalIntParameter(
        default=None, description="So many rows, the first by key, are copied; else all."
    )
    seconds = luigi.FloatParameter(
        default=5, description="How long the load lasts before the change, and after it."
    )
    writes_per_s = luigi.FloatParameter(default=200, description="Of all writers together.")

    passed = False

    def complete(self) -> bool:
        """Whether this object has passed: a table can have changed since."""
        return self.passed

    def run(self) -> None:
        """Rehearse, write what was measured, and fail if something was lost."""
        from tasks.schema_change.open import open_database
        from tasks.schema_change.plan import with_default
        from tasks.schema_change.rehearsal import PASSED, Settings, rehearse
        from tasks.schema_change.rehearsal_page import summary, write_rehearsal
        from tasks.schema_change.workload import Rates

        progress = Progress(self)
        progress.start()
        kind, rates = Type(self.type), Rates(self.writes_per_s)
        with system_errors("SchemaChangeRehearsal"):
            change = with_default(self.table, self.column, kind, self.default, not self.not_null)
            live = open_database(settings().warehouse_url, settings().warehouse_schema)
            try:
                how = Settings(self.strategy, self.rows, self.seconds, rates)
                result = rehearse(live, change, how, progress.begin)
                page = write_rehearsal(result, live, settings().reports_dir)
            finally:
                live.close()
        for line in summary(result):
            logger.info("%s", line)
        if result["verdict"] != PASSED:
            raise PipelineError(
                f"The rehearsal of {self.column} in {self.table} has failed:",
                result["problems"],
                f"The figures are in {page}.",
            )
        progress.result = f"passed: {page}"
        progress.finish()
        self.passed = True
