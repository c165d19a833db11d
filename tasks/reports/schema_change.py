"""Schema change: what changed in the source columns, and how to add a column to a live table."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from config.warehouse import FACT_LOGS
from tasks.core.text import readable
from tasks.reports.registry import Inputs, Json, Outputs, Report, Results
from tasks.reports.source_columns import (
    VANISHED,
    Columns,
    NewColumn,
    Recorded,
    Version,
    add_version,
    columns_of,
    compare_columns,
    describe_change,
    find_new_columns,
    plan_commands,
    read_history,
)

if TYPE_CHECKING:
    from tasks.warehouse.tables import LiveTable

logger = logging.getLogger("pipeline")

LARGE_ROWS = 100_000
"""From this many rows a table is described in full."""

CHUNK_ROWS = 10_000

# --- the steps -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A step of the change: what it is for, and its statements.

    Attributes:
        repeat: Whether it is run again and again until it changes no row.
    """

    title: str
    statements: tuple[str, ...]
    repeat: bool = False


def native_steps(table: LiveTable) -> list[Step]:
    """Add a nullable column natively on SQLite, and take it back."""
    return _steps("sql/native.sql.j2", table)


def shadow_steps(table: LiveTable) -> list[Step]:
    """Add a column on SQLite through a shadow table, while others write to the table.

    Triggers note the keys of changed rows; one worker copies chunk by chunk and applies the
    noted keys by reading the row again, so that no order of events can make a row stale.
    """
    return _steps("sql/shadow.sql.j2", table)


def abandon_steps(table: LiveTable) -> list[Step]:
    """Give the shadow table up before the swap: the triggers first, or writes would fail."""
    return _steps("sql/abandon.sql.j2", table)


def _steps(template: str, table: LiveTable) -> list[Step]:
    """The steps of a template: each begins with a line "-- title", perhaps with "(repeat)"."""
    from tasks.reports.templates import render

    text = render(
        template,
        table=table,
        column="new_column",
        chunk_rows=CHUNK_ROWS,
    )
    steps = []
    for block in text.split("-- ")[1:]:
        title, _, sql = block.partition("\n")
        statements = [statement.strip() for statement in sql.split(";\n")]
        steps.append(
            Step(
                title.removesuffix(" (repeat)"),
                tuple(statement for statement in statements if statement),
                repeat=title.endswith(" (repeat)"),
            )
        )
    return steps


# --- the report ------------------------------------------------------------------------------


def build(inputs: Inputs, outputs: Outputs) -> str:
    """Write the report as Markdown and HTML, its figures, and the history with this run's headers.

    The figures are "last", the run to compare with (UTC), "changes" since, "earlier", all that are
    recorded, "new", the columns that were not there at first, and "plans", the commands that plan
    their addition to the warehouse.
    """
    from tasks.reports.templates import render, render_markdown_page
    from tasks.staging.audit import read_audit
    from tasks.warehouse.tables import describe_tables

    audits = {name: read_audit(path) for name, path in inputs.paths["audits"].items()}
    columns = columns_of(audits)
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    history = read_history(inputs.previous["headers"])
    updated = add_version(history, columns, now)
    tables = describe_tables(inputs.warehouse)
    recorded = Recorded(updated, audits, inputs.paths["staged"], inputs.sources)
    new = find_new_columns(recorded, tables)
    content = _changes(history, recorded, new)
    for change in content["changes"]:
        for line in change["lines"]:
            if line.startswith(VANISHED):
                logger.warning("%s: %s", change["source"], readable(line))
    large = [table for table in tables if table.rows >= LARGE_ROWS]
    text = render(
        "schema_change.md.j2",
        now=now,
        **content,
        tables=tables,
        large=large or [table for table in tables if table.name == FACT_LOGS.name],
        native_steps=native_steps,
        abandon_steps=abandon_steps,
        shadow_steps=shadow_steps,
        large_rows=LARGE_ROWS,
    )
    outputs.write_text("markdown", text)
    outputs.write_text("page", render_markdown_page("Schema change", text))
    outputs.write_json("figures", content)
    outputs.write_json("headers", [asdict(version) for version in updated])
    return ""


def _changes(history: list[Version], recorded: Recorded, new: list[NewColumn]) -> Json:
    """What changed since the last run that recorded the columns, and in all runs before."""
    now = columns_of(recorded.audits)

    def described(before: Columns, after: Columns) -> list[Json]:
        return [
            {
                **asdict(change),
                "lines": list(
                    describe_change(
                        change,
                        new,
                        recorded.sources[change.source],
                        recorded.audits[change.source].absent,
                    )
                ),
            }
            for change in compare_columns(before, after)
        ]

    return {
        "last": history[-1].last_seen if history else None,
        "changes": described(history[-1].columns, now) if history else [],
        "earlier": [
            {"seen": after.first_seen, "changes": described(before.columns, after.columns)}
            for before, after in pairwise(recorded.history)
        ],
        "new": [asdict(one) for one in new],
        "plans": plan_commands(new),
    }


def figures(results: Results) -> Json:
    """The changes of the source columns."""
    return {"schema_change": results.json("schema_change")}


REPORT = Report(
    name="SchemaChangeReport",
    summary="Which source columns changed; how to add a column to the warehouse's large tables.",
    reads=("warehouse", "catalog", "audits", "staged", "sources"),
    build=build,
    anchor="schema-change",
    title="Schema change",
    position=60,
    files={
        "markdown": "schema_change.md",
        "page": "schema_change.html",
        "figures": "schema_change.json",
        "headers": "staging/audit/header_history.json",
    },
    figures=figures,
    page="schema_change.html",
    code_version=5,
)
