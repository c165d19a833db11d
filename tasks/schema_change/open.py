"""Which database a URL names."""

from __future__ import annotations

import sqlalchemy as sa

from tasks.schema_change.interface import Database


def open_database(url: str, schema: str = "") -> Database:
    """The database behind a URL as `warehouse_url` has it; connects when it is used."""
    parsed = sa.make_url(url)
    raise NotImplementedError(parsed.drivername, schema)
