"""The query of a view, in the words of a database."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from config.declarations import UNKNOWN, Type
from config.views import Computed, View, declared_column
from config.warehouse import NO_TIME_OF_SERVERS
from tasks.core.text import spellings


def time_of_servers(column: str, is_nullable: bool) -> str:
    """A time as a view of a server has it: NULL where there is none."""
    return f"nullif({column}, {NO_TIME_OF_SERVERS})" if is_nullable else column


def view_query(view: View, alarms: Sequence[str], time: Callable[[str, bool], str]) -> str:
    """What follows CREATE VIEW ... AS.

    Args:
        view: The view.
        alarms: Statuses that are alarms, in any case.
        time: A column of times as a view has it, and whether it may be absent -> SQL.
    """
    columns = ", ".join(_column(column, time) for column in view.columns)
    quoted = ("'{}'".format(word.replace("'", "''")) for word in sorted(spellings(alarms)))
    # Only SQLite takes an empty list.
    source = view.source.format(alarms=", ".join(quoted) or "NULL", unknown=UNKNOWN)
    return f"SELECT {columns}\nFROM {source}"


def _column(column: str | Computed, time: Callable[[str, bool], str]) -> str:
    if isinstance(column, Computed):
        return f"{column.sql} AS {column.column.name}"
    declared = declared_column(column)
    if declared.type is not Type.TIMESTAMP:
        return column
    return f"{time(column, declared.nullable)} AS {declared.name}"
