"""MariaDB as the warehouse: what others see, change and lock, and what is wrong with the server."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from config.views import VIEWS
from config.warehouse import DIM_UNIT, TABLES
from tasks.core.waiting import Limit
from tasks.warehouse.open import open_warehouse
from tests.conftest import ROOT
from tests.servers import Server
from tests.staged import refusal
from tests.warehouses.stars import (
    HOSTILE,
    NOON,
    change,
    connect,
    fact,
    load,
    load_dimensions,
    load_facts,
    load_units,
    receipts,
    redeclared,
    rows_of,
)


@pytest.fixture
def units(mariadb: str) -> str:
    """The URL of a database with two units."""
    load_units(mariadb, 7, 8)
    return mariadb


@pytest.fixture
def loaded(mariadb: str) -> str:
    """The URL of a database with facts."""
    load_dimensions(mariadb)
    load_facts(mariadb, fact(1, 7, NOON), fact(2, 8))
    return mariadb


def test_without_local_infile_rows_are_inserted(
    mariadb: str, mariadb_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    mariadb_server.execute("SET GLOBAL local_infile = 0")
    try:
        with caplog.at_level(logging.INFO, "pipeline"):
            load(mariadb, DIM_UNIT, list(enumerate(HOSTILE)))
    finally:
        mariadb_server.execute("SET GLOBAL local_infile = 1")
    found = rows_of(mariadb, "SELECT unit_name FROM dim_unit ORDER BY unit_id")
    assert [text for (text,) in found] == HOSTILE
    assert caplog.text.count("local_infile off") == 1
    assert open_warehouse(mariadb).changed_loads() == []


# --- what others see and do ------------------------------------------------------------------


def test_views_that_are_as_declared_are_not_touched(loaded: str) -> None:
    catalog = open_warehouse(loaded).catalog_digest()
    with closing(connect(loaded)) as connection:
        for view in VIEWS:
            connection.exec_driver_sql(f"SELECT 1 FROM {view} LIMIT 1")
        load_facts(loaded, fact(1, 7), receipt="2")
    assert open_warehouse(loaded).catalog_digest() == catalog


@pytest.mark.parametrize("nullable", [True, False])
def test_a_table_that_is_declared_differently_is_changed(
    loaded: str, monkeypatch: pytest.MonkeyPatch, nullable: bool
) -> None:
    monkeypatch.setitem(TABLES, "dim_unit", redeclared(nullable))
    load(loaded, redeclared(nullable), [(-1, "Unknown", "?"), (7, "Unit 7", "Bern")])
    found = rows_of(loaded, "SELECT unit_id, unit_name, is_retained FROM dim_unit")
    assert found == [(-1, "Unknown", 0), (7, "Unit 7", 0), (8, "Unit 8", 1)]
    assert ("dim_unit", "") in receipts(loaded)


def test_a_column_of_another_type_is_changed_back(units: str) -> None:
    change(units, "ALTER TABLE dim_unit MODIFY unit_name VARCHAR(10)")
    load_units(units, 7)
    column = "SELECT column_type FROM information_schema.columns WHERE column_name = 'unit_name'"
    assert rows_of(
        units, f"{column} AND table_name = 'dim_unit' AND table_schema = database()"
    ) == [("longtext",)]


# --- waiting, lost connections, errors -------------------------------------------------------


def test_a_load_waits_for_changes_that_are_not_committed(
    units: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.core.waiting.REPORTED_S", 1.0)
    with closing(connect(units)) as other:
        other.exec_driver_sql("UPDATE dim_unit SET unit_name = 'mine' WHERE unit_id = 7")
        ended = threading.Timer(2.5, other.commit)
        ended.start()
        load_units(units, 7, 8)
        ended.join()
    assert rows_of(units, "SELECT unit_name FROM dim_unit WHERE unit_id = 7") == [("Unit 7",)]


def test_a_table_that_has_to_change_waits_for_readers(loaded: str) -> None:
    impatient = open_warehouse(loaded, Limit(0.5, "max_wait_s"))
    change(loaded, "ALTER TABLE dim_unit MODIFY unit_name VARCHAR(10)")
    with open_warehouse(loaded).connect() as reader:
        reader.execute(sa.text("SELECT * FROM dim_unit"))
        text = refusal(impatient.transaction(DIM_UNIT).__enter__)
    assert text.startswith("Another program is using dim_unit in the warehouse; waited for 0.5 s.")
    load_units(loaded, 7, 8)


def test_a_lost_connection_leaves_the_previous_rows(
    units: str, caplog: pytest.LogCaptureFixture
) -> None:
    def kill() -> None:
        listed = "SELECT id FROM information_schema.processlist WHERE db = database()"
        for (number,) in rows_of(units, f"{listed} AND id <> connection_id()"):
            change(units, f"KILL {number}")

    text = refusal(load_units, units, 1, before_commit=kill)
    url = sa.make_url(units)
    assert text.startswith(
        f"dim_unit could not be loaded into MariaDB 127.0.0.1:{url.port}/{url.database}; the "
        "previous rows stay.\n  "
    )
    assert text.endswith("Check that the server runs and what warehouse_url says; then run again.")
    assert not caplog.records
    assert rows_of(units, "SELECT unit_id FROM dim_unit") == [(-1,), (7,), (8,)]
    load_units(units, 1)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"password": "TOPSECRET"}, ["Access denied", "~/.my.cnf"]),
        ({"database": "nowhere"}, ["Unknown database", "Create the database"]),
        ({"port": 1}, ["Can't connect", "127.0.0.1:1/"]),
    ],
)
def test_what_is_wrong_with_the_server_is_named(
    mariadb: str, parts: dict[str, Any], words: list[str]
) -> None:
    url = sa.make_url(mariadb).set(**parts).render_as_string(hide_password=False)
    for work in (open_warehouse(url).receipts, lambda: load_units(url, 1)):
        text = refusal(work)
        assert all(word in text for word in words)
        assert str(sa.make_url(url).password) not in text


def test_the_password_may_be_in_the_file_of_the_client(
    mariadb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sa.make_url(mariadb)
    (tmp_path / ".my.cnf").write_text(f"[client]\npassword = {url.password}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    without = url._replace(password=None).render_as_string()
    load_units(without, 7)
    assert receipts(without) == {("dim_unit", ""): "1"}


ROLES = {
    line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1].removesuffix(" |")
    for line in (ROOT / "docs" / "warehouses.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "SELECT" in line
}
"""The rights that each role needs, as documented."""


def as_user(server: Server, url: str, rights: str, on: str = "*") -> str:
    """The URL for a user with some rights."""
    server.execute(
        "CREATE OR REPLACE USER somebody@'127.0.0.1' IDENTIFIED BY 'TOPSECRET'",
        f"GRANT {rights} ON {sa.make_url(url).database}.{on} TO somebody@'127.0.0.1'",
    )
    user = sa.make_url(url).set(username="somebody", password="TOPSECRET")
    return user.render_as_string(hide_password=False)


def test_the_first_load_needs_the_rights_that_are_documented(
    mariadb: str, mariadb_server: Server
) -> None:
    rights = next(text for role, text in ROLES.items() if "first load" in role)
    given = as_user(mariadb_server, mariadb, rights.removeprefix("ALL, or "))
    assert "Set log_bin_trust_function_creators = 1" in refusal(load_units, given, 7)
    mariadb_server.execute("SET GLOBAL log_bin_trust_function_creators = 1")
    try:
        load_dimensions(given)
        load_facts(given, fact(1, 7, NOON))
    finally:
        mariadb_server.execute("SET GLOBAL log_bin_trust_function_creators = 0")
    reader = as_user(mariadb_server, mariadb, ROLES["`status`, `verify`, reports"])
    assert len(receipts(reader)) == 9
    assert open_warehouse(reader).changed_loads() == []


def test_who_loads_needs_no_right_to_create_or_drop(loaded: str, mariadb_server: Server) -> None:
    given = as_user(mariadb_server, loaded, ROLES["nightly loads"])
    load_dimensions(given, units=(7,))
    assert load_facts(given, fact(1, 7, NOON), receipt="2") == (["LOG_RCD_F"], 1)
    assert receipts(given) == receipts(loaded)
    assert open_warehouse(given).changed_loads() == []


def test_a_user_without_rights_is_told_what_is_denied(units: str, mariadb_server: Server) -> None:
    given = as_user(mariadb_server, units, "SELECT", on="dim_unit")
    with open_warehouse(given).connect() as connection:
        query = sa.text("SELECT * FROM load_receipt")
        works = [lambda: load_units(given, 7), lambda: connection.execute(query)]
        for work in works:
            text = refusal(work)
            assert "denied to user" in text
            assert "Grant the user the rights" in text
            assert "TOPSECRET" not in text


def test_without_the_driver_the_command_that_installs_it_is_named() -> None:
    code = (
        "import sys; sys.modules['pymysql'] = None\n"
        "from tasks.warehouse.open import open_warehouse\n"
        "open_warehouse('mariadb+pymysql://u:TOPSECRET@h/db')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert "pip install '.[mariadb]'" in done.stderr.splitlines()[-1]
    assert "TOPSECRET" not in done.stderr
