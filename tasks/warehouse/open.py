"""Which database a warehouse URL names."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path

from tasks.core.errors import PipelineError
from tasks.core.text import displayed_url
from tasks.core.waiting import OTHERS, Limit
from tasks.warehouse.interface import Warehouse
from tasks.warehouse.sqlite.warehouse import SqliteWarehouse


@functools.cache
def open_warehouse(url: str, wait: Limit = OTHERS, schema: str = "") -> Warehouse:
    """The warehouse behind a URL. Nothing is connected to before a method needs it.

    Args:
        url: As SQLAlchemy has it.
        wait: How long to wait for other programs that use the database.
        schema: The schema that has the tables; "" for the default one.

    Raises:
        PipelineError: The URL names no warehouse, or its driver is not installed. The message has
            no password and no options.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}|", schema):
        raise PipelineError(
            f"warehouse_schema: {schema} cannot be the name of a schema.",
            remedy="Use small letters, digits and underscores, with a letter first.",
        )
    for scheme, opened in _KINDS.items():
        if url.startswith(f"{scheme}:"):
            return opened(url, wait, schema)
    raise _refused(url)


def _refused(url: str) -> PipelineError:
    return PipelineError(
        f"warehouse_url: {displayed_url(url)} names no warehouse.",
        remedy="Give a file of SQLite as sqlite:///data_warehouse.db or sqlite:////folder/file.db, "
        "a database on a server as postgresql+psycopg://user@host/database.",
    )


def _open_sqlite(url: str, wait: Limit, _schema: str) -> Warehouse:
    path = url.removeprefix("sqlite:///")
    if path in (url, "") or ":memory:" in url or "?" in url:
        raise _refused(url)
    return SqliteWarehouse(Path(path), wait)


def _open_postgresql(url: str, wait: Limit, schema: str) -> Warehouse:
    import sqlalchemy as sa

    try:
        import psycopg  # noqa: F401

        from tasks.warehouse.postgresql import PostgresqlWarehouse
    except ImportError as error:
        raise _not_installed("PostgreSQL", error) from None
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise _refused(url) from None
    if not parsed.database:
        raise _refused(url)
    return PostgresqlWarehouse(parsed, schema, wait)


def _not_installed(name: str, error: ImportError) -> PipelineError:
    return PipelineError(
        f"The drivers for {name} are not installed: {error}.",
        remedy=f"Install them: .venv/bin/python -m pip install '.[{name.lower()}]'",
    )


_KINDS: dict[str, Callable[[str, Limit, str], Warehouse]] = {
    "sqlite": _open_sqlite,
    "postgresql+psycopg": _open_postgresql,
    "postgresql": _open_postgresql,
}
"""Scheme of a URL -> what opens it."""
