"""Online schema change tools for the MySQL family: pt-online-schema-change, run; gh-ost, shown.

The tool stops before it exchanges the tables: then the copy is compared with the table, both in
one snapshot. Equal counts are not enough: version 3.2.1 does not copy a column whose comment
contains "Generated" (PT-1914).
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.core.errors import PipelineError
from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import Database
from tasks.schema_change.live import Copy, LiveTable
from tasks.schema_change.worker import Pace, Worker

PROGRAM, GH_OST = "pt-online-schema-change", "gh-ost"

_HOOKS = """package pt_online_schema_change_plugin;
use strict;
sub new { my ($class, %args) = @_; return bless {%args}, $class; }
sub after_create_triggers { print "HOOK copying\\n"; }
sub before_swap_tables { print "HOOK verifying\\n"; <STDIN> or die "The copy is not used.\\n"; }
sub after_swap_tables { print "HOOK switched\\n"; }
1;
"""
_EVENT = re.compile(r"# (\w+) +(\d+)")

_TRIGGERS = """
SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = database()
AND event_object_table IN (:t, :old) AND trigger_name LIKE 'pt\\_osc\\_%'
"""


def missing(database: Database) -> PipelineError | None:
    """Why no tool can change tables of a database; None if one can."""
    if database.kind != "MariaDB":
        return PipelineError(
            f"{database.kind}: no online schema change tool exists for it.",
            remedy="Use the strategy shadow.",
        )
    if shutil.which(PROGRAM) is None:
        return PipelineError(
            f"{PROGRAM} is not installed.",
            remedy="On Debian: apt-get install percona-toolkit. Or use the strategy shadow.",
        )
    return None


def command(database: Database, change: AddColumn, live: LiveTable) -> list[str]:
    """The command of pt-online-schema-change; `client.cnf` has the server, user and password."""
    has_triggers = ["--preserve-triggers"] if live.triggers else ["--no-drop-old-table"]
    has_children = ["--alter-foreign-keys-method=rebuild_constraints"] if live.referred_by else []
    return [
        PROGRAM,
        f"--alter=ADD COLUMN {change.clause(database.connection.dialect)}",
        "--execute",
        "--statistics",
        "--no-version-check",
        "--chunk-time=0.5",
        "--max-load=Threads_running=25",
        "--critical-load=Threads_running=50",
        "--recursion-method=none",
        "--set-vars=lock_wait_timeout=2,innodb_lock_wait_timeout=1",
        "--tries=create_triggers:30:1,drop_triggers:30:1,swap_tables:30:1",
        *has_triggers,
        *has_children,
        "--plugin=./hooks.pm",
        f"F=client.cnf,D={database.url.database},t={change.table}",
    ]


def gh_ost_command(database: Database, change: AddColumn) -> str:
    """The command of gh-ost, for a shell. It is not run: it needs a server's binary log."""
    table = change.table
    arguments = [
        GH_OST,
        f"--host={database.url.host}",
        f"--port={database.url.port or 3306}",
        "--conf=client.cnf",
        f"--database={database.url.database}",
        f"--table={table}",
        f"--alter=ADD COLUMN {change.clause(database.connection.dialect)}",
        *"--allow-on-master --assume-rbr --attempt-instant-ddl --chunk-size=1000".split(),
        *"--nice-ratio=0.5 --max-load=Threads_running=25".split(),
        *"--critical-load=Threads_running=100 --critical-load-interval-millis=2500".split(),
        *"--max-lag-millis=1500 --cut-over-lock-timeout-seconds=3 --checkpoint".split(),
        *"--panic-on-warnings --exact-rowcount --verbose".split(),
        *(f"--{name}=/run/{table}.{name}" for name in ("panic-flag-file", "serve-socket-file")),
        f"--postpone-cut-over-flag-file=/run/{table}.postpone",
        "--execute",
    ]
    return shlex.join(arguments)


def gh_ost_preflight(database: Database, live: LiveTable) -> list[tuple[str, str, bool]]:
    """What gh-ost needs, what it is now, and whether that will do."""
    query = "SELECT @@log_bin, @@binlog_format, @@binlog_row_image, version()"
    log, form, image, version = map(str, database.fetch(query)[0])
    keys = f"{len(live.references)} of it, {len(live.referred_by)} to it"
    return [
        (f"{GH_OST} is installed", shutil.which(GH_OST) or "no", bool(shutil.which(GH_OST))),
        ("a build from its master branch: no release up to 1.1.10 serves", version, False),
        ("a binary log", log, log == "1"),
        ("by rows", form, form == "ROW"),
        ("of full images", image, image == "FULL"),
        ("no foreign keys", keys, not live.references and not live.referred_by),
        ("no triggers", str(len(live.triggers)), not live.triggers),
    ]


