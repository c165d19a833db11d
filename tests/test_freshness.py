"""Re-runs do what a change requires, and nothing else."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import luigi
import pytest
from luigi.configuration import get_config

from tasks.core.errors import PipelineError
from tasks.freshness import task as freshness
from tasks.freshness.task import DigestCache, FreshTask, Part, walk
from tasks.graph import (
    AllReports,
    CsvToParquet,
    EnrichedLogs,
    LoadDimension,
    LoadFactLogs,
    LogActivity,
    LogInstanceChains,
    LogMeasures,
)
from tests.conftest import MILESTONES, Project, make_project

ALL = {task.label for task in walk(AllReports())} - MILESTONES
REPORTS = {label for label in ALL if label.endswith("Report") or "Report:" in label} | {
    "ReportPage"
}


def run_here(project: Project, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Run what is not complete, as a Luigi worker would; the labels of the tasks that built."""
    monkeypatch.chdir(project.folder)
    pending = [task for task in walk(AllReports()) if not task.complete()]
    built = set()
    for task in pending:
        if task.own_reason() is not None:
            built.add(task.label)
        task.run()
        assert task.complete(), f"{task.label}: {task.why_stale()}"
    return built


def fresh_project(tmp_path: Path, like: Project) -> Project:
    """A project with the same source files, run from nothing."""
    other = make_project(tmp_path / "from_nothing", like.data)
    result = other.luigi("AllReports")
    assert result.status == 0, result.log
    return other


# --- changes of the source files -------------------------------------------------------------


def test_scheduling_a_run_asks_each_task_once(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)
    asked: list[str] = []
    real = FreshTask.own_reason

    def own_reason(self: FreshTask) -> str | None:
        asked.append(self.label)
        return real(self)

    monkeypatch.setattr(FreshTask, "own_reason", own_reason)
    monkeypatch.setattr("tasks.graph.events._shown_at", {"none"})

    def schedule() -> set[str]:
        asked.clear()
        freshness._scheduling.end()  # As at the start of a process.
        with luigi.worker.Worker(scheduler=luigi.scheduler.Scheduler()) as worker:
            worker.add(AllReports())
        assert len(asked) == len(set(asked))
        return set(asked)

    sources_apart = ALL - {"CheckSources"}  # Makes nothing stale by itself.
    assert schedule() == sources_apart
    # Whatever changed in between is seen: each time the answers are new.
    ran.edit("LOG_INSTANCE.csv", "2,1001,2,180", "2,1002,2,180")
    assert schedule() == ALL
    assert not LogInstanceChains().complete()
    ran.edit("LOG_INSTANCE.csv", "2,1002,2,180", "2,1001,2,180")
    assert LogInstanceChains().complete()
    assert AllReports().complete()
    assert schedule() == sources_apart


def test_no_answer_of_one_run_is_left_for_the_next(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)
    monkeypatch.setattr("tasks.graph.events._shown_at", {"none"})

    class Both(luigi.WrapperTask):
        """Not of the pipeline: it announces nothing, and the second one asks for the first."""

        def requires(self) -> list[luigi.Task]:
            return [LogActivity(), LogMeasures()]

    LogMeasures().forget()
    with luigi.worker.Worker(scheduler=luigi.scheduler.Scheduler()) as worker:
        worker.add(Both())
    ran.edit("LOG_RCD_F.csv", "1e2", "1e3")
    assert not LogActivity().complete()


def test_touched_files_run_nothing(ran: Project) -> None:
    for path in ran.data.glob("*.csv"):
        os.utime(path)
    result = ran.luigi("AllReports")
    assert (result.status, result.ran) == (0, [])


def test_a_file_written_again_with_the_same_content_runs_nothing(ran: Project) -> None:
    for path in ran.data.glob("*.csv"):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    result = ran.luigi("AllReports")
    assert (result.status, result.ran) == (0, [])


