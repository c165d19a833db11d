"""The plan of a change: which way, why, every command, what could be in the way, how to go back."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from config.declarations import Type
from tasks.core.errors import PipelineError
from tasks.core.text import displayed_url
from tasks.schema_change.change import AddColumn
from tasks.schema_change.gh_ost import GhOst
from tasks.schema_change.interface import Database
from tasks.schema_change.live import LiveTable
from tasks.schema_change.percona import PtOnlineSchemaChange
from tasks.schema_change.preflight import CATALOG, REFUSED, Check, Native, check, try_natively
from tasks.schema_change.recorded import Step, record
from tasks.schema_change.scratch import scratch
from tasks.schema_change.tool import Tool

NATIVE, TOOL, GH_OST, SHADOW = "native", "tool", "gh-ost", "shadow"
TITLES = {
    NATIVE: "ALTER TABLE",
    TOOL: "S1, pt-online-schema-change",
    GH_OST: "S1, gh-ost",
    SHADOW: "S2, a shadow table",
}
TOOLS: dict[str, type[Tool]] = {TOOL: PtOnlineSchemaChange, GH_OST: GhOst}

_SAMPLE_ROWS = 20_000

_BRIEF_S = 1.0
"""A table that is rewritten in less time needs no copy beside it."""

ABILITIES = {
    NATIVE: {
        "wait for the switch": "no",
        "stop": "between two attempts",
        "resume": "yes: run it again",
        "abort": "yes: nothing is changed before it commits",
        "revert": "ALTER TABLE ... DROP COLUMN: loses what was written to the new column, no row",
    },
    TOOL: {
        "wait for the switch": "no",
        "stop": "yes",
        "resume": "no: version 3.2.1 begins again",
        "abort": "yes: its triggers are removed first, then its table",
        "revert": "no: the old table lacks what was written since",
    },
    GH_OST: {
        "wait for the switch": "no",
        "stop": "yes",
        "resume": "no: it begins again",
        "abort": "yes: its tables are removed; it has no triggers",
        "revert": "no: the old table lacks what was written since",
    },
    SHADOW: {
        "wait for the switch": "yes: the shadow is kept in step",
        "stop": "yes, in each state, also by kill -9",
        "resume": "yes: at most one chunk is copied again",
        "abort": "yes, until the switch: the catalog is as before",
        "revert": "yes, until sign-off: with all that was written since",
    },
}
"""Strategy -> what can be done with a change under way."""


@dataclass(frozen=True)
class Strategy:
    """A way to make the change.

    Attributes:
        obstacles: Why it cannot be used on this table and server; empty if it can.
        can: As in ABILITIES.
    """

    name: str
    obstacles: tuple[str, ...]
    can: dict[str, str]


@dataclass
class Plan:
    """What to do, for one table of one server as it is now.

    Attributes:
        digest: Of the change; `fingerprint` is that of the table.
        chosen: A strategy; "" if none can be used.
        courses: Of S2: "run", "abort", "switch", "revert", "sign-off" -> steps and their SQL.
        session: Settings of the connection that runs them.
        commands: Of S1: strategy -> what for -> a command for a shell.
        copy_s: How long copying all rows takes, by the rate of a copy; None if none was made.
    """

    change: AddColumn
    digest: str
    fingerprint: str
    server: str
    table: LiveTable
    rows: int
    size_bytes: int | None
    native: Native
    chosen: str
    why: str
    strategies: list[Strategy]
    checks: list[Check]
    native_sql: list[str]
    courses: dict[str, list[Step]]
    session: list[str] = field(default_factory=list)
    commands: dict[str, dict[str, str]] = field(default_factory=dict)
    copy_s: float | None = None


def plan_path(reports: Path, change: AddColumn, suffix: str) -> Path:
    """Where the plan is written."""
    name = re.sub(r"\W+", "_", f"{change.table}_{change.column}")
    return reports / "schema_change" / f"plan_{name}{suffix}"


def plan_command(change: AddColumn, task: str = "SchemaChangePlan", strategy: str = "") -> str:
    """The command line of a task that plans, rehearses or makes a change."""
    arguments = [
        *("luigi", "--module", "tasks", task, "--table", change.table, "--column", change.column),
        *("--type", change.type.value),
        *(("--default", str(change.default)) if change.default is not None else ()),
        *(() if change.nullable else ("--not-null",)),
        *(("--strategy", strategy) if strategy else ()),
        "--local-scheduler",
    ]
    return shlex.join(arguments)


def with_default(
    table: str, column: str, kind: Type, default: str | None, nullable: bool
) -> AddColumn:
    """The change that command lines ask for.

    Raises:
        PipelineError: The default is not of the type.
    """
    value: int | float | str | None = default
    try:
        if default is not None and kind is Type.INTEGER:
            value = int(default)
        elif default is not None and kind is Type.NUMBER:
            value = float(default)
    except ValueError:
        raise PipelineError(f"{table}.{column}: the default {default} is no {kind}.") from None
    return AddColumn(table, column, kind, value, nullable)


def make_plan(live: Database, change: AddColumn) -> Plan:
    """Read the table, try the change on a copy, and choose a way. Changes nothing.

    Raises:
        PipelineError: The table does not exist or has no primary key, or no copy can be made.
    """
    table = live.describe(change.table)
    if table.has(change.column):
        what = f"{change.table} has a column {change.column} already."
        raise PipelineError(what, remedy="Nothing has to be changed.")
    rows = live.count(change.table)
    with scratch(live, change.table, _SAMPLE_ROWS) as copy:
        native = try_natively(copy, change)
        courses, copy_s, not_shadow = {}, None, live.obstacles(table)
        if not not_shadow:
            try:
                recording = record(live, copy, change)
                courses, measured = recording.courses, recording.measured
                copy_s = measured.copy_s * max(1, rows) / max(1, measured.copied_rows)
            except PipelineError as error:
                not_shadow = [str(error)]
    obstacles = {
        NATIVE: [] if is_brief(native, copy_s) else [native.seen],
        **{name: tool.obstacles(live, table) for name, tool in TOOLS.items()},
        SHADOW: not_shadow,
    }
    chosen, why = choose(native, obstacles, copy_s)
    return Plan(
        change=change,
        digest=change.digest(),
        fingerprint=table.fingerprint(),
        server=displayed_url(live.url.render_as_string(hide_password=False)),
        table=table,
        rows=rows,
        size_bytes=live.size_bytes(change.table),
        native=native,
        chosen=chosen,
        why=why,
        strategies=[Strategy(n, tuple(o), ABILITIES[n]) for n, o in obstacles.items()],
        checks=check(live, table, change),
        native_sql=live.native_sql(change),
        courses=courses,
        session=_session(live),
        commands=_tool_commands(live, table, change),
        copy_s=copy_s,
    )


def is_brief(native: Native, copy_s: float | None) -> bool:
    """Whether others wait for ALTER TABLE only briefly."""
    if native.way in (CATALOG, REFUSED):
        return native.way == CATALOG
    return copy_s is not None and copy_s < _BRIEF_S


def choose(
    native: Native, obstacles: dict[str, list[str]], copy_s: float | None
) -> tuple[str, str]:
    """The strategy, and why."""
    if not obstacles[NATIVE] and native.way == CATALOG:
        return NATIVE, "ALTER TABLE changes the catalog alone: it takes the same time at any size."
    if not obstacles[NATIVE]:
        return NATIVE, (
            f"{native.seen} ALTER TABLE may rewrite the table: by the rate of a copy that takes"
            f" {copy_s:.2f} s, less than {_BRIEF_S:g} s."
        )
    seen = f"ALTER TABLE would not do: {native.seen}"
    for name in TOOLS:
        if not obstacles[name]:
            return name, f"{seen} The tool was made for this."
    if not obstacles[SHADOW]:
        return SHADOW, f"{seen} A shadow table works on every server, and can be taken back."
    return "", f"{seen} Change it while nobody uses it; the obstacles are below."


def _session(live: Database) -> list[str]:
    """Settings of a session that its statements depend on."""
    if live.kind != "PostgreSQL":
        return []
    query = (
        "SELECT name, setting FROM pg_settings WHERE source = 'client' AND name <> 'search_path'"
    )
    ours = ("extra_float_digits", "lock_timeout", "TimeZone")
    return [f"SET {name} = '{value}'" for name, value in live.fetch(query) if name in ours]


def _tool_commands(
    live: Database, table: LiveTable, change: AddColumn
) -> dict[str, dict[str, str]]:
    if live.kind != "MariaDB":
        return {}
    return {name: tool.commands(live, change, table) for name, tool in TOOLS.items()}
