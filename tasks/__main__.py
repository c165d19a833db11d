"""Commands beside luigi's: `python -m tasks status`, `plan`, `forget`, `rerun` and so on."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from config.sources import SOURCES
from tasks.core.errors import PipelineError, advice, cleaned
from tasks.core.stores import file_at
from tasks.freshness.task import FreshTask, walk
from tasks.graph import AllReports
from tasks.run.console import print_lines, show_places
from tasks.run.settings import settings
from tasks.sources.files import find_archive, find_files
from tasks.status import history, plan, status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status.

    0: done. 1: `sources`: there is none, or the file would not be staged; `status -q`: something is
    stale; `verify`: something differs. 2: an error. `rerun` has the exit status of the run.
    """
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "status":
                return status(as_json=options.json, only_stale=options.stale, quiet=options.quiet)
            case "plan":
                return plan()
            case "history":
                return history()
            case "forget":
                return forget_tasks(options.task, downstream=options.downstream)
            case "rerun":
                forget_tasks(options.task, downstream=options.downstream)
                return run_everything()
            case "sources" if options.check is None:
                return sources()
            case "sources":
                return check(options.check, options.source)
            case "ui":
                from tasks.ui import show_ui

                return show_ui(options.port, options.workers, run=not options.no_run)
            case "explore":
                from tasks.explore import explore

                return explore(options.port)
            case "schema-change":
                return schema_change(options.action, options.table)
            case "verify":
                from tasks.verify import verify

                return verify(deep=options.deep, repair=options.repair)
            case _:
                print_lines(show_places(settings()))
                return 0
    except PipelineError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # Nobody reads on, as with `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{error}\n{advice(error)}".rstrip(), file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tasks", description=__doc__)
    parser.add_argument("--version", action=_Version, help="show the version")
    commands = parser.add_subparsers(dest="command", required=True)
    shown = commands.add_parser(
        "status", help="show for each task whether it is fresh, and why not"
    )
    shown.add_argument("--json", action="store_true", help="as JSON")
    shown.add_argument("--stale", action="store_true", help="only the tasks that have to run")
    shown.add_argument(
        "-q", "--quiet", action="store_true", help="print nothing; exit status 1 if any has to run"
    )
    commands.add_parser("plan", help="show what a run would do, in order, and how long it took")
    commands.add_parser("history", help="show the newest runs, and the data after each")
    forget = commands.add_parser(
        "forget", help="make tasks run again; removes receipts, never data"
    )
    which = forget.add_mutually_exclusive_group(required=True)
    which.add_argument("task", nargs="?", help="such as CsvToParquet:POINT or LoadFactLogs")
    which.add_argument("--all", action="store_true", help="every task")
    forget.add_argument("--downstream", action="store_true", help="and all that depends on it")
    rerun = commands.add_parser("rerun", help="forget a task and run everything that is stale then")
    rerun.add_argument("task", help="such as CsvToParquet:POINT or LoadFactLogs")
    rerun.add_argument("--downstream", action="store_true", help="and all that depends on it")
    listed = commands.add_parser(
        "sources", help="list the source files; exit status 1 if there is none"
    )
    listed.add_argument("--check", metavar="FILE", help="show how a file would be read")
    listed.add_argument("--source", metavar="NAME", help="the source of that file")
    ui = commands.add_parser(
        "ui", help="run everything in the central scheduler and keep its pages up until Ctrl-C"
    )
    ui.add_argument("--port", type=_port, default=8082, help="of the pages and the reports")
    ui.add_argument("--workers", type=int, help="tasks at the same time")
    ui.add_argument("--no-run", action="store_true", help="only show the pages")
    explored = commands.add_parser(
        "explore", help="show the warehouse in a browser until Ctrl-C; needs Datasette"
    )
    explored.add_argument("--port", type=_port, default=8001, help="of the pages")
    _add_schema_change(commands)
    verify = commands.add_parser(
        "verify",
        help="compare all that was built with what was recorded; exit status 1 if it differs",
    )
    verify.add_argument("--deep", action="store_true", help="the source files too")
    verify.add_argument("--repair", action="store_true", help="have it built again by the next run")
    commands.add_parser("where", help="show where the reports and the warehouse are")
    return parser


def _add_schema_change(commands: Any) -> None:
    change = commands.add_parser(
        "schema-change", help="show how far changes of live tables are, and carry one on"
    )
    actions = ("status", "run", "follow", "switch", "abort", "revert", "sign-off")
    change.add_argument("action", choices=actions)
    change.add_argument("table", nargs="*", help="with status: none for all")


class _Version(argparse.Action):
    """Reads the version only if it is asked for: that takes longer than a small command."""

    def __init__(self, **how: Any) -> None:
        super().__init__(nargs=0, **how)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print_lines([version("controller-log-warehouse")])
        parser.exit()


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65_536:
        raise ValueError
    return port


def run_everything() -> int:
    """Run all that is stale, by `luigi`; its exit status."""
    arguments = ["-m", "luigi", "--module", "tasks", "AllReports", "--local-scheduler"]
    sys.stdout.flush()
    if os.name != "nt":
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  # Signals go to it.
    return subprocess.call([sys.executable, *arguments])  # noqa: S603


def forget_tasks(name: str | None, *, downstream: bool) -> int:
    """Remove the receipts of a task, of a family of tasks, or of all (no name given)."""
    graph = walk(AllReports())
    chosen = [task for task in graph if name is None or name in (task.label, task.task_family)]
    if not chosen:
        labels = [task.label for task in graph]
        raise PipelineError(f"There is no task {name}. There are:", labels)
    if downstream:
        chosen = [task for task in graph if _depends(task, {one.label for one in chosen})]
    for task in chosen:
        task.forget()
        print(f"forgotten: {task.label}")
    return 0


def _depends(task: FreshTask, labels: set[str]) -> bool:
    return task.label in labels or any(_depends(one, labels) for one in task.upstream())


def sources() -> int:
    """Print which source files there are, or the archive that holds them."""
    data_dir = settings().data_dir
    found = [path for name in SOURCES for path in find_files(name, data_dir)]
    archive = find_archive(data_dir)
    if not found and archive is not None:
        found = [archive]
    for path in found:
        print(path)
    return 0 if found else 1


def check(place: str, name: str | None) -> int:
    """Print how a file would be read; 1 if it would not be staged. Writes nothing."""
    from tasks.core.memory import configure_arrow
    from tasks.source_check import describe, source_of

    configure_arrow()
    settings()  # Which URLs are known.
    path = file_at(place)
    try:
        for line in describe(path, source_of(path, name)):
            print_lines([line])
    except PipelineError as error:
        what = str(error).removesuffix(error.remedy).rstrip()
        lines = ["Say in luigi.cfg how to read it:"] if error.remedy.startswith("[") else []
        print_lines(["", cleaned(what), *lines, error.remedy])
        return 1
    return 0


def schema_change(action: str, tables: Sequence[str]) -> int:
    """Print how far changes are, or carry one on. Ctrl-C stops it; what is done is kept."""
    from tasks.schema_change.commands import act, status_of
    from tasks.schema_change.open import open_existing

    live = open_existing(settings().warehouse_url, settings().warehouse_schema)
    try:
        if action == "status":
            print_lines(status_of(live, tables))
            return 0
        if len(tables) != 1:
            raise PipelineError(f"schema-change {action} needs the name of one table.")
        reports = settings().reports_dir
        print_lines(act(live, action, tables[0], reports, lambda t: print(t, file=sys.stderr)))
    finally:
        live.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
