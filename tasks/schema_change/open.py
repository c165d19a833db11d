"""Which database a URL names."""

from __future__ import annotations

import importlib
from pathlib import Path

import sqlalchemy as sa

from tasks.core.errors import PipelineError
from tasks.schema_change.interface import Database

_KINDS = {
    "sqlite": ("sqlite", "Sqlite"),
    "postgresql": ("postgresql", "Postgresql"),
    "mariadb": ("mariadb", "Mariadb"),
}


def open_database(url: str, schema: str = "") -> Database:
    """The database behind a URL as `warehouse_url` has it; connects when it is used.

    Args:
        url: As SQLAlchemy has it.
        schema: The schema that has the table, in PostgreSQL; "" for `public`.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() not in _KINDS:
        raise PipelineError(
            f"{parsed.drivername}: tables of such a database cannot be changed.",
            remedy=f"Use one of: {', '.join(_KINDS)}.",
        )
    module, name = _KINDS[parsed.get_backend_name()]
    opened = getattr(importlib.import_module(f"tasks.schema_change.{module}"), name)
    return opened(parsed, schema)


def open_existing(url: str, schema: str = "") -> Database:
    """As `open_database`; no file of SQLite is begun.

    Raises:
        PipelineError: The file does not exist.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise PipelineError(
            f"{parsed.database} does not exist.",
            remedy="Load it first: luigi --module tasks AllReports --local-scheduler",
        )
    return open_database(url, schema)
