"""Which database a warehouse URL names."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tasks.core.errors import PipelineError
from tasks.core.text import displayed_url
from tasks.core.waiting import OTHERS, Limit
from tasks.warehouse.sqlite.warehouse import SqliteWarehouse

if TYPE_CHECKING:
    # One load, begun: the statements that differ between databases.
    from tasks.warehouse.sqlite.transaction import SqliteTransaction as Transaction  # noqa: F401

Warehouse: TypeAlias = SqliteWarehouse
"""A database with the star. Holds no connection between calls.

`connect()` reads it; `receipts()` and `catalog_digest()` say what is in it; `forget()` has a table
loaded again; `create_sql()`, `size_bytes()` and `triggers()` describe a table for the report on
schema changes; `transaction()` is what `tasks.warehouse.load` loads through.
"""

_SQLITE = "sqlite:///"


@functools.cache
def open_warehouse(url: str, wait: Limit = OTHERS) -> Warehouse:
    """The warehouse behind a URL. Nothing is connected to before a method needs it.

    Args:
        url: As SQLAlchemy has it.
        wait: How long to wait for other programs that use the database.

    Raises:
        PipelineError: The URL names no file database of SQLite, or has options after "?". The
            message has no password and no options.
    """
    if not url.startswith(_SQLITE) or url == _SQLITE or ":memory:" in url or "?" in url:
        what = "a file database of SQLite without options is needed"
        raise PipelineError(
            f"warehouse_url: {what}, not {displayed_url(url)}.",
            remedy="Give it as sqlite:///data_warehouse.db, or sqlite:////folder/file.db.",
        )
    return SqliteWarehouse(Path(url.removeprefix(_SQLITE)), wait)
