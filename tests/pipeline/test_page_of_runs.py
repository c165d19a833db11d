"""The report page from run to run, of hostile and extreme values, and how files were read."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable

import pytest

from tests.conftest import Project
from tests.hostile import NAMES
from tests.html_page import Page
from tests.runs import soak

PAGES = ("index.html", "schema_change.html")


def test_the_page_shows_what_changed_since_the_run_before(ran: Project) -> None:
    before = ran.report("run.json")
    assert before["since"] is None
    assert {task["done"] for task in before["tasks"]} == {"built", "under way"}
    with (ran.data / "LOG_RCD_B.csv").open("a", encoding="utf-8") as stream:
        stream.write("6,3,2024-06-01 00:03:00,1,OK\n7,broken\n")
    ran.configure("[LOG_RCD_B]\nmax_rejected = 1")
    ran.passes("AllReports")

    now = ran.report("run.json")
    assert now["since"]["run"] == before["run"] != now["run"]
    assert (now["since"]["changed"], now["since"]["new"]) == (["LOG_RCD_B.csv"], [])
    assert now["since"]["totals"]["facts"] == {"before": 13, "now": 14}
    assert now["since"]["totals"]["rows_quarantined"] == {"before": 0, "now": 1}
    done = {task["task"]: task["done"] for task in now["tasks"]}
    assert done["CsvToParquet:LOG_RCD_B"] == done["LoadFactLogs"] == "built"
    assert done["CsvToParquet:POINT"] == done["LoadDimension:dim_unit"] == "up to date"
    page = Page(ran.reports / "index.html")
    assert "Changed: LOG_RCD_B.csv" in page.text
    (rejected,) = page.rows("rejected")
    where = [rejected[name] for name in ("source", "file", "line", "the row as it came")]
    assert where == ["LOG_RCD_B", "LOG_RCD_B.csv", "8", "7,broken"]
    (link,) = {link for link in page.links if "quarantine" in link}
    assert (ran.reports / link).read_text(encoding="utf-8").count("\n") == 2


@pytest.mark.soak
def test_the_page_shows_more_that_is_unknown_than_in_a_run_with_fewer_totals(ran: Project) -> None:
    before = ran.report("run.json")
    del before["totals"]["cells_emptied"]
    (ran.reports / "run.json").write_text(json.dumps(before))
    ran.edit("APP_TYPE_REF.csv", "12,4,8", "99,4,8")
    ran.passes("AllReports")
    totals = ran.report("run.json")["since"]["totals"]
    assert totals["facts_unknown unit_id"] == {"before": 4, "now": 7}
    assert "facts unknown unit id: 4 before, 7 now" in ran.report("index.html")
    assert "cells_emptied" not in totals


def test_every_task_that_ran_has_its_duration(ran: Project) -> None:
    rows = {row["task"]: row for row in Page(ran.reports / "index.html").rows("tasks")}
    tasks = ran.report("run.json")["tasks"]
    assert {task["task"] for task in tasks} == set(rows)
    assert "CsvToParquet:POINT" in rows
    for task in tasks:
        if task["task"] == "ReportPage":
            assert (task["done"], task["seconds"]) == ("under way", None)
        else:
            assert task["seconds"] >= 0
            assert float(rows[task["task"]]["seconds"]) == pytest.approx(task["seconds"], abs=0.01)


def test_a_page_that_was_deleted_or_edited_is_built_again(ran: Project) -> None:
    (ran.reports / "index.html").unlink()
    result = ran.luigi("AllReports")
    assert result.built == ["ReportPage"], result.log
    assert "No source file has changed since" in ran.report("index.html")
    (ran.reports / "schema_change.html").write_text("edited")
    assert "SchemaChangeReport" in ran.luigi("AllReports").built


def many_facts(record: dict[str, object]) -> str:
    return json.dumps(record | {"totals": {"facts": "many"}})


@pytest.mark.parametrize(
    "damaged", [many_facts, *(soak(lambda _, text=text: text) for text in ("{", "[]", ""))]
)
def test_a_damaged_record_of_the_run_before_does_no_harm(
    ran: Project, damaged: Callable[[dict[str, object]], str]
) -> None:
    (ran.reports / "run.json").write_text(damaged(ran.report("run.json")))
    assert ran.luigi("AllReports").status == 0
    assert ran.report("run.json")["since"] is None


@pytest.mark.parametrize("name", PAGES)
def test_hostile_values_do_not_become_markup(hostile: Project, name: str) -> None:
    page = Page(hostile.reports / name)  # Each tag that is opened is closed, each id occurs once.
    assert len(page.scripts) == 1
    assert not [value for tag, _, value in page.attributes if tag in ("img", "h1") and value == "x"]
    assert "window.hacked" not in page.scripts[0]
    for tag, attribute, value in page.attributes:
        assert not attribute.startswith("on"), (tag, value)
        assert "javascript:" not in value if attribute == "href" else True
    assert "\u202e" not in page.text
    assert len(page.text) < 400_000


def test_hostile_values_are_shown_as_they_are(hostile: Project) -> None:
    page = Page(hostile.reports / "index.html")
    names = {row["app_type_description"] for row in page.rows("table-app_type_id")}
    assert NAMES[0] in names
    assert {"{{ 7 * 7 }}{% raw %}", "=1+1", "@SUM(1)"} <= names
    largest = hostile.report("run.json")["summaries"]["app_type_id"]["largest"]
    assert "=1+1 (2)" in {item["name"] for item in largest}
    assert all(len(name) <= 200 for name in names)
    assert any("<script>" in row["the row as it came"] for row in page.rows("rejected"))


def test_links_to_the_quarantine_lead_there(hostile: Project) -> None:
    page = Page(hostile.reports / "index.html")
    links = {link for link in page.links if "quarantine" in link}
    assert links
    for link in links:
        assert (hostile.reports / link).is_file()


def test_a_spreadsheet_runs_no_value_as_a_formula(hostile: Project) -> None:
    for path in hostile.reports.glob("*.csv"):
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.reader(stream):
                for cell in row:
                    assert cell[:1] not in "=+@\t\r" or cell == "", (path, cell)
                    assert not cell.startswith("-") or re.fullmatch(r"-\d+", cell), (path, cell)
    assert ("=1+1",) in hostile.query("SELECT app_type_description FROM dim_application_type")


def test_files_without_rows_give_a_page_too(project: Project) -> None:
    for path in project.data.glob("*.csv"):
        path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    project.passes("AllReports")
    page = Page(project.reports / "index.html")
    assert page.number("facts") == page.number("rows-in") == 0


def test_the_page_shows_how_each_file_was_read_and_what_may_be_wrong(project: Project) -> None:
    rows = [f"1;2024-06-02 00:0{n}:30;2024-06-01 00:0{n}:00;{n}" for n in range(9)]
    (project.data / "LOG_RCD_F.csv").write_text(
        "\n".join(["point_log_inst_id;created_at;sample_time;value", *rows, ""])
    )
    rows = [f"1,2024-06-01,0{n}:00,{'active' if n else 'Inactive'}" for n in range(9)]
    (project.data / "LOG_RCD_B.csv").write_text(
        "\n".join(["point_log_inst_id,Date,Time,log_value", *rows, "1,2055-01-01,00:00,on", ""])
    )
    project.configure("[LOG_RCD_B]\nrecorded_at = Date, Time")
    project.passes("AllReports")
    page = Page(project.reports / "index.html")
    assert page.texts["reading-LOG_RCD_F"].split("\n")[1:-1] == [
        "recognisedfields separated by semicolons",
        "columnsrecorded_at from created_at",
    ]
    assert page.texts["reading-LOG_RCD_B"].split("\n")[1:-1] == [
        "columnsrecorded_at from Date and Time; value from log_value",
        "read as 1active (8 rows), on (1 row)",
        "read as 0Inactive (1 row)",
        "odd times1 outside time_window",
    ]
    assert "reading-POINT" not in page.texts
    warnings = [
        {
            "source": "LOG_RCD_B",
            "warning": "1 time outside time_window (2000-01-01 to 2050-01-01), loaded as written",
        },
        {
            "source": "LOG_RCD_F",
            "warning": "recorded_at was guessed from created_at, which is named like the time at "
            "which the row was written:\n[LOG_RCD_F]\nrecorded_at = sample_time",
        },
    ]
    assert project.report("run.json")["warnings"] == warnings
    for item in warnings:
        first, _, lines = item["warning"].partition("\n")
        for place in ("all-warnings", f"source-{item['source']}"):
            assert first in page.texts[place]
            assert lines in page.texts[place]
    assert "<pre>[LOG_RCD_F]\nrecorded_at = sample_time</pre>" in page.text
    assert (
        "- LOG_RCD_F: recorded_at was guessed from created_at, which is named like the time at "
        "which the row was written:\n\n```\n[LOG_RCD_F]\nrecorded_at = sample_time\n```\n"
    ) in project.report("data_quality.md")


def test_hostile_headers_in_warnings_do_not_become_markup(project: Project) -> None:
    header = f'"{{0}} created \u202e{NAMES[0]}\n```\n</pre>"'
    (project.data / "LOG_RCD_F.csv").write_text(
        f"point_log_inst_id,{header},value\n1,2024-06-01 00:00,1\n1,2024-06-02 00:00,2\n"
    )
    project.passes("AllReports")
    page = Page(project.reports / "index.html")
    assert len(page.scripts) == 1
    (warning,) = [
        item["warning"]
        for item in project.report("run.json")["warnings"]
        if item["source"] == "LOG_RCD_F"
    ]
    assert "no column was recognised as recorded_at, but {0} created \\u202e<script>" in warning
    assert warning.partition("\n")[0] in page.texts["all-warnings"]
    for name in ("index.html", "run.json", "data_quality.md"):
        assert "\u202e" not in project.report(name)
    report = project.report("data_quality.md")
    assert report.count("\n````\n") == 2
