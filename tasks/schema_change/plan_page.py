"""A plan as Markdown, HTML and JSON."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import sqlalchemy as sa

from tasks.core.files import write_json
from tasks.reports.templates import render, render_markdown_page
from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import Database
from tasks.schema_change.plan import SHADOW, TITLES, TOOLS, make_plan, plan_command, plan_path

_HEADINGS = {
    "run": "Until the tables can be switched (`run`)",
    "abort": "Before the switch: give it up (`abort`)",
    "switch": "Switch (`switch`)",
    "revert": "After the switch: take it back (`revert`)",
    "sign-off": "No way back (`sign-off`)",
}


def write_plan(live: Database, change: AddColumn, reports: Path) -> str:
    """Make the plan and write it; which way it has chosen, and the Markdown file."""
    plan = make_plan(live, change)
    table, column = live.quote(change.table), live.quote(change.column)
    text = render(
        "schema_change_plan.md.j2",
        plan=plan,
        clause=f"ADD COLUMN {change.clause(live.connection.dialect)}",
        titles=TITLES,
        headings=_HEADINGS,
        rehearse=plan_command(change, "SchemaChangeRehearsal", plan.chosen or SHADOW),
        apply=plan_command(change, "SchemaChangeApply", plan.chosen or SHADOW),
        native_sql=[f"{one};" for one in plan.native_sql],
        session=[f"{one};" for one in plan.session],
        refers=[
            f"{', '.join(key['constrained_columns'])} to {key['referred_table']}"
            for key in sa.inspect(live.connection).get_foreign_keys(change.table)
        ],
        drop=f"ALTER TABLE {table} DROP COLUMN {column};",
        preflight={name: TOOLS[name].checks(live, plan.table) for name in plan.commands},
    )
    markdown = plan_path(reports, change, ".md")
    markdown.parent.mkdir(parents=True, exist_ok=True)
    markdown.write_text(text, encoding="utf-8")
    title = f"Plan: {change.column} in {change.table}"
    page = render_markdown_page(title, text)
    plan_path(reports, change, ".html").write_text(page, encoding="utf-8")
    write_json(dataclasses.asdict(plan), plan_path(reports, change, ".json"))
    return f"{plan.why} {markdown.as_posix()}"
