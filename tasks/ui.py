"""`python -m tasks ui`: a central scheduler, its pages with the reports, and a run in it.

The pages and the reports are on one port, for this machine alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import luigi.server
from luigi.configuration import get_config
from luigi.scheduler import Scheduler
from luigi.task_status import PENDING, RUNNING
from sqlalchemy import URL
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.ioloop import PeriodicCallback
from tornado.routing import AnyMatches, Matcher, Rule, RuleRouter
from tornado.web import Application, OutputTransform, RequestHandler, StaticFileHandler

from tasks.core.errors import PipelineError
from tasks.core.files import create_database
from tasks.core.text import link_to
from tasks.graph import AllReports
from tasks.graph.events import page_of
from tasks.run.console import print_lines
from tasks.run.settings import settings, state_dir
from tasks.run.signals import (
    STOPS_WITH_STDIN,
    exit_status,
    last_line,
    stop_instead,
    write_line,
)

ADDRESS = "127.0.0.1"
REPORTS = "/reports/"
DEFAULT_PORT = 8082
"""Luigi's own."""

_HOSTS = {"127.0.0.1", "localhost", "[::1]"}
"""Names of this machine; with any port, as a tunnel may have another one."""

_SCRIPT = Path(__file__).with_suffix(".js")

_RUN_STOPS_S = 15
_PRUNE_MS = 60_000


def show_ui(port: int, workers: int | None, run: bool) -> int:
    """Run the pipeline in a scheduler whose pages stay up until a signal ends everything.

    Files of the scheduler's state and history stay beside the state file.

    Args:
        port: Of the pages.
        workers: Tasks at the same time; None leaves it to the configuration.
        run: Whether to run the pipeline, or only show the pages.

    Returns:
        The exit status of the run, 0 if there was none.

    Raises:
        PipelineError: The pages cannot be served.
    """
    state_dir().mkdir(parents=True, exist_ok=True)
    return asyncio.run(_show_ui(port, workers, run))


async def _show_ui(port: int, workers: int | None, run: bool) -> int:
    stopped = _stopped_by_signal()
    url, status = f"http://{ADDRESS}:{port}", 0
    scheduler = load_scheduler(state_dir())
    quarantine = settings().staging_dir / "quarantine"
    with serve(scheduler, port, settings().reports_dir, quarantine):
        print_lines(_addresses(url))
        if run:
            options = [] if workers is None else ["--workers", str(workers)]
            status = await _run(url, options, stopped)
        run_was_stopped = stopped.done()
        if not run_was_stopped:
            print_lines(_addresses(url))
            print_lines(_what_next(status, port))
        number = await stopped
    scheduler.dump()
    if not (run_was_stopped and status == exit_status(number)):  # Else the run has said so.
        write_line(last_line(number))
    return status if status >= 0 else exit_status(number if run_was_stopped else -status)


def _stopped_by_signal() -> asyncio.Future[int]:
    """The number of the signal that is to end the process, once there is one."""
    loop = asyncio.get_running_loop()
    stopped = loop.create_future()
    stop_instead(lambda number: loop.call_soon_threadsafe(stopped.set_result, number))
    return stopped


