"""`python -m tasks ui`: a central scheduler, its pages with the reports, and a run in it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Sequence

from tasks.graph import AllReports
from tasks.graph.scheduler_pages import page_of
from tasks.run.console import print_lines
from tasks.run.settings import settings
from tasks.ui.server import ADDRESS, REPORTS, load_scheduler, serve

DEFAULT_PORT = 8082
"""Luigi's own."""

_RUN_STOPS_S = 15


def show_ui(port: int, workers: int | None, run: bool) -> int:
    """Run the pipeline in a scheduler whose pages stay up until a signal ends everything.

    Files of the scheduler's state and history stay in the staging folder.

    Args:
        port: Of the pages.
        workers: Tasks at the same time; None leaves it to the configuration.
        run: Whether to run the pipeline, or only show the pages.

    Returns:
        The exit status of the run, 0 if there was none.

    Raises:
        PipelineError: The pages cannot be served.
    """
    settings().staging_dir.mkdir(parents=True, exist_ok=True)
    return asyncio.run(_show_ui(port, workers, run))


async def _show_ui(port: int, workers: int | None, run: bool) -> int:
    stopped = _stopped_by_signal()
    url, status = f"http://{ADDRESS}:{port}", 0
    staging = settings().staging_dir
    scheduler = load_scheduler(staging)
    with serve(scheduler, port, settings().reports_dir, staging / "quarantine"):
        print_lines(_addresses(url))
        if run:
            options = [] if workers is None else ["--workers", str(workers)]
            status = await _run(url, options, stopped)
        if not stopped.is_set():
            print_lines(_addresses(url))
            print_lines(_what_next(status, port))
        await stopped.wait()
    scheduler.dump()
    return status


def _stopped_by_signal() -> asyncio.Event:
    """An event that is set by each signal that is meant to end the process."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number and not (
            name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN
        ):  # nohup
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopped.set))
    return stopped


async def _run(url: str, options: Sequence[str], stopped: asyncio.Event) -> int:
    """Run the pipeline in the scheduler until it ends or is stopped; its exit status."""
    command = ["-m", "luigi", "--module", "tasks", "AllReports", "--scheduler-url", url, *options]
    # A proxy has no part in what stays on this machine.
    local = {"NO_PROXY": ADDRESS, "no_proxy": ADDRESS, "PIPELINE_REPORTS_URL": url + REPORTS[:-1]}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        env={**os.environ, **local},
        start_new_session=True,  # Ctrl-C reaches this process alone, which stops the run.
    )
    ended = asyncio.create_task(process.wait())
    stop = asyncio.create_task(stopped.wait())
    await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
    if not ended.done():
        process.send_signal(signal.SIGINT)
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
