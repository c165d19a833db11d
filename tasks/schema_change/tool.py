"""A change by an online schema change tool of the MySQL family: what both tools share.

The tool stops before it exchanges the tables: then the copy is compared with the table, both in
one snapshot. Equal counts are not enough: pt-online-schema-change 3.2.1 does not copy a column
whose comment contains "Generated" (PT-1914).
"""

from __future__ import annotations

import abc
import contextlib
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.core.errors import PipelineError
from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import Database
from tasks.schema_change.live import Copy, LiveTable
from tasks.schema_change.worker import Pace, Worker

TRY, RUN = "To try it", "To make the change"
"""What commands are for."""


class Tool(abc.ABC):
    """A change by a program that cannot resume: it begins again after a kill.

    Hooks of the program print "HOOK copying", "HOOK verifying" and "HOOK switched"; after the
    second it waits for `go`.

    Args:
        phase: Is called with the name of what begins.

    Attributes:
        trial: Options in place of `--execute` with which the program changes nothing.
        new: Of the table, the name of its copy; `old` that of the table without the column.
    """

    program = package = ""
    trial: tuple[str, ...] = ()
    new, old = "_{}_new", "_{}_old"
    worker_type = Worker

    def __init__(self, database: Database, change: AddColumn, phase: Callable[[str], object]):
        self.change = change
        self.new, self.old = self.new.format(change.table), self.old.format(change.table)
        self._phase = phase
        self._database = type(database)(database.url, database.schema)
        self._database.logs_keys = False  # The tool has its own way to follow changes.
        self._worker = self.worker_type(self._database, change.table, Pace())
        self.measured = self._worker.measured
        self._output: list[str] = []

    # --- what each tool has its own way for --------------------------------------------------

    @classmethod
    def checks(cls, database: Database, live: LiveTable) -> list[tuple[str, str, bool]]:
        """What it needs of a MariaDB server, what that is now, and whether it will do."""
        found = shutil.which(cls.program)
        return [(f"the program ({cls.package})", found or "not installed", found is not None)]

    @classmethod
    @abc.abstractmethod
    def command(cls, database: Database, change: AddColumn, live: LiveTable) -> list[str]:
        """Its command; `client.cnf` has the user and password."""

    @abc.abstractmethod
    def prepare(self, folder: Path) -> list[str]:
        """Write its hooks into the folder that it works in; the options that name them."""

    @abc.abstractmethod
    def go(self, process: subprocess.Popen[str], folder: Path) -> None:
        """Let it exchange the tables."""

    @abc.abstractmethod
    def clean(self) -> None:
        """Remove what a killed one has left."""

    def retries(self, output: str) -> dict[str, int]:
        """What it did again, from what it printed."""
        return {}

    # --- the change --------------------------------------------------------------------------

    @classmethod
    def obstacles(cls, database: Database, live: LiveTable) -> list[str]:
        """Why it cannot change the table; empty if it can."""
        if database.kind != "MariaDB":
            return [f"{database.kind}: no online schema change tool exists for it."]
        checks = cls.checks(database, live)
        return [f"It needs {what}; now: {now}." for what, now, is_met in checks if not is_met]

    @classmethod
    def commands(cls, database: Database, change: AddColumn, live: LiveTable) -> dict[str, str]:
        """For a shell: what for -> command."""
        run = cls.command(database, change, live)
        place = run.index("--execute")
        try_it = [*run[:place], *cls.trial, *run[place + 1 :]]
        return {TRY: shlex.join(try_it), RUN: shlex.join(run)}

    def run(self, until: Callable[[], object] = lambda: None) -> None:
        """Copy the table, compare the copy, wait for `until`, and exchange the tables.

        Raises:
            PipelineError: The tool has failed, or the copy differs. The table is as before, unless
                the error says otherwise.
        """
        try:
            live = self._prepared()
            try:
                with self._started(live) as (process, folder):
                    self._follow(process, folder, live, until)
            finally:
                self.clean()
        finally:
            self._database.close()

    def _prepared(self) -> LiveTable:
        """The table, if the tool can begin."""
        live = self._database.describe(self.change.table)
        if live.has(self.change.column):
            what = f"{self.change.table} has a column {self.change.column} already."
            raise PipelineError(what)
        self._database.claim(self.change.table)
        self.clean()
        if self._database.exists(self.old):
            raise PipelineError(
                f"A table {self.old} exists: {self.program} needs the name for the old table.",
                remedy="Remove it if an earlier change has left it, else rename it.",
            )
        return live

    def sign_off(self) -> None:
        """Remove the old table."""
        self._again(f"DROP TABLE IF EXISTS {self._database.quote(self.old)}")
        self._database.close()

    def _remove_copy(self) -> None:
        database, table = self._database, self.change.table
        if not database.exists(self.new):
            return
        if not database.column_names(table) <= database.column_names(self.new):
            raise PipelineError(
                f"A table {self.new} exists, which is not a copy of {table}.",
                remedy=f"Rename it: {self.program} needs the name.",
            )
        self._again(f"DROP TABLE {database.quote(self.new)}")

    def _again(self, sql: str) -> None:
        self._worker.attempt(lambda: self._database.run(sql))

    @contextlib.contextmanager
    def _started(self, live: LiveTable) -> Iterator[tuple[subprocess.Popen[str], Path]]:
        """The tool in a folder of its own, with the password in a file that others cannot read."""
        with tempfile.TemporaryDirectory() as name:
            folder, url = Path(name), self._database.url
            (folder / "client.cnf").touch(0o600)
            values = {"user": url.username, "password": url.password, "host": url.host}
            texts = {**values, "port": str(url.port or 3306)}
            lines = (f'{key} = "{_escaped(value)}"\n' for key, value in texts.items() if value)
            (folder / "client.cnf").write_text("[client]\n" + "".join(lines))
            program, *options = self.command(self._database, self.change, live)
            with subprocess.Popen(  # noqa: S603
                [program, *self.prepare(folder), *options],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process:
                try:
                    yield process, folder
                finally:
                    process.kill()

    def _follow(
        self,
        process: subprocess.Popen[str],
        folder: Path,
        live: LiveTable,
        until: Callable[[], object],
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
                    self.go(process, folder)
                case "switched":
                    measured.switch_s = measured.exchange_s = time.monotonic() - began
                    self._phase("tidying up")
        if process.wait() != 0:
            what = f"{self.program} has failed (exit status {process.returncode}):"
            raise PipelineError(what, [one for one in self._output if one][-12:])
        measured.retries = self.retries("\n".join(self._output))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
