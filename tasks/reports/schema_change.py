"""Schema change: what changed in the source columns, and how to add a column to a live table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from config.warehouse import FACT_LOGS
from tasks.core.files import read_json
from tasks.reports.registry import Inputs, Json, Outputs, Report, Results

if TYPE_CHECKING:
    from tasks.staging.audit import Audit
    from tasks.warehouse.tables import LiveTable

LARGE_ROWS = 100_000
"""From this many rows a table is described in full."""

CHUNK_ROWS = 10_000

Columns = dict[str, dict[str, str]]
"""Source -> column -> type of its values, as the first rows show it."""


# --- changes of the source columns -----------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """What changed in one source's columns."""

    source: str
    appeared: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    retyped: tuple[tuple[str, str, str], ...] = ()

    @property
    def renamed(self) -> tuple[str, str] | None:
        """A pair that may be one column renamed: the only one removed and the only one added."""
        if len(self.appeared) == len(self.vanished) == 1:
            return self.vanished[0], self.appeared[0]
        return None


def compare_columns(before: Columns, now: Columns) -> list[Change]:
    """What changed from one set of headers to another. A column without values has no type.

    >>> compare_columns({"POINT": {"id": "integer", "a": "text"}},
    ...                 {"POINT": {"id": "text", "b": "text"}})
    [Change(source='POINT', appeared=('b',), vanished=('a',), retyped=(('id', 'integer', 'text'),))]
    """
    changes = []
    for source in now:
        old, new = before.get(source, {}), now[source]
        retyped = tuple(
            (name, old[name], kind)
            for name, kind in new.items()
            if name in old and old[name] != kind and "empty" not in (old[name], kind)
        )
        change = Change(
            source=source,
            appeared=tuple(name for name in new if name not in old),
            vanished=tuple(name for name in old if name not in new),
            retyped=retyped,
        )
        if change.appeared or change.vanished or change.retyped:
            changes.append(change)
    return changes


def columns_of(audits: Mapping[str, Audit]) -> Columns:
    """The columns that each source's file has now; names in lower case."""
    return {
        name: {header.lower(): audit.observed_types.get(header, "empty") for header in audit.header}
        for name, audit in audits.items()
    }


@dataclass
class Version:
    """The columns of all sources, and the runs that first and last saw them (UTC)."""

    first_seen: str
    last_seen: str
    columns: Columns


def add_version(history: list[Version], columns: Columns, now: str) -> list[Version]:
    """The history with the present columns: a new version if they differ from the last one's.

    A column without values keeps the type that it had.
    """
    if history:
        columns = {
            source: {
                name: history[-1].columns.get(source, {}).get(name, kind)
                if kind == "empty"
                else kind
                for name, kind in of_source.items()
            }
            for source, of_source in columns.items()
        }
    if history and not compare_columns(history[-1].columns, columns):
        last = history[-1]
        return [*history[:-1], Version(last.first_seen, now, last.columns)]
    return [*history, Version(now, now, columns)]


def _read_history(path: Path) -> list[Version]:
    try:
        return [Version(**item) for item in read_json(path)]
    except (OSError, ValueError, TypeError):
        return []


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

    The figures are "last", the run to compare with (UTC), "changes" since, and "earlier", all that
    are recorded.
    """
    from tasks.reports.templates import render, render_markdown_page
    from tasks.staging.audit import read_audit
    from tasks.warehouse.tables import describe_tables

    audits = {name: read_audit(path) for name, path in inputs.paths["audits"].items()}
    columns = columns_of(audits)
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    history = _read_history(inputs.previous["headers"])
    updated = add_version(history, columns, now)
    content = _changes(history, updated, columns)
    tables = describe_tables(inputs.warehouse)
    large = [table for table in tables if table.rows >= LARGE_ROWS]
    text = render(
        "schema_change.md.j2",
        now=now,
        last=content["last"],
        changes=content["changes"],
        recognised={name: _recognised(audit) for name, audit in audits.items()},
        earlier=content["earlier"],
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


def _changes(history: list[Version], updated: list[Version], columns: Columns) -> Json:
    """What changed since the last run that recorded the columns, and in all runs before."""
    return {
        "last": history[-1].last_seen if history else None,
        "changes": compare_columns(history[-1].columns, columns) if history else [],
        "earlier": [
            {"seen": after.first_seen, "changes": compare_columns(before.columns, after.columns)}
            for before, after in zip(updated, updated[1:], strict=False)
        ],
    }


def _recognised(audit: Audit) -> set[str]:
    """The headers taken for declared columns, in lower case."""
    return {header.lower() for column in audit.recognised for header in audit.headers_of(column)}


def figures(results: Results) -> Json:
    """The changes of the source columns."""
    return {"schema_change": results.json("schema_change")}


REPORT = Report(
    name="SchemaChangeReport",
    summary="Which source columns changed; how to add a column to the warehouse's large tables.",
    reads=("warehouse", "catalog", "audits"),
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
    code_version=4,
)
