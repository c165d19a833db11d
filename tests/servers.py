"""Throwaway PostgreSQL and MariaDB servers, from the installed Debian packages.

Each has a temporary folder of its own and listens on 127.0.0.1 alone. `python -m tests.servers`
starts both and shows their URLs; `tests/databases.py` has the fixtures.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Self

from sqlalchemy import URL, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError
from typing_extensions import override

HOST = "127.0.0.1"
ADMINISTRATOR = "administrator"
DATABASE = "controller_logs"
UNPRIVILEGED = "nobody"
"""Whose servers they are if root starts them: PostgreSQL refuses to run as root."""
PORTS = range(20_000, 32_000)
"""Below those that the system gives to clients: none of them can take that of a killed server."""
LONGEST_WAIT_S = 60
ATTEMPTS = 3
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
WATCHER = """
trap '' HUP INT TERM
read -r _
if read -r server < "$1/pid"; then
    kill -QUIT "$server"
    tries=200
    while [ -e "/proc/$server/exe" ] && [ $((tries -= 1)) -gt 0 ]; do sleep 0.05; done
    kill -KILL "$server"
fi
rm -rf "$1"
"""
"""Its input ends when the process that has the server closes it, or ends in whatever way."""


class MissingServerError(Exception):
    """The programs are not installed; the text names the packages."""


class Server(ABC):
    """A running server, with a random password for its administrator.

    Without `durable`, what is committed survives the end of the server's process, but not a crash
    of the system.

    Raises:
        MissingServerError: If it is not installed.
        RuntimeError: If it does not start; with the end of its log.
    """

    packages: ClassVar[str]
    programs: ClassVar[Sequence[Path]]
    scheme: ClassVar[str]
    without_database: ClassVar[str]
    """The database to connect to where none is needed."""
    orderly: ClassVar[signal.Signals]
    """What ends it in good order, although clients are connected."""

    def __init__(self, durable: bool = False, options: Sequence[str] = ()) -> None:
        for program in self.programs:
            if not program.exists():
                raise MissingServerError(
                    f"{program} is missing; on Debian: apt-get install {self.packages}"
                )
        self.durable = durable
        self.options = options
        self.password = secrets.token_urlsafe(16)
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix=f"{type(self).__name__}-"))
        self.data = self.folder / "data"
        self.secret = self.folder / "secret"
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", WATCHER, "watcher", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            (self.folder / "pid").touch()
            self.secret.touch(0o600)
            self.secret.write_text(self._secret())
            if os.geteuid() == 0:
                shutil.chown(self.secret, UNPRIVILEGED)
                shutil.chown(self.folder, UNPRIVILEGED)
            self._create()
            self.port = free_port()
            self.start()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _secret(self) -> str:
        """The file that gives the administrator the password."""

    @abstractmethod
    def _create(self) -> None:
        """Make the data folder."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The command of the server."""

    @abstractmethod
    def _drop(self, database: str) -> None:
        """Drop a database, also one with connections."""

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def url(self, database: str | None = None) -> str:
        """The URL of a database, with the administrator's name and password."""
        name = database or self.without_database
        url = URL.create(self.scheme, ADMINISTRATOR, self.password, HOST, self.port, name)
        return url.render_as_string(hide_password=False)

    def execute(self, *statements: str, database: str | None = None) -> None:
        """Execute statements as the administrator, each committed by itself."""
        engine = create_engine(
            self.url(database),
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
            connect_args={"connect_timeout": LONGEST_WAIT_S},
        )
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))

    @contextmanager
    def create_database(self) -> Iterator[str]:
        """The URL of an empty database, which is dropped at the end."""
        if not self.running:
            self.restart()
        name = f"test_{secrets.token_hex(8)}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            if not self.running:
                self.restart()
            self._drop(name)

    def start(self) -> None:
        """Start the server and wait until it can be used."""
        for _ in range(ATTEMPTS):
            self.process = self._begin(self._command())
            (self.folder / "pid").write_text(f"{self.process.pid}\n")
            if self._answers():
                return
            time.sleep(0.1)  # A process of a server that was killed can take a moment to end.
        raise RuntimeError(self._failure("does not start"))

    def stop(self) -> None:
        """End the server at once and remove its folder."""
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        if self.process is not None:
            self.process.wait(LONGEST_WAIT_S)
        self._watcher.wait(LONGEST_WAIT_S)

    def kill(self) -> None:
        """Kill the server with all its processes, as a failing machine does."""
        assert self.process is not None
        processes = [self.process.pid, *children(self.process.pid)]
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._ended()

    def restart(self) -> None:
        """End the server in good order if it runs, and start it again on the same port."""
        if self.running:
            assert self.process is not None
            self.process.send_signal(self.orderly)
            self._ended()
        self.start()

    def _ended(self) -> None:
        assert self.process is not None
        self.process.wait(LONGEST_WAIT_S)
        (self.folder / "pid").write_text("")

    def _begin(self, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        """Start a program of the server without privileges; what it writes goes to the log."""
        owner = pwd.getpwnam(UNPRIVILEGED) if os.geteuid() == 0 else None
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**ENVIRONMENT, "TMPDIR": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=owner and owner.pw_uid,
                group=owner and owner.pw_gid,
                extra_groups=owner and [],
            )

    def _prepare(self, *command: str | Path) -> None:
        if self._begin(command).wait() != 0:
            raise RuntimeError(self._failure(f"{command[0]} failed"))

    def _answers(self) -> bool:
        """Wait until the server answers; False if it ends instead."""
        until = time.monotonic() + LONGEST_WAIT_S
        while self.running:
            try:
                self.execute("SELECT 1")
            except OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.03)
            else:
                return True
        return False

    def _failure(self, what: str) -> str:
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        return "\n".join([f"{type(self).__name__}: {what}", *lines[-20:]])


