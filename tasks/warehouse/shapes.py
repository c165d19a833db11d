"""What tables are like, as declared and as they are in a database, and how these differ."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tasks.core.errors import PipelineError


class Shape(NamedTuple):
    """What a table is like.

    Attributes:
        columns: Name in lower case -> type and NOT NULL, in the words of the database.
        key: The columns of its primary key, in order.
        references: (column, table, column) of its foreign keys.
    """

    columns: dict[str, str]
    key: tuple[str, ...]
    references: frozenset[tuple[str, str, str]]

    def has(self, declared: Shape) -> bool:
        """Whether it is as declared; it may have more columns and foreign keys."""
        return not self.differences(declared)

    def differences(self, declared: Shape) -> list[str]:
        """How it differs from what is declared."""
        found = [
            f"{name}: declared {kind}, found {self.columns.get(name, 'none')}"
            for name, kind in declared.columns.items()
            if self.columns.get(name) != kind
        ]
        if self.key != declared.key:
            key = f"({', '.join(self.key)})" if self.key else "none"
            found.append(f"primary key: declared ({', '.join(declared.key)}), found {key}")
        missing = sorted(declared.references - self.references)
        return found + [f"{column}: no foreign key to {to}" for column, to, _ in missing]

    def refuse(self, table: str, declared: Shape, other: str) -> None:
        """Raise PipelineError if a table of someone else exists and is not as declared.

        Args:
            table: Its name.
            declared: What it would have to be.
            other: What else the user may name, so that it is not in the way.
        """
        differences = self.differences(declared)
        if self.columns and differences:
            raise PipelineError(
                f"{table} exists in the warehouse, is not the pipeline's, and differs:",
                differences,
                f"Rename it, or name another {other}.",
            )


def described(kind: str, is_nullable: bool) -> str:
    """A column's type, with NOT NULL."""
    return kind if is_nullable else f"{kind} not null"


def shape(
    columns: Iterable[tuple[str, str, bool]],
    key: Iterable[str],
    references: Iterable[tuple[str, str, str]] = (),
) -> Shape:
    """A shape from what a database says: (name, type, whether it may be NULL) of each column."""
    named = {name: described(kind, nullable) for name, kind, nullable in columns}
    return Shape(named, tuple(key), frozenset(references))