class Tool:
    """A change by pt-online-schema-change, which cannot resume: it begins again after a kill.

    Args:
        phase: Is called with the name of what begins.
    """

    def __init__(self, database: Database, change: AddColumn, phase: Callable[[str], object]):
        error = missing(database)
        if error is not None:
            raise error
        self.change = change
        self.new, self.old = f"_{change.table}_new", f"_{change.table}_old"
        self._phase = phase
        self._database = type(database)(database.url, database.schema)
        self._database.logs_keys = False  # Its triggers write the rows.
        self._worker = Worker(self._database, change.table, Pace())
        self.measured = self._worker.measured
        self._output: list[str] = []

    def run(self, until: Callable[[], object] = lambda: None) -> None:
        """Copy the table, compare the copy, wait for `until`, and exchange the tables.

        Raises:
            PipelineError: The tool has failed, or the copy differs. The table is as before, unless
                the error says otherwise.
        """
        live = self._database.describe(self.change.table)
        if live.has(self.change.column):
            what = f"{self.change.table} has a column {self.change.column} already."
            raise PipelineError(what)
        self._database.claim(self.change.table)
        self.clean()
        try:
            with self._started(live) as process:
                self._follow(process, live, until)
        finally:
            self.clean()
            self._database.close()

    def clean(self) -> None:
        """Remove what a killed tool has left: its triggers first, or each write would fail."""
        database, table = self._database, self.change.table
        for (name,) in database.fetch(_TRIGGERS, t=table, old=self.old):
            self._again(f"DROP TRIGGER IF EXISTS {database.quote(name)}")
        if database.exists(self.new):
            ours = database.describe(table).stored
            if not set(ours) <= set(database.describe(self.new).stored):
                raise PipelineError(
                    f"A table {self.new} exists, which is not a copy of {table}.",
                    remedy="Rename it: the tool needs the name.",
                )
            self._again(f"DROP TABLE {database.quote(self.new)}")

    def sign_off(self) -> None:
        """Remove the old table."""
        self._again(f"DROP TABLE IF EXISTS {self._database.quote(self.old)}")
        self._database.close()

    def _again(self, sql: str) -> None:
        self._worker.attempt(lambda: self._database.run(sql))

    @contextlib.contextmanager
    def _started(self, live: LiveTable) -> Iterator[subprocess.Popen[str]]:
        """The tool in a folder of its own, with the password in a file that others cannot read."""
        with tempfile.TemporaryDirectory() as name:
            folder, url = Path(name), self._database.url
            (folder / "hooks.pm").write_text(_HOOKS)
            (folder / "client.cnf").touch(0o600)
            values = {"user": url.username, "password": url.password, "host": url.host}
            texts = {**values, "port": str(url.port or 3306)}
            lines = (f'{key} = "{_escaped(value)}"\n' for key, value in texts.items() if value)
            (folder / "client.cnf").write_text("[client]\n" + "".join(lines))
            with subprocess.Popen(  # noqa: S603
                command(self._database, self.change, live),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process:
                try:
                    yield process
                finally:
                    process.kill()

    def _follow(
        self, process: subprocess.Popen[str], live: LiveTable, until: Callable[[], object]
    ) -> None:
        measured = self.measured
        began = time.monotonic()
        for line in process.stdout or ():
            self._output.append(line.rstrip())
            match line.rstrip().removeprefix("HOOK "):
                case "copying":
                    self._phase("copying")
                    began = time.monotonic()
                case "verifying":
                    measured.copy_s = time.monotonic() - began
                    self._phase("verifying")
                    measured.copied_rows = self._database.count(self.new)
                    copy = Copy.of(live, self.change.table, self.new, "")
                    self._worker.verify(copy, self.change)
                    until()
                    self._phase("switching")
                    began = time.monotonic()
                    if process.stdin is not None:
                        with contextlib.suppress(BrokenPipeError):  # It was killed.
                            # Unbuffered: closing would fail as well.
                            os.write(process.stdin.fileno(), b"\n")
                case "switched":
                    measured.switch_s = measured.exchange_s = time.monotonic() - began
                    self._phase("tidying up")
        if process.wait() != 0:
            what = f"{PROGRAM} has failed (exit status {process.returncode}):"
            raise PipelineError(what, [one for one in self._output if one][-12:])
        events = Counter({name: int(n) for name, n in _EVENT.findall("\n".join(self._output))})
        # Of the warning 1062 are rows that a trigger has copied before.
        for name in ("INSERT", "mysql_warning_1062"):
            del events[name]
        measured.retries = dict(+events)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
