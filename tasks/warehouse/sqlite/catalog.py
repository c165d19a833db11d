"""Names in a file and what is there: needs no library, so that receipts are read at once."""

from __future__ import annotations

from collections.abc import Callable

from config.declarations import Table
from config.warehouse import FACT_LOGS, LOAD_RECEIPT, LOG_INSTANCE_ACTIVITY

_EVENTS = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}
"""Event -> the rows that a trigger sees."""

CACHE_KIB = 65_536
"""Page cache where pages are asked for in no order: reading, and keeping indexes up to date."""

Fetch = Callable[[str], list[tuple]]
"""Runs a statement and returns its rows."""


def index_names(table: Table) -> list[str]:
    """The declared indexes."""
    return [f"ix_{table.name}_{column}" for column in sorted(table.indexes)]


def shape(fetch: Fetch, table: str) -> tuple[dict[str, tuple], set[tuple]]:
    """Column -> type, NOT NULL, place in the primary key; and the foreign keys."""
    columns = fetch(f"SELECT name, type, \"notnull\", pk FROM pragma_table_info('{table}')")
    references = fetch(f'SELECT "from", "table", "to" FROM pragma_foreign_key_list(\'{table}\')')
    return {name: tuple(declared) for name, *declared in columns}, set(references)


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
