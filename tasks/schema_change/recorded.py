"""The statements of a change as the engine runs them, recorded on a copy with few rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import Database
from tasks.schema_change.machine import Measured, Pace, SchemaChange
from tasks.schema_change.runs import RUNS, State

_CATALOG = re.compile(r"\bpg_|\binformation_schema\b|\bsqlite_(schema|master)\b|::?regclass", re.I)
_READS = re.compile(r"\s*(SELECT|WITH)\b", re.I)
_ASKS = re.compile(r"(PRAGMA [^=]*|SHOW .*|DESCRIBE .*)$")
_BEGINS = re.compile(r"(BEGIN|START TRANSACTION)\b")
_ENDS = ("COMMIT", "ROLLBACK")


@dataclass
class Step:
    """What leads to a state, and the statements; those of a transaction are one text."""

    title: str
    statements: list[str] = field(default_factory=list)


@dataclass
class Recording:
    """What a copy has shown.

    Attributes:
        courses: "run", "abort", "switch", "revert", "sign-off" -> its steps.
        measured: Of the first run.
    """

    courses: dict[str, list[Step]]
    measured: Measured


TITLES = {
    State.SHADOW_READY: "Create the shadow",
    State.COPYING: "Have triggers capture all changes",
    State.DRAINED: "Find that all rows are copied",
    State.READY: "Apply the rest and compare the rows, chunk by chunk",
    State.SWAPPED: "Let the tables exchange their names",
    State.SOAK: "Check what was left unchecked, and compare the rows again",
    State.TAKEN_BACK: "Let the tables exchange their names again",
    State.REVERTED: "Remove the table that has the column",
    State.ABORTED: "Remove triggers, log and shadow",
    State.CLEANED: "Remove triggers, log and the table without the column",
}
_COPY = "Copy, chunk by chunk, and apply what was captured"
_IN_CHUNKS = (_COPY, *(TITLES[state] for state in (State.DRAINED, State.READY, State.SOAK)))


def record(live: Database, copy: Database, change: AddColumn) -> Recording:
    """Carry the change out on a copy three times, each with another end.

    Statements that read the catalog, and the row of `schema_change_run`, are left out.

    Args:
        live: Whose names are shown.
        copy: As from `scratch`; has the column at the end.
        change: What is asked for.

    Raises:
        PipelineError: The table cannot be changed in this way.
    """
    recorder = _Recorder(live, copy, change)
    first = SchemaChange(copy, change, recorder.observe, Pace(rest=0))
    courses = {"run": recorder.steps_of(first.run), "abort": recorder.steps_of(first.abort)}
    again = SchemaChange(copy, change, recorder.observe, Pace(rest=0))
    again.run()
    courses["switch"] = recorder.steps_of(again.switch)
    courses["revert"] = recorder.steps_of(again.revert)
    again.run()
    again.switch()
    courses["sign-off"] = recorder.steps_of(again.sign_off)
    return Recording(courses, first.measured)


class _Recorder:
    """Listens to all connections to a copy."""

    def __init__(self, live: Database, copy: Database, change: AddColumn):
        self.copy, self.change = copy, change
        self._name = copy.schema or str(copy.url.database)
        self._shown = (live.schema or "public") if copy.schema else str(live.url.database)
        self._steps: list[Step] = []
        self._pending: list[str] = []
        sa.event.listen(copy.connection.engine, "before_cursor_execute", self._note)

    def steps_of(self, act: Callable[[], object]) -> list[Step]:
        """What an act runs, by the states that it leads to."""
        self._steps, self._pending = [], []
        act()
        return [step for step in self._steps if step.statements]

    def observe(self, state: State, _watermark: str) -> None:
        """A state is reached, or a chunk is copied: what came before led to it."""
        copies = state is State.COPYING and any(s.title == TITLES[state] for s in self._steps)
        title = _COPY if copies else TITLES.get(state, "")
        units, self._pending = list(_units(self._pending)), []
        if title and (not self._steps or self._steps[-1].title != title):
            self._steps.append(Step(title))
        if title:
            step = self._steps[-1]
            # Of chunks, those that differ in more than values.
            known = {_shape(text) for text in step.statements} if title in _IN_CHUNKS else set()
            step.statements += [text for text in units if _shape(text) not in known]
        if state is State.COPYING and not copies:
            self._write()

    def _write(self) -> None:
        """Change a row, so that there is something to apply."""
        live = self.copy.describe(self.change.table)
        first = self.copy.quote(live.primary_key[0])
        column = next((c for c in live.stored if c not in live.primary_key), live.primary_key[0])
        table, name = self.copy.quote(self.change.table), self.copy.quote(column)
        with self.copy.connection.engine.connect() as other:
            other.exec_driver_sql(
                f"UPDATE {table} SET {name} = {name}"
                f" WHERE {first} = (SELECT min({first}) FROM {table})"
            )
        self._pending = []

    def _note(self, _c: object, _k: object, statement: str, parameters: Any, *_: object) -> None:
        sql = _with_values(statement, parameters).replace(self._name, self._shown)
        is_read = _READS.match(sql) and "setval" not in sql and _CATALOG.search(sql)
        if RUNS.name not in sql and not is_read and not _ASKS.match(sql):
            self._pending.append(sql)


def _units(statements: Iterable[str]) -> Iterator[str]:
    """Statements by themselves, and transactions as one text; empty ones not at all."""
    inside: list[str] = []
    for sql in statements:
        inside.append(sql.rstrip("; \n"))
        if _BEGINS.match(inside[0]) and inside[-1] not in _ENDS:
            continue
        if inside[-1] not in _ENDS or len(inside) > 2:
            yield ";\n".join(inside) + ";"
        inside = []


def _shape(text: str) -> str:
    """The same for the same statements with other values."""
    return re.sub(r"'(?:[^']|'')*'|\d+", "0", text)


def _with_values(statement: str, parameters: Any) -> str:
    """A statement as a person would write it, with the values of parameters in it."""
    if not parameters:
        return statement
    if isinstance(parameters, dict):
        return statement % {name: _literal(value) for name, value in parameters.items()}
    values = [_literal(value) for value in parameters]
    return (statement.replace("?", "%s") if "?" in statement else statement) % tuple(values)


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int | float | Decimal):
        return str(value)
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    return "'" + str(value).replace("'", "''") + "'"
