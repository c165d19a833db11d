"""A command on a terminal, and what a person sees there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyte

from tests.conftest import Project

LINES, COLUMNS = 60, 100

SLOW = """
import logging, os, signal, sys, time
from luigi.cmdline import luigi_run
from tasks.graph import CsvToParquet

logger = logging.getLogger('pipeline')
real = CsvToParquet.build_partition

def build_partition(self, part, out, threads):
    if self.table == "POINT":
        time.sleep(1.1)  # Bars follow once a second.
        self.progress.advance(self.partition_size(part) // 2, 4)
        {slow}
    real(self, part, out, threads)

CsvToParquet.build_partition = build_partition
luigi_run(sys.argv[1:])
"""
SPAWN = """
import multiprocessing, sys
from luigi.cmdline import luigi_run
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    luigi_run(sys.argv[1:])
"""
RUN = ("--module", "tasks", "AllReports", "--local-scheduler")
STAGING = ("--module", "tasks", "AllStaged", "--local-scheduler")
WAIT = "time.sleep(2.5)"


def without_warnings(project: Project) -> None:
    """Accept the sentinels of the miniature files, of which runs warn otherwise."""
    project.configure("[source defaults]\nmax_sentinels = 0.2")


def slowly(project: Project, slow: str = WAIT, run: Sequence[str] = RUN) -> list[str]:
    """A command that runs tasks, with something done in the middle of staging POINT."""
    (project.folder / "luigi").write_text(SLOW.format(slow=slow))  # So named, it stops like luigi.
    return [sys.executable, "luigi", *run]


def spawning(project: Project) -> list[str]:
    """A command that runs everything, with processes that are spawned, not forked."""
    (project.folder / "spawn.py").write_text(SPAWN)
    return [sys.executable, "spawn.py", *RUN]


@dataclass
class Seen:
    """What a command showed on a terminal.

    Attributes:
        status: Its exit status, as `subprocess` has it.
        raw: All that it wrote.
        screens: The lines on the screen, again and again while it ran.
        lines: All lines on the screen and above it at the end.
        cursor_is_hidden: At the end.
    """

    status: int
    raw: bytes
    screens: list[list[str]]
    lines: list[str]
    cursor_is_hidden: bool

    @property
    def bars(self) -> list[str]:
        """All lines on the screen with a bar in it."""
        return [line for lines in self.screens for line in lines if "━" in line]


def on_terminal(
    project: Project,
    command: list[str],
    environment: Mapping[str, str] | None = None,
    *,
    interrupt_at: str = "",
    typed: bytes = b"\x03",
    columns: int = COLUMNS,
) -> Seen:
    """Run a command on a terminal.

    Args:
        project: Where.
        command: What.
        environment: What else the environment contains.
        interrupt_at: When this is on the screen, something is typed.
        typed: What; by default Ctrl-C.
        columns: How wide the terminal is.
    """
    screen = pyte.HistoryScreen(columns, LINES, history=100_000)
    stream = pyte.ByteStream(screen)
    settings = project.environment({"TERM": "xterm-256color", **(environment or {})})
    process, ours = pty.fork()
    if process == 0:
        os.chdir(project.folder)
        os.execvpe(command[0], command, settings)
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    raw, screens, interrupted = b"", [[""]], False
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.05)[0]:
            try:
                read = os.read(ours, 65_536)
            except OSError:  # Nobody has it open any more.
                break
            if not read:
                break
            raw += read
            stream.feed(read)
            screens.append([line.rstrip() for line in screen.display if line.strip()])
        if interrupt_at and not interrupted and any(interrupt_at in line for line in screens[-1]):
            os.write(ours, typed)
            interrupted = True
    os.close(ours)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    above = ["".join(row[x].data for x in range(columns)).rstrip() for row in screen.history.top]
    lines = [*above, *(line.rstrip() for line in screen.display)]
    while lines and not lines[-1]:
        lines.pop()
    return Seen(status, raw, screens, lines, screen.cursor.hidden)
