"""What the central scheduler's pages show, where Luigi by itself tells the scheduler too little.

A worker tells of a task that is done already without what it requires and without its page, and
not at all of what that one requires. In a scheduler that was started later, a run with nothing
to do would be one lonely task. A failure while tasks are scheduled is told to nobody.
"""

from __future__ import annotations

import json
import logging

import luigi
import luigi.interface
from luigi.rpc import RemoteScheduler, RPCError
from luigi.task import flatten
from luigi.task_status import DISABLED, DONE, FAILED

from tasks.core.errors import PipelineError
from tasks.core.memo import one_look
from tasks.freshness.task import FreshTask, walk

logger = logging.getLogger("luigi-interface")


def scheduler_url() -> str | None:
    """Where this run's scheduler is; None if the run is its own."""
    core = luigi.interface.core()
    if core.local_scheduler:
        return None
    return str(core.scheduler_url or f"http://{core.scheduler_host}:{core.scheduler_port}/")


def page_of(url: str, **place: str) -> str:
    """The address of a place in the scheduler's pages.

    >>> page_of("http://127.0.0.1:8082/", tab="graph", taskId="AllReports__1")
    'http://127.0.0.1:8082/static/visualiser/index.html#tab=graph&taskId=AllReports__1'
    """
    fragment = "&".join(f"{name}={value}" for name, value in place.items())
    return f"{url.rstrip('/')}/static/visualiser/index.html{'#' if place else ''}{fragment}"


class _AskedOnce(RemoteScheduler):
    """A scheduler that is not asked again if it does not answer: the worker itself does that."""

    def __init__(self, url: str):
        super().__init__(url)
        self._rpc_retry_attempts = 1


class SchedulerPages:
    """The pages of a scheduler, as a run finds and leaves them.

    Args:
        url: Of the scheduler.
        root: The task whose graph is run.
    """

    def __init__(self, url: str, root: FreshTask):
        self._url = url
        self._root = root
        self._found = _AskedOnce(url).graph()

    def warn_of_disabled(self) -> None:
        """Warn of each task that the scheduler will not run."""
        for task in walk(self._root):
            if self._found.get(task.task_id, {}).get("status") == DISABLED:
                logger.warning(
                    "%s failed too often within an hour and is disabled in the scheduler: it does "
                    "not run, nor what requires it.\nWhen the cause is mended, press Re-enable "
                    "beside it at %s and run again.",
                    task.label,
                    page_of(self._url),
                )

    def complete(self) -> None:
        """Tell the scheduler of each task that is done now, with what it requires and its page.

        A link stands as it was found if the run does not know where the reports are served.
        If the configuration cannot be used, that is told as the failure of the whole.
        """
        try:
            self._complete(_AskedOnce(self._url))
        except RPCError as error:
            logger.warning("The scheduler's pages are not complete: %s", error)

    def _complete(self, scheduler: RemoteScheduler) -> None:
        known = scheduler.graph()
        worker = _latest_worker(scheduler)
        try:
            done = _done(self._root)
        except PipelineError as error:
            _tell(scheduler, worker, self._root, FAILED, expl=json.dumps(str(error)))
            return
        for task in done:
            required = [one.task_id for one in flatten(task.requires())]
            link = task.page_url() or self._found.get(task.task_id, {}).get("tracking_url")
            told = known.get(task.task_id, {"status": None})
            if (
                told["status"] != DONE
                or set(told["deps"]) != set(required)
                or told["tracking_url"] != link
            ):
                _tell(scheduler, worker, task, DONE, deps=required, tracking_url=link)


def _done(root: FreshTask) -> list[FreshTask]:
    asked: dict[str, str | None] = {}
    with one_look():
        return [task for task in walk(root) if task.why_stale(asked) is None]


def _tell(
    scheduler: RemoteScheduler, worker: str, task: FreshTask, status: str, **more: object
) -> None:
    scheduler.add_task(
        worker=worker,
        task_id=task.task_id,
        status=status,
        runnable=False,
        family=task.task_family,
        module=task.task_module,
        params=task.to_str_params(),
        priority=task.priority,
        resources=task.process_resources(),
        **more,
    )


def _latest_worker(scheduler: RemoteScheduler) -> str:
    """The worker on whose behalf tasks are told of: that of the run itself."""
    workers = scheduler.worker_list(include_running=False)
    return str(workers[0]["name"]) if workers else "no worker: done before"