async def _run(url: str, options: Sequence[str], stopped: asyncio.Future[int]) -> int:
    """Run the pipeline in the scheduler until it ends or is stopped; its exit status."""
    command = ["-m", "luigi", "--module", "tasks", "AllReports", "--scheduler-url", url, *options]
    # A proxy has no part in what stays on this machine.
    local = {"NO_PROXY": ADDRESS, "no_proxy": ADDRESS, "PIPELINE_REPORTS_URL": url + REPORTS[:-1]}
    # A signal would find Python without a handler while the run starts; this byte waits. And if
    # this process is killed, the run reads the end.
    local[STOPS_WITH_STDIN] = "1"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        env={**os.environ, **local},
        stdin=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches this process alone, which stops the run.
    )
    ended = asyncio.create_task(process.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not ended.done() and process.stdin is not None:
        process.stdin.write(bytes([stopped.result()]))
        await asyncio.wait({ended}, timeout=_RUN_STOPS_S)
    if not ended.done():
        os.killpg(process.pid, signal.SIGKILL)
    return await ended


def _addresses(url: str) -> Iterator[str]:
    yield ""
    yield f"task list  {page_of(url)}"
    yield f"graph      {page_of(url, tab='graph', taskId=AllReports().task_id)}"
    yield f"history    {url}/history"
    if (settings().reports_dir / "index.html").exists():
        yield f"reports    {url}{REPORTS}index.html"


def _what_next(status: int, port: int) -> Iterator[str]:
    yield ""
    if status != 0:
        yield f"Not all is done (exit status {status}): the task list shows what failed, and why."
    option = "" if port == DEFAULT_PORT else f" --scheduler-port {port}"
    yield f"To run again, in another terminal: luigi --module tasks AllReports{option}"
    yield "Ctrl-C ends everything."


# --- the pages -------------------------------------------------------------------------------


@contextmanager
def serve(scheduler: Scheduler, port: int, reports: Path, quarantine: Path) -> Iterator[None]:
    """Serve Luigi's pages, and below `REPORTS` the files of a folder, while a loop runs.

    Args:
        scheduler: Whose pages, and whose interface for workers.
        port: On `ADDRESS`.
        reports: The folder of the reports.
        quarantine: The folder to which the reports link.

    Raises:
        PipelineError: The port is in use, or may not be used.
    """
    pages = luigi.server.app(scheduler)
    pages.transforms.insert(0, _Page)  # Before the one that compresses.
    # Where a browser looks for the target of a relative link in a report.
    linked = urlsplit(urljoin(REPORTS, f"{link_to(quarantine, reports)}/")).path
    folders = [
        (f"{REPORTS}(.*)", _Files, {"path": reports, "default_filename": "index.html"}),
        (f"{re.escape(linked)}(.*)", _Files, {"path": quarantine}),
    ]
    pages.add_handlers(".*", folders)
    others = Application([(".*", Rejection)])
    server = HTTPServer(RuleRouter([Rule(OwnRequests(), pages), Rule(AnyMatches(), others)]))
    try:
        server.listen(port, ADDRESS)
    except OSError as error:
        raise PipelineError(
            f"The pages cannot be served at {ADDRESS}:{port}: {error.strerror}.",
            remedy="Choose another port: --port",
        ) from error
    pruning = PeriodicCallback(scheduler.prune, _PRUNE_MS)
    pruning.start()
    try:
        yield
    finally:
        pruning.stop()
        server.stop()


def load_scheduler(folder: Path) -> Scheduler:
    """A central scheduler that keeps its state and the history of the tasks in a folder."""
    from luigi import db_task_history  # SQLAlchemy warns of it when it is imported.

    logging.getLogger("tornado").setLevel(logging.ERROR)  # Browsers ask for an icon.
    path = folder / "luigid_history.db"
    create_database(path)
    history = URL.create("sqlite", database=str(path))
    get_config().set("task_history", "db_connection", str(history).replace("%", "%%"))
    # This step for databases of old versions of Luigi fails with SQLAlchemy 2.
    db_task_history._upgrade_schema = lambda engine: None
    scheduler = Scheduler(state_path=str(folder / "luigid.state"), record_task_history=True)
    scheduler.load()
    # A task that was running when the state was saved has been stopped since.
    for task in list(scheduler._state.get_active_tasks_by_status(RUNNING)):
        scheduler._state.set_status(task, PENDING, scheduler._config)
    return scheduler


class _Files(StaticFileHandler):
    """The files of a folder, each as it is at the time."""

    def get_content_type(self) -> str:
        """HTML as it is, all else as plain text: browsers display that, but store CSV."""
        kind = "html" if str(self.absolute_path).endswith(".html") else "plain"
        return f"text/{kind}; charset=utf-8"

    def set_extra_headers(self, path: str) -> None:
        """Keep browsers from showing a file of the previous run, and from guessing its type."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def compute_etag(self) -> None:
        """No tag: tornado computes it once and keeps it when the file changes."""


class _Page(OutputTransform):
    """Forbids browsers to ask other hosts, and other sites to show a page in a frame.

    Luigi's pages ask for fonts and charts of other hosts. HTML gets the script that renews it.
    """

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Add the policy to each answer, and the script to a page."""
        policy = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data:; frame-ancestors 'self'"
        headers["Content-Security-Policy"] = policy
        if status_code == 200 and headers.get("Content-Type", "").startswith("text/html"):
            before = len(chunk)
            chunk = with_script(chunk)
            if "Content-Length" in headers:
                headers["Content-Length"] = str(
                    int(headers["Content-Length"]) + len(chunk) - before
                )
        return status_code, headers, chunk


def with_script(start: bytes) -> bytes:
    """The start of a page with the script, which may ask this server alone what has changed.

    It is before the policy of a report, which forbids all scripts after it but the report's own.
    """
    script = _SCRIPT.read_bytes()
    start = start.replace(b"<head>", b"<head><script>%b</script>" % script, 1)
    policy = b'content="default-src '
    return start.replace(policy, b"content=\"connect-src 'self'; default-src ", 1)


class OwnRequests(Matcher):
    """Matches requests that no page of another site has caused.

    The scheduler answers everybody, and some of its addresses change the state of tasks. A browser
    reports where a request comes from; programs such as Luigi's workers send no such headers.
    """

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Nothing to pass on; None for a request that is rejected."""
        return {} if is_own(request) else None


def is_own(request: HTTPServerRequest) -> bool:
    """Whether a request was sent to this machine's name, and not by a page of another site."""
    if request.host_name not in _HOSTS:
        return False  # Another site's name was made to lead here (DNS rebinding).
    headers = request.headers
    opens_a_page = (
        request.method == "GET"
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest", "document") == "document"
    )
    if opens_a_page and not request.path.startswith("/api/"):
        return True  # A link on any page may lead here.
    origins = (headers.get(name) for name in ("Origin", "Referer"))
    return headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none") and all(
        urlsplit(origin).netloc.lower() == request.host.lower() for origin in origins if origin
    )


class Rejection(RequestHandler):
    """The answer to all other requests."""

    def prepare(self) -> None:
        """Reject the request, whatever its method is."""
        self.set_status(403)
        self.finish(
            "Rejected: it was sent to another name of this machine, or by a page of another site.\n"
        )
