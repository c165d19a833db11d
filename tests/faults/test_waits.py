"""A wait for another program or run is reported after three seconds, and has a limit."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from filelock import FileLock

from tasks.graph import EnrichedLogs, LoadDimension
from tests.conftest import Project, unwrapped
from tests.locks import LOCKS, READS, WRITES, in_use
from tests.result import Result
from tests.runs import soak
from tests.ui import LONGEST_WAIT_S, Ui, luigid, wait_for

pytestmark = pytest.mark.usefixtures("processes")

WAREHOUSE = "another program is using the warehouse data_warehouse.db"
OTHER_RUN = "another run is at this task"
STATE_FILE = "another program has locked staging/state.db"
LOAD = LoadDimension(table="dim_application_type")
LOADING = ("luigi", "--module", "tasks", LOAD.task_family, "--table", LOAD.table)


@dataclass
class Run:
    """A run through a central scheduler, while it takes place."""

    project: Project
    ui: Ui
    process: subprocess.Popen[str]

    @property
    def err(self) -> str:
        return unwrapped((self.project.folder.parent / "err").read_text(encoding="utf-8"))

    def message(self, task: EnrichedLogs | LoadDimension) -> str:
        """What the scheduler shows beside a task."""
        shown = self.ui.ask("get_task_status_message", task_id=task.task_id)
        return str(shown["statusMessage"])

    def wait_until_reported(self, task: EnrichedLogs | LoadDimension, wait: str) -> None:
        """Wait until a task's wait is on the console and in the scheduler."""
        wait_for(lambda: f" WARNING {task.label}: {wait}\n" in self.err, lambda: self.err)
        wait_for(lambda: self.message(task) == wait)
        assert self.process.poll() is None

    def end(self) -> str:
        """Wait until it ends well; what the console shows."""
        assert self.process.wait(LONGEST_WAIT_S) == 0, self.err
        return self.err


@contextmanager
def running(project: Project) -> Iterator[Run]:
    """One table is loaded, through a central scheduler."""
    err = project.folder.parent / "err"
    with luigid(project) as ui, err.open("wb") as stream:
        command = (*LOADING, "--scheduler-url", ui.scheduler)
        process = project.start(*command, stderr=stream)
        try:
            yield Run(project, ui, process)
        finally:
            process.terminate()
            process.wait(LONGEST_WAIT_S)


def other_run(project: Project, task: EnrichedLogs | LoadDimension) -> FileLock:
    """The lock that another run has while it is at a task."""
    return FileLock(project.staging / ".locks" / f"{task.label.replace(':', '-')}.lock")


def types(project: Project) -> list[tuple]:
    return project.query("SELECT * FROM dim_application_type")


@pytest.fixture
def edited(ran: Project) -> Project:
    """A project that has been run, with new work to do."""
    ran.edit("APP_TYPE.csv", "3,Suction Group", "3,Suction")
    return ran


def writer(project: Project) -> AbstractContextManager[object]:
    return in_use(project.database, *WRITES)


def reader(project: Project) -> AbstractContextManager[object]:
    return in_use(project.database, "PRAGMA journal_mode = DELETE", *READS)


def first_writer(project: Project) -> AbstractContextManager[object]:
    project.database.unlink()
    return in_use(project.database, "CREATE TABLE mine (id)", *WRITES)


def run_at_the_load(project: Project) -> AbstractContextManager[object]:
    return other_run(project, LOAD)


@pytest.mark.parametrize(
    ("other", "waits_for"),
    [
        pytest.param(writer, WAREHOUSE, id="a program that writes to the warehouse"),
        soak(reader, WAREHOUSE, id="one that reads it, without a write-ahead log"),
        soak(first_writer, WAREHOUSE, id="one that writes before the first load"),
        pytest.param(run_at_the_load, OTHER_RUN, id="another run at the same task"),
    ],
)
def test_a_long_wait_is_on_the_console_and_in_the_scheduler(
    edited: Project,
    other: Callable[[Project], AbstractContextManager[object]],
    waits_for: str,
) -> None:
    with ExitStack() as others:
        others.enter_context(other(edited))
        with running(edited) as run:
            run.wait_until_reported(LOAD, f"{waits_for}; waiting for at most 3,600 s")
            others.close()
            err = run.end()
            assert run.message(LOAD) == "5 rows loaded"
    assert err.count("waiting") == 1
    assert (3, "Suction", 0) in types(edited)


@pytest.mark.soak
def test_a_task_that_waits_for_the_state_file_says_so(edited: Project) -> None:
    with ExitStack() as others:
        others.enter_context(other_run(edited, LOAD))
        with running(edited) as run:
            run.wait_until_reported(LOAD, f"{OTHER_RUN}; waiting for at most 3,600 s")
            with in_use(edited.staging / "state.db", *LOCKS):
                others.close()
                run.wait_until_reported(LOAD, f"{STATE_FILE}; waiting for at most 60 s")
            run.end()
    assert (3, "Suction", 0) in types(edited)


@pytest.mark.soak
def test_reading_waits_too(edited: Project) -> None:
    err = edited.folder.parent / "err"
    with err.open("wb") as stream, in_use(edited.database, *LOCKS):
        run = edited.start(
            "luigi", "--module", "tasks", "LoadFactLogs", "--local-scheduler", stderr=stream
        )
        reported = f"{WAREHOUSE[0].upper()}{WAREHOUSE[1:]}; waiting for at most 3,600 s\n"
        wait_for(lambda: f" WARNING {reported}" in unwrapped(err.read_text()), err.read_text)
    assert run.wait(LONGEST_WAIT_S) == 0, err.read_text()


def at_limit(project: Project, *command: str) -> Result:
    limits = {"PIPELINE_MAX_WAIT_S": "0.2", "PIPELINE_MAX_STATE_WAIT_S": "0.1"}
    result = project.run(*command, env=limits)
    assert "Traceback" not in result.err
    assert "waiting" not in result.err
    return result


@pytest.mark.soak
def test_at_the_limit_a_run_fails_and_the_previous_rows_stay(edited: Project) -> None:
    before = types(edited)
    advice = "Run again when it is done. To wait longer, set max_wait_s in luigi.cfg, section"
    for other, waits_for in ((writer, WAREHOUSE), (run_at_the_load, OTHER_RUN)):
        with other(edited):
            result = at_limit(edited, *LOADING, "--local-scheduler")
        assert result.status == 30
        message = f"\n{LOAD.label}\n{waits_for[0].upper()}{waits_for[1:]}; waited for 0.2 s.\n"
        assert f"{message}{advice} [pipeline].\n" in result.err
        assert types(edited) == before
    edited.passes("AllReports")
    assert types(edited) != before
