"""gh-ost: reads the server's binary log and writes each change to the copy, a moment later."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import Database
from tasks.schema_change.live import Copy, Key, LiveTable
from tasks.schema_change.tool import RUN, Tool
from tasks.schema_change.worker import Worker

_POSTPONE = "gh-ost.postpone"
"""While the file exists, the tables are not exchanged."""

_HOOKS = {"before-row-copy": "copying", "begin-postponed": "verifying", "success": "switched"}
_LAST_UNFIT = (1, 1, 10)
"""The last release that does not work with MariaDB."""

_FEW_ROWS = 20
_LONGEST_LAG_S = 10.0
_SENTRY = "ghost-cut-over-sentry"
"""The comment of the table that takes the old table's name for a moment."""


class LaggingWorker(Worker):
    """Compares rows again that differ, until the copy has what was written to the table."""

    lag_s = _LONGEST_LAG_S

    def compared(self, copy: Copy, after: Key | None) -> tuple[Key | None, bool]:
        """As of each worker, but for a moment's delay."""
        end, same = super().compared(copy, after)
        return end, same or self._catches_up(copy, after, end, self.pace.compared)

    def _catches_up(self, copy: Copy, after: Key | None, end: Key | None, rows: int) -> bool:
        """Whether all rows become the same; each few by themselves, as others change meanwhile."""
        database, until = self.database, time.monotonic() + self.lag_s
        while True:
            with database.transaction(*database.snapshot):
                if database.same_rows(copy, after, end):
                    return True
                half = None
                while half is None and rows > _FEW_ROWS:
                    rows //= 2  # The last chunk has fewer.
                    half = database.chunk_end(copy, after, rows)
            if half is not None:
                first = self._catches_up(copy, after, half, rows)
                return first and self._catches_up(copy, half, end, rows)
            if time.monotonic() > until:
                self.lag_s = 0  # The copy is of no use: the others need not be waited for.
                return False
            time.sleep(0.05)


class GhOst(Tool):
    """See `Tool`."""

    program, package = "gh-ost", "built from its master branch: github.com/github/gh-ost"
    new, old = "_{}_gho", "_{}_del"
    worker_type = LaggingWorker

    @classmethod
    def checks(cls, database: Database, live: LiveTable) -> list[tuple[str, str, bool]]:
        """What it needs of a MariaDB server, what that is now, and whether it will do."""
        query = "SELECT @@log_bin, @@binlog_format, @@binlog_row_image, @@performance_schema"
        log, form, image, locks = map(str, database.fetch(query)[0])
        version = _version()
        is_fit = not version or tuple(map(int, version)) > _LAST_UNFIT
        keys = f"{len(live.references)} of it, {len(live.referred_by)} to it"
        return [
            *super().checks(database, live),
            ("a version that works with MariaDB", ".".join(version) or "not a release", is_fit),
            ("a binary log", "on" if log == "1" else "off", log == "1"),
            ("a binary log by rows", form, form == "ROW"),
            ("a binary log of full images", image, image == "FULL"),
            ("performance_schema, to see its locks", "on" if locks == "1" else "off", locks == "1"),
            ("a table without foreign keys", keys, not live.references and not live.referred_by),
            ("a table without triggers", str(len(live.triggers)), not live.triggers),
        ]

    @classmethod
    def command(cls, database: Database, change: AddColumn, live: LiveTable) -> list[str]:
        """Its command. Without `--attempt-instant-ddl`: the plan has tried that."""
        return [
            cls.program,
            f"--host={database.url.host}",
            f"--port={database.url.port or 3306}",
            "--conf=client.cnf",
            f"--database={database.url.database}",
            f"--table={change.table}",
            f"--alter=ADD COLUMN {change.clause(database.connection.dialect)}",
            *"--allow-on-master --assume-rbr --chunk-size=1000 --nice-ratio=0.5".split(),
            *"--max-load=Threads_running=25 --critical-load=Threads_running=100".split(),
            *"--critical-load-interval-millis=2500 --max-lag-millis=1500".split(),
            *"--cut-over-lock-timeout-seconds=3 --panic-on-warnings --exact-rowcount".split(),
            "--allow-setup-metadata-lock-instruments",
            f"--postpone-cut-over-flag-file={_POSTPONE}",
            "--panic-flag-file=gh-ost.panic",
            "--serve-socket-file=gh-ost.sock",
            "--verbose",
            "--execute",
        ]

    @classmethod
    def commands(cls, database: Database, change: AddColumn, live: LiveTable) -> dict[str, str]:
        """As of each tool; it is removing the file that lets it exchange the tables."""
        found = super().commands(database, change, live)
        return found | {RUN: f"touch {_POSTPONE} && {found[RUN]}"}

    def prepare(self, folder: Path) -> list[str]:
        """Programs that print, and the file that it waits for."""
        (folder / _POSTPONE).touch()
        for name, text in _HOOKS.items():
            hook = folder / f"gh-ost-on-{name}"
            hook.touch(0o700)
            hook.write_text(f"#!/bin/sh\necho HOOK {text}\n")
        return [f"--hooks-path={folder}"]

    def go(self, process: subprocess.Popen[str], folder: Path) -> None:
        """Remove the file."""
        (folder / _POSTPONE).unlink()

    def clean(self) -> None:
        """Remove its tables; nothing refers to them."""
        database, table = self._database, self.change.table
        comment = "SELECT table_comment FROM information_schema.tables"
        where = " WHERE table_schema = database() AND table_name = :t"
        names = [f"_{table}_ghc", f"_{table}_ghk"]
        if database.fetch(comment + where, t=self.old) == [(_SENTRY,)]:
            names.append(self.old)
        for name in names:
            self._again(f"DROP TABLE IF EXISTS {database.quote(name)}")
        self._remove_copy()


def _version() -> tuple[str, ...]:
    """Of the installed one; empty if that is not a release, or missing."""
    program = shutil.which(GhOst.program)
    if program is None:
        return ()
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", done.stdout)
    return found.groups() if found else ()
