"""Writers and readers on a copy of a table at a fixed rate, each in a process of its own.

A latency counts from the time at which the operation was due, so that a stall delays, visibly, all
that was due meanwhile. Writers have keys of their own, and a ledger of what they were acknowledged.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import sqlalchemy as sa

from tasks.core.errors import PipelineError
from tasks.schema_change.interface import Database
from tasks.schema_change.live import Key, LiveTable
from tasks.schema_change.statements import (
    LONGEST_WAIT_S,
    REPEATABLE_READ,
    Row,
    Statements,
    statements,
)

_POOL = 1_000
"""Rows that are written to, besides new ones."""

_OPERATIONS = {"update": 40, "insert": 25, "delete": 20, "upsert": 15}
_NO_ROW = "no row"


@dataclass(frozen=True)
class Rates:
    """How much there is to do, by all processes together."""

    writes_per_s: float = 200
    reads_per_s: float = 100
    writers: int = 4
    readers: int = 2


class Operation(NamedTuple):
    """When it was due and when it ended (monotonic seconds); the error's code or ""."""

    due: float
    done: float
    code: str


@dataclass
class Done:
    """What a process, or all of them, has done.

    Attributes:
        ledger: Key -> the states in which its row may be, None for absent: the acknowledged one
            and, after an error, also the one that was to be written.
    """

    writes: list[Operation] = field(default_factory=list)
    reads: list[Operation] = field(default_factory=list)
    ledger: dict[Key, list[Row | None]] = field(default_factory=dict)


@dataclass
class Compared:
    """Keys whose rows are not as they were acknowledged."""

    keys: int = 0
    unknown: int = 0
    lost: list[Key] = field(default_factory=list)
    resurrected: list[Key] = field(default_factory=list)
    stale: list[Key] = field(default_factory=list)