class PostgreSQL(Server):
    """A PostgreSQL server that sorts text by language, as most do."""

    packages = "postgresql-15"
    folder_of_programs = Path("/usr/lib/postgresql/15/bin")
    programs = (folder_of_programs / "postgres", folder_of_programs / "initdb")
    scheme = "postgresql+psycopg"
    without_database = "postgres"
    orderly = signal.SIGINT

    @override
    def _secret(self) -> str:
        return self.password

    @override
    def _create(self) -> None:
        self._prepare(
            self.programs[1],
            f"--pgdata={self.data}",
            f"--username={ADMINISTRATOR}",
            f"--pwfile={self.secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=icu",
            "--icu-locale=en-US",
            "--no-sync",
        )

    @override
    def _command(self) -> list[str]:
        settings = [
            f"listen_addresses={HOST}",
            f"port={self.port}",
            "unix_socket_directories=",
            "dynamic_shared_memory_type=mmap",  # nothing outside the folder
        ]
        if not self.durable:
            settings += ["fsync=off", "full_page_writes=off"]
        flags = [flag for setting in settings for flag in ("-c", setting)]
        return [str(self.programs[0]), "-D", str(self.data), *flags, *self.options]

    @override
    def _drop(self, database: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


class MariaDB(Server):
    """A MariaDB server with a binary log by rows and Debian's character set."""

    packages = "mariadb-server-core mariadb-client-core"
    programs = (
        Path("/usr/sbin/mariadbd"),
        Path("/usr/bin/mariadb-install-db"),
        Path("/usr/bin/my_print_defaults"),
    )
    scheme = "mariadb+pymysql"
    without_database = "mysql"
    orderly = signal.SIGTERM

    @override
    def _secret(self) -> str:
        account = f"{ADMINISTRATOR}@'{HOST}'"
        return (
            f"CREATE OR REPLACE USER {account} IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO {account} WITH GRANT OPTION;\n"
            f"DROP USER IF EXISTS root@localhost;\n"
        )

    @override
    def _create(self) -> None:
        self._prepare(
            self.programs[1],
            "--no-defaults",
            f"--datadir={self.data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--debug-no-sync",
        )

    @override
    def _command(self) -> list[str]:
        durable = ["innodb-flush-log-at-trx-commit=1", "sync-binlog=1"]
        # 2 and not 0: what is committed survives kill().
        fast = ["innodb-flush-log-at-trx-commit=2", "debug-no-sync"]
        settings = [
            f"datadir={self.data}",
            f"tmpdir={self.folder}",
            f"socket={self.folder}/socket",
            f"bind-address={HOST}",
            f"port={self.port}",
            f"init-file={self.secret}",
            "skip-name-resolve",
            "local-infile=ON",
            "character-set-server=utf8mb4",
            "collation-server=utf8mb4_general_ci",
            "server-id=1",
            "log-bin=binlog",
            "binlog-format=ROW",
            *(durable if self.durable else fast),
        ]
        flags = [f"--{setting}" for setting in settings]
        return [str(self.programs[0]), "--no-defaults", *flags, *self.options]

    @override
    def _drop(self, database: str) -> None:
        # A connection that is in a transaction would make DROP wait.
        engine = create_engine(self.url(), poolclass=NullPool)
        with engine.connect() as connection:
            query = text("SELECT id FROM information_schema.processlist WHERE db = :name")
            for number in connection.scalars(query, {"name": database}).all():
                with suppress(OperationalError):  # It has ended meanwhile.
                    connection.execute(text(f"KILL {number:d}"))
            connection.execute(text(f"SET lock_wait_timeout = {LONGEST_WAIT_S}"))
            connection.execute(text(f"DROP DATABASE IF EXISTS {database}"))


def free_port() -> int:
    for _ in range(100):
        port = secrets.choice(PORTS)
        with socket.socket() as one, suppress(OSError):
            one.bind((HOST, port))
            return port
    raise RuntimeError(f"no port of {PORTS.start} to {PORTS.stop - 1} is free")


def children(process: int) -> list[int]:
    """The processes that a process has started itself."""
    by_thread = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for path in by_thread for child in path.read_text().split()]


def main() -> None:
    """Start both, show their URLs, and end them at Ctrl-C."""
    with ExitStack() as stack, suppress(KeyboardInterrupt), ThreadPoolExecutor() as pool:
        for starting in [pool.submit(server) for server in (PostgreSQL, MariaDB)]:
            server = stack.enter_context(starting.result())
            server.execute(f"CREATE DATABASE {DATABASE}")
            print(f"export PIPELINE_WAREHOUSE_URL={shlex.quote(server.url(DATABASE))}", flush=True)
        print("Both servers run until Ctrl-C.", file=sys.stderr)
        signal.pause()


if __name__ == "__main__":
    main()
