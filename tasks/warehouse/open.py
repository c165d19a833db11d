"""Which database a warehouse URL names."""

from __future__ import annotations

import functools
from pathlib import Path

from tasks.core.errors import PipelineError
from tasks.core.text import displayed_url
from tasks.core.waiting import OTHERS, Limit
from tasks.warehouse.interface import Warehouse
from tasks.warehouse.sqlite.warehouse import SqliteWarehouse

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
