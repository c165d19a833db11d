"""Another program that uses a database."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchone()
print("done", flush=True)
sys.stdin.read()
"""

WRITES = ("BEGIN IMMEDIATE",)
"""Statements of a program that writes: nobody else can. Others still read."""

READS = ("BEGIN", "SELECT count(*) FROM sqlite_schema")
"""Statements of a program that reads: without a write-ahead log, nobody can commit."""

LOCKS = ("PRAGMA journal_mode = DELETE", "BEGIN EXCLUSIVE")
"""Statements of a program that has the database for itself: nobody can read."""


@contextmanager
def in_use(database: Path, *statements: str) -> Iterator[None]:
    """Another process that has run statements, and keeps its connection open."""
    command = [sys.executable, "-c", _PROGRAM, str(database), *statements]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == "done\n"
            yield
        finally:
            process.stdin.close()
