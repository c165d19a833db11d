"""What people see when the files are not as they should be."""

from __future__ import annotations

import gzip
import pickle
import zipfile
from pathlib import Path

import pytest

from tasks.core.errors import PipelineError
from tasks.warehouse.open import open_warehouse
from tests.conftest import Project


def test_every_problem_of_every_file_is_reported_at_once_and_nothing_is_touched(
    ran: Project,
) -> None:
    before = ran.outputs()
    (ran.data / "POINT.csv").unlink()
    ran.edit(
        "LOG_INSTANCE.csv", "point_log_inst_id,point_id,", "point_log_inst_id,point_id,point_id,"
    )
    ran.edit("LOG_RCD_F.csv", "point_log_inst_id", "inst")
    (ran.data / "APP_TYPE.csv").write_bytes(b"\n\n")
    ran.edit("APP_TYPE_REF.csv", "12,4,8", "12,3,8")  # Good, but not to be staged either.
    result = ran.luigi("AllReports")
    assert result.status == 30
    message = result.err[result.err.index("The source files in take_home_data") :]
    expected = (
        "The source files in take_home_data cannot be staged; nothing was changed:\n"
        "  APP_TYPE.csv is empty: it has no header.\n"
        "  POINT.csv (or .csv.gz) is missing\n"
        "  LOG_INSTANCE.csv: column 'point_id' is duplicated, as number 2 and 3: "
        "rename or remove one\n"
        "  LOG_RCD_F.csv: column 'point_log_inst_id' is missing; the file has: log_rcd_id, inst, "
        "log_time, log_value, status\n"
        "The folder holds: APP_INSTANCE.csv, APP_TYPE.csv, APP_TYPE_REF.csv, LOG_INSTANCE.csv, "
        "LOG_RCD_B.csv, LOG_RCD_F.csv.\n"
        "Fix the files.\n"
        "Or say in luigi.cfg how to read them, in its section of that name:\n"
        "[LOG_RCD_F]\n"
        "# point_log_inst_id = <header of that column>\n"
        "Or make missing files up: luigi --module tasks SampleData --local-scheduler\n"
    )
    assert message[: len(expected)] == expected
    assert "Traceback" not in result.err
    assert ran.outputs() == before


def test_a_folder_without_files_is_reported(project: Project) -> None:
    for path in project.data.iterdir():
        path.unlink()
    result = project.luigi("AllReports")
    assert result.status == 30
    assert result.err.count("is missing") == 7
    assert "The folder is empty or absent." in result.err


def test_other_headers_other_order_and_gzip_give_the_same_facts(
    ran: Project, project: Project
) -> None:
    project.edit("LOG_INSTANCE.csv", "point_log_inst_id,point_id", " POINT_LOG_INST_ID ,Point_Id")
    log = project.data / "LOG_RCD_F.csv"
    lines = [line.split(",") for line in log.read_text().splitlines()]
    turned = "\r\n".join(",".join(reversed(line)) for line in lines)
    log.unlink()
    (project.data / "LOG_RCD_F.csv.gz").write_bytes(
        gzip.compress(b"\xef\xbb\xbf" + turned.replace("log_time", "TimeStamp").encode())
    )
    result = project.luigi("AllReports")
    assert result.status == 0, result.err
    assert project.facts() == ran.facts()


def test_the_archive_is_unpacked_when_no_csv_is_there(ran: Project, project: Project) -> None:
    with zipfile.ZipFile(project.folder / "take_home_data.zip", "w") as archive:
        for path in sorted(project.data.glob("*.csv")):
            archive.write(path, f"take_home_data/{path.name}")
            path.unlink()
        archive.writestr("../evil.csv", "a\n")
    result = project.luigi("AllReports")
    assert result.status == 0, result.err
    assert project.facts() == ran.facts()
    assert not (project.folder / "evil.csv").exists()
    assert not (project.folder.parent / "evil.csv").exists()


def test_sample_data_does_not_replace_files_in_the_archive(project: Project) -> None:
    point = (project.data / "POINT.csv").read_bytes()
    with zipfile.ZipFile(project.folder / "take_home_data.zip", "w") as archive:
        for path in sorted(project.data.glob("*.csv")):
            if path.name != "LOG_RCD_B.csv":
                archive.write(path, path.name)
            path.unlink()
    sources = project.tasks("sources")
    assert (sources.status, sources.out.strip()) == (0, str(project.folder / "take_home_data.zip"))
    result = project.luigi("SampleData", "--scale", "0.001")
    assert result.status == 0, result.err
    assert (project.data / "POINT.csv").read_bytes() == point
    assert "Wrote sample take_home_data/LOG_RCD_B.csv" in result.err
    assert result.err.count("Wrote sample") == 1


def test_a_folder_without_any_source_is_reported_by_the_status(project: Project) -> None:
    assert project.tasks("sources").status == 0
    for path in project.data.iterdir():
        path.unlink()
    assert (project.tasks("sources").status, project.tasks("sources").out) == (1, "")


def test_a_file_that_is_quarantined_too_much_fails_its_task_and_shows_rows(
    project: Project,
) -> None:
    project.edit("POINT.csv", "1007,105", "x,105")
    result = project.luigi("AllReports")
    assert result.status == 30
    assert (
        "POINT.csv: 1 of 8 rows cannot be read as declared; at most 1.0% may be rejected. "
        "Nothing was replaced.\n"
        "  1 x point_id is not an integer\n"
        "  the first of them:\n"
        "  line 9: point_id is not an integer: 'x': 'x,105,01.08'\n"
    ) in result.err
    assert not (project.staging / "POINT.parquet").exists()


