"""pt-online-schema-change: triggers write each change to the copy as well."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import Database
from tasks.schema_change.live import LiveTable
from tasks.schema_change.tool import Tool

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


class PtOnlineSchemaChange(Tool):
    """Of Percona Toolkit; see `Tool`."""

    program, package = "pt-online-schema-change", "Debian: percona-toolkit"
    trial = ("--dry-run", "--print")

    @classmethod
    def command(cls, database: Database, change: AddColumn, live: LiveTable) -> list[str]:
        """Its command; `client.cnf` has the server, too."""
        has_triggers = ["--preserve-triggers"] if live.triggers else ["--no-drop-old-table"]
        referred = ["--alter-foreign-keys-method=rebuild_constraints"] if live.referred_by else []
        return [
            cls.program,
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
            *referred,
            f"F=client.cnf,D={database.url.database},t={change.table}",
        ]

    def prepare(self, folder: Path) -> list[str]:
        """A plugin."""
        (folder / "hooks.pm").write_text(_HOOKS)
        return ["--plugin=./hooks.pm"]

    def go(self, process: subprocess.Popen[str], folder: Path) -> None:
        """Answer the plugin."""
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # It was killed.
                os.write(process.stdin.fileno(), b"\n")  # Unbuffered: closing would fail as well.

    def clean(self) -> None:
        """Remove its triggers first: without the table each write would fail."""
        database, table = self._database, self.change.table
        for (name,) in database.fetch(_TRIGGERS, t=table, old=self.old):
            self._again(f"DROP TRIGGER IF EXISTS {database.quote(name)}")
        self._remove_copy()

    def retries(self, output: str) -> dict[str, int]:
        """From its statistics."""
        events = Counter({name: int(n) for name, n in _EVENT.findall(output)})
        # Of the warning 1062 are rows that a trigger has copied before.
        for name in ("INSERT", "mysql_warning_1062"):
            del events[name]
        return dict(+events)
