"""What people see when the files are not as they should be."""

from __future__ import annotations

import gzip
import pickle
import zipfile
from pathlib import Path

import pytest

from tasks.core.errors import PipelineError
from tasks.graph import CheckWarehouse
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.sqlite.warehouse import SqliteWarehouse
from tests.conftest import Project


@pytest.mark.usefixtures("processes")
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
    result = ran.fails("AllReports")
    assert (
        "The source files in take_home_data cannot be staged; nothing was changed:\n"
        "  APP_TYPE.csv is empty: it has no header.\n"
        "  POINT.csv (or .csv.gz) is missing\n"
        "  LOG_INSTANCE.csv: column 'point_id' is duplicated, as number 2 and 3: "
        "rename or remove one\n"
        "  LOG_RCD_F.csv: column 'point_log_inst_id' is missing; the file has: log_rcd_id, inst, "
    ) in result.err
    assert ran.outputs() == before


def test_a_folder_without_files_is_reported(project: Project) -> None:
    assert project.tasks("sources").status == 0
    for path in project.data.iterdir():
        path.unlink()
    assert (project.tasks("sources").status, project.tasks("sources").out) == (1, "")
    result = project.fails("AllReports")
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
    project.passes("AllReports")
    assert project.facts() == ran.facts()


def test_sample_data_does_not_replace_files_in_the_archive(project: Project) -> None:
    point = (project.data / "POINT.csv").read_bytes()
    with zipfile.ZipFile(project.folder / "take_home_data.zip", "w") as archive:
        for path in sorted(project.data.glob("*.csv")):
            if path.name != "LOG_RCD_B.csv":
                archive.write(path, path.name)
            path.unlink()
    sources = project.tasks("sources")
    assert (sources.status, sources.out.strip()) == (0, str(project.folder / "take_home_data.zip"))
    result = project.passes("SampleData", "--scale", "0.001")
    assert (project.data / "POINT.csv").read_bytes() == point
    assert "Wrote sample take_home_data/LOG_RCD_B.csv" in result.err
    assert result.err.count("Wrote sample") == 1


def test_if_one_file_cannot_be_staged_nothing_is_loaded(ran: Project) -> None:
    tables = [f"dim_{name}" for name in ("unit", "application_instance", "log_instance")]
    before = [ran.query(f"SELECT * FROM {name}") for name in (*tables, "fact_logs")]
    ran.edit("APP_TYPE_REF.csv", "0,1,7", "0,3,9")
    ran.edit("POINT.csv", "1007,105", "x,y")
    for workers in ("1", "2"):
        assert ran.luigi("AllReports", "--workers", workers).status == 30
        after = [ran.query(f"SELECT * FROM {name}") for name in (*tables, "fact_logs")]
        assert after == before


def test_a_warehouse_that_does_not_hold_what_the_files_hold_fails_loudly(
    ran: Project, monkeypatch: pytest.MonkeyPatch
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
    monkeypatch.setattr(SqliteWarehouse, "changed_loads", lambda _: [])
    monkeypatch.chdir(ran.folder)
    with pytest.raises(PipelineError) as error:
        CheckWarehouse().run()
    assert str(error.value).startswith(
        "The warehouse does not hold what the files hold:\n"
        "  members of dim_unit: staged 4, dim_unit 3\n"
        "  F records: staged 8, fact_logs 7\n"
        "  F records of unit 9: enriched 1, fact_logs 0\n"
    )
    assert CheckWarehouse().complete() is False


def test_an_error_travels_between_processes_whole() -> None:
    error = PipelineError("What.", ["one", "two"], "Do this.")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "What.\n  one\n  two\nDo this."
    assert again.problems == error.problems


def test_an_unknown_table_is_refused_with_those_there_are(project: Project) -> None:
    result = project.fails("CsvToParquet", "--table", "POINTS", status=40)
    assert "POINTS" in result.err
    assert "LOG_INSTANCE" in result.err


def test_a_run_that_fails_outside_the_project_shows_it_by_its_status(tmp_path: Path) -> None:
    result = Project(tmp_path).fails("AllReports")
    assert "The source files in take_home_data cannot be staged" in result.err
    assert " DEBUG" not in result.err


def test_a_folder_in_place_of_an_output_is_reported(ran: Project) -> None:
    (ran.staging / "POINT.parquet").unlink()
    (ran.staging / "POINT.parquet").mkdir()
    assert "POINT.parquet is a folder" in ran.fails("AllReports").err
    assert ran.tasks("status").status == 0


def test_a_file_in_place_of_a_folder_is_reported(project: Project) -> None:
    project.reports.write_text("mine")
    result = project.fails("AllReports")
    assert "a file cannot be read or written" in result.err


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf"])
def test_sample_data_of_no_size_is_refused(project: Project, scale: str) -> None:
    (project.data / "POINT.csv").unlink()
    result = project.fails("SampleData", "--scale", scale)
    assert "is not above 0" in result.err
    assert not (project.data / "POINT.csv").exists()
