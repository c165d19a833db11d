"""What is reported of tasks while they run."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import luigi
import pytest
from luigi.rpc import RPCError
from luigi.scheduler import Scheduler

from config.sources import SOURCES
from tasks.graph import AllReports, CsvToParquet, LoadFactLogs
from tasks.run import progress as progress_module
from tasks.run.progress import Progress
from tasks.staging.stage import Outputs, stage_file
from tests.conftest import Project


class Reporting(luigi.Task):
    """A task of which something is reported."""


def progress_and_reports() -> tuple[Progress, list[object]]:
    task = Reporting()
    reported: list[object] = []
    task.set_status_message = task.set_progress_percentage = reported.append
    return Progress(task), reported


class Clock:
    now = 0.0  # What `time.monotonic` shows.


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tasks.run.progress.time.monotonic", lambda: clock.now)
    return clock


def test_a_scheduler_hears_of_a_phase_at_most_once_a_second(clock: Clock) -> None:
    progress, reported = progress_and_reports()
    progress.start()
    progress.begin("staging", 1000)
    for _ in range(90):
        clock.now += 0.125
        progress.advance(10, 1)
    progress.result = "90 rows, none <b>bold</b> & bad"
    progress.finish()
    messages = [note for note in reported if isinstance(note, str)]
    assert len(messages) == 14
    assert (messages[0], reported[1]) == ("started", 0)
    assert "staging, 16 rows" in messages
    assert reported[-2:] == ["90 rows, none &lt;b&gt;bold&lt;/b&gt; &amp; bad", 100]


def test_no_percentage_is_above_99_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_INTERVAL_S", 0)
    progress, reported = progress_and_reports()
    progress.begin("staging", 10)
    for _ in range(3):
        progress.advance(5, 1)
    assert [note for note in reported if isinstance(note, int)] == [0, 50, 99, 99]


def test_a_phase_that_may_last_is_reported_at_once(clock: Clock) -> None:
    progress, reported = progress_and_reports()
    progress.begin("loading", 400)
    for _ in range(3):
        clock.now += 0.9
        progress.advance(100, 100)
    clock.now += 0.1
    progress.begin("indexing")
    assert reported == ["loading", 0, "loading, 200 rows", 50, "indexing, 300 rows", 75]


def test_without_a_terminal_there_is_a_line_every_ten_seconds_of_a_phase(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pipeline")
    progress = Progress(Reporting())
    for phase, seconds in (("staging", 21), ("checking", 9)):
        progress.begin(phase, 40)
        for _ in range(seconds):
            clock.now += 1
            progress.advance(1, 1_000)
    assert caplog.messages == [
        "Reporting(): staging, 10,000 rows, 25%",
        "Reporting(): staging, 20,000 rows, 50%",
    ]


def test_a_scheduler_that_does_not_answer_stops_no_work() -> None:
    def fail(reported: object) -> None:
        raise RPCError("gone")

    task = Reporting()
    task.set_status_message = task.set_progress_percentage = fail
    progress = Progress(task)
    progress.start()
    progress.finish()


@pytest.mark.parametrize("content", ["plain", "packed", "not UTF-8", "a stray quote at the end"])
def test_staging_reports_all_bytes_and_rows_once(tmp_path: Path, content: str) -> None:
    text = b"app_type_id,name\n" + b"".join(b"%d,a name\n" % row for row in range(300_000))
    if content == "not UTF-8":
        text += b"300000,\xff\n"
    if content == "a stray quote at the end":
        text += b'300000,a "name"\n'
    path = tmp_path / ("APP_TYPE.csv.gz" if content == "packed" else "APP_TYPE.csv")
    path.write_bytes(gzip.compress(text, 1) if content == "packed" else text)
    reported: list[tuple[int, int]] = []
    audit = stage_file(
        path,
        SOURCES["APP_TYPE"],
        Outputs(tmp_path / "rows.parquet", tmp_path / "quarantine.csv"),
        advance=lambda amount, rows: reported.append((amount, rows)),
    )
    assert sum(rows for _, rows in reported) == audit.rows
    assert sum(amount for amount, _ in reported) == path.stat().st_size
    assert len(reported) > 1


class InOneProcess:
    """Luigi's parts, with a scheduler that can be asked afterwards."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(prune_on_get_work=False, record_task_history=False)

    def create_local_scheduler(self) -> Scheduler:
        return self.scheduler

    def create_worker(self, scheduler: Scheduler, worker_processes: int, assistant: bool) -> Any:
        return luigi.worker.Worker(scheduler=scheduler, worker_processes=worker_processes)

    def reported(self, task: luigi.Task) -> tuple[str, int]:
        message = self.scheduler.get_task_status_message(task.task_id)["statusMessage"]
        percentage = self.scheduler.get_task_progress_percentage(task.task_id)
        return message, percentage["progressPercentage"]


def test_each_task_reports_what_it_did(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr("luigi.setup_logging.InterfaceLogging._configured", True)
    project.edit("POINT.csv", "1007,105", "x,105")
    monkeypatch.setenv("PIPELINE_MAX_REJECTED", "0.5")
    luigis = InOneProcess()
    assert luigi.build([AllReports()], luigis, local_scheduler=True, workers=1)
    assert luigis.reported(CsvToParquet(table="POINT")) == ("7 rows staged, 1 rejected", 100)
    assert luigis.reported(LoadFactLogs()) == ("13 rows from 2 of 2 files loaded", 100)
    statuses = luigis.scheduler.task_list("DONE", "")
    assert {status["status_message"] for status in statuses.values()}.isdisjoint({"started"})

    project.edit("POINT.csv", "x,105", "y,105")
    luigis = InOneProcess()
    assert luigi.build([AllReports()], luigis, local_scheduler=True, workers=1)
    assert luigis.reported(LoadFactLogs()) == ("unchanged, nothing built", 100)