class Workload:
    """Writers and readers while the context lasts; then `done` is what they have done.

    Raises:
        PipelineError: The table has no rows, like which others could be written.
    """

    def __init__(self, database: Database, live: LiveTable, rates: Rates):
        self.statements = statements(database, live)
        self.rates = rates
        self.done = Done()
        self._table = live.name
        step = max(1, database.count(live.name) // _POOL)
        self._pool = database.fetch(self.statements.sql["sample"], step=step)
        if not self._pool:
            raise PipelineError(
                f"{live.name} has no rows, so there are none to write and read under the change.",
                remedy="Add the column to an empty table by ALTER TABLE.",
            )
        self._workers: list[tuple[multiprocessing.Process, Connection]] = []
        database.before_fork()

    def __enter__(self) -> Workload:
        rates = self.rates
        for kind, number, per_s in (
            (_Writer, rates.writers, rates.writes_per_s),
            (_Reader, rates.readers, rates.reads_per_s),
        ):
            for at in range(number):
                here, there = multiprocessing.Pipe()
                worker = kind(self.statements, self._pool, at, number, number / per_s)
                process = multiprocessing.Process(target=worker.run, args=(there,), daemon=True)
                process.start()
                there.close()
                self._workers.append((process, here))
        for _, pipe in self._workers:
            _received(pipe)  # It is connected.
        for _, pipe in self._workers:
            pipe.send("go")
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            stop = time.monotonic()
            for _, pipe in self._workers:
                pipe.send(stop)
            for _, pipe in self._workers:
                done = _received(pipe)
                self.done.writes += done.writes
                self.done.reads += done.reads
                self.done.ledger |= done.ledger
        for process, pipe in self._workers:
            process.kill()
            process.join()
            pipe.close()

    def compare(self) -> Compared:
        """The ledgers, compared with the table."""
        found = Compared(len(self.done.ledger))
        with self.statements.engine().connect() as connection:
            read = sa.text(self.statements.sql["read"])
            places = [f"v{at}" for at in self.statements.key]
            for key, states in self.done.ledger.items():
                row = connection.execute(read, dict(zip(places, key, strict=True))).first()
                now = None if row is None else tuple(row)
                found.unknown += len(states) > 1
                if now in states:
                    continue
                kind = found.lost if now is None else found.stale
                (found.resurrected if states == [None] else kind).append(key)
        return found


def _received(pipe: Connection) -> Any:
    if not pipe.poll(3 * LONGEST_WAIT_S):
        raise PipelineError("A process that writes or reads does not answer.")
    try:
        answer = pipe.recv()
    except EOFError:
        answer = "it was killed"
    if isinstance(answer, str) and answer:
        raise PipelineError(f"A process that writes or reads has failed: {answer}")
    return answer


@dataclass
class _Worker:
    """A process; ends with its parent.

    Args:
        number: Of its kind, from 0.
        among: How many there are of its kind.
        interval: Seconds between operations.
    """

    statements: Statements
    pool: Sequence[Row]
    number: int
    among: int
    interval: float

    def __post_init__(self) -> None:
        self.random = random.Random(self.number)  # noqa: S311
        self.done = Done()
        self._sql = {name: sa.text(sql) for name, sql in self.statements.sql.items()}

    def run(self, pipe: Connection) -> None:
        """Do all that is due until the time at which the parent stops; send it what was done."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        parent = os.getppid()
        try:
            engine = self.statements.engine()
            self.connection = engine.connect()
            self.prepare()
            pipe.send("")
            pipe.recv()
            due, stop = time.monotonic() + self.interval * self.random.random(), math.inf
            while due < stop and time.monotonic() < stop + LONGEST_WAIT_S:
                if stop == math.inf and pipe.poll(max(0.0, due - time.monotonic())):
                    stop = pipe.recv()
                    continue
                if os.getppid() != parent:
                    return
                self.operate(due)
                due += self.interval
                if self.connection.invalidated or self.connection.closed:
                    with contextlib.suppress(sa.exc.SQLAlchemyError):
                        self.connection.close()
                        self.connection = engine.connect()
            pipe.send(self.done)
        except BaseException as error:
            pipe.send(f"{type(error).__name__}: {error}")
            raise

    def prepare(self) -> None:
        """Before operations are due."""

    def operate(self, due: float) -> None:
        """Do one operation."""
        raise NotImplementedError

    def execute(self, operation: str, row: Row, *begin: str) -> sa.CursorResult:
        """Do an operation with the values of a row; in a transaction if it has a beginning."""
        values = {f"v{at}": value for at, value in enumerate(row)}
        if not begin:
            return self.connection.execute(self._sql[operation], values)
        try:
            for statement in begin:
                self.connection.exec_driver_sql(statement)
            self.connection.execute(self._sql["read"], values).all()
            result = self.connection.execute(self._sql[operation], values)
            self.connection.exec_driver_sql("COMMIT")
        except sa.exc.DBAPIError:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                self.connection.exec_driver_sql("ROLLBACK")
            raise
        return result


class _Writer(_Worker):
    """Writes rows of its own share of the pool and new ones; each second one repeatable-read."""

    def prepare(self) -> None:
        """All rows of its share exist."""
        own = self.pool[self.number :: self.among]
        self._rows = {self.statements.key_of(row): row for row in own}
        self._present, self._absent = list(self._rows), list[Key]()
        self._new = itertools.count(self.number, self.among)
        self._begin = REPEATABLE_READ[self.statements.kind] if self.number % 2 else ()
        self.done.ledger = {key: [row] for key, row in self._rows.items()}

    def operate(self, due: float) -> None:
        """Write, and keep in the ledger what was acknowledged."""
        (operation,) = self.random.choices(list(_OPERATIONS), list(_OPERATIONS.values()))
        keys = self._absent if operation == "insert" else self._present
        if operation == "upsert" and self._absent and self.random.random() < 0.3:
            keys = self._absent
        is_new = self.statements.renewed is not None and operation in ("insert", "upsert")
        if is_new and (not keys or self.random.random() < 0.5):
            row = self._new_row()
        elif keys:
            at = self.random.randrange(len(keys))
            keys[at], keys[-1] = keys[-1], keys[at]
            row = self._changed(self._rows[keys.pop()])
        else:
            return
        key = self.statements.key_of(row)
        state = None if operation == "delete" else row
        try:
            code = "" if self.execute(operation, row, *self._begin).rowcount else _NO_ROW
        except sa.exc.DBAPIError as error:
            code = _code(error)
        if code:  # Nobody writes to it again: it may have been written, or not.
            expected = self.done.ledger.setdefault(key, [None])
            expected += [] if code == _NO_ROW else [state]
        else:
            self.done.ledger[key] = [state]
            self._rows[key] = row
            (self._absent if state is None else self._present).append(key)
        self.done.writes.append(Operation(due, time.monotonic(), code))

    def _changed(self, row: Row) -> Row:
        """A row with the values of another, so that checks and foreign keys hold."""
        other = list(self.random.choice(self.pool))
        for at in self.statements.kept:
            other[at] = row[at]
        return tuple(other)

    def _new_row(self) -> Row:
        number = next(self._new)
        row = list(self.random.choice(self.pool))
        for at, least in (self.statements.renewed or {}).items():
            value: object = f"~{number:x}" if least is None else least + number
            row[at] = str(value) if self.statements.kind == "PostgreSQL" else value
        return tuple(row)


class _Reader(_Worker):
    """Reads rows, and ranges of rows."""

    def operate(self, due: float) -> None:
        """Read."""
        code = ""
        try:
            operation = self.random.choice(("read", "range"))
            self.execute(operation, self.random.choice(self.pool)).all()
        except sa.exc.DBAPIError as error:
            code = _code(error)
        self.done.reads.append(Operation(due, time.monotonic(), code))


def _code(error: sa.exc.DBAPIError) -> str:
    """The database's code of an error: number, name, or SQLSTATE."""
    found: Any = error.orig
    numbers = [one for one in getattr(found, "args", ()) if isinstance(one, int)]
    name = getattr(found, "sqlite_errorname", None) or getattr(found, "sqlstate", None)
    return str(numbers[0] if numbers else name or type(found).__name__)
