"""A command that is sent signals: when it handles them, and what is left of it."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.conftest import Project
from tests.runs import paths
from tests.terminal import RUN
from tests.ui import LONGEST_WAIT_S, MARK, marked, wait_for


@dataclass
class Started:
    """A command with a session and an environment of its own."""

    project: Project
    process: subprocess.Popen[bytes]
    shown: Path

    @property
    def err(self) -> str:
        return self.shown.read_text(encoding="utf-8")

    @property
    def log(self) -> str:
        """What is in its log file, if it has one."""
        logs = self.project.log_file.parent.glob(f"pipeline-*-{self.process.pid}.log")
        return "".join(path.read_text(encoding="utf-8") for path in logs)

    def has_logged(self, lines: int) -> bool:
        """Whether so many lines are in its log, or the one that is written at exit."""
        log = self.log
        return len(log.splitlines()) >= lines or re.search(r" \d+ tasks: ", log) is not None

    def handles_signals(self) -> bool:
        """Whether it has a handler for SIGTERM, which Python itself has not; or has ended."""
        return self.process.poll() is not None or is_caught(self.process.pid, signal.SIGTERM)

    def send(self, number: int, whole_group: bool, held: bool) -> bool:
        """Send a signal; False if the process has ended by itself before.

        Args:
            number: Of the signal.
            whole_group: To all processes, as the terminal does, or to the first one alone.
            held: Stop the first process before, so that it cannot end meanwhile.
        """
        if held:
            os.kill(self.process.pid, signal.SIGSTOP)
            wait_for(lambda: self.process.poll() is not None or state(self.process.pid) == "T")
            if self.process.poll() is not None:
                return False
        (os.killpg if whole_group else os.kill)(self.process.pid, number)
        os.kill(self.process.pid, signal.SIGCONT)
        return True

    def left(self) -> list[int]:
        """Its processes that still exist."""
        mark = f"{MARK}={self.project.folder}".encode()
        return sorted({*marked(mark), *session(self.process.pid)})

    def assert_stopped(self, number: int) -> None:
        """It ends with the signal's status and line, once, and nothing of it is left."""
        status = self.process.wait(LONGEST_WAIT_S)
        err = self.err
        assert status == 128 + number, err
        assert err.splitlines()[-1] == line_of(number), err
        assert err.count("Stopped by ") == 1, err
        assert "Traceback" not in err, err
        assert "failed" not in err, err
        assert self.left() == []


def start(
    project: Project,
    command: list[str],
    ignored: int | None = None,
    more: dict[str, str] | None = None,
) -> Started:
    """Start a command."""
    ignore = None if ignored is None else partial(signal.signal, ignored, signal.SIG_IGN)
    with tempfile.NamedTemporaryFile(dir=project.folder.parent, delete=False) as stream:
        process = subprocess.Popen(
            command,
            cwd=project.folder,
            env=project.environment({MARK: str(project.folder), **(more or {})}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            start_new_session=True,
            preexec_fn=ignore,
        )
    return Started(project, process, Path(stream.name))


def line_of(number: int) -> str:
    name = signal.Signals(number).name
    return f"Stopped by {name}. What is done stays; run again to go on."


def is_caught(process: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    caught = re.search(r"^SigCgt:\s*(\w+)$", text, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def fields(process: int) -> list[str]:
    """What the system tells of a process: state, parent, group, session; nothing if it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def state(process: int) -> str:
    return (fields(process) or [""])[0]


def session(leader: int) -> list[int]:
    """The processes of a session, dead ones too that nobody has waited for."""
    every = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [one for one in every if fields(one)[3:4] == [str(leader)]]


# --- random moments --------------------------------------------------------------------------

PIPELINE = ["luigi", *RUN]


@dataclass
class Whole:
    """A run that nobody disturbed.

    Attributes:
        seconds: How long it took from the import of `tasks` on.
        lines: How many its log has.
        outputs: What it made.
        paths: The files and folders then.
    """

    seconds: float
    lines: int
    outputs: dict[str, object]
    paths: set[Path]


def run_whole(project: Project) -> Whole:
    started = start(project, PIPELINE)
    wait_for(started.handles_signals)
    begun = time.monotonic()
    assert started.process.wait(LONGEST_WAIT_S) == 0, started.err
    seconds = time.monotonic() - begun
    return Whole(seconds, len(started.log.splitlines()), project.outputs(), paths(project))


def remove_results(project: Project) -> None:
    shutil.rmtree(project.staging, ignore_errors=True)
    project.database.unlink(missing_ok=True)


def await_moment(started: Started, chance: random.Random, whole: Whole) -> str:
    """Wait for a moment of the run: by the clock, or by the log, however fast it is; its name."""
    wait_for(started.handles_signals)
    kind, share = chance.choice(["clock", "clock", "line", "exit"]), chance.random()
    if kind == "clock":
        time.sleep(share * whole.seconds)
    else:
        lines = int(share * whole.lines) if kind == "line" else sys.maxsize
        wait_for(lambda: started.process.poll() is not None or started.has_logged(lines))
        time.sleep(chance.random() * 0.03)
    return kind if kind == "exit" else f"{kind}:{share:.2f}"


def assert_next_run_is_right(project: Project, whole: Whole) -> None:
    """The next run ends as one from nothing."""
    project.passes("AllReports")
    outputs = project.outputs()
    names = outputs.keys() | whole.outputs.keys()
    differing = {name for name in names if outputs.get(name) != whole.outputs.get(name)}
    assert not differing, differing
    more = paths(project) - whole.paths
    assert not more, more
