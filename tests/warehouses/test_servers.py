"""The throwaway servers: a database for each test, kills, and nothing left of them."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from tests import databases
from tests.conftest import ROOT
from tests.servers import MariaDB, PostgreSQL, Server, children
from tests.ui import wait_for


@pytest.fixture(params=["postgresql_server", "mariadb_server"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the servers that the tests share."""
    shared: Server = request.getfixturevalue(request.param)
    return shared


def connect(url: str) -> Connection:
    return create_engine(url, poolclass=NullPool).connect()


def ask(url: str, query: str) -> Any:
    with closing(connect(url)) as connection:
        return connection.scalar(text(query))


def listening(port: int) -> set[str]:
    """The addresses on which something listens on a port, as the system writes them."""
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        if (path := Path("/proc/net") / table).exists()
        for line in path.read_text().splitlines()[1:]
    ]
    found = [fields[1].split(":") for fields in lines if fields[3] == "0A"]
    return {address for address, number in found if int(number, 16) == port}


def test_each_test_has_a_database_of_its_own(postgresql: str, mariadb: str) -> None:
    assert postgresql.startswith("postgresql+psycopg://administrator:")
    assert mariadb.startswith("mariadb+pymysql://administrator:")
    assert ask(postgresql, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    assert ask(mariadb, "SELECT count(*) FROM information_schema.tables WHERE "
               "table_schema = database()") == 0  # fmt: skip
    assert ask(postgresql, "SHOW server_version").startswith("15.")
    assert ask(mariadb, "SELECT version()").startswith("10.11.")


def test_a_database_is_dropped_although_somebody_is_in_a_transaction(server: Server) -> None:
    with server.create_database() as url:
        reader = connect(url)
        reader.execute(text("CREATE TABLE t (id INT)"))
        reader.commit()
        reader.execute(text("SELECT * FROM t"))
    with pytest.raises(OperationalError, match="does not exist|Unknown database"):
        connect(url)
    reader.invalidate()


def test_what_is_committed_survives_a_kill(server: Server) -> None:
    with server.create_database() as url:
        writer = connect(url)
        writer.execute(text("CREATE TABLE t (id INT)"))
        writer.execute(text("INSERT INTO t VALUES (1)"))
        writer.commit()
        writer.execute(text("INSERT INTO t VALUES (2)"))
        server.kill()
        with pytest.raises(OperationalError):
            writer.execute(text("SELECT 1"))
        with pytest.raises(OperationalError):
            connect(url)
        writer.invalidate()
        server.restart()
        assert ask(url, "SELECT sum(id) FROM t") == 1


def test_the_next_test_has_a_server_after_a_kill(server: Server) -> None:
    with server.create_database():
        server.kill()
    assert server.running
    server.kill()
    with server.create_database() as url:
        assert ask(url, "SELECT 1") == 1


def test_only_this_machine_and_the_right_password(server: Server) -> None:
    assert listening(server.port) == {"0100007F"}
    with pytest.raises(OperationalError, match="(?i)password|denied") as error:
        connect(server.url().replace(server.password, "wrong"))
    assert server.password not in str(error.value)
    assert server.process is not None
    command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
    assert server.password.encode() not in command
    assert Path(f"/proc/{server.process.pid}").stat().st_uid != 0
    assert server.folder.stat().st_mode & 0o077 == 0


def test_durable_servers_wait_for_the_disk(server: Server) -> None:
    is_mariadb = isinstance(server, MariaDB)
    query = "SELECT @@innodb_flush_log_at_trx_commit" if is_mariadb else "SHOW fsync"
    assert ask(server.url(), query) == (2 if is_mariadb else "off")
    server.durable = True
    server.restart()
    try:
        assert ask(server.url(), query) == (1 if is_mariadb else "on")
    finally:
        server.durable = False
        server.restart()


def test_mariadb_takes_files_of_clients_and_logs_rows(mariadb: str) -> None:
    assert ask(mariadb, "SELECT @@local_infile") == 1
    assert ask(mariadb, "SELECT @@log_bin") == 1
    assert ask(mariadb, "SELECT @@binlog_format") == "ROW"


@pytest.mark.usefixtures("postgresql_server")
def test_a_server_that_does_not_start_leaves_its_reason_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []
    make = tempfile.mkdtemp

    def noted(**how: str) -> str:
        made.append(make(**how))
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", noted)
    with pytest.raises(RuntimeError, match="(?s)does not start.*no-such-option"):
        PostgreSQL(options=["--no-such-option"])
    assert len(made) == 1
    assert not Path(made[0]).exists()


def test_without_the_programs_tests_are_skipped_and_fail_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MariaDB, "programs", (Path("/nowhere/mariadbd"),))
    reason = "/nowhere/mariadbd is missing; on Debian: apt-get install mariadb-server-core "
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=reason):
        databases.started(MariaDB, ())
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match=reason):
        databases.started(MariaDB, ())


COMMANDS = {
    # Set up is what the tests run in.
    "make": ["make", "-s", "-o", "setup-dev", f"BIN={Path(sys.executable).parent}", "servers"],
    "python": [sys.executable, "-m", "tests.servers"],
}


@pytest.mark.parametrize("server", ["mariadb_server"], indirect=True)
@pytest.mark.parametrize(("name", "number"), [("make", signal.SIGINT), ("python", signal.SIGKILL)])
@pytest.mark.usefixtures("server")
def test_nothing_is_left_of_the_command(name: str, number: signal.Signals) -> None:
    with subprocess.Popen(
        COMMANDS[name], cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
    ) as process:
        try:
            left = check_both(process)
            os.killpg(process.pid, number)  # As a terminal does at Ctrl-C.
            assert process.wait(20) == -number
        finally:
            process.kill()
    if number == signal.SIGKILL:
        wait_for(lambda: not any(path.exists() for path in left))
    assert not any(path.exists() for path in left)


def check_both(process: subprocess.Popen[str]) -> list[Path]:
    """Use both servers of a command; the processes and folders that are theirs."""
    assert process.stdout is not None
    for scheme in ("postgresql+psycopg", "mariadb+pymysql"):
        name, _, url = shlex.split(process.stdout.readline())[1].partition("=")
        assert name == "PIPELINE_WAREHOUSE_URL"
        assert url.startswith(f"{scheme}://")
        assert url.endswith("/controller_logs")
        assert ask(url, "SELECT 1") == 1
    starter = process.pid
    if len(children(starter)) == 1:
        (starter,) = children(starter)  # That of make.
    # No longer there for a process that has ended, whether or not it was waited for.
    programs = [Path(f"/proc/{child}/exe") for child in children(starter)]
    working = {program.with_name("cwd").resolve() for program in programs}
    folders = {folder.parent for folder in working - {ROOT}}
    assert len(programs) == 4
    assert len(folders) == 2
    return [*programs, *folders]
