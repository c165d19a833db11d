"""Tables and values for queries on any table."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa


def table_of(name: str, columns: Iterable[str]) -> sa.TableClause:
    """A table with such columns, for queries."""
    return sa.table(name, *(sa.column(column) for column in columns))


def bound(value: object) -> sa.BindParameter:
    """A value of a key, as the driver has it."""
    return sa.bindparam(None, value, type_=sa.types.NULLTYPE)
