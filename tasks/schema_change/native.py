"""ALTER TABLE as the database offers it: with a short wait for locks, again and again."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable

import sqlalchemy as sa

from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import LOCKED, Database
from tasks.schema_change.machine import Measured

_ATTEMPTS = 60


def attempt(database: Database, step: Callable[[], object], measured: Measured) -> None:
    """Do a step, again as often as it finds a lock.

    Raises:
        PipelineError: It fails for another reason, or finds locks all the time.
    """
    for tried in range(_ATTEMPTS):
        try:
            step()
        except sa.exc.DBAPIError as error:
            with contextlib.suppress(sa.exc.SQLAlchemyError):  # SQLite's may not have begun.
                database.run("ROLLBACK")
            if database.kind_of(error) != LOCKED or tried + 1 == _ATTEMPTS:
                raise database.error("The database cannot do this now:", error) from error
        else:
            return
        measured.retries[LOCKED] = measured.retries.get(LOCKED, 0) + 1
        time.sleep(random.uniform(0.05, 0.3))  # noqa: S311


def add_natively(database: Database, change: AddColumn, measured: Measured) -> None:
    """Add the column by ALTER TABLE."""
    began = time.monotonic()

    def step() -> None:
        started = time.monotonic()
        for statement in database.native_sql(change):
            database.run(statement)
        measured.exchange_s = time.monotonic() - started

    database.claim(change.table)
    attempt(database, step, measured)
    measured.switch_s = time.monotonic() - began
