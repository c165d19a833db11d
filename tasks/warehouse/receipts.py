"""Which receipts are valid: those of tables whose changes would have been noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from config.aggregates import AGGREGATES
from config.bookkeeping import LOG_INSTANCE_ACTIVITY, LoadReceipt
from config.views import VIEWS
from config.warehouse import FACT_LOGS, TABLES

Names = set[tuple[str, str]]
"""(table, name) of tables, views and triggers; a table or view has its own name."""


def guarded_tables(table: str) -> tuple[str, ...]:
    """The tables whose changes invalidate a table's receipts: itself, and what is counted of it."""
    return (table, LOG_INSTANCE_ACTIVITY.name) if table == FACT_LOGS.name else (table,)


def valid_receipts(
    receipts: Iterable[LoadReceipt], catalog: Names, guards: Callable[[str], Names]
) -> dict[tuple[str, str], LoadReceipt]:
    """(table, partition) -> receipt, of tables that have their triggers.

    Args:
        receipts: All that are stored.
        catalog: What exists.
        guards: Table -> without what it could change unnoticed.
    """
    whole = {name for name in (*TABLES, *AGGREGATES) if guards(name) <= catalog}
    found = {(r.table_name, r.partition_name): r for r in receipts if r.table_name in whole}
    facts = found.get((FACT_LOGS.name, ""))
    in_partitions = sum(r.row_count for r in found.values() if r.partition_name)
    has_all = {(name, name) for name in VIEWS} <= catalog
    has_all = has_all and {(name, "") for name in AGGREGATES} <= set(found)
    if facts is not None and (facts.row_count != in_partitions or not has_all):
        del found[FACT_LOGS.name, ""]  # Someone removed a view, or changed a receipt.
    return found