def test_one_changed_row_runs_its_branch_only_and_equals_a_run_from_nothing(
    ran: Project, tmp_path: Path
) -> None:
    ran.edit("LOG_INSTANCE.csv", "2,1001,2,180", "2,1002,2,180")
    result = ran.luigi("AllReports")
    assert result.status == 0, result.log
    branch = {
        "CsvToParquet:LOG_INSTANCE",
        "LogInstanceChains",
        "SourceRelations",
        "SourceProfiles",
        "EnrichedLogs",
        "LoadDimension:dim_log_instance",
        "LoadFactLogs",
        "CheckWarehouse",
    }
    assert set(result.ran) - MILESTONES == branch | REPORTS | {"LogMeasures"}
    assert "LogMeasures" in result.unchanged  # No log record was measured anew.
    assert ran.outputs() == fresh_project(tmp_path, ran).outputs()


soak = functools.partial(pytest.param, marks=pytest.mark.soak)


@pytest.mark.parametrize(
    ("name", "old", "new", "staged"),
    [
        soak("APP_TYPE.csv", "3,Suction Group", "3,Pump", "APP_TYPE"),
        ("APP_TYPE_REF.csv", "12,4,8", "12,3,7", "APP_TYPE_REF"),
        soak("APP_INSTANCE.csv", "104,55", "104,0", "APP_INSTANCE"),
        ("POINT.csv", "1005,999", "1005,105", "POINT"),
        soak("LOG_INSTANCE.csv", "8,8888", "8,1000", "LOG_INSTANCE"),
        soak("LOG_RCD_B.csv", "2,3,2024-06-01 00:01:00,off,OK\n", "", "LOG_RCD_B"),
        ("LOG_RCD_F.csv", "1e2", "1e3", "LOG_RCD_F"),
    ],
)
def test_a_change_in_any_source_equals_a_run_from_nothing(
    ran: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    old: str,
    new: str,
    staged: str,
) -> None:
    ran.edit(name, old, new)
    built = run_here(ran, monkeypatch)
    assert {label for label in built if label.startswith("CsvToParquet")} == {
        f"CsvToParquet:{staged}"
    }
    assert ran.outputs() == fresh_project(tmp_path, ran).outputs()


