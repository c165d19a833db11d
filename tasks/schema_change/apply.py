"""The planned change of the live table, and the declaration of the column that loads fill."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.added import FILE
from config.warehouse import FACT_LOGS
from tasks.core.errors import PipelineError
from tasks.core.files import read_json, write_json
from tasks.reports.source_columns import read_new_columns
from tasks.schema_change import runs
from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import Database
from tasks.schema_change.machine import SchemaChange, add_natively
from tasks.schema_change.plan import NATIVE, SHADOW, TITLES, TOOLS, plan_command, plan_path
from tasks.schema_change.runs import State

_PASSED = "passed"


@dataclass(frozen=True)
class Permission:
    """What has to be there before a live table is changed.

    Attributes:
        without_rehearsal: A rehearsal is not asked for.
        confirm: Whether a person agrees: is called with the table's name.
    """

    without_rehearsal: bool
    confirm: Callable[[str], bool]


def apply(
    live: Database,
    change: AddColumn,
    strategy: str,
    reports: Path,
    permission: Permission,
    report: Callable[[str], object],
) -> str:
    """Make the planned change; S2 until the tables can be switched: see `await_switch`.

    What an earlier process has begun is continued.

    Args:
        live: That has the table.
        change: What was planned.
        strategy: "" for the one that the plan has chosen.
        reports: Where plan and rehearsals are.
        permission: What is asked for.
        report: Is called with what happens.

    Returns:
        How it stands, in words.

    Raises:
        PipelineError: There is no plan, the table is another one, nobody agrees, or it fails.
    """
    strategy = _checked(live, change, strategy, reports, permission.without_rehearsal)
    table = change.table
    if not permission.confirm(table):
        raise PipelineError(f"{table} is not changed: its name was not given.")
    if strategy == SHADOW:
        made = SchemaChange(live, change, lambda state, mark: report(f"{state} {mark}".strip()))
        made.run()
        return State.READY.value
    if strategy == NATIVE:
        add_natively(live, change)
    else:
        TOOLS[strategy](live, change, report).run()
    return declare(change, reports)


def await_switch(live: Database, table: str) -> str:
    """Keep the shadow in step until another process has switched the tables; the state then.

    Raises:
        PipelineError: The change was aborted.
    """
    made = SchemaChange.stored(live, table)
    made.follow()
    run = runs.load(live.connection, table)
    if run is None or run.state is State.ABORTED:
        raise PipelineError(f"The schema change of {table} was aborted.")
    return run.state.value


def _checked(
    live: Database, change: AddColumn, strategy: str, reports: Path, without_rehearsal: bool
) -> str:
    """The strategy, if the change is planned and rehearsed for the table as it is."""
    plan = _plan(change, reports)
    strategy = strategy or plan["chosen"]
    if strategy not in TITLES:
        raise PipelineError(f"The plan has no strategy for {change.table}.", remedy=plan["why"])
    run = runs.load(live.connection, change.table)
    if run is not None and run.state not in runs.ENDED:
        return strategy  # It was checked when it began; the engine compares the table.
    again = f"Plan again: {plan_command(change)}"
    now = live.describe(change.table)
    if now.has(change.column):
        raise PipelineError(f"{change.table} has a column {change.column} already.")
    fingerprint = now.fingerprint()
    if plan["fingerprint"] != fingerprint:
        raise PipelineError(f"{change.table} has been changed since the plan was made.", (), again)
    obstacles = {one["name"]: one["obstacles"] for one in plan["strategies"]}[strategy]
    if obstacles:
        what = f"The plan says why {change.table} cannot be changed by the strategy {strategy}:"
        raise PipelineError(what, obstacles, again)
    if without_rehearsal:
        return strategy
    wanted = {"plan_digest": change.digest(), "fingerprint": fingerprint, "strategy": strategy}
    found = [one for one in _rehearsals(reports) if wanted.items() <= one.items()]
    if not any(one["verdict"] == _PASSED for one in found):
        raise PipelineError(
            f"The change of {change.table} has not been rehearsed with success: "
            f"{len(found)} rehearsals of this plan ({strategy}) on the table as it is.",
            [problem for one in found for problem in one.get("problems", ())],
            f"Rehearse it: {plan_command(change, 'SchemaChangeRehearsal', strategy)}\n"
            "or add --no-rehearsal.",
        )
    return strategy


def _plan(change: AddColumn, reports: Path) -> dict[str, Any]:
    path = plan_path(reports, change, ".json")
    try:
        plan = read_json(path)
    except (OSError, ValueError):
        plan = {}
    if plan.get("digest") != change.digest():
        raise PipelineError(
            f"There is no plan of this change: {path.as_posix()} is missing or of another one.",
            remedy=f"Plan it: {plan_command(change)}",
        )
    return dict(plan)


def _rehearsals(reports: Path) -> Iterator[dict[str, Any]]:
    """What rehearsals have written."""
    for path in sorted((reports / "schema_change").glob("*.json")):
        found = read_json(path)
        if isinstance(found, dict) and "verdict" in found:
            yield found


# --- the declaration -------------------------------------------------------------------------


def declare(change: AddColumn, reports: Path) -> str:
    """Have loads fill the column, if they can; what was done, in words.

    The schema-change report in `reports` says under which header the files have it.
    """
    what = f"{change.table} has the column {change.column}"
    if change.table != FACT_LOGS.name:
        return f"{what}; no load fills it: declare it in config/warehouse.py"
    if not change.nullable:
        return f"{what}; no load fills it, as it cannot be NULL: it keeps its default"
    described = f"{change.column} of the log records, as exported; added to the live table."
    entry = {
        "table": change.table,
        "column": change.column,
        "type": change.type.value,
        "header": _header(change, reports),
        "description": described,
    }
    _write([*_others(change), entry])
    return f"{what}; the next load fills it: commit {FILE.as_posix()}"


def _header(change: AddColumn, reports: Path) -> str:
    """Of the new column for which the change was planned; else its own name."""
    ours = change.table, change.column
    with contextlib.suppress(ValueError, KeyError, TypeError):  # A report of another version.
        for one in read_new_columns(reports / "schema_change.json"):
            if (one.table, one.column) == ours:
                return one.header.lower()
    return change.column.lower()


def withdraw(change: AddColumn) -> None:
    """No longer have loads fill the column."""
    if FILE.exists():
        _write(_others(change))


def _others(change: AddColumn) -> list[dict[str, str]]:
    known = read_json(FILE) if FILE.exists() else []
    ours = change.table, change.column
    return [one for one in known if (one["table"], one["column"]) != ours]


def _write(entries: list[dict[str, str]]) -> None:
    FILE.parent.mkdir(exist_ok=True)
    write_json(entries, FILE)
