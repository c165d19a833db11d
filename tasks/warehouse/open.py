"""Which database a warehouse URL names."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.errors import PipelineError
from tasks.core.text import displayed_url
from tasks.core.waiting import OTHERS, Limit
from tasks.warehouse.interface import Warehouse
from tasks.warehouse.sqlite.warehouse import SqliteWarehouse

if TYPE_CHECKING:
    import sqlalchemy as sa


@functools.cache
def open_warehouse(url: str, wait: Limit = OTHERS, schema: str = "") -> Warehouse:
    """The warehouse behind a URL. Nothing is connected to before a method needs it.

    Args:
        url: As SQLAlchemy has it.
        wait: How long to wait for other programs that use the database.
        schema: The schema that has the tables, in PostgreSQL; "" for `public`.

    Raises:
        PipelineError: The URL names no warehouse, or its driver is not installed. The message has
            no password and no options.
    """
    if not re.fullmatch(r"([a-z_][a-z0-9_]{0,62})?", schema):
        raise PipelineError(
            f"warehouse_schema: {schema} cannot be the name of a schema.",
            remedy="Use small letters, digits and underscores, with a letter first.",
        )
    for start, opened in _KINDS.items():
        if url.startswith(start):
            return opened(url, wait, schema)
    raise _refused(url)


def _refused(url: str) -> PipelineError:
    return PipelineError(
        f"warehouse_url: {displayed_url(url)} names no warehouse.",
        [
            "sqlite:///data_warehouse.db or sqlite:////folder/file.db",
            "postgresql+psycopg://USER@HOST:5432/DATABASE",
            "mariadb+pymysql://USER@HOST:3306/DATABASE",
        ],
        "Give it as one of these; in user and password, @ : / and % are written as %40 %3A %2F and "
        "%25.",
    )


def _open_sqlite(url: str, wait: Limit, _schema: str) -> Warehouse:
    path = url.removeprefix("sqlite:///")
    if not path or ":memory:" in path or "?" in path:
        raise _refused(url)
    return SqliteWarehouse(Path(path), wait)


def _open_postgresql(url: str, wait: Limit, schema: str) -> Warehouse:
    try:
        from tasks.warehouse.postgresql.warehouse import PostgresqlWarehouse
    except ImportError as error:
        raise _not_installed("PostgreSQL", error) from None
    return PostgresqlWarehouse(_parsed(url), schema, wait)


def _open_mariadb(url: str, wait: Limit, _schema: str) -> Warehouse:
    try:
        from tasks.warehouse.mariadb.warehouse import MariadbWarehouse
    except ImportError as error:
        raise _not_installed("MariaDB", error) from None
    return MariadbWarehouse(_parsed(url), wait=wait)


def _parsed(url: str) -> sa.URL:
    """A URL of a server; it has to name a host and a database."""
    import sqlalchemy as sa

    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise _refused(url) from None
    if not parsed.host or not parsed.database:
        raise _refused(url)
    return parsed


def _not_installed(name: str, error: ImportError) -> PipelineError:
    return PipelineError(
        f"The drivers for {name} are not installed: {error}.",
        remedy=f"Install them: pip install '.[{name.lower()}]'",
    )


_KINDS: dict[str, Callable[[str, Limit, str], Warehouse]] = {
    "sqlite:///": _open_sqlite,
    "postgresql+psycopg://": _open_postgresql,
    "postgresql://": _open_postgresql,
    "mariadb+pymysql://": _open_mariadb,
}
"""How a URL begins -> what opens it."""
