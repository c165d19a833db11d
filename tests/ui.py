"""`python -m tasks ui`, started as people start it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.conftest import Project
from tests.result import Result

MARK = "TEST_OF_UI"
LONGEST_WAIT_S = 120


@dataclass
class Ui:
    """`python -m tasks ui` while it runs."""

    project: Project
    port: int
    process: subprocess.Popen[str]
    log: Path

    @property
    def scheduler(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def address(self, what: str) -> str:
        """An address that the command printed."""
        found = re.findall(rf"^{what} +(http.*)$", self.output, flags=re.MULTILINE)
        assert found, self.output
        return str(found[-1])

    def ask(self, method: str, **arguments: object) -> Any:
        """An answer of the scheduler."""
        body = urlencode({"data": json.dumps(arguments)}).encode()
        with urllib.request.urlopen(f"{self.scheduler}/api/{method}", body, timeout=10) as answer:
            return json.load(answer)["response"]

    def get(self, path: str, host: str = "127.0.0.1") -> tuple[int, HTTPMessage, str]:
        """Status, headers and content of the answer to a browser."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        with closing(connection):
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()

    def statuses(self) -> dict[str, str]:
        """Status of each task by its id."""
        return {name: task["status"] for name, task in self.ask("task_list").items()}

    def run_again(self) -> Result:
        """Run the command that the output names."""
        (command,) = re.findall(r"^To run again, in another terminal: (.*)$", self.output, re.M)
        return self.project.forked(*command.split())

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(LONGEST_WAIT_S)

    def processes(self) -> list[int]:
        """All processes that the command started, and itself, that still exist."""
        mark = f"{MARK}={self.project.folder}".encode()
        return marked(mark)

    def wait_for(self, what: Callable[[], object]) -> None:
        """Wait until something holds."""
        wait_for(what, lambda: self.output)


def wait_for(what: Callable[[], object], explain: Callable[[], object] = str) -> None:
    """Wait until something holds; fail with an explanation if it takes minutes."""
    latest = time.monotonic() + LONGEST_WAIT_S
    while not what():
        assert time.monotonic() < latest, explain()
        time.sleep(0.01)


def marked(mark: bytes) -> list[int]:
    """All processes with a variable in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def find_unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def started(project: Project, *arguments: str) -> Iterator[Ui]:
    """The command, just started; ended afterwards."""
    port = find_unused_port()
    log = project.folder.parent / "ui.log"
    command = [sys.executable, "-m", "tasks", "ui", "--port", str(port), *arguments]
    marked = project.environment({MARK: str(project.folder)})
    with log.open("wb") as stream:
        process = project.start(*command, env=marked, stdout=stream, stderr=stream)
    ui = Ui(project, port, process, log)
    try:
        yield ui
    finally:
        if process.poll() is None:
            ui.end(signal.SIGTERM)


@contextmanager
def up(project: Project, *arguments: str) -> Iterator[Ui]:
    """The command after its run has ended."""
    with started(project, *arguments) as ui:
        ui.wait_for(lambda: ui.process.poll() is not None or "Ctrl-C ends everything." in ui.output)
        assert ui.process.poll() is None, ui.output
        yield ui


@contextmanager
def luigid(project: Project) -> Iterator[Ui]:
    """Luigi's own scheduler, without the command."""
    port = find_unused_port()
    server = project.start("luigid", "--address", "127.0.0.1", "--port", str(port))
    ui = Ui(project, port, server, Path(os.devnull))
    try:
        ui.wait_for(lambda: not is_free(port))
        yield ui
    finally:
        ui.end(signal.SIGTERM)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
