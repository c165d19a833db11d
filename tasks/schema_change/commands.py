"""`python -m tasks schema-change`: how far changes are, and what can be done with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tasks.core.errors import PipelineError
from tasks.schema_change import runs
from tasks.schema_change.apply import declare, withdraw
from tasks.schema_change.interface import Database
from tasks.schema_change.machine import SchemaChange, Status
from tasks.schema_change.runs import State


def status_of(live: Database, tables: Sequence[str]) -> Iterator[str]:
    """Lines on the changes of tables, or of all: state, progress, what can be done next."""
    found = [run.table_name for run in runs.load_all(live.connection)]
    missing = [table for table in tables if table not in found]
    if missing:
        raise PipelineError(f"No schema change of {', '.join(missing)} has been begun.")
    for table in tables or found:
        now = SchemaChange.stored(live, table).status()
        if now is not None:
            yield from _lines(now)
    if not found:
        yield "No schema change with a shadow table has been begun."


def _lines(status: Status) -> Iterator[str]:
    run = status.run
    share = f" of about {run.expected_rows:,}" if run.expected_rows else ""
    yield f"{run.table_name}: column {run.change.column}, {run.state}"
    yield f"  copied: {run.copied_rows:,}{share} rows, up to the key {run.watermark or 'none'}"
    yield f"  captured and not applied: {status.backlog:,} keys"
    yield f"  changed at {run.changed_at} by {run.owner}"
    for step in status.next_steps:
        action = step.replace("_", "-")
        yield f"  next: python -m tasks schema-change {action} {run.table_name}"


def act(
    live: Database, action: str, table: str, reports: Path, report: Callable[[str], object]
) -> Iterator[str]:
    """Carry a change on; lines on how far it is then.

    Args:
        live: That has the table.
        action: What to do.
        table: Whose change.
        reports: Where the reports are.
        report: Is called with each state.

    Raises:
        PipelineError: It is in a state in which this cannot be done, or fails.
    """
    made = SchemaChange.stored(live, table, lambda state, mark: report(f"{state} {mark}".strip()))
    if action == "follow":
        report("Changes are applied until Ctrl-C.")
        made.follow()
    else:
        getattr(made, action.replace("-", "_"))()
    now = made.status()
    if now is None:
        return
    # A run that was killed after the switch is declared when it goes on.
    if now.run.state in (State.SWAPPED, State.SOAK):
        yield declare(made.change, reports)
    if now.run.state is State.REVERTED:
        withdraw(made.change)
    yield from _lines(now)