def test_if_one_file_cannot_be_staged_nothing_is_loaded(ran: Project) -> None:
    tables = [f"dim_{name}" for name in ("unit", "application_instance", "log_instance")]
    before = [ran.query(f"SELECT * FROM {name}") for name in (*tables, "fact_logs")]
    ran.edit("APP_TYPE_REF.csv", "0,1,7", "0,3,9")
    ran.edit("POINT.csv", "1007,105", "x,y")
    for workers in ("1", "2"):
        assert ran.luigi("AllReports", "--workers", workers).status == 30
        after = [ran.query(f"SELECT * FROM {name}") for name in (*tables, "fact_logs")]
        assert after == before


def test_an_error_ends_the_first_run_before_any_load(project: Project) -> None:
    project.edit("LOG_RCD_B.csv", "2,3,2024-06-01 00:01:00,off,OK", "2,3,soon,off,OK")
    result = project.luigi("AllReports")
    assert result.status == 30
    assert "recorded_at is not a timestamp: 'soon'" in result.err
    assert not project.database.exists()


def test_a_warehouse_that_does_not_hold_what_the_files_hold_fails_loudly(
    ran: Project,
) -> None:
    # As if a load had lost rows: the triggers that would notice are removed meanwhile.
    for table, row in (("fact_logs", "log_id = 10000000005"), ("dim_unit", "unit_id = 9")):
        triggers = open_warehouse("sqlite:///data_warehouse.db").triggers(table)
        for trigger in triggers:
            ran.change(f"DROP TRIGGER {trigger}")
        ran.change(f"DELETE FROM {table} WHERE {row}")
        for statement in triggers.values():
            ran.change(statement)
    assert ran.tasks("forget", "CheckWarehouse").status == 0
    summary = (ran.reports / "summary_by_unit_id.csv").read_bytes()
    result = ran.luigi("AllReports")
    assert result.status == 30
    assert (
        "The warehouse does not hold what the files hold:\n"
        "  members of dim_unit: staged 4, dim_unit 3\n"
        "  F records: staged 8, fact_logs 7\n"
        "  F records of unit 9: enriched 1, fact_logs 0\n"
    ) in result.err
    assert (ran.reports / "summary_by_unit_id.csv").read_bytes() == summary


def test_an_error_travels_between_processes_whole() -> None:
    error = PipelineError("What.", ["one", "two"], "Do this.")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "What.\n  one\n  two\nDo this."
    assert again.problems == error.problems


def test_an_unknown_table_is_refused_with_those_there_are(project: Project) -> None:
    result = project.luigi("CsvToParquet", "--table", "POINTS")
    assert result.status == 40
    assert "POINTS" in result.err
    assert "LOG_INSTANCE" in result.err


def test_a_run_that_fails_outside_the_project_shows_it_by_its_status(tmp_path: Path) -> None:
    result = Project(tmp_path).luigi("AllReports")
    assert result.status == 30
    assert "The source files in take_home_data cannot be staged" in result.err
    assert " DEBUG" not in result.err


def test_a_header_separated_otherwise_fails_with_the_line_that_reads_it(project: Project) -> None:
    log = project.data / "LOG_RCD_F.csv"
    log.write_text(log.read_text().replace(",", "^"))
    result = project.luigi("CheckSources")
    assert result.status == 30
    lines = "[LOG_RCD_F]\ndelimiter = ^\n"
    assert result.err.endswith(
        f"Or say in luigi.cfg how to read them, in its section of that name:\n{lines}"
    )
    with (project.folder / "luigi.cfg").open("a", encoding="utf-8") as stream:
        stream.write(lines)
    assert project.luigi("CheckSources").status == 0


@pytest.mark.parametrize("name", ["take_home_data/POINT.csv", "staging/POINT.parquet"])
def test_a_folder_in_place_of_a_file_is_reported(ran: Project, name: str) -> None:
    path = ran.folder / name
    path.unlink()
    path.mkdir()
    result = ran.luigi("AllReports")
    assert result.status == 30
    assert "Traceback" not in result.err
    reported = f"{path.name} is a folder"
    assert reported in result.err
    status = ran.tasks("status")
    assert status.status == 0
    path.rmdir()


def test_a_file_in_place_of_a_folder_is_reported(project: Project) -> None:
    project.reports.write_text("mine")
    result = project.luigi("AllReports")
    assert result.status == 30
    assert "a file cannot be read or written" in result.err
    assert "Traceback" not in result.err


def test_a_damaged_database_is_reported_and_can_be_moved_away(ran: Project) -> None:
    before = ran.outputs()
    ran.database.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    result = ran.luigi("AllReports")
    assert result.status == 30
    assert "move it away and run again: all of it is made from the CSV files" in result.err
    assert ran.tasks("forget", "LoadFactLogs").status == 2
    ran.database.rename(ran.folder / "damaged.db")
    assert ran.luigi("AllReports").status == 0
    assert ran.outputs() == before


def test_a_wrong_setting_is_reported_without_a_traceback(ran: Project) -> None:
    result = ran.luigi("AllReports", env={"PIPELINE_MAX_REJECTED": "x"})
    assert result.status == 35
    assert "max_rejected = x is not a share" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf"])
def test_sample_data_of_no_size_is_refused(project: Project, scale: str) -> None:
    (project.data / "POINT.csv").unlink()
    result = project.luigi("SampleData", "--scale", scale)
    assert result.status == 30
    assert "is not above 0" in result.err
    assert not (project.data / "POINT.csv").exists()