def test_a_change_that_makes_no_difference_downstream_is_cut_off(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran.edit("LOG_RCD_F.csv", "1,1,2024-06-01 00:00:00,4.5,OK", "1,1,2024-06-01 00:00:00,4.50,OK")
    assert run_here(ran, monkeypatch) == {"CsvToParquet:LOG_RCD_F"}


def test_a_column_that_nobody_reads_does_not_reload_the_facts(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran.edit("POINT.csv", "01.01", "09.09")
    profiled = {"SourceProfiles", "ProfileReport", "ReportPage"}
    assert run_here(ran, monkeypatch) == {"CsvToParquet:POINT"} | profiled


@pytest.mark.soak
def test_another_unit_changes_the_activity_of_units_without_a_look_at_the_records(
    ran: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran.edit("APP_TYPE_REF.csv", "12,4,8", "12,4,7")
    before = (ran.reports / "unit_days.csv").read_text()
    built = run_here(ran, monkeypatch)
    assert "ActivityReport" in built
    assert "LogActivity" not in built
    assert (ran.reports / "unit_days.csv").read_text() != before
    assert ran.outputs() == fresh_project(tmp_path, ran).outputs()


def test_unchanged_work_says_so(ran: Project) -> None:
    ran.edit("LOG_RCD_F.csv", "1,1,2024-06-01 00:00:00,4.5,OK", "1,1,2024-06-01 00:00:00,4.50,OK")
    result = ran.luigi("AllReports")
    assert result.built == ["CsvToParquet:LOG_RCD_F"]
    assert "EnrichedLogs: unchanged, nothing built" in result.log


def test_a_member_that_vanishes_leaves_the_dimension_with_its_last_fact(
    ran: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran.edit("APP_TYPE_REF.csv", "12,4,8\n", "")
    monkeypatch.chdir(ran.folder)
    before = ran.facts()
    for task in (*walk(LoadDimension(table="dim_unit")),):
        task.run()
    # The facts still refer to unit 8: it stays until they are loaded anew.
    assert ran.facts() == before
    assert (8, "Unit 8") in ran.query("SELECT * FROM dim_unit")
    assert ran.query("SELECT * FROM retained_member") == [("dim_unit", 8)]
    assert ran.query("PRAGMA foreign_key_check") == []

    run_here(ran, monkeypatch)
    assert (8, "Unit 8") not in ran.query("SELECT * FROM dim_unit")
    assert ran.outputs() == fresh_project(tmp_path, ran).outputs()


# --- changes of what was made ----------------------------------------------------------------

MADE = [
    "staging/POINT.parquet",
    "staging/audit/LOG_RCD_B.json",
    "staging/enriched_logs/LOG_RCD_F.parquet",
    "staging/audit/hops.json",
    "reports/reconciliation.csv",
    "reports/summary_by_unit_id.csv",
    "reports/data_quality.md",
    "reports/data_quality.json",
    "reports/schema_change.md",
    "staging/activity/days/LOG_RCD_F.parquet",
    "staging/activity/instances/LOG_RCD_F.parquet",
    "staging/activity/hours/LOG_RCD_B.json",
    "staging/profiles/POINT.json",
    "reports/gaps.csv",
    "reports/records_over_time.csv",
    "reports/unit_days.csv",
    "reports/profile.csv",
    "reports/profile.json",
]


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("how", ["deleted", "edited", "truncated"])
def test_an_output_that_is_gone_or_changed_is_made_again(
    ran: Project, monkeypatch: pytest.MonkeyPatch, made: str, how: str
) -> None:
    before = ran.outputs()
    path = ran.folder / made
    content = path.read_bytes()
    match how:
        case "deleted":
            path.unlink()
        case "edited":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
    built = run_here(ran, monkeypatch)
    # The page tells when the columns were last looked at.
    assert len(built - {"ReportPage"}) == 1
    assert ("ReportPage" in built) == ("SchemaChangeReport" in built)
    assert path.exists()
    assert ran.outputs() == before


def test_a_pipe_in_the_place_of_an_output_is_not_waited_for(ran: Project) -> None:
    before = ran.outputs()
    (ran.staging / "POINT.parquet").unlink()
    os.mkfifo(ran.staging / "POINT.parquet")
    result = ran.luigi("AllReports")
    assert (result.status, result.built) == (0, ["CsvToParquet:POINT"])
    assert ran.outputs() == before


def test_a_quarantine_file_that_is_deleted_is_made_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_MAX_REJECTED", "0.5")
    project.edit("POINT.csv", "1007,105", "1007,?")
    run_here(project, monkeypatch)
    quarantine = project.staging / "quarantine" / "POINT.csv"
    content = quarantine.read_text()
    assert "app_instance_id is not an integer: '?'" in content
    quarantine.unlink()
    assert run_here(project, monkeypatch) == {"CsvToParquet:POINT"}
    assert quarantine.read_text() == content

    project.edit("POINT.csv", "1007,?", "1007,105")
    run_here(project, monkeypatch)
    assert not quarantine.exists()


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("UPDATE fact_logs SET value = 0 WHERE log_id = 3", "fact_logs"),
        ("UPDATE fact_logs SET log_id = log_id + 50000000000", "fact_logs"),
        ("UPDATE fact_logs SET log_id = -1 WHERE log_id = 3", "fact_logs"),
        ("DELETE FROM fact_logs WHERE log_id > 3", "fact_logs"),
        ("UPDATE log_tally SET record_count = 7 WHERE number = 0", "fact_logs"),
        ("INSERT INTO dim_unit VALUES (5, 'Mine')", "dim_unit"),
        ("UPDATE dim_application_type SET app_type_description = ''", "dim_application_type"),
        ("DROP TABLE fact_logs", "fact_logs"),
        ("DROP INDEX ix_fact_logs_unit_id", "fact_logs"),
        ("DROP TRIGGER fact_logs_UPDATE_voids_receipt", "fact_logs"),
        ("DELETE FROM data_dictionary WHERE table_name = 'dim_unit'", "dim_unit"),
    ],
)
def test_a_table_that_someone_changed_is_loaded_again(
    ran: Project, monkeypatch: pytest.MonkeyPatch, sql: str, table: str
) -> None:
    before = ran.outputs()
    ran.change(sql)
    built = run_here(ran, monkeypatch)
    # Once loaded, the warehouse is checked again; the reports on it stay as they are.
    load = "LoadFactLogs" if table == "fact_logs" else f"LoadDimension:{table}"
    assert built == {load, "CheckWarehouse"}
    assert ran.outputs() == before


def test_a_table_that_someone_put_in_place_of_the_loaded_one_is_loaded_again(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = ran.facts()
    ran.change("ALTER TABLE dim_unit RENAME TO mine")
    ran.change("CREATE TABLE dim_unit (unit_id INTEGER, unit_name TEXT)")
    assert "LoadDimension:dim_unit" in run_here(ran, monkeypatch)
    assert len(ran.query("SELECT * FROM dim_unit")) == 4
    assert ran.facts() == facts


def test_the_schema_change_report_follows_the_catalog(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran.change("ALTER TABLE fact_logs ADD COLUMN note TEXT")
    ran.change("CREATE INDEX my_index ON fact_logs (point_id)")
    assert run_here(ran, monkeypatch) == {"SchemaChangeReport", "ReportPage"}
    text = (ran.reports / "schema_change.md").read_text()
    assert "my_index" in text
    assert "log_kind, note FROM fact_logs" in text


def test_a_database_that_is_gone_is_loaded_again(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ran.outputs()
    ran.database.unlink()
    built = run_here(ran, monkeypatch)
    assert built == {label for label in ALL if label.startswith("Load")} | {"CheckWarehouse"}
    assert ran.outputs() == before


def test_a_receipt_that_is_damaged_is_not_believed(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)
    path = EnrichedLogs().receipt_path
    for damaged in ("", "{", "[]", '{"format": 99}', path.read_text().replace('"format": 1', "")):
        path.write_text(damaged)
        assert EnrichedLogs().why_stale() == "no receipt: never built, or forgotten"


# --- changes of code, configuration, declarations --------------------------------------------


def test_a_new_code_version_builds_the_task_again_and_tells_why(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)
    monkeypatch.setattr(EnrichedLogs, "code_version", 3)
    assert EnrichedLogs().why_stale() == "code 2 -> 3"
    assert LoadFactLogs().why_stale() == "EnrichedLogs has to run"
    assert run_here(ran, monkeypatch) == {"EnrichedLogs"}


def test_a_changed_setting_builds_what_it_affects(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SOURCE_TIMEZONE", "Europe/Berlin")
    built = run_here(ran, monkeypatch)
    assert {"CsvToParquet:LOG_RCD_B", "LoadFactLogs"} <= built
    assert "LoadDimension:dim_unit" not in built
    assert ran.facts()[3][6] == "2024-05-31 23:30:00.000000"
    assert ran.facts()[6][6] == "2024-05-31 22:03:00.000000"


def test_a_changed_declaration_builds_what_it_affects(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = get_config()
    config.set("LOG_RCD_F", "value", "log_rcd_id")
    try:
        built = run_here(ran, monkeypatch)
    finally:
        config.remove_section("LOG_RCD_F")
    assert {label for label in built if label.startswith("CsvToParquet")} == {
        "CsvToParquet:LOG_RCD_F"
    }
    assert "LoadFactLogs" in built
    assert [row[7] for row in ran.facts()[5:]] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]


def edit_unseen(path: Path, old: bytes, new: bytes) -> None:
    """Replace bytes in a file, its size, inode and modification time kept."""
    before = path.stat()
    content = path.read_bytes()
    assert len(old) == len(new)
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )


def test_a_source_file_that_was_edited_with_its_time_kept_is_noticed(
    ran: Project, tmp_path: Path
) -> None:
    assert ran.luigi("AllReports").ran == []
    edit_unseen(ran.data / "LOG_INSTANCE.csv", b"2,1001,2,180", b"2,1002,2,180")
    result = ran.luigi("AllReports")
    assert result.status == 0
    assert "CsvToParquet:LOG_INSTANCE" in result.built
    assert ran.outputs() == fresh_project(tmp_path, ran).outputs()


def test_a_staged_file_that_was_edited_with_its_time_kept_is_made_again(ran: Project) -> None:
    before = ran.outputs()
    assert ran.luigi("AllReports").ran == []
    made = ran.staging / "APP_TYPE.parquet"
    start = made.read_bytes().index(b"Dairy Case")
    content = made.read_bytes()
    edit_unseen(made, content, content[:start] + b"Fairy" + content[start + 5 :])
    result = ran.luigi("AllReports")
    assert (result.status, result.built) == (0, ["CsvToParquet:APP_TYPE"])
    assert ran.outputs() == before


# --- failures half-way -----------------------------------------------------------------------


def test_a_crash_between_output_and_receipt_is_mended(
    ran: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran.edit("POINT.csv", "1007,105", "1007,100")

    def crash(path: Path, text: str) -> None:
        if path.name == "CsvToParquet-POINT.json":
            raise KeyboardInterrupt
        real(path, text)

    real = freshness.write_atomically
    monkeypatch.chdir(ran.folder)
    with monkeypatch.context() as patched:
        patched.setattr(freshness, "write_atomically", crash)
        with pytest.raises(KeyboardInterrupt):
            CsvToParquet(table="POINT").run()
    assert CsvToParquet(table="POINT").complete() is False
    run_here(ran, monkeypatch)
    assert ran.outputs() == fresh_project(tmp_path, ran).outputs()


def test_an_input_that_changes_while_it_is_read_fails_and_leaves_the_former_output(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)
    before = ran.outputs()
    ran.edit("POINT.csv", "1007,105", "1007,100")
    real = CsvToParquet.build_part

    def build_part(self: CsvToParquet, part: Part, out: dict[str, Path], threads: int) -> None:
        real(self, part, out, threads)
        ran.edit("POINT.csv", "1007,100", "1007,102")

    monkeypatch.setattr(CsvToParquet, "build_part", build_part)
    with pytest.raises(PipelineError, match="its input changed while it was read: POINT.csv"):
        CsvToParquet(table="POINT").run()
    assert ran.outputs() == before
    assert CsvToParquet(table="POINT").complete() is False


def test_a_load_whose_input_changes_meanwhile_leaves_the_former_rows(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)
    LoadFactLogs().forget()
    before = ran.facts()
    enriched = ran.staging / "enriched_logs" / "LOG_RCD_F.parquet"
    real = LoadFactLogs.batches_of

    def batches_of(self: LoadFactLogs, part: str) -> Iterator[object]:
        yield from real(self, part)
        if part == "LOG_RCD_F":
            enriched.write_bytes(enriched.read_bytes() + b"x")

    monkeypatch.setattr(LoadFactLogs, "batches_of", batches_of)
    with pytest.raises(PipelineError, match="its input changed while it was read: LOG_RCD_F"):
        LoadFactLogs().run()
    assert ran.facts() == before


def test_a_run_that_is_killed_leaves_a_whole_warehouse_and_the_next_run_mends_all(
    tmp_path: Path,
) -> None:
    project = make_project(tmp_path / "killed", data=None)
    made = project.luigi("SampleData", "--scale", "0.05", "--seed", "3")
    assert made.status == 0, made.log
    assert project.luigi("AllReports").status == 0
    before = project.facts()
    log = project.data / "LOG_RCD_F.csv"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-1000]))
    whole = fresh_project(tmp_path, project)
    after = whole.facts()
    assert len(after) < len(before)

    for delay in (0.8, 1.1, 1.4, 1.7, 2.0, 2.4):
        run = subprocess.Popen(
            ["luigi", "--module", "tasks", "AllReports", "--local-scheduler"],
            cwd=project.folder,
            env=project.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(delay)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert project.facts() in (before, after)
        assert project.query("PRAGMA foreign_key_check") == []
        assert project.query("PRAGMA integrity_check") == [("ok",)]

    result = project.luigi("AllReports")
    assert result.status == 0, result.log
    assert project.outputs() == whole.outputs()
    leftovers = [path for path in project.folder.rglob("*.tmp") if path.is_file()]
    assert leftovers == []


def test_a_failed_task_leaves_what_was_there_and_the_exit_status_tells(ran: Project) -> None:
    before = ran.outputs()
    log = ran.data / "LOG_RCD_F.csv"
    log.write_text(log.read_text().replace("2024-06-02", "02/06/2024"))
    result = ran.luigi("AllReports")
    assert result.status == 30
    assert "LOG_RCD_F.csv: 3 of 8 rows cannot be read as declared" in result.log
    assert "Traceback" not in result.err
    assert ran.outputs() == before


# --- two runs at once ------------------------------------------------------------------------


def test_two_runs_at_once_both_end_well(project: Project, ran: Project) -> None:
    command = ["luigi", "--module", "tasks", "AllReports", "--local-scheduler"]
    runs = [
        subprocess.Popen(
            command,
            cwd=project.folder,
            env=project.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for _ in range(2)
    ]
    logs = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], logs
    assert project.outputs() == ran.outputs()


def test_a_run_waits_for_the_one_that_is_at_the_same_task(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)
    EnrichedLogs().forget()
    with EnrichedLogs()._alone():
        run = subprocess.Popen(
            ["luigi", "--module", "tasks", "EnrichedLogs", "--local-scheduler"],
            cwd=ran.folder,
            env=ran.environment(),
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        assert run.stderr is not None
        for line in run.stderr:
            if "waiting for it" in line:
                break
        assert "EnrichedLogs: another run is at this task; waiting for it" in line
        time.sleep(1)
        assert run.poll() is None
        assert EnrichedLogs().load_receipt() is None
    run.communicate(timeout=60)
    assert run.returncode == 0


# --- the central scheduler -------------------------------------------------------------------


@contextmanager
def luigid(folder: Path, port: int) -> Iterator[None]:
    command = ["luigid", "--address", "127.0.0.1", "--port", str(port)]
    command += ["--state-path", str(folder / "luigid.state"), "--logdir", str(folder)]
    environment = Project(folder).environment()
    server = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/task_list", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait(timeout=20)


def test_a_change_right_after_a_run_is_seen_through_the_central_scheduler(
    ran: Project, tmp_path: Path, unused_port: Callable[[], int]
) -> None:
    port = unused_port()
    command = ["luigi", "--module", "tasks", "AllReports"]
    command += ["--scheduler-host", "127.0.0.1", "--scheduler-port", str(port)]
    with luigid(ran.folder, port):
        ran.edit("LOG_RCD_F.csv", "1e2", "1e3")
        first = ran.run(*command)
        ran.edit("LOG_RCD_F.csv", "1e3", "1e4")
        second = ran.run(*command)
    assert (first.status, second.status) == (0, 0), first.log + second.log
    assert ran.facts()[9][7] == 1e4
    assert "LoadFactLogs" in second.ran


# --- status and forget -----------------------------------------------------------------------


def snapshot(project: Project) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in project.folder.rglob("*")
        if path.is_file()
    }


def test_status_tells_of_each_task_and_changes_nothing(ran: Project) -> None:
    ran.edit("POINT.csv", "1007,105", "1007,100")
    os.utime(ran.data / "APP_TYPE.csv")
    (ran.reports / "summary_by_unit_id.csv").write_text("mine")
    ran.change("DELETE FROM dim_unit WHERE unit_id = 9")
    before = snapshot(ran)
    result = ran.tasks("status")
    assert result.status == 0
    told = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in result.out.splitlines()[:-1])
    assert set(told) == ALL | MILESTONES
    assert told["CsvToParquet:POINT"] == "stale: input POINT.csv changed"
    assert told["CsvToParquet:APP_TYPE"] == "fresh"
    assert told["LogInstanceChains"] == "stale: CsvToParquet:POINT has to run"
    assert told["EnrichedLogs"] == "stale: LogInstanceChains has to run"
    assert told["LoadDimension:dim_application_type"] == "fresh"
    assert told["LoadDimension:dim_unit"] == "stale: no receipt: never built, or forgotten"
    assert told["SummaryReport:unit_id"] == "stale: output csv was edited"
    assert snapshot(ran) == before


def test_status_of_a_project_that_never_ran(project: Project) -> None:
    result = project.tasks("status")
    assert result.status == 0
    assert result.out.endswith("0 of 30 tasks are fresh.\n")
    assert not project.database.exists()


def test_forget_runs_one_task_again(ran: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ran.outputs()
    result = ran.tasks("forget", "CsvToParquet:POINT")
    assert (result.status, result.out) == (0, "forgotten: CsvToParquet:POINT\n")
    assert ran.outputs() == before
    assert run_here(ran, monkeypatch) == {"CsvToParquet:POINT"}


def test_forget_downstream_runs_all_that_depends_on_it(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ran.outputs()
    assert ran.tasks("forget", "EnrichedLogs", "--downstream").status == 0
    built = run_here(ran, monkeypatch)
    of_sources = {"ActivityReport", "ProfileReport"}
    assert built == {"EnrichedLogs", "LoadFactLogs", "CheckWarehouse"} | REPORTS - of_sources
    assert ran.outputs() == before


def test_forget_all_runs_everything_again(ran: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ran.outputs()
    assert ran.tasks("forget", "--all").status == 0
    assert run_here(ran, monkeypatch) == ALL
    assert ran.outputs() == before


def test_forget_takes_a_family_of_tasks(ran: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ran.tasks("forget", "SummaryReport").status == 0
    assert run_here(ran, monkeypatch) == {label for label in ALL if "SummaryReport" in label}


def test_forget_refuses_what_it_does_not_know(ran: Project) -> None:
    result = ran.tasks("forget", "Everything")
    assert result.status == 2
    assert result.log.startswith("There is no task Everything. There are:\n  CheckSources\n")


# --- digests ---------------------------------------------------------------------------------


def test_a_file_changed_just_before_it_was_hashed_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    cache = DigestCache(tmp_path / "digests.jsonl")
    first = cache.digest(path)
    stat = path.stat()
    path.write_text("two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # Same size, same time.
    assert cache.digest(path) != first


@pytest.mark.parametrize(("fraction", "again"), [(0, True), (250_000_000, False)])
def test_a_file_is_trusted_the_later_the_coarser_its_times_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fraction: int, again: bool
) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    a_second_ago = (time.time_ns() // 1_000_000_000 - 1) * 1_000_000_000 + fraction
    os.utime(path, ns=(a_second_ago, a_second_ago))
    cache = DigestCache(tmp_path / "digests.jsonl")
    cache.digest(path)
    real = hashlib.file_digest
    hashed = Mock(side_effect=real)
    monkeypatch.setattr("hashlib.file_digest", hashed)
    cache.digest(path)
    assert hashed.called is again


def test_what_two_processes_found_is_kept(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    first, second = (DigestCache(tmp_path / "digests.jsonl") for _ in range(2))
    first.load()
    second.load()  # Before either has found anything.
    first.digest(tmp_path / "one")
    second.digest(tmp_path / "two")
    third = DigestCache(tmp_path / "digests.jsonl")
    third.load()
    assert len(third._known) == 2


def test_a_file_at_rest_is_not_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    os.utime(path, (1, 1))
    digest = DigestCache(tmp_path / "digests.jsonl").digest(path)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("hashed again"))
    assert DigestCache(tmp_path / "digests.jsonl").digest(path) == digest


def test_damaged_lines_of_the_digest_cache_cost_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "digests.jsonl"
    kept.write_text('["sha256 file", 1]\n{\n["cut sh')
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (1, 1))
    expected = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    assert DigestCache(kept).digest(tmp_path / "one") == expected
    DigestCache(kept).digest(tmp_path / "two")
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("hashed again"))
    assert DigestCache(kept).digest(tmp_path / "one") == expected
    assert DigestCache(kept).digest(tmp_path / "two") is not None


def test_the_digest_cache_does_not_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.freshness.task._SPARE_LINES", 10)
    path, kept = tmp_path / "file", tmp_path / "digests.jsonl"
    cache = DigestCache(kept)
    for turn in range(100):
        path.write_text(str(turn))
        cache.digest(path)
        assert len(kept.read_text().splitlines()) < 40
    assert DigestCache(kept).digest(path) == hashlib.sha256(b"99").hexdigest()


def test_lines_of_the_digest_cache_of_an_older_version_are_ignored(tmp_path: Path) -> None:
    path, kept = tmp_path / "file", tmp_path / "digests.jsonl"
    path.write_text("one")
    os.utime(path, (1, 1))
    stat = path.stat()
    found = [stat.st_size, stat.st_mtime_ns, stat.st_ino, time.time_ns(), "wrong"]
    kept.write_text(json.dumps([f"sha256 {path}", *found]) + "\n")
    assert DigestCache(kept).digest(path) == hashlib.sha256(b"one").hexdigest()
    newer = [*found[:2], stat.st_ctime_ns, *found[2:]]
    kept.write_text(json.dumps([f"sha256 {path}", *newer]) + "\n")
    assert DigestCache(kept).digest(path) == "wrong"


def test_another_process_is_told_of_what_was_found_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    os.utime(path, (1, 1))
    first, second = (DigestCache(tmp_path / "digests.jsonl") for _ in range(2))
    second.load()
    found = first.digest(path)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("hashed again"))
    assert second.digest(path) == found
