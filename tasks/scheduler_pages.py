"""What the central scheduler's pages show, where Luigi by itself tells the scheduler too little.

A worker tells of a task that is done already without what it requires and without its page, and
not at all of what that one requires. In a scheduler that was started later, a run with nothing
to do would be one lonely task. A failure while tasks are scheduled is told to nobody.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator

import luigi
import luigi.interface
from luigi.rpc import RemoteScheduler
from luigi.task import flatten
from luigi.task_status import DISABLED, DONE, FAILED

from tasks.freshness import FreshTask, walk

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


def show_done(url: str, tasks: Iterable[FreshTask]) -> None:
    """Tell the scheduler of tasks that are done, with what they require and their pages.

    What it knows already is not told again.
    """
    scheduler = RemoteScheduler(url)
    known = scheduler.graph()
    worker = _latest_worker(scheduler)
    for task in tasks:
        required = [one.task_id for one in flatten(task.requires())]
        told = known.get(task.task_id, {})
        if (
            told.get("status") == DONE
            and set(told["deps"]) == set(required)
            and told["tracking_url"] == task.page_url()
        ):
            continue
        _tell(scheduler, worker, task, DONE, deps=required, tracking_url=task.page_url())


def show_failure(url: str, task: FreshTask, message: str) -> None:
    """Tell the scheduler that a task failed, and why."""
    scheduler = RemoteScheduler(url)
    _tell(scheduler, _latest_worker(scheduler), task, FAILED, expl=json.dumps(message))


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
    """The worker on whose behalf tasks are told of: that of the run that just took place."""
    workers = scheduler.worker_list(include_running=False)
    return str(workers[0]["name"]) if workers else "no worker: these tasks were done before"


def warn_of_disabled(url: str, task: FreshTask) -> None:
    """Warn of each task in the graph of a task that the scheduler will not run."""
    for label in _disabled(RemoteScheduler(url), task):
        logger.warning(
            "%s failed too often within an hour and is disabled in the scheduler: it does not run, "
            "nor what requires it.\n"
            'When the cause is mended, press "Re-enable" beside it at %s and run again.',
            label,
            page_of(url, tab="tasks", statuses='["DISABLED"]'),
        )


def _disabled(scheduler: RemoteScheduler, task: FreshTask) -> Iterator[str]:
    disabled = scheduler.task_list(status=DISABLED)
    if disabled:
        yield from (one.label for one in walk(task) if one.task_id in disabled)
