"""Schema change: what changed in the source columns, and the tables that could get one."""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise

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

logger = logging.getLogger("pipeline")


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
    text = render(
        "schema_change.md.j2",
        now=now,
        **content,
        tables=tables,
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
    summary="Which source columns changed; how to add a column to a live table.",
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
    code_version=6,
)
