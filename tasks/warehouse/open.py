"""Which database a warehouse URL names."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.errors import PipelineError
from tasks.core.text import displayed_url
from tasks.core.waiting import OTHERS, Limit
from tasks.warehouse.interface import Warehouse
from tasks.warehouse.sqlite.warehouse import SqliteWarehouse

if TYPE_CHECKING:
    import sqlalchemy as sa

_SQLITE = "sqlite:///"
_MARIADB = "mariadb+pymysql://"


@functools.cache
def open_warehouse(url: str, wait: Limit = OTHERS) -> Warehouse:
    """The warehouse behind a URL. Nothing is connected to before a method needs it.

    Args:
        url: As SQLAlchemy has it.
        wait: How long to wait for other programs that use the database.

    Raises:
        PipelineError: The URL names neither a file database of SQLite without options after "?",
            nor a database of MariaDB; or its driver is not installed. The message has no password
            and no options.
    """
    if url.startswith(_MARIADB):
        from tasks.warehouse.mariadb.warehouse import MariadbWarehouse

        return MariadbWarehouse(_parsed(url), wait=wait)
    if url.startswith(("mariadb:", "mariadb+", "mysql:", "mysql+")):
        raise PipelineError(
            f"warehouse_url: MariaDB is named as {_MARIADB}..., not {displayed_url(url)}.",
            remedy=f"Give it as {_MARIADB}USER@HOST:3306/DATABASE.",
        )
    if not url.startswith(_SQLITE) or url == _SQLITE or ":memory:" in url or "?" in url:
        what = "a file database of SQLite without options is needed"
        raise PipelineError(
            f"warehouse_url: {what}, not {displayed_url(url)}.",
            remedy="Give it as sqlite:///data_warehouse.db, or sqlite:////folder/file.db.",
        )
    return SqliteWarehouse(Path(url.removeprefix(_SQLITE)), wait)


def _parsed(url: str) -> sa.URL:
    """A URL of a server; it has to name a host and a database."""
    import sqlalchemy as sa

    with contextlib.suppress(sa.exc.ArgumentError, ValueError):
        parsed = sa.make_url(url)
        if parsed.host and parsed.database:
            return parsed
    raise PipelineError(
        f"warehouse_url names no server and database: {displayed_url(url)}.",
        remedy="Give it as DRIVER://USER@HOST:PORT/DATABASE; in user and password, @ : / and % "
        "are written as %40 %3A %2F and %25.",
    )
