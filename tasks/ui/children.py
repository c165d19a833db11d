"""The processes that `python -m tasks ui` starts; they end when it does, however it ends.

    python -m tasks.ui.children scheduler PORT      luigid with history
    python -m tasks.ui.children run ARGUMENTS       luigi, with the arguments of its command

Their standard input is a pipe that nobody writes to: it closes with the process that holds it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

import tornado.web
from luigi.cmdline import luigi_run
from luigi.configuration import get_config
from luigi.scheduler import Scheduler
from luigi.task_status import PENDING, RUNNING

from tasks.run.settings import settings
from tasks.ui.reports_server import ADDRESS

INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Be one of the processes; the exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # It may have been left to ignore it.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    what, *rest = arguments
    with contextlib.suppress(KeyboardInterrupt):
        if what == "scheduler":
            serve_scheduler(int(rest[0]))
            return 0
        luigi_run(rest)  # Exits by itself.
    return INTERRUPTED


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGINT)


def serve_scheduler(port: int) -> None:
    """Be luigid, until it is interrupted; state and history are kept in the staging folder."""
    import sqlalchemy as sa
    from luigi import db_task_history, server

    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("tornado.access").setLevel(logging.ERROR)  # Browsers ask for an icon.
    history = sa.URL.create("sqlite", database=str(settings().staging_dir / "luigid_history.db"))
    config = get_config()
    config.set("scheduler", "state_path", _literal(settings().staging_dir / "luigid.state"))
    config.set("scheduler", "record_task_history", "true")
    config.set("task_history", "db_connection", _literal(history))
    # It brings databases of old versions of Luigi up to date, in words that SQLAlchemy 2 refuses.
    db_task_history._upgrade_schema = lambda engine: None
    plain_app = server.app

    def app(scheduler: Scheduler) -> tornado.web.Application:
        pages = plain_app(scheduler)
        pages.add_transform(_NothingFromElsewhere)
        return pages

    server.app = app
    server.run(api_port=port, address=ADDRESS, scheduler=_FreshScheduler())


def _literal(value: object) -> str:
    return str(value).replace("%", "%%")


class _FreshScheduler(Scheduler):
    """A scheduler that knows, when it starts, that nothing runs yet."""

    def load(self) -> None:
        """Load the state; tasks that ran when it was saved were stopped."""
        super().load()
        for task in list(self._state.get_active_tasks_by_status(RUNNING)):
            self._state.set_status(task, PENDING, self._config)


class _NothingFromElsewhere(tornado.web.OutputTransform):
    """Tells browsers to fetch nothing from other hosts: Luigi's pages ask for fonts and charts."""

    POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data:"

    def transform_first_chunk(
        self, status_code: int, headers: tornado.httputil.HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, tornado.httputil.HTTPHeaders, bytes]:
        """Add the header."""
        headers["Content-Security-Policy"] = self.POLICY
        return status_code, headers, chunk


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
