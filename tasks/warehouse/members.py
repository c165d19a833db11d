"""Members of dimensions that their source lost, and that stay while rows refer to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.aggregates import AGGREGATES
from config.declarations import Table
from config.warehouse import DIMENSIONS, TABLES

if TYPE_CHECKING:
    from tasks.warehouse.interface import Transaction


def _children(db: Transaction, parent: str) -> list[tuple[str, str]]:
    """Tables that exist, and their columns that refer to a table."""
    return [
        (child.name, column)
        for child in (TABLES | AGGREGATES).values()
        for column, (name, _) in child.references.items()
        if name == parent and column in db.columns(child.name)
    ]


def keep_previous(db: Transaction, table: Table) -> list[str]:
    """Copy a dimension to the temporary table `previous`; its columns, none if not copied.

    The table ends with the connection of the load: MariaDB commits where one is dropped.
    """
    live = db.columns(table.name)
    if not _children(db, table.name) or not db.query(f"SELECT 1 FROM {table.name} LIMIT 1"):
        return []
    columns = [c.name for c in table.columns if c.name in live and c.name != "is_retained"]
    copied = f"SELECT {', '.join(columns)} FROM {table.name}"
    db.run(f"CREATE TEMPORARY TABLE previous AS {copied}")
    return columns


def retain(db: Transaction, table: Table, columns: list[str]) -> None:
    """Put back the previous members that the new rows lack and others still refer to."""
    name, (key,) = table.name, table.key_columns
    db.run(f"DELETE FROM previous WHERE {key} IN (SELECT {key} FROM {name})")
    if db.query("SELECT 1 FROM previous LIMIT 1"):
        references = _children(db, name)
        referenced = " UNION ".join(f"SELECT {column} FROM {child}" for child, column in references)
        listed = ", ".join(columns)
        db.run(
            f"INSERT INTO {name} ({listed}, is_retained)"
            f" SELECT {listed}, 1 FROM previous WHERE {key} IN ({referenced})"
        )


def remove_unreferenced(db: Transaction) -> None:
    """Remove the retained members that no row refers to any more, children first."""
    for parent in reversed(DIMENSIONS.values()):
        if "is_retained" in db.columns(parent.name):
            (key,) = parent.key_columns
            unreferenced = "".join(
                f" AND {key} NOT IN (SELECT {column} FROM {child})"
                for child, column in _children(db, parent.name)
            )
            db.remove(
                parent, f"SELECT {key} FROM {parent.name} WHERE is_retained = 1{unreferenced}"
            )
