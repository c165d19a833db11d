"""The central scheduler's pages and the reports, on one port, for this machine alone."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import luigi.server
from luigi.configuration import get_config
from luigi.scheduler import Scheduler
from luigi.task_status import PENDING, RUNNING
from sqlalchemy import URL
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.ioloop import PeriodicCallback
from tornado.routing import HostMatches, Rule, RuleRouter
from tornado.web import OutputTransform, StaticFileHandler

from tasks.core.errors import PipelineError
from tasks.core.text import link_to

ADDRESS = "127.0.0.1"
REPORTS = "/reports/"

_PRUNE_MS = 60_000


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
    pages.add_transform(_SameOriginOnly)
    # Where a browser looks for the target of a relative link in a report.
    linked = urlsplit(urljoin(REPORTS, f"{link_to(quarantine, reports)}/")).path
    folders = [
        (f"{REPORTS}(.*)", _Files, {"path": reports, "default_filename": "index.html"}),
        (f"{re.escape(linked)}(.*)", _Files, {"path": quarantine}),
    ]
    pages.add_handlers(".*", folders)
    # A page of another site, whose name was made to lead here, gets nothing (DNS rebinding).
    this_machine = HostMatches(rf"({re.escape(ADDRESS)}|localhost)")
    server = HTTPServer(RuleRouter([Rule(this_machine, pages)]))
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
    history = URL.create("sqlite", database=str(folder / "luigid_history.db"))
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


class _SameOriginOnly(OutputTransform):
    """Forbids browsers to ask other hosts: Luigi's pages ask for fonts and charts."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Add the policy to each answer."""
        policy = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data:"
        headers["Content-Security-Policy"] = policy
        return status_code, headers, chunk
