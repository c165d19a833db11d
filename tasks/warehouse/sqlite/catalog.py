"""What is declared, as SQLite's statements, and whether a file has it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

from config.declarations import Table
from config.warehouse import FACT_LOGS, LOAD_RECEIPT, LOG_INSTANCE_ACTIVITY

_EVENTS = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}
"""Event -> the rows that a trigger sees."""

Fetch = Callable[[str], list[tuple]]
"""Runs a statement and returns its rows."""


def create_sql(table: Table) -> str:
    """The statement that creates a table."""
    from sqlalchemy.dialects import sqlite
    from sqlalchemy.schema import CreateTable

    from tasks.warehouse.tables import metadata

    declared = metadata().tables[table.name]
    # Only a column whose type is INTEGER becomes the table's row id.
    sql = str(CreateTable(declared).compile(dialect=sqlite.dialect())).replace("BIGINT", "INTEGER")
    return sql.strip() + (" WITHOUT ROWID" if len(table.key_columns) > 1 else "")


def index_names(table: Table) -> list[str]:
    """The declared indexes."""
    return [f"ix_{table.name}_{column}" for column in sorted(table.indexes)]


def shape(fetch: Fetch, table: str) -> tuple[dict[str, tuple], set[tuple]]:
    """Column -> type, NOT NULL, place in the primary key; and the foreign keys."""
    columns = fetch(f"SELECT name, type, \"notnull\", pk FROM pragma_table_info('{table}')")
    references = fetch(f'SELECT "from", "table", "to" FROM pragma_foreign_key_list(\'{table}\')')
    return {name: tuple(shape) for name, *shape in columns}, set(references)


def fits(fetch: Fetch, table: Table) -> bool:
    """Whether a table has the declared columns, types and keys; others may have added columns."""
    with closing(sqlite3.connect(":memory:")) as scratch:
        scratch.execute(create_sql(table))
        declared, references = shape(lambda sql: scratch.execute(sql).fetchall(), table.name)
    live, live_references = shape(fetch, table.name)
    same = all(live.get(name) == shape for name, shape in declared.items())
    return same and references <= live_references


def guarded_tables(table: str) -> tuple[str, ...]:
    """The tables whose changes invalidate a table's receipts: itself, and what is counted of it."""
    return (table, LOG_INSTANCE_ACTIVITY.name) if table == FACT_LOGS.name else (table,)


def guards(table: str) -> set[tuple[str, str]]:
    """(table, name) of the tables and triggers without which a table could change unnoticed."""
    return {(on, name) for on in guarded_tables(table) for name in (on, *triggers(on))}


def triggers(on: str) -> dict[str, str]:
    """The triggers on a table that invalidate receipts: name -> the statement that creates it."""
    in_partitions = on in guarded_tables(FACT_LOGS.name)
    loaded = FACT_LOGS.name if in_partitions else on
    found = {}
    for event, rows in _EVENTS.items():
        which = f"table_name = '{loaded}'"
        if in_partitions:
            changed = ", ".join(f"{row}.partition_id" for row in rows)
            which += f" AND (partition = '' OR partition_id IN ({changed}))"
        name = f"{on}_{event.lower()}_invalidates_receipt"
        found[name] = (
            f"CREATE TRIGGER {name} AFTER {event} ON {on}"
            f" BEGIN DELETE FROM {LOAD_RECEIPT.name} WHERE {which}; END"
        )
    return found
