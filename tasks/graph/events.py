"""What happens beside the tasks: Luigi's events."""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import pkgutil

import luigi
import luigi.interface

from tasks import enrichment, measures, reports, staging, warehouse
from tasks.freshness.task import FreshTask
from tasks.graph.scheduler_pages import SchedulerPages, scheduler_url


@FreshTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)
def load_libraries(task: FreshTask, dependency: FreshTask) -> None:
    """Load what tasks need before a process is forked for each: once, not in each.

    Called while the graph is scheduled, if a task has to be run.
    """
    if luigi.interface.core().workers > 1:
        _load_packages()


@functools.cache
def _load_packages() -> None:
    """Import every module of the stages, and what those import late."""
    gc.disable()  # All that is made now stays.
    try:
        for package in (staging, enrichment, measures, warehouse, reports):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)
        for library in ("numpy.ma", "pandas"):
            importlib.import_module(library)
        gc.freeze()  # What the collector never looks at stays shared between processes.
    finally:
        gc.enable()


_shown_at: set[str] = set()
"""The scheduler whose pages this run completes at its end, once it is known."""


@FreshTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)
@FreshTask.event_handler(luigi.Event.DEPENDENCY_PRESENT)
@FreshTask.event_handler(luigi.Event.DEPENDENCY_MISSING)
def complete_scheduler_pages(task: FreshTask, dependency: FreshTask | None = None) -> None:
    """Have the central scheduler's pages show the whole graph when the run ends, however it ends.

    The first call while the graph is scheduled is for the task that was asked for.
    """
    if not _shown_at:
        url = scheduler_url()
        _shown_at.add(url or "none")
        if url is not None:
            pages = SchedulerPages(url, task)
            pages.warn_of_disabled()
            atexit.register(pages.complete)
