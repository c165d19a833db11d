"""Re-runs do what a change requires, and nothing else."""

from __future__ import annotations

import os

import luigi
import pytest

from tasks.freshness import task as freshness
from tasks.freshness.snapshot import Snapshot
from tasks.freshness.task import FreshTask
from tasks.graph import ActivityReport, AllReports, LogActivity, LogInstanceChains
from tests.conftest import Project
from tests.result import WRAPPERS
from tests.runs import ALL, REPORTS, fresh_project, run_here, soak


def test_scheduling_a_run_asks_each_task_once(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)
    asked: list[str] = []
    real = FreshTask.own_reason

    def own_reason(self: FreshTask, snapshot: Snapshot) -> str | None:
        asked.append(self.label)
        return real(self, snapshot)

    monkeypatch.setattr(FreshTask, "own_reason", own_reason)
    monkeypatch.setattr("tasks.graph.events._scheduler_of_run", {"none"})

    def schedule() -> set[str]:
        asked.clear()
        freshness._scheduling.end()  # As at the start of a process.
        with luigi.worker.Worker(scheduler=luigi.scheduler.Scheduler()) as worker:
            worker.add(AllReports())
        assert len(asked) == len(set(asked))
        return set(asked)

    sources_apart = ALL - {"CheckSources"}  # Makes nothing stale by itself.
    assert schedule() == sources_apart
    # A change in between is noticed: each time the snapshot is a new one.
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
    monkeypatch.setattr("tasks.graph.events._scheduler_of_run", {"none"})

    class Both(luigi.WrapperTask):
        """Not of the pipeline: it announces nothing, and the second one asks for the first."""

        def requires(self) -> list[luigi.Task]:
            return [LogActivity(), ActivityReport()]

    ActivityReport().forget()
    with luigi.worker.Worker(scheduler=luigi.scheduler.Scheduler()) as worker:
        worker.add(Both())
    ran.edit("LOG_RCD_F.csv", "1e2", "1e3")
    assert not LogActivity().complete()


@pytest.mark.parametrize("written_again", [False, True])
def test_touched_files_run_nothing(ran: Project, written_again: bool) -> None:
    for path in ran.data.glob("*.csv"):
        content = path.read_bytes()
        if written_again:
            path.unlink()
        path.write_bytes(content)
    assert ran.passes("AllReports").ran == []


def test_one_changed_row_runs_its_branch_only_and_equals_a_run_from_nothing(ran: Project) -> None:
    ran.edit("LOG_INSTANCE.csv", "2,1001,2,180", "2,1002,2,180")
    result = ran.passes("AllReports")
    branch = {
        "CsvToParquet:LOG_INSTANCE",
        "LogInstanceChains",
        "SourceRelations",
        "SourceProfiles",
        "EnrichedLogs",
        "LoadDimension:dim_point",
        "LoadDimension:dim_log_instance",
        "LoadFactLogs",
        "CheckWarehouse",
    }
    assert set(result.ran) - WRAPPERS == branch | REPORTS
    assert ran.outputs() == fresh_project(ran).outputs()


@pytest.mark.parametrize(
    ("name", "old", "new", "staged"),
    [
        soak("APP_TYPE.csv", "3,Suction Group", "3,Pump", "APP_TYPE"),
        soak("APP_TYPE_REF.csv", "12,4,8", "12,3,7", "APP_TYPE_REF"),
        soak("APP_INSTANCE.csv", "104,55", "104,0", "APP_INSTANCE"),
        soak("POINT.csv", "1005,999", "1005,105", "POINT"),
        soak("LOG_INSTANCE.csv", "8,8888", "8,1000", "LOG_INSTANCE"),
        soak("LOG_RCD_B.csv", "2,3,2024-06-01 00:01:00,off,OK\n", "", "LOG_RCD_B"),
        soak("LOG_RCD_F.csv", "1e2", "1e3", "LOG_RCD_F"),
    ],
)
def test_a_change_in_any_source_equals_a_run_from_nothing(
    ran: Project, name: str, old: str, new: str, staged: str
) -> None:
    ran.edit(name, old, new)
    built = run_here(ran)
    assert {label for label in built if label.startswith("CsvToParquet")} == {
        f"CsvToParquet:{staged}"
    }
    assert ran.outputs() == fresh_project(ran).outputs()


def test_a_further_column_of_points_does_not_reload_the_facts(ran: Project) -> None:
    ran.edit("POINT.csv", "01.01", "09.09")
    built = run_here(ran)
    assert {"CsvToParquet:POINT", "LoadDimension:dim_point", "ProfileReport"} <= built
    assert not {"LogInstanceChains", "EnrichedLogs", "LoadFactLogs", "LogActivity"} & built


