"""An empty database on a throwaway server for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from tests.servers import MariaDB, MissingServerError, PostgreSQL, Server


def started(server: type[Server], options: Sequence[str]) -> Server:
    """A server; without its programs the test is skipped, or fails where `CI` is set."""
    try:
        return server(options=options)
    except MissingServerError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """A server in another time zone than UTC, as those of users are."""
    with started(PostgreSQL, ("-c", "timezone=Asia/Kathmandu")) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Server]:
    """A server in another time zone than UTC, as those of users are."""
    with started(MariaDB, ("--default-time-zone=+05:45",)) as server:
        yield server


@pytest.fixture
def postgresql(postgresql_server: Server) -> Iterator[str]:
    """The URL of an empty database in PostgreSQL for one test."""
    with postgresql_server.create_database() as url:
        yield url


@pytest.fixture
def mariadb(mariadb_server: Server) -> Iterator[str]:
    """The URL of an empty database in MariaDB for one test."""
    with mariadb_server.create_database() as url:
        yield url
