"""`python -m tasks ui`: the central scheduler, the reports beside it, and the pipeline in it."""

from __future__ import annotations

import http.client
import os
import posixpath
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from tasks.core.errors import PipelineError
from tasks.core.text import link_to
from tasks.graph import AllReports
from tasks.graph.scheduler_pages import page_of
from tasks.run.console import print_lines
from tasks.run.settings import settings
from tasks.ui.reports_server import ADDRESS, serve_files

SCHEDULER_PORT, REPORTS_PORT = 8082, 8083
"""The first is luigi's own default."""

_SCHEDULER_STARTS_S = 30
_CHILD_ENDS_S = 15
_POLL_S = 0.1

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


def show_ui(port: int, reports_port: int, workers: int | None, run: bool) -> int:
    """Run the pipeline in a scheduler whose pages stay up until a signal ends everything.

    State and history of the scheduler are kept in the staging folder; nothing else is left.

    Args:
        port: Of the scheduler.
        reports_port: Of the reports.
        workers: Tasks at the same time; None leaves it to the configuration.
        run: Whether to run the pipeline, or only show what there is.

    Returns:
        The exit status: that of the run, 0 if there was none.

    Raises:
        PipelineError: The pages cannot be served.
    """
    settings().staging_dir.mkdir(parents=True, exist_ok=True)
    scheduler, reports = f"http://{ADDRESS}:{port}", f"http://{ADDRESS}:{reports_port}"
    with ExitStack() as stack:
        stopped = stack.enter_context(_stopped_by_signal())
        stack.enter_context(serve_files(served_folders(), reports_port))
        _refuse_port_in_use(port)
        luigid = stack.enter_context(_child(["scheduler", str(port)], signal.SIGTERM))
        _wait_for_scheduler(luigid, port, stopped)
        print_lines(_addresses(scheduler, reports))
        status = 0
        if run and not stopped.is_set():
            arguments = ["--module", "tasks", "AllReports", "--scheduler-url", scheduler]
            arguments += [] if workers is None else ["--workers", str(workers)]
            status = _run(arguments, reports, luigid, stopped)
        if not stopped.is_set():
            print_lines(_addresses(scheduler, reports))
            print_lines(_what_next(status, port))
        while not stopped.wait(_POLL_S):
            _refuse_end(luigid)
    return status


def served_folders() -> dict[str, Path]:
    """Beginning of an address -> the folder that is served below it."""
    quarantine = settings().staging_dir / "quarantine"
    # Where a browser looks for what the report page links to: no way leads up from the top.
    linked = posixpath.normpath(f"/{unquote(link_to(quarantine, settings().reports_dir))}")
    return {
        "/": settings().reports_dir,
        "/quarantine/": quarantine,
        f"{linked}/": quarantine,
        "/logs/": settings().logs_dir,
    }


def _addresses(scheduler: str, reports: str) -> Iterator[str]:
    yield ""
    yield f"task list  {page_of(scheduler)}"
    yield f"graph      {page_of(scheduler, tab='graph', taskId=AllReports().task_id)}"
    yield f"history    {scheduler}/history"
    yield f"reports    {reports}/index.html"


def _what_next(status: int, port: int) -> Iterator[str]:
    yield ""
    if status != 0:
        yield f"Not all is done (exit status {status}): the task list shows what failed, and why."
    again = "luigi --module tasks AllReports"
    option = "" if port == SCHEDULER_PORT else f" --scheduler-port {port}"
    yield f"To run again, in another terminal: {again}{option}"
    yield "Ctrl-C ends everything."


def _run(
    arguments: Sequence[str],
    reports: str,
    luigid: subprocess.Popen[bytes],
    stopped: threading.Event,
) -> int:
    with _child(["run", *arguments], signal.SIGINT, {"PIPELINE_REPORTS_URL": reports}) as luigi:
        while luigi.poll() is None and not stopped.wait(_POLL_S):
            _refuse_end(luigid)
    return luigi.returncode


@contextmanager
def _stopped_by_signal() -> Iterator[threading.Event]:
    """An event that is set by whatever signal is meant to end the process."""
    stopped = threading.Event()
    former = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        if number.name != "SIGHUP" or former[number] != signal.SIG_IGN:  # As nohup wants it.
            signal.signal(number, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def _child(
    arguments: Sequence[str], ended_by: signal.Signals, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of `tasks.ui_children`; ended, and waited for, at the end.

    It has a session of its own: what a terminal sends goes to this process alone, which ends its
    children in order.
    """
    # A proxy of the machine's has no part in what stays on it.
    local = {"NO_PROXY": ADDRESS, "no_proxy": ADDRESS}
    process = subprocess.Popen(
        [sys.executable, "-m", "tasks.ui.children", *arguments],
        env={**os.environ, **local, **(environment or {})},
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process, ended_by)


def _end(process: subprocess.Popen[bytes], ended_by: signal.Signals) -> None:
    assert process.stdin is not None
    if os.name == "posix":
        process.send_signal(ended_by)
    else:
        process.stdin.close()
    try:
        process.wait(_CHILD_ENDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdin.close()
    if os.name == "posix":
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # Tasks in processes of their own.


def _refuse_port_in_use(port: int) -> None:
    with socket.socket() as probe:
        if os.name == "posix":
            # As the scheduler will: connections that have just ended do not matter.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise PipelineError(
                f"The scheduler cannot be at {ADDRESS}:{port}: {error.strerror}.",
                remedy="Choose another port: --port",
            ) from error


def _wait_for_scheduler(
    luigid: subprocess.Popen[bytes], port: int, stopped: threading.Event
) -> None:
    latest = time.monotonic() + _SCHEDULER_STARTS_S
    while not stopped.is_set() and not _answers(port):
        _refuse_end(luigid)
        if time.monotonic() > latest:
            raise PipelineError(f"The scheduler does not answer at {ADDRESS}:{port}.")
        stopped.wait(_POLL_S)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=5)
    try:
        connection.request("HEAD", "/")
        return connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _refuse_end(luigid: subprocess.Popen[bytes]) -> None:
    if luigid.poll() is not None:
        raise PipelineError(f"The scheduler ended by itself (exit status {luigid.returncode}).")
