"""What is asked for: a column that is added to a table; the names of what that needs meanwhile."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from config.declarations import Type
from tasks.core.errors import PipelineError
from tasks.warehouse.tables import SQL_TYPES

_LONGEST_NAME = 63
"""In bytes, PostgreSQL's limit; MariaDB has 64 characters."""


@dataclass(frozen=True)
class AddColumn:
    """A column to be added, and what all rows have in it.

    Attributes:
        default: What rows have that do not say; a timestamp as text. None for NULL.

    Raises:
        PipelineError: A name cannot be one, or the column could have no value.
    """

    table: str
    column: str
    type: Type
    default: int | float | str | None = None
    nullable: bool = True

    def __post_init__(self) -> None:
        for name in (self.table, self.column):
            if not name.strip() or not name.isprintable() or len(name.encode()) > _LONGEST_NAME:
                raise PipelineError(
                    f"{name!r} cannot be the name of a table or column.",
                    remedy=f"Names have 1 to {_LONGEST_NAME} bytes, without control characters.",
                )
        if self.type not in SQL_TYPES:
            raise PipelineError(f"{self.table}.{self.column}: no column has the type {self.type}.")
        if not self.nullable and self.default is None:
            raise PipelineError(
                f"{self.table}.{self.column}: existing rows would have no value.",
                remedy="Give a default, or allow NULL.",
            )

    def clause(self, dialect: sa.Dialect) -> str:
        """The column as `ADD COLUMN` has it."""
        literal = self.default_sql(dialect).replace(":", r"\:")
        default = None if self.default is None else sa.text(literal)
        kind = SQL_TYPES[self.type]
        if dialect.name == "sqlite" and self.type is Type.INTEGER:
            kind = sa.Integer()  # As in the warehouse's own tables.
        column = sa.Column(self.column, kind, nullable=self.nullable, server_default=default)
        sa.Table(self.table, sa.MetaData(), column)
        # SQLAlchemy doubles "%" for drivers that replace parameters.
        return str(CreateColumn(column).compile(dialect=dialect)).replace("%%", "%")

    def default_sql(self, dialect: sa.Dialect) -> str:
        """The default as a literal."""
        if self.default is None:
            return "NULL"
        literal = sa.literal(self.default)
        text = str(literal.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
        return text.replace("%%", "%")

    def to_json(self) -> str:
        """All of it, for `from_json`; the same text for the same change."""
        return json.dumps(dataclasses.asdict(self), default=lambda kind: kind.value)

    @classmethod
    def from_json(cls, text: str) -> AddColumn:
        """What `to_json` has written."""
        values = json.loads(text)
        return cls(**{**values, "type": Type(values["type"])})

    def digest(self) -> str:
        """Identifies the change."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Names:
    """What the tables, triggers and functions of a change are called.

    They come behind the table's own in the order of bytes: see `Mariadb.exchange`. Of a long
    name they have the beginning and a digest.
    """

    table: str

    @property
    def _stem(self) -> str:
        space = _LONGEST_NAME - len("__capture_delete")
        if len(self.table.encode()) <= space:
            return f"{self.table}_"
        digest = hashlib.sha256(self.table.encode()).hexdigest()[:8]
        return f"~{self.table.encode()[: space - 10].decode(errors='ignore')}_{digest}"

    @property
    def shadow(self) -> str:
        """The table with the new column, before the switch and after a revert."""
        return f"{self._stem}_new"

    @property
    def old(self) -> str:
        """The table without the new column, after the switch."""
        return f"{self._stem}_old"

    @property
    def log(self) -> str:
        """The keys of rows that were changed."""
        return f"{self._stem}_log"

    @property
    def capture(self) -> str:
        """The beginning of the names of the triggers that log keys."""
        return f"{self._stem}_capture"
