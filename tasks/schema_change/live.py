"""A table as it is in the database, and what is copied of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

from tasks.core.errors import PipelineError

Key = tuple[object, ...]
"""The values of a primary key, as the driver has them."""


@dataclass(frozen=True)
class LiveColumn:
    """A column; `generated` and `identity` ones get their values from the database."""

    name: str
    type: str
    nullable: bool
    default: str | None
    generated: bool
    identity: bool


@dataclass(frozen=True)
class LiveTable:
    """A table, and what depends on it.

    Attributes:
        engine: The database and its version.
        references: Foreign keys of this table: name -> what they say.
        referred_by: Foreign keys of tables that refer to this one, it too: (table, name).
        triggers: Those of users: name -> the statement that creates it.
        views: Those that read it: name -> query.
        grants: Who may do what.
        indexes: Name -> what it says.
        other: Further facts whose change would make a copy differ: checks, comments, options.
    """

    name: str
    engine: str
    columns: tuple[LiveColumn, ...]
    primary_key: tuple[str, ...]
    references: dict[str, str] = field(default_factory=dict)
    referred_by: tuple[tuple[str, str], ...] = ()
    triggers: dict[str, str] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    grants: tuple[str, ...] = ()
    indexes: dict[str, str] = field(default_factory=dict)
    other: tuple[str, ...] = ()

    @property
    def stored(self) -> tuple[str, ...]:
        """The columns that can be written."""
        return tuple(column.name for column in self.columns if not column.generated)

    def has(self, column: str) -> bool:
        """Whether it has a column of the name, in upper or lower case."""
        return column.lower() in {each.name.lower() for each in self.columns}

    def dependents(self) -> dict[str, object]:
        """What has to be the same after tables have exchanged their names."""
        names = ("references", "referred_by", "triggers", "views", "grants", "indexes")
        return {name: getattr(self, name) for name in names}

    def lost(self, now: LiveTable) -> list[str]:
        """What of it is not the same."""
        after = now.dependents()
        return [
            f"{name}: {was} to {after[name]}"
            for name, was in self.dependents().items()
            if was != after[name]
        ]

    def fingerprint(self) -> str:
        """Identifies all of it."""
        facts = dataclasses.asdict(self)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


class Copy(NamedTuple):
    """Which rows go where: from the table to the shadow; after the switch to the old table.

    Attributes:
        columns: Those that are copied.
        compared: Generated ones too: name -> type.
        key: The primary key.
        log: The keys of rows that were changed; "" if the triggers write the rows.
    """

    source: str
    target: str
    columns: tuple[str, ...]
    compared: dict[str, str]
    key: tuple[str, ...]
    log: str

    @classmethod
    def of(cls, live: LiveTable, source: str, target: str, log: str) -> Copy:
        """From and to tables with the columns of `live`, the one that lacks the new column."""
        compared = {column.name: column.type for column in live.columns}
        return cls(source, target, live.stored, compared, live.primary_key, log)


def describe(connection: sa.Connection, table: str, **facts: Any) -> LiveTable:
    """What SQLAlchemy finds of a table, with the `facts` that depend on the database.

    Raises:
        PipelineError: It does not exist, or has no primary key.
    """
    inspector = sa.inspect(connection)
    if not inspector.has_table(table) or table in inspector.get_view_names():
        raise PipelineError(
            f"There is no table {table}.", remedy="Check its name and the database."
        )
    key = tuple(inspector.get_pk_constraint(table)["constrained_columns"])
    if not key:
        raise PipelineError(
            f"{table} has no primary key: its rows cannot be identified.",
            remedy="Add a primary key, or add the column while nobody uses the table.",
        )
    version = ".".join(map(str, connection.dialect.server_version_info or ()))
    return LiveTable(
        name=table,
        engine=f"{connection.dialect.name} {version}",
        columns=tuple(_column(column) for column in inspector.get_columns(table)),
        primary_key=key,
        **facts,
    )


def _column(found: Any) -> LiveColumn:
    identity = bool(found.get("identity")) or found.get("autoincrement") is True
    return LiveColumn(
        name=found["name"],
        type=str(found["type"]),
        nullable=found["nullable"],
        default=found.get("default"),
        generated=bool(found.get("computed")),
        identity=identity,
    )