@pytest.mark.soak
def test_another_unit_changes_the_activity_of_units_without_a_look_at_the_records(
    ran: Project,
) -> None:
    ran.edit("APP_TYPE_REF.csv", "12,4,8", "12,4,7")
    before = (ran.reports / "unit_days.csv").read_text()
    built = run_here(ran)
    assert "ActivityReport" in built
    assert "LogActivity" not in built
    assert (ran.reports / "unit_days.csv").read_text() != before
    assert ran.outputs() == fresh_project(ran).outputs()


def test_unchanged_work_says_so(ran: Project) -> None:
    ran.edit("LOG_RCD_F.csv", "1,1,2024-06-01 00:00:00,4.5,OK", "1,1,2024-06-01 00:00:00,4.50,OK")
    result = ran.luigi("AllReports")
    assert result.built == ["CsvToParquet:LOG_RCD_F"]
    assert "EnrichedLogs: unchanged, nothing built" in result.log


MADE = """
    staging/POINT.parquet staging/audit/LOG_RCD_B.json staging/enriched_logs/LOG_RCD_F.parquet
    staging/audit/hops.json reports/reconciliation.csv reports/summary_by_unit_id.csv
    reports/data_quality.md reports/data_quality.json reports/schema_change.md
    staging/activity/days/LOG_RCD_F.parquet staging/activity/instances/LOG_RCD_F.parquet
    staging/activity/hours/LOG_RCD_B.parquet staging/profiles/POINT.json reports/gaps.csv
    reports/records_over_time.csv reports/unit_days.csv reports/profile.csv reports/profile.json
""".split()


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("how", ["deleted", soak("edited"), soak("truncated")])
def test_an_output_that_was_removed_or_changed_is_built_again(
    ran: Project, made: str, how: str
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
    built = run_here(ran)
    # The page shows when the columns were last compared.
    assert len(built - {"ReportPage"}) == 1
    assert ("ReportPage" in built) == ("SchemaChangeReport" in built)
    assert path.exists()
    assert ran.outputs() == before


def test_a_pipe_in_the_place_of_an_output_is_not_waited_for(ran: Project) -> None:
    before = ran.outputs()
    (ran.staging / "POINT.parquet").unlink()
    os.mkfifo(ran.staging / "POINT.parquet")
    assert ran.passes("AllReports").built == ["CsvToParquet:POINT"]
    assert ran.outputs() == before


@pytest.mark.soak
def test_a_quarantine_file_that_is_deleted_is_made_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_MAX_REJECTED", "0.5")
    project.edit("POINT.csv", "1007,105", "1007,?")
    run_here(project)
    quarantine = project.staging / "quarantine" / "POINT.csv"
    content = quarantine.read_text()
    assert "app_instance_id is not an integer: '?'" in content
    quarantine.unlink()
    assert run_here(project) == {"CsvToParquet:POINT"}
    assert quarantine.read_text() == content

    project.edit("POINT.csv", "1007,?", "1007,105")
    run_here(project)
    assert not quarantine.exists()


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("UPDATE fact_logs SET value = 0 WHERE log_id = 3", "fact_logs"),
        (
            "UPDATE fact_logs SET log_id = log_id + 50000000000, partition_id = partition_id + 5",
            "fact_logs",
        ),
        ("UPDATE fact_logs SET log_id = -1, partition_id = -1 WHERE log_id = 3", "fact_logs"),
        ("DELETE FROM fact_logs WHERE log_id > 3", "fact_logs"),
        ("UPDATE log_instance_activity SET record_count = 7 WHERE partition_id = 0", "fact_logs"),
        ("INSERT INTO dim_unit VALUES (5, 'Mine', 0)", "dim_unit"),
        ("UPDATE dim_application_type SET app_type_description = ''", "dim_application_type"),
        ("DROP TABLE fact_logs", "fact_logs"),
        ("DROP TRIGGER fact_logs_update_invalidates_receipt", "fact_logs"),
    ],
)
def test_a_table_that_someone_changed_is_loaded_again(ran: Project, sql: str, table: str) -> None:
    before = ran.outputs()
    ran.change(sql)
    built = run_here(ran)
    # Once loaded, the warehouse is checked again; the reports on it stay as they are.
    load = "LoadFactLogs" if table == "fact_logs" else f"LoadDimension:{table}"
    assert built == {load, "CheckWarehouse"}
    assert ran.outputs() == before


def test_a_table_that_someone_put_in_place_of_the_loaded_one_is_loaded_again(ran: Project) -> None:
    facts = ran.facts()
    ran.change("ALTER TABLE dim_unit RENAME TO mine")
    ran.change("CREATE TABLE dim_unit (unit_id INTEGER, unit_name TEXT)")
    assert "LoadDimension:dim_unit" in run_here(ran)
    assert len(ran.query("SELECT * FROM dim_unit")) == 4
    assert ran.facts() == facts


def test_the_schema_change_report_follows_the_catalog(ran: Project) -> None:
    ran.change("CREATE INDEX my_index ON fact_logs (point_id)")
    assert run_here(ran) == {"SchemaChangeReport", "ReportPage"}
    assert "my_index" in ran.report("schema_change.md")
