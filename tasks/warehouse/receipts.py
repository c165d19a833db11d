"""Which receipts are valid: those of tables whose changes would have been noticed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from config.aggregates import AGGREGATES
from config.bookkeeping import LOAD_RECEIPT, LOG_INSTANCE_ACTIVITY, LoadReceipt
from config.views import VIEWS
from config.warehouse import FACT_LOGS, TABLES

Names = set[tuple[str, str]]
"""(table, name) of tables, views and triggers; a table or view has its own name."""

Triggers = Callable[[str], Mapping[str, str]]
"""Table -> the triggers that invalidate its receipts: name -> CREATE statement."""

_EVENTS = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}
"""Event -> the rows that a trigger of each row sees."""


def guarded_tables(table: str) -> tuple[str, ...]:
    """The tables whose changes invalidate a table's receipts: itself, and what is counted of it."""
    return (table, LOG_INSTANCE_ACTIVITY.name) if table == FACT_LOGS.name else (table,)


def guards(table: str, triggers: Triggers) -> Names:
    """The tables and triggers without which a table could change unnoticed."""
    return {(on, name) for on in guarded_tables(table) for name in (on, *triggers(on))}


def row_triggers(on: str, body: str) -> dict[str, str]:
    """The triggers on a table that see each row: name -> the statement that creates it.

    Args:
        on: The table.
        body: What follows the table's name, with {} in the place of the statement.
    """
    found = {}
    for event, rows in _EVENTS.items():
        name = f"{on}_{event.lower()}_invalidates_receipt"
        delete = f"DELETE FROM {LOAD_RECEIPT.name} WHERE {_invalidated(on, rows)};"
        found[name] = f"CREATE TRIGGER {name} AFTER {event} ON {on} {body.format(delete)}"
    return found


def _invalidated(on: str, rows: Collection[str]) -> str:
    """The receipts that a change of a table's rows invalidates: a condition.

    Args:
        on: The table.
        rows: The names of a row before and after the change, as a trigger has them.
    """
    of_facts = f"table_name = '{FACT_LOGS.name}' AND "
    if on in guarded_tables(FACT_LOGS.name):
        changed = ", ".join(f"{row}.partition_id" for row in rows)
        return f"{of_facts}(partition_name = '' OR partition_id IN ({changed}))"
    which = f"table_name = '{on}'"
    if on in AGGREGATES:  # The load of facts makes it again.
        which += f" OR {of_facts}partition_name = ''"
    return which


def valid_receipts(
    receipts: Iterable[LoadReceipt], catalog: Names, triggers: Triggers
) -> dict[tuple[str, str], LoadReceipt]:
    """(table, partition) -> receipt, of tables that have their triggers.

    Args:
        receipts: All that are stored.
        catalog: What exists.
        triggers: Of each table.
    """
    whole = {name for name in (*TABLES, *AGGREGATES) if guards(name, triggers) <= catalog}
    found = {(r.table_name, r.partition_name): r for r in receipts if r.table_name in whole}
    facts = found.get((FACT_LOGS.name, ""))
    in_partitions = sum(r.row_count for r in found.values() if r.partition_name)
    has_all = {(name, name) for name in VIEWS} <= catalog
    has_all = has_all and {(name, "") for name in AGGREGATES} <= set(found)
    if facts is not None and (facts.row_count != in_partitions or not has_all):
        del found[FACT_LOGS.name, ""]  # Someone removed a view, or changed a receipt.
    return found
