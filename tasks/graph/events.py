"""Handlers of Luigi's scheduling events: libraries are loaded, the scheduler's pages completed.

Luigi reports a complete task without its requirements and link, and does not report those
requirements. In a newly started scheduler, a run with nothing to do would show one task. A failure
before the first task is not reported either.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import logging
import pkgutil

import luigi
import luigi.interface
from luigi.rpc import RemoteScheduler, RPCError
from luigi.task import flatten
from luigi.task_status import DISABLED, DONE, FAILED

from tasks import enrichment, lake, measures, reports, staging, warehouse
from tasks.core.errors import PipelineError
from tasks.core.memory import configure_arrow
from tasks.freshness.snapshot import Snapshot
from tasks.freshness.task import FreshTask, core, walk
from tasks.graph.lake import facts_are_in_lake
from tasks.run.recording import state
from tasks.run.settings import settings

logger = logging.getLogger("luigi-interface")

LIBRARIES = ("markdown_it", "numpy.ma", "pandas", "pyarrow.dataset", "pyarrow.pandas_compat")
"""Those that stages import in functions."""


@FreshTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)
def load_libraries(task: FreshTask, dependency: FreshTask) -> None:
    """Import the libraries once, before Luigi forks a process for each task."""
    if core().workers > 1:
        _load_packages()


@functools.cache
def _load_packages() -> None:
    """Import every module of the stages, and the libraries that they import in functions."""
    from tasks.graph import load

    configure_arrow()
    gc.disable()  # What is imported stays.
    try:
        # The drivers of other databases than the warehouse's need not be installed.
        database = importlib.import_module(type(load.warehouse()).__module__.rpartition(".")[0])
        stages = (staging, enrichment, measures, warehouse, database, reports)
        for package in (*stages, lake) if facts_are_in_lake() else stages:
            for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)
        for library in LIBRARIES:
            importlib.import_module(library)
        gc.freeze()  # The collector never touches frozen objects, so processes share them.
    finally:
        gc.enable()


# --- plans -----------------------------------------------------------------------------------


@FreshTask.event_handler(luigi.Event.SUCCESS)
def plan_new_columns(task: FreshTask) -> None:
    """When the report has found new columns whose contracts ask for plans, write these."""
    if task.task_family != "SchemaChangeReport" or not task.built:
        return
    from tasks.graph.schema_change import write_plan_of
    from tasks.reports.source_columns import planned_columns, read_new_columns

    planned = planned_columns(read_new_columns(settings().reports_dir / "schema_change.json"))
    try:
        for column in planned:
            write_plan_of(*column)
    except PipelineError as error:  # The run has done what it was asked for.
        logger.warning("A new column cannot be planned: %s", error)


# --- the central scheduler's pages -----------------------------------------------------------

_scheduler_of_run: set[str] = set()
"""The scheduler whose pages this run completes at its end, once it is known."""


@FreshTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)
@FreshTask.event_handler(luigi.Event.DEPENDENCY_PRESENT)
@FreshTask.event_handler(luigi.Event.DEPENDENCY_MISSING)
def complete_scheduler_pages(task: FreshTask, dependency: FreshTask | None = None) -> None:
    """At the end of the run, report the whole graph to the central scheduler.

    The first call while the graph is scheduled is for the task that was asked for.
    """
    if not _scheduler_of_run:
        url = scheduler_url()
        _scheduler_of_run.add(url or "none")
        if url is not None:
            pages = SchedulerPages(url, task)
            pages.warn_of_disabled()
            atexit.register(pages.complete)


def scheduler_url() -> str | None:
    """The address of this run's central scheduler; None if it uses none."""
    chosen = core()
    if chosen.local_scheduler:
        return None
    return str(chosen.scheduler_url or f"http://{chosen.scheduler_host}:{chosen.scheduler_port}/")


def page_of(url: str, **place: str) -> str:
    """The address of a place in a scheduler's pages.

    >>> page_of("http://127.0.0.1:8082/", tab="graph", taskId="AllReports__1")
    'http://127.0.0.1:8082/static/visualiser/index.html#tab=graph&taskId=AllReports__1'
    """
    fragment = "&".join(f"{name}={value}" for name, value in place.items())
    return f"{url.rstrip('/')}/static/visualiser/index.html{'#' if place else ''}{fragment}"


class SchedulerPages:
    """The pages of a scheduler before and after a run.

    Args:
        url: The address of the scheduler.
        root: The task whose graph is run.
    """

    def __init__(self, url: str, root: FreshTask):
        self._url, self._root = url, root
        self._scheduler = RemoteScheduler(url)
        self._scheduler._rpc_retry_attempts = 1  # If it does not answer, Luigi itself waits.
        self._before = self._scheduler.graph()

    def warn_of_disabled(self) -> None:
        """Warn of each task that the scheduler will not run."""
        for task in walk(self._root):
            if self._before.get(task.task_id, {}).get("status") == DISABLED:
                logger.warning(
                    "%s failed too often within an hour and is disabled in the scheduler: it does "
                    "not run, nor what requires it.\nWhen the cause is fixed, press Re-enable "
                    "beside it at %s and run again.",
                    task.label,
                    page_of(self._url),
                )

    def complete(self) -> None:
        """Report each task that is done now, with its requirements and its link.

        A link stays as it was if this run does not know where the reports are served.
        A configuration that cannot be used is reported as the failure of the root.
        """
        try:
            snapshot = Snapshot(state())
            done = [task for task in walk(self._root) if task.why_stale(snapshot) is None]
            reports = [(task, DONE, self._graph_and_link(task)) for task in done]
        except PipelineError as error:
            reports = [(self._root, FAILED, {"expl": json.dumps(str(error))})]
        try:
            workers = self._scheduler.worker_list(include_running=False)
            worker = workers[0]["name"] if workers else "no worker"  # The latest, of this run.
            for task, status, more in reports:
                self._scheduler.add_task(
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
        except RPCError as error:
            logger.warning("The scheduler's pages are not complete: %s", error)

    def _graph_and_link(self, task: FreshTask) -> dict[str, object]:
        link = task.page_url() or self._before.get(task.task_id, {}).get("tracking_url")
        return {"deps": [one.task_id for one in flatten(task.requires())], "tracking_url": link}
