"""How far a change of a table is: one row for each table, in the database of the table."""

from __future__ import annotations

import dataclasses
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import sqlalchemy as sa

from tasks.schema_change.change import AddColumn


class State(StrEnum):
    """How far a change is; each is entered when what it says is committed."""

    PLANNED = "planned"
    """The table has been read; nothing is changed."""
    SHADOW_READY = "shadow ready"
    """The shadow exists and is empty."""
    COPYING = "copying"
    """Triggers capture all changes of the table."""
    DRAINED = "drained"
    """All rows are copied, and all that changed meanwhile."""
    READY = "ready"
    """The rows are verified: the tables can be switched."""
    SWAPPING = "swapping"
    """The switch has begun."""
    SWAPPED = "swapped"
    """The table has the new column; the old table is kept in step."""
    SOAK = "soak"
    """The rows are verified again: the change can be signed off, or reverted."""
    REVERTING = "reverting"
    """The switch back has begun."""
    TAKEN_BACK = "taken back"
    """The old table has its name again; the one with the new column still exists."""
    CLEANED = "cleaned"
    """Signed off: the old table is removed."""
    ABORTED = "aborted"
    """Ended before the switch; the catalog is as before."""
    REVERTED = "reverted"
    """Ended after the switch; the catalog is as before."""


ENDED = (State.CLEANED, State.ABORTED, State.REVERTED)
BEFORE_SWITCH = (
    State.PLANNED, State.SHADOW_READY, State.COPYING, State.DRAINED, State.READY, State.SWAPPING
)  # fmt: skip

RUNS = sa.Table(
    "schema_change_run",
    sa.MetaData(),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("plan", sa.Text(), nullable=False),
    sa.Column("plan_digest", sa.String(16), nullable=False),
    sa.Column("fingerprint", sa.String(16), nullable=False),
    sa.Column("watermark", sa.Text(), nullable=False),
    sa.Column("copied_rows", sa.BigInteger(), nullable=False),
    sa.Column("expected_rows", sa.BigInteger(), nullable=False),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("changed_at", sa.String(32), nullable=False),
)


@dataclass(frozen=True)
class Run:
    """A row of `schema_change_run`.

    Attributes:
        plan: The change as JSON.
        fingerprint: Of the table as it was copied; after the switch as it is then.
        watermark: The greatest key that was copied, for people; the one that counts is the
            shadow's own greatest key.
        owner: Host and process that changed the row last.
        changed_at: UTC.
    """

    table_name: str
    state: State
    plan: str
    plan_digest: str
    fingerprint: str
    watermark: str = ""
    copied_rows: int = 0
    expected_rows: int = 0
    owner: str = ""
    changed_at: str = ""

    @property
    def change(self) -> AddColumn:
        """What was asked for."""
        return AddColumn.from_json(self.plan)


def load(connection: sa.Connection, table: str) -> Run | None:
    """The last run of a table; None if there was none."""
    return next((run for run in load_all(connection) if run.table_name == table), None)


def load_all(connection: sa.Connection) -> list[Run]:
    """The last run of each table."""
    if not sa.inspect(connection).has_table(RUNS.name):
        return []
    rows = connection.execute(sa.select(RUNS).order_by(RUNS.c.table_name)).mappings()
    return [Run(**{**row, "state": State(row["state"])}) for row in rows]


def begin(connection: sa.Connection, run: Run) -> None:
    """Store a new run in place of an earlier one that has ended."""
    RUNS.metadata.create_all(connection)
    connection.execute(sa.delete(RUNS).where(RUNS.c.table_name == run.table_name))
    connection.execute(sa.insert(RUNS).values(**_values(run)))


def save(connection: sa.Connection, run: Run) -> None:
    """Store how far a run is; in the transaction that the connection is in."""
    stored = sa.update(RUNS).where(RUNS.c.table_name == run.table_name)
    connection.execute(stored.values(**_values(run)))


def _values(run: Run) -> dict[str, object]:
    owner = f"{socket.gethostname()}:{os.getpid()}"[:255]
    changed_at = datetime.now(UTC).isoformat(timespec="seconds")
    values = dataclasses.asdict(run) | {"owner": owner, "changed_at": changed_at}
    return values | {"state": run.state.value}
