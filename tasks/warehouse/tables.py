"""The declared warehouse tables as SQLAlchemy tables: for DDL and for queries."""

from __future__ import annotations

import functools

import sqlalchemy as sa

from config.declarations import Table, Type
from config.warehouse import BOOKKEEPING, TABLES

_SQL_TYPES: dict[Type, sa.types.TypeEngine] = {
    Type.INTEGER: sa.BigInteger(),
    Type.NUMBER: sa.Double(),
    Type.TEXT: sa.Text(),
    Type.TIMESTAMP: sa.DateTime(),
}


def metadata() -> sa.MetaData:
    """All warehouse tables, with keys, foreign keys, indexes and comments."""
    return _metadata((*TABLES.values(), *BOOKKEEPING.values()))


@functools.lru_cache(maxsize=8)
def _metadata(tables: tuple[Table, ...]) -> sa.MetaData:
    schema = sa.MetaData(
        naming_convention={
            "ck": "ck_%(table_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    for table in tables:
        _add(table, schema)
    return schema


def _add(table: Table, schema: sa.MetaData) -> None:
    columns = [
        sa.Column(
            column.name,
            _SQL_TYPES[column.type],
            *([sa.ForeignKey(column.references)] if column.references else []),
            primary_key=column.name in table.key_columns,
            autoincrement=False,
            nullable=column.nullable,
            index=column.name in table.indexes,
            comment=column.description,
        )
        for column in table.columns
    ]
    checks = [sa.CheckConstraint(table.check)] if table.check else []
    sa.Table(table.name, schema, *columns, *checks, comment=table.grain)


def dictionary_rows() -> list[dict[str, str]]:
    """The rows of `data_dictionary`: each table and its columns."""
    return [
        {"table_name": table.name, "column_name": name, "type": kind, "description": text}
        for table in (*TABLES.values(), *BOOKKEEPING.values())
        for name, kind, text in (
            ("", "table", table.grain),
            *((c.name, c.type.value, c.description) for c in table.columns),
        )
    ]
