"""The warehouse's tables: as declared, for DDL and queries; as they are, others' changes too."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from config.bookkeeping import ALL_TABLES, DATA_DICTIONARY
from config.declarations import Table, Type
from config.views import VIEWS
from config.warehouse import TABLES
from tasks.enrichment.further import as_loaded
from tasks.warehouse.digests import rows_digest

if TYPE_CHECKING:
    from tasks.warehouse.interface import Warehouse

_MARIADB = ("mysql", "mariadb")
_LONGEST_COMMENT = 1024  # In MariaDB; data_dictionary has all of it.
_BYTES = "utf8mb4_nopad_bin"  # Texts compare as in SQLite: by their bytes, spaces too.
_POSTGRESQL_TEXT = sa.Text(collation="C")

SQL_TYPES: dict[Type, sa.types.TypeEngine] = {
    Type.INTEGER: sa.BigInteger(),
    Type.NUMBER: sa.Double(),
    Type.TEXT: sa.Text()
    .with_variant(_POSTGRESQL_TEXT, "postgresql")
    .with_variant(mysql.LONGTEXT(collation=_BYTES), *_MARIADB),
    Type.TIMESTAMP: sa.DateTime().with_variant(mysql.DATETIME(fsp=6), *_MARIADB),
}
_KEY_TEXT = (
    sa.Text()
    .with_variant(_POSTGRESQL_TEXT, "postgresql")
    .with_variant(mysql.VARCHAR(255, collation=_BYTES), *_MARIADB)
)
"""MariaDB's keys have texts of limited length only."""


def metadata(table: Table | None = None) -> sa.MetaData:
    """All warehouse tables, with keys, foreign keys and comments.

    Args:
        table: One that has further columns.
    """
    replaced = {} if table is None else {table.name: table}
    return _metadata(tuple((ALL_TABLES | replaced).values()))


@functools.lru_cache(maxsize=8)
def _metadata(tables: tuple[Table, ...]) -> sa.MetaData:
    schema = sa.MetaData(
        naming_convention={
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
            _KEY_TEXT
            if column.type is Type.TEXT and column.name in table.key_columns
            else SQL_TYPES[column.type],
            *([sa.ForeignKey(column.references)] if column.references else []),
            autoincrement=False,
            nullable=column.nullable and column.name not in table.key_columns,
            comment=column.description[:_LONGEST_COMMENT],
        )
        for column in table.columns
    ]
    # The order of the key need not be that of the columns.
    key = sa.PrimaryKeyConstraint(*table.key_columns)
    sa.Table(table.name, schema, *columns, key, comment=table.grain)


def dictionary_rows(further: Iterable[Table] = ()) -> list[dict[str, str]]:
    """The rows of `data_dictionary`: each table and view, and its columns.

    Args:
        further: Tables that have further columns.
    """
    tables = ALL_TABLES | {table.name: table for table in further}
    described = [("table", one.name, one.grain, one.columns) for one in tables.values()]
    described += [("view", one.name, one.grain, one.described()) for one in VIEWS.values()]
    return [
        {"table_name": table, "column_name": name, "type": kind, "description": text}
        for what, table, grain, columns in described
        for name, kind, text in (
            ("", what, grain),
            *((c.name, c.type.value, c.description) for c in columns),
        )
    ]


def further_digest(table: Table) -> int:
    """The digest of what `data_dictionary` says of a table's further columns."""
    declared = {column.name for column in TABLES[table.name].columns}
    described = {c.name: c.description for c in table.columns if c.name not in declared}
    return (
        rows_digest(pa.record_batch({"column_name": [*described], "text": [*described.values()]}))
        if described
        else 0
    )


# --- as they are in the database -------------------------------------------------------------


@dataclass
class LiveTable:
    """A table of the warehouse.

    Attributes:
        size_bytes: Pages of the table and its indexes; None if it is not known.
        declared: The columns that are declared, and the further ones of a source.
        references: Column -> table.column that it refers to.
        referred_by: table.column that refer to this one.
        indexes: Index -> columns.
    """

    name: str
    grain: str
    rows: int
    size_bytes: int | None
    columns: list[str]
    declared: Table
    primary_key: list[str]
    references: dict[str, str] = field(default_factory=dict)
    referred_by: list[str] = field(default_factory=list)
    indexes: dict[str, list[str]] = field(default_factory=dict)


def describe_tables(warehouse: Warehouse) -> list[LiveTable]:
    """The warehouse's tables, largest first, read from the live database.

    Rows and sizes are as the last load recorded them, if nobody has changed the table since: to
    count them takes the longer the larger the table is.
    """
    loaded = {name: r for (name, partition), r in warehouse.receipts().items() if not partition}
    with warehouse.connect() as connection:
        tables = {name: _describe(warehouse, connection, name) for name in TABLES}
        for name, table in tables.items():
            if name in loaded:
                table.rows, table.size_bytes = loaded[name].row_count, loaded[name].size_bytes
            else:
                count = sa.select(sa.func.count()).select_from(sa.table(name))
                table.rows = connection.scalar(count) or 0
            table.size_bytes = table.size_bytes or warehouse.size_bytes(connection, name)
    for table in tables.values():
        for column, target in table.references.items():
            parent = target.partition(".")[0]
            if parent in tables:
                tables[parent].referred_by.append(f"{table.name}.{column}")
    return sorted(tables.values(), key=lambda table: -table.rows)


def _describe(warehouse: Warehouse, connection: sa.Connection, name: str) -> LiveTable:
    inspector = sa.inspect(connection)
    dictionary = metadata().tables[DATA_DICTIONARY.name].columns
    described = connection.execute(
        sa.select(dictionary.column_name, dictionary.description).where(
            dictionary.table_name == name
        )
    )
    return LiveTable(
        name=name,
        grain=TABLES[name].grain,
        rows=0,
        size_bytes=None,
        columns=[column["name"] for column in inspector.get_columns(name)],
        declared=as_loaded(TABLES[name], {column: text for column, text in described}),
        primary_key=inspector.get_pk_constraint(name)["constrained_columns"],
        references={
            key["constrained_columns"][0]: f"{key['referred_table']}.{key['referred_columns'][0]}"
            for key in sorted(inspector.get_foreign_keys(name), key=_place(TABLES[name]))
        },
        indexes={
            str(index["name"]): [str(column) for column in index["column_names"]]
            for index in inspector.get_indexes(name)
        },
    )


def _place(table: Table) -> Callable[[Any], int]:
    """The place of a foreign key among those that are declared; the others come last."""
    declared = [*table.references]

    def place(key: Any) -> int:
        column = key["constrained_columns"][0]
        return declared.index(column) if column in declared else len(declared)

    return place
