"""The data quality report: figures and verdicts."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tasks.reports.templates import markdown_text
from tests.conftest import Project
from tests.html_page import Page


def figures(project: Project, task: str = "DataQualityReport") -> Any:
    project.passes(task)
    return project.report("data_quality.json")


def verdicts(project: Project) -> dict[str, bool]:
    return {item["assumption"]: item["holds"] for item in figures(project)["assumptions"]}


ONE_TYPE = "Each application instance belongs to one application type."
ONE_TO_MANY = "The relations are one-to-many."
CLEAN = "The data is relatively clean."


def test_the_relations_are_measured(ran: Project) -> None:
    counts = ("parents", "parents_in_use", "most_children", "children", "orphans")
    relations = {
        (r["parent"], r["child"]): tuple(r[count] for count in counts)
        for r in figures(ran)["relations"]
    }
    assert relations == {
        ("APP_TYPE", "APP_TYPE_REF"): (4, 3, 1, 4, 1),
        ("APP_TYPE_REF", "APP_INSTANCE"): (4, 4, 2, 6, 1),
        ("APP_INSTANCE", "POINT"): (6, 6, 2, 8, 1),
        ("POINT", "LOG_INSTANCE"): (8, 7, 1, 8, 1),
        ("LOG_INSTANCE", "LOG_RCD_B"): (8, 2, 3, 5, 1),
        ("LOG_INSTANCE", "LOG_RCD_F"): (8, 6, 2, 8, 0),
    }


def test_the_miniature_fits_the_model_but_is_not_clean(ran: Project) -> None:
    # 4 of 13 records have no unit.
    assert verdicts(ran) == {ONE_TYPE: True, ONE_TO_MANY: True, CLEAN: False}


def test_an_application_instance_of_two_types_breaks_the_assumption(project: Project) -> None:
    project.configure("[APP_INSTANCE]\nmax_rejected = 0.5")
    project.edit("APP_INSTANCE.csv", "104,55,No such reference", "100,11,Case 1")
    found = figures(project)
    assert found["sources"]["APP_INSTANCE"]["repeated_keys"] == {"different": 1}
    by_name = {item["assumption"]: item for item in found["assumptions"]}
    assert by_name[ONE_TYPE]["holds"] is False
    assert "1 further rows repeat the key of one" in by_name[ONE_TYPE]["figures"]
    assert by_name[ONE_TO_MANY]["holds"] is False


def test_a_row_that_is_merely_repeated_does_not_break_it(project: Project) -> None:
    project.configure("[APP_INSTANCE]\nmax_rejected = 0.5")
    project.edit("APP_INSTANCE.csv", "104,55,No such reference", "100,0,Case 1")
    found = figures(project)
    assert found["sources"]["APP_INSTANCE"]["repeated_keys"] == {"same": 1}
    assert {item["assumption"]: item["holds"] for item in found["assumptions"]}[ONE_TYPE]


def test_clean_data_is_called_clean(project: Project) -> None:
    for name, old, new in (
        ("POINT.csv", "1005,999", "1005,100"),
        ("APP_INSTANCE.csv", "104,55", "104,0"),
        ("LOG_INSTANCE.csv", "8,8888", "8,1000"),
        ("LOG_RCD_B.csv", "5,77", "5,3"),
        ("LOG_RCD_B.csv", "NO DATA", "1"),
    ):
        project.edit(name, old, new)
    found = figures(project)
    (clean,) = (item for item in found["assumptions"] if item["assumption"] == CLEAN)
    assert clean["holds"] is False  # 1 of 8 values of LOG_RCD_F is a word.
    assert clean["figures"] == (
        "0 of 43 rows quarantined (most in APP_TYPE: 0.00%, OK up to 0.1%, failed above 1%); 0 of "
        "13 log records without a unit (0.00%, OK up to 1%, failed above 5%); 1 with a word in "
        "place of a value (in LOG_RCD_F "
        "12.50% of the values, up to 5.00% is clean)."
    )
    project.configure("[LOG_RCD_F]\nmax_sentinels = 0.125")
    assert verdicts(project)[CLEAN] is True


@pytest.mark.soak
def test_emptied_cells_count_like_rejected_rows(project: Project) -> None:
    project.edit("LOG_INSTANCE.csv", "3,1002,74,60", "3,1002,many,6O")
    project.configure("[LOG_INSTANCE]\nmax_rejected = 0.25")
    found = figures(project, "AllReports")
    source = found["sources"]["LOG_INSTANCE"]
    assert (source["staged"], source["rejected"], source["cells_emptied"]) == (8, 0, 2)
    kinds = ("eng_unit_id is not an integer", "log_interval is not an integer")
    assert source["emptied"] == dict.fromkeys(kinds, 1)
    (clean,) = (item for item in found["assumptions"] if item["assumption"] == CLEAN)
    assert clean["holds"] is False
    assert clean["figures"].startswith(
        "0 of 43 rows quarantined, 2 cells emptied (most in LOG_INSTANCE: 25.00%, OK up to "
        "0.1%, failed above 1%)"
    )
    text = project.report("data_quality.md")
    assert "| LOG_INSTANCE | LOG_INSTANCE.csv | 8 | 4 | 8 | 0 | 2 |\n" in text
    assert (
        "Emptied in LOG_INSTANCE, cell by cell in `quarantine/LOG_INSTANCE.cells.csv` of the "
        "staging folder:\n- 1: eng_unit_id is not an integer\n- 1: log_interval is not an integer\n"
    ) in text
    # Everything else agrees with the rows that are staged.
    counts = (project.reports / "reconciliation.csv").read_text(encoding="utf-8")
    assert "rows of LOG_INSTANCE,file,8,staged + quarantined,8\n" in counts
    profile = project.report("profile.json")
    columns = {column["name"]: column for column in profile["LOG_INSTANCE"]["columns"]}
    assert columns["eng_unit_id"]["nulls"] == 2  # One was empty.
    run = project.report("run.json")
    assert run["totals"]["cells_emptied"] == 2
    assert [(cell["kind"], cell["cells"]) for cell in run["emptied"]] == [(k, 1) for k in kinds]
    of_files = {(cell["source"], cell["file"], cell["quarantine"]) for cell in run["emptied"]}
    assert of_files == {("LOG_INSTANCE", "LOG_INSTANCE.csv", "LOG_INSTANCE.cells.csv")}
    assert run["rejected"] == []


def test_how_each_file_was_read_is_in_the_report(project: Project) -> None:
    rows = [f"1;2024-06-01;0{n}:00:00;{'active' if n else 'Inactive'}" for n in range(4)]
    (project.data / "LOG_RCD_B.csv").write_text(
        "\n".join(["sep=;", "point_log_inst_id;Date;Time;value", *rows, "1;2055-01-01;00:00;on"])
    )
    project.configure("[LOG_RCD_B]\nrecorded_at = Date, Time")
    found = figures(project, "AllReports")["sources"]["LOG_RCD_B"]
    assert found["taken"]["recorded_at"] == ["Date", "Time"]
    assert found["carried"] == []
    text = project.report("data_quality.md")
    assert (
        "\n- LOG_RCD_B: recognised: sep= line: semicolons; columns: recorded_at from Date and "
        "Time; read as 1: active (3 rows), on (1 row); read as 0: Inactive (1 row); odd times: 1 "
        "outside time_window.\n"
    ) in text
    assert "- POINT: as usual.\n" in text
    assert "\n- LOG_RCD_B: 1 time outside time_window (2000-01-01 to 2050-01-01)" in text
    profile = project.report("profile.json")
    assert [
        (column["name"], column["header"], column["origin"], column["looks_like"])
        for column in profile["LOG_RCD_B"]["columns"]
    ] == [
        ("point_log_inst_id", "point_log_inst_id", "recognised", "integer"),
        ("recorded_at", "Date, Time", "recognised", None),
        ("value", "value", "recognised", "switch"),
        ("value_text", None, "derived", None),
        ("status", None, "absent", None),
    ]


@pytest.mark.soak
def test_an_export_of_exactly_a_million_rows_is_noted(project: Project) -> None:
    rows = "\n".join(f"{key},0" for key in range(1_000_000))
    (project.data / "APP_INSTANCE.csv").write_text(f"app_instance_id,app_type_ref_id\n{rows}\n")
    result = project.passes("AllReports")
    text = project.report("data_quality.md")
    assert "APP_INSTANCE has exactly 1,000,000 rows: it looks like an export that was cut" in text
    assert "| APP_INSTANCE (capped export?) | app_instance_id |" in text
    assert "POINT has exactly" not in text
    assert re.search(r"^  APP_INSTANCE.csv .* 0  capped\?$", result.out, re.MULTILINE)


def test_words_in_place_of_values_are_counted_and_a_wrong_column_is_suspected(
    project: Project,
) -> None:
    log = project.data / "LOG_RCD_F.csv"
    log.write_text("point_log_inst_id,value\n1,cold\n1,cold\n1,warm\n1,4\n")
    figures(project)
    text = project.report("data_quality.md")
    assert "3 records of LOG_RCD_F have a word in place of a value" in text
    assert "cold (2), warm (1). More than half: is this column the value?" in text


@pytest.mark.soak
def test_what_is_not_mapped_and_what_further_data_would_help_is_listed(project: Project) -> None:
    log = project.data / "LOG_RCD_F.csv"
    log.write_text("point_log_inst_id,when,how_much,changed_by\n1,2024-06-01,4,me\n")
    result = project.passes("AllReports")
    assert "LOG_RCD_F: recorded_at: [LOG_RCD_F] recorded_at = <header of the time>" in result.out
    found = project.report("data_quality.json")
    assert [item["line"] for item in found["unmapped"]] == [
        "[POINT] point_name = <header of point_name>",
        "[POINT] point_type = <header of point_type>",
        "[LOG_RCD_F] recorded_at = <header of the time>",
        "[LOG_RCD_F] value = <header of the value>",
        "[LOG_RCD_F] status = <header of status>",
    ]
    present = {item["what"]: item["present"] for item in found["further_data"]}
    assert present["Times of the records"] == "present: LOG_RCD_B.log_time"
    assert present["Users"] == "present: LOG_RCD_F.changed_by"
    assert project.query("SELECT count(*) FROM fact_logs WHERE log_kind = 'F'") == [(1,)]


def test_data_cannot_break_the_report() -> None:
    assert markdown_text("a|b\n# <script>") == "a\\|b \\# \\<script\\>"


@pytest.mark.soak
def test_the_limits_of_the_verdicts_are_those_of_the_configuration(project: Project) -> None:
    """4 of 13 log records have no unit."""
    for limits, verdict in (("0.1, 0.3", "failed"), ("0.1, 0.4", "attention"), ("0.4, 0.5", "OK")):
        text = (project.folder / "luigi.cfg").read_text(encoding="utf-8")
        text = re.sub("unknown_limits = .*", f"unknown_limits = {limits}", text)
        (project.folder / "luigi.cfg").write_text(text, encoding="utf-8")
        project.passes("AllReports")
        run = project.report("run.json")
        found = {item["name"]: item for item in run["verdicts"]}
        assert found["unknown"]["verdict"] == verdict
        assert found["unknown"]["share"] == 4 / 13
        ((unknown,),) = project.query("SELECT avg(unit_id = -1) FROM fact_logs")
        assert unknown == found["unknown"]["share"]
        page = Page(project.reports / "index.html")
        (row,) = (row for row in page.rows("all-verdicts") if row["on"] == "unknown")
        assert row["verdict"] == verdict
        assert page.texts["verdict"].startswith(f"Verdict: {run['verdict']}")
        weights = [item["verdict"] for item in run["advice"]]
        assert weights == sorted(weights, key=["failed", "attention", "OK"].index)
        assert all(item["why"] and item["link"] in page.links for item in run["advice"])
