"""PostgreSQL as the warehouse: the roles that docs/warehouses.md lists."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from config.bookkeeping import ALL_TABLES
from config.views import VIEWS
from tasks.warehouse.open import open_warehouse
from tests.servers import Server
from tests.staged import refusal
from tests.warehouses.stars import (
    NOON,
    change,
    dump,
    fact,
    load_dimensions,
    load_facts,
    load_units,
    receipts,
    rows_of,
)

PASSWORD = "TOPSECRET"


def as_role(server: Server, url: str, name: str) -> str:
    """The URL for a new role without rights."""
    server.execute(
        f"DROP ROLE IF EXISTS {name}",
        f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'",
    )
    given = sa.make_url(url).set(username=name, password=PASSWORD)
    return given.render_as_string(hide_password=False)


def test_a_loader_loads_and_analysts_read_what_it_loads(
    postgresql: str, postgresql_server: Server
) -> None:
    loader = as_role(postgresql_server, postgresql, "loader")
    analyst = as_role(postgresql_server, postgresql, "analyst")
    assert "permission denied for schema public" in refusal(load_units, loader, 7)
    change(
        postgresql,
        "GRANT CREATE ON SCHEMA public TO loader",
        "GRANT USAGE ON SCHEMA public TO analyst",
        "ALTER DEFAULT PRIVILEGES FOR ROLE loader GRANT SELECT ON TABLES TO analyst",
    )
    load_dimensions(loader)
    load_facts(loader, fact(1, 7, NOON))
    before = dump(analyst)
    load_dimensions(loader, units=(7, 8, 9))
    load_facts(loader, fact(1, 7, NOON), fact(2, 9), receipt="2")
    change(loader, *(f"DROP VIEW {name}" for name in VIEWS))
    load_facts(loader, fact(1, 7, NOON), fact(2, 9), receipt="3")
    assert dump(analyst) == dump(postgresql) != before
    assert rows_of(analyst, "SELECT unit_name FROM v_logs ORDER BY log_id") == [
        ("Unit 7",),
        ("Unit 9",),
    ]
    assert receipts(analyst) == receipts(loader)
    assert open_warehouse(analyst).changed_loads() == []
    for name in ALL_TABLES:
        for statement in (f"DELETE FROM {name}", f"TRUNCATE {name} CASCADE", f"DROP TABLE {name}"):
            with pytest.raises(sa.exc.DBAPIError, match="permission denied|must be owner"):
                change(analyst, statement)
    assert "permission denied" in refusal(load_units, analyst, 7)
    assert dump(postgresql) == dump(analyst)
    assert receipts(analyst) == receipts(loader)


def test_who_may_change_a_table_need_not_change_receipts(
    postgresql: str, postgresql_server: Server
) -> None:
    load_units(postgresql, 7)
    editor = as_role(postgresql_server, postgresql, "editor")
    change(postgresql, "GRANT SELECT, UPDATE ON dim_unit TO editor")
    with pytest.raises(sa.exc.DBAPIError, match="permission denied"):
        change(editor, "DELETE FROM load_receipt")
    assert receipts(postgresql) == {("dim_unit", ""): "1"}
    change(editor, "UPDATE dim_unit SET unit_name = 'mine' WHERE unit_id = 7")
    assert receipts(postgresql) == {}
